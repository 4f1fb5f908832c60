// Masks by clicks, boxes and words. A click says what is meant, or what is not, a box where it is, and the server answers
// with the mask of all of them. Together they are one step, until something else is painted or the next thing is begun.

const SLOW = 400; // milliseconds after which a note says that the picture is being looked at
const dotsLayer = find(".mc-dots");
const canPoint = root.dataset.points === "true";
let thing = noThing(); // what is pointed at, and its step in the history
let asked = 0; // counts the questions: only the last one's answer counts

const isSameThing = () => state.painting && thing.painting === state.painting && thing.last === lastStep();

function noThing() {
	return {clicks: [], box: null, candidate: null, painting: null, last: null, changed: false};
}

function nextThing() {
	thing = {...noThing(), painting: state.painting, last: lastStep()};
	corner = null;
	placeDots();
}

function pointAt({x, y}, meant) {
	const {width, height} = state.painting;
	if (x < 0 || y < 0 || x >= width || y >= height) return;
	if (!isSameThing()) nextThing();
	thing.clicks.push({x, y, meant});
	thing.candidate = null;
	placeDots();
	return takeThing();
}

// A box from one place to another, inside the picture, begins the next thing.
function boxAt(from, to) {
	const {width, height} = state.painting;
	const inside = (value, most) => Math.min(Math.max(value, 0), most);
	const [left, right] = [from.x, to.x].map((x) => inside(x, width)).sort((a, b) => a - b);
	const [top, bottom] = [from.y, to.y].map((y) => inside(y, height)).sort((a, b) => a - b);
	if (left === right || top === bottom) return;
	nextThing();
	thing.box = [left, top, right, bottom];
	placeDots();
	return takeThing();
}

let corner = null; // the first corner of a box by the keyboard

function cornerAt(at) {
	const from = corner;
	corner = from ? null : at;
	if (!from) return say(TEXT.otherCorner, [TEXT.ok, hush]);
	hush();
	return boxAt(from, at);
}

function nextSize() {
	if (!isSameThing()) nextThing();
	thing.candidate = thing.candidate === null ? 0 : (thing.candidate + 1) % 3;
	return takeThing();
}

function takeThing() {
	const {clicks, box, candidate} = thing;
	if (!box && !clicks.some((click) => click.meant)) return say(TEXT.meantFirst, [TEXT.ok, hush]);
	return takeMask("by_clicks", {clicks, box, candidate});
}

function takeWords() {
	if (!state.painting) return;
	nextThing();
	return takeMask("by_words", {words: input("said").value});
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

// Shows the box and where was clicked, as long as the next click belongs to the same thing.
function placeDots() {
	const shown = state.tool === "point" && isSameThing() ? thing : noThing();
	const boxes = shown.box ? [inpaintPage.make("b")] : [];
	for (const box of boxes) {
		const [left, top, right, bottom] = shown.box.map((value) => value * state.scale);
		box.style.transform = `translate(${left + state.x}px, ${top + state.y}px)`;
		Object.assign(box.style, {width: `${right - left}px`, height: `${bottom - top}px`});
	}
	dotsLayer.replaceChildren(...boxes, ...shown.clicks.map(({x, y, meant}) => {
		const dot = inpaintPage.make("i", {"data-meant": meant});
		dot.style.transform = `translate(${x * state.scale + state.x}px, ${y * state.scale + state.y}px)`;
		return dot;
	}));
}
