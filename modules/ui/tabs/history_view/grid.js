// The tiles: the pictures that match the filters, loaded page by page while scrolling.

const clearFilters = root.querySelector('[data-act="clear"]');
const wanted = () => Object.fromEntries([...new FormData(form)].filter(([, value]) => value));

// Loads the tiles again, as many as there are now.
async function reload(least = PAGE) {
	const asked = ++state.asked;
	const limit = Math.min(MOST, Math.max(least, Math.ceil(state.pictures.length / PAGE) * PAGE));
	const answer = await ask("find", {filter: wanted(), limit});
	if (!answer || asked !== state.asked) return;
	Object.assign(state, {pictures: [], cursor: answer.cursor, count: answer.count, version: answer.version,
		ranked: answer.ranked, read: answer.read});
	part("meaning").hidden = !answer.knows_meanings;
	part("grid").replaceChildren();
	append(answer.pictures);
	showChoices("model", answer.models);
	showChoices("sampler", answer.samplers);
	showState(answer);
	if (isNearEnd()) more();
	clearTimeout(reload.again);
	if (state.read) reload.again = setTimeout(() => root.offsetParent && reload(), READING);
}

async function more() {
	if (!state.cursor || state.loading) return;
	state.loading = true;
	const asked = state.asked;
	const answer = await ask("find", {filter: wanted(), after: state.cursor, limit: PAGE});
	state.loading = false;
	if (!answer || asked !== state.asked) return;
	state.cursor = answer.cursor;
	append(answer.pictures);
	if (isNearEnd()) more();
}

const isNearEnd = () => root.offsetParent && part("end").getBoundingClientRect().top < innerHeight + 800;

function append(pictures) {
	const fresh = [];
	let day = state.pictures.at(-1)?.day;
	for (const picture of pictures) {
		picture.day = new Date(picture.created).toLocaleDateString(undefined, {dateStyle: "long"});
		if (picture.day !== day && !state.ranked) fresh.push(make("h2", {className: "hi-day", textContent: picture.day}));
		day = picture.day;
		state.pictures.push(picture);
		fresh.push(tile(picture));
	}
	part("grid").append(...fresh);
}

function tile(picture) {
	const image = make("img", {src: picture.thumbnail, alt: "", loading: "lazy", decoding: "async"});
	image.dataset.picture = picture.url; // the address that a drag transfers
	const open = make("button", {
		type: "button", className: "hi-open", title: picture.prompt, translate: !picture.prompt}, image);
	open.setAttribute("aria-label", TEXT.open(picture.prompt));
	const like = make("button", {type: "button", className: "hi-like", title: TEXT.like}, icon("star"));
	like.setAttribute("aria-label", TEXT.like);
	like.setAttribute("aria-pressed", picture.favourite);
	const pick = make("input", {type: "checkbox", className: "hi-pick", checked: state.chosen.has(picture.id)});
	pick.setAttribute("aria-label", TEXT.select);
	const made = make("div", {className: "hi-tile"}, open, like, pick);
	made.dataset.id = picture.id;
	return made;
}

const tileOf = (id) => part("grid").querySelector(`[data-id="${id}"]`);

function showChoices(name, choices) {
	const list = form.elements[name], chosen = list.value;
	if ([...list.options].slice(1).map((option) => option.value).join("\n") === choices.join("\n")) return;
	list.replaceChildren(list.options[0], ...choices.map((choice) =>
		make("option", {value: choice, textContent: choice, translate: false})));
	list.value = choices.includes(chosen) ? chosen : "";
}

function showFilters() {
	const filtered = Object.keys(wanted()).length > 0;
	clearFilters.hidden = !filtered;
	return filtered;
}

function showState({looking, done, total, can_undo: canUndo}) {
	const filtered = showFilters();
	part("count").textContent = total ? TEXT.reading(done, total)
		: state.read ? TEXT.understanding(...state.read) : state.ranked ? TEXT.nearest(state.count) : TEXT.count(state.count);
	part("empty").hidden = state.pictures.length > 0 || looking;
	part("empty").textContent = filtered ? TEXT.nothingFound : TEXT.nothing;
	for (const button of root.querySelectorAll('[data-act="undo"]')) button.hidden = !canUndo;
}

// Lets the server compare its index with the folder, and shows new pictures while that runs.
async function look() {
	let answer;
	do {
		answer = await ask("look");
		if (answer && answer.version !== state.version) await reload();
		else if (answer) showState(answer);
	} while (answer?.looking && root.offsetParent);
}

// Arrow keys move between tiles.
function onGridKey(event) {
	const tiles = [...part("grid").querySelectorAll(".hi-open")];
	const at = tiles.indexOf(document.activeElement);
	if (at < 0) return;
	const top = (one) => one.parentElement.offsetTop, left = (one) => one.parentElement.offsetLeft;
	const here = tiles[at];
	const to = {
		ArrowLeft: () => tiles[at - 1],
		ArrowRight: () => tiles[at + 1],
		ArrowUp: () => tiles.slice(0, at).reverse().find((one) => top(one) < top(here) && left(one) <= left(here)),
		ArrowDown: () => tiles.slice(at).find((one) => top(one) > top(here) && left(one) >= left(here)),
	}[event.key]?.();
	if (!to) return;
	event.preventDefault();
	to.focus();
	to.scrollIntoView({block: "nearest"});
}
