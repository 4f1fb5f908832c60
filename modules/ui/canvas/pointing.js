// Masks by clicks: each says what is meant, or what is not, and the server answers with the mask of all of them. Together
// they are one step, until something else is painted or the next thing is begun.

const SLOW = 400; // milliseconds after which a note says that the picture is being looked at
const dotsLayer = find(".mc-dots");
const canPoint = root.dataset.points === "true";
let thing = {clicks: [], painting: null, last: null, changed: false}; // what is pointed at, and its step in the history
let asked = 0; // counts the questions: only the last one's answer counts

const isSameThing = () => state.painting && thing.painting === state.painting && thing.last === lastStep();

function nextThing() {
	thing = {clicks: [], painting: state.painting, last: lastStep(), changed: false};
	placeDots();
}

function pointAt({x, y}, meant) {
	const {width, height} = state.painting;
	if (x < 0 || y < 0 || x >= width || y >= height) return;
	if (!isSameThing()) nextThing();
	thing.clicks.push({x, y, meant});
	placeDots();
	if (!thing.clicks.some((click) => click.meant)) return say(TEXT.meantFirst, [TEXT.ok, hush]);
	return takeMask("by_clicks", {clicks: thing.clicks});
}

// Joins the mask of the server's answer with the mask as it was before the thing.
async function takeMask(name, question) {
	if (!state.image) return say(TEXT.stillSent, [TEXT.ok, hush]);
	const number = ++asked;
	const slow = setTimeout(() => say(TEXT.looking), SLOW);
	root.dataset.pointing = "true";
	const answer = await inpaintPage.ask(server, name, {path: state.image.path, size: state.painting.size, ...question});
	clearTimeout(slow);
	if (number !== asked) return;
	hush();
	const picture = answer.mask && (await decoded(answer.mask));
	root.dataset.pointing = "false";
	if (!picture || !state.painting || state.painting.size.join() !== [picture.naturalWidth, picture.naturalHeight].join()) {
		if (answer.problem) say(answer.problem, [TEXT.ok, hush]);
		return;
	}
	const selected = bytesFromPixels(bitmapPixels(picture), false);
	if (!isSameThing()) nextThing();
	if (thing.changed) state.history.undo();
	thing.changed = edit(({mask}) => mask.replace(JOIN[state.join](mask.data, selected)));
	thing.last = lastStep();
	root.dataset.selected = countPainted(selected);
	placeDots();
}

function takeSubject(background) {
	nextThing();
	return takeMask("subject", {background});
}

// Shows where was clicked, as long as the next click belongs to the same thing.
function placeDots() {
	const shown = state.tool === "point" && isSameThing() ? thing.clicks : [];
	dotsLayer.replaceChildren(...shown.map(({x, y, meant}) => {
		const dot = inpaintPage.make("i", {"data-meant": meant});
		dot.style.transform = `translate(${x * state.scale + state.x}px, ${y * state.scale + state.y}px)`;
		return dot;
	}));
}
