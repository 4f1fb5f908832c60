// The cards of LoRAs, embeddings, hypernetworks and checkpoints under the prompt. Of thousands only those in sight are in
// the page.

const {make} = inpaintPage;
const root = element.querySelector(".cards");
const part = (name) => root.querySelector(`[data-part="${name}"]`);
const tab = element.closest("[id^=tab_]").id.replace("tab_", "");
const boxOf = (name) => document.querySelector(`#${tab}_${name} textarea`);
const WIDTH = 104, HEIGHT = 142, GAP = 6; // pixels; a card is at least so wide

const TEXT = {
	count: (count) => count === 1 ? "1 file" : `${count.toLocaleString()} files`,
	none: "No files yet. They belong into models/Lora, embeddings, models/hypernetworks and models/Stable-diffusion.",
	nothingFound: "No card fits.", top: "Top folder", about: "What is known of it", weight: "Weight",
};

// kind: the kind whose cards are open. cards: all of them. shown: those that fit the search, in order. folder: the chosen one.
const state = {kind: null, cards: [], shown: [], folder: null, asked: 0, focused: 0, about: null};
const known = new Map(); // kind -> the last answer and its cards as text: shown until the server has answered again

async function ask(name, question) {
	const answer = await inpaintPage.ask(server, name, question);
	if (answer.problem) part("note").textContent = answer.problem;
	return answer.problem ? null : answer;
}

async function open(kind, {refresh = false} = {}) {
	const asked = ++state.asked;
	const earlier = kind !== state.kind && known.get(kind);
	if (kind !== state.kind) Object.assign(state, {folder: null, cards: [], shown: []});
	state.kind = kind;
	for (const button of root.querySelectorAll("[data-kind]")) button.setAttribute("aria-expanded", button.dataset.kind === kind);
	part("panel").hidden = !kind;
	if (!kind) return;
	if (earlier) take(earlier.answer);
	const answer = await ask("list", {kind, refresh});
	if (!answer || asked !== state.asked) return;
	const text = JSON.stringify(answer);
	if (earlier?.text === text) return;
	known.set(kind, {answer, text});
	take(answer);
}

// Shows the cards of an answer.
function take(answer) {
	const {kind} = state;
	state.cards = answer.cards;
	for (const card of state.cards) card.words ??= `${card.folder} ${card.name} ${card.activation} ${card.description}`.toLowerCase();
	state.current = answer.current;
	if (!state.weighed) part("weight").value = answer.weight;
	part("weighing").hidden = !["loras", "hypernetworks"].includes(kind);
	showFolders();
	filter();
}

function showFolders() {
	const folders = [...new Set(state.cards.map((card) => card.folder))].sort();
	part("folders").replaceChildren(...(folders.length < 2 ? [] : folders.map((folder) => {
		const button = make("button", {type: "button", textContent: folder || TEXT.top, translate: !folder});
		button.dataset.folder = folder;
		button.setAttribute("aria-pressed", folder === state.folder);
		return button;
	})));
}

const ORDERS = {
	name: () => 0, // as the server sends them
	date: (one, other) => other.modified - one.modified,
	folder: (one, other) => (one.folder < other.folder ? -1 : Number(one.folder > other.folder)),
};

function filter() {
	const words = part("search").value.toLowerCase().split(/\s+/).filter(Boolean);
	const inFolder = (card) => state.folder === null || card.folder === state.folder || (state.folder && card.folder.startsWith(`${state.folder}/`));
	state.shown = state.cards.filter((card) => inFolder(card) && words.every((word) => card.words.includes(word)));
	const order = part("sort").value;
	if (order !== "name") state.shown.sort(ORDERS[order]);
	state.focused = 0;
	part("grid").scrollTop = 0;
	part("note").textContent = state.shown.length ? TEXT.count(state.shown.length) : state.cards.length ? TEXT.nothingFound : TEXT.none;
	part("grid").hidden = !state.shown.length;
	draw();
}

function layout() {
	const width = part("grid").clientWidth;
	const columns = Math.max(1, Math.floor((width + GAP) / (WIDTH + GAP)));
	return {columns, side: (width - (columns - 1) * GAP) / columns};
}

// Draws the cards in sight, and one row more on either side.
function draw() {
	if (!state.kind) return;
	const {columns, side} = layout(), grid = part("grid"), rows = Math.ceil(state.shown.length / columns);
	part("all").style.height = `${Math.max(0, rows * (HEIGHT + GAP) - GAP)}px`;
	const first = Math.max(0, Math.floor(grid.scrollTop / (HEIGHT + GAP)) - 1);
	const last = Math.ceil((grid.scrollTop + grid.clientHeight) / (HEIGHT + GAP)) + 1;
	const drawn = new Map([...part("all").children].map((one) => [one.dataset.id, one]));
	const wanted = [];
	for (let number = first * columns; number < Math.min(state.shown.length, last * columns); number++) {
		const card = state.shown[number], key = `${card.id}${card.preview ?? ""}`;
		const one = drawn.get(key) ?? cardOf(card, key);
		drawn.delete(key);
		one.dataset.number = number;
		const row = Math.floor(number / columns), column = number % columns;
		Object.assign(one.style, {width: `${side}px`, left: `${column * (side + GAP)}px`, top: `${row * (HEIGHT + GAP)}px`});
		wanted.push(one);
	}
	for (const one of drawn.values()) one.remove();
	for (const one of wanted) if (!one.isConnected) part("all").append(one);
	mark();
}

function cardOf(card, key) {
	const face = card.preview
		? make("img", {src: `${card.thumbnail}?${card.preview}`, alt: "", loading: "lazy", decoding: "async"})
		: make("span", {className: "blank", textContent: [...card.name][0]?.toUpperCase() ?? "", translate: false});
	const use = make("button", {type: "button", className: "card-use", title: card.description || card.name, translate: false},
		face, make("span", {className: "name", textContent: card.name}));
	const about = make("button", {type: "button", className: "card-about", textContent: "i", title: TEXT.about});
	about.setAttribute("aria-label", TEXT.about);
	about.tabIndex = -1;
	const made = make("div", {className: "card"}, use, about);
	made.dataset.id = key;
	return made;
}

// --- the prompt

const escaped = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
const WORDS = {loras: "(?:lora|lyco)", hypernetworks: "hypernet"};

// Where a card's name stands in a prompt.
function pattern(card) {
	if (card.kind === "embeddings") return new RegExp(`(?<![\\p{L}\\p{N}_-])${escaped(card.name)}(?![\\p{L}\\p{N}_-])`, "iu");
	return new RegExp(`<${WORDS[card.kind]}:${escaped(card.name)}(?::(-?[\\d.]+))?(?::[^<>]*)?>`);
}

const isUsed = (card) => card.kind === "checkpoints" ? card.id === state.current : pattern(card).test(boxOf("prompt").value) || (card.kind === "embeddings" && pattern(card).test(boxOf("neg_prompt").value));

function write(box, text) {
	if (box.value === text) return;
	box.value = text;
	box.dispatchEvent(new Event("input", {bubbles: true}));
}

const added = (text, words, between) => (text.trim() ? `${text.trimEnd()}${text.trimEnd().endsWith(",") ? " " : between}${words}` : words);
function without(text, words) {
	const at = words ? text.indexOf(words) : -1;
	return at < 0 ? text : tidy(text.slice(0, at), text.slice(at + words.length));
}
function tidy(before, after) {
	before = before.trimEnd();
	after = after.trimStart();
	if (before.endsWith(",") && (!after || after.startsWith(","))) before = before.slice(0, -1).trimEnd();
	if (!before) after = after.replace(/^,\s*/, "");
	return before && after && !after.startsWith(",") ? `${before} ${after}` : before + after;
}

// Adds a card to the prompt, with its activation words, or takes both away.
function toggle(card) {
	if (card.kind === "checkpoints") return choose(card);
	const prompt = boxOf("prompt"), negative = boxOf("neg_prompt");
	if (isUsed(card)) {
		for (const box of card.kind === "embeddings" ? [prompt, negative] : [prompt]) {
			const found = box.value.match(pattern(card));
			if (found) write(box, tidy(box.value.slice(0, found.index), box.value.slice(found.index + found[0].length)));
		}
		write(prompt, without(prompt.value, card.activation));
		write(negative, without(negative.value, card.negative));
	} else {
		const weight = card.weight ?? (Number(part("weight").value) || 1);
		const name = card.kind === "embeddings" ? card.name : `<${card.kind === "loras" ? "lora" : "hypernet"}:${card.name}:${weight}>`;
		let text = added(prompt.value, name, card.kind === "embeddings" ? ", " : " ");
		if (card.activation && !text.includes(card.activation)) text = added(text, card.activation, " ");
		write(prompt, text);
		if (card.negative && !negative.value.includes(card.negative)) write(negative, added(negative.value, card.negative, ", "));
	}
	mark();
}

function choose(card) {
	state.current = card.id;
	mark();
	press("checkpoint", card);
}

// Lets the server act on a card: the component's value is its id.
function press(button, card) {
	props.value = card.id;
	requestAnimationFrame(() => document.querySelector(`#${tab}_card_${button}`).click());
}

// Marks the cards that are in the prompt, each with its weight there.
function mark() {
	for (const one of part("all").children) {
		const card = state.shown[one.dataset.number], used = isUsed(card), use = one.querySelector(".card-use");
		use.setAttribute("aria-pressed", used);
		use.tabIndex = Number(one.dataset.number) === state.focused ? 0 : -1;
		const weighs = used && card.kind in WORDS;
		let weight = one.querySelector("input");
		if (weighs && !weight) {
			weight = make("input", {type: "number", step: 0.05, min: -10, max: 10});
			weight.setAttribute("aria-label", TEXT.weight);
			one.append(weight);
		}
		if (!weighs) weight?.remove();
		else if (weight !== document.activeElement) weight.value = boxOf("prompt").value.match(pattern(card))[1] ?? 1;
	}
}

function weigh(card, weight) {
	const box = boxOf("prompt"), found = box.value.match(pattern(card));
	if (!found || !Number.isFinite(weight)) return;
	const tag = `<${card.kind === "loras" ? "lora" : "hypernet"}:${card.name}:${weight}>`;
	write(box, box.value.slice(0, found.index) + tag + box.value.slice(found.index + found[0].length));
}

// --- what is known of one

async function showAbout(card) {
	state.about = card;
	part("title").textContent = card.name;
	part("description").textContent = card.description;
	part("large").hidden = !card.preview;
	if (card.preview) part("large").src = `${card.thumbnail}?${card.preview}`;
	showWords("words", "activation", card.activation ? card.activation.split(",").map((word) => word.trim()).filter(Boolean) : []);
	showWords("captions", "tags", []);
	part("facts").replaceChildren();
	part("predicts").hidden = true;
	part("about").showModal();
	const answer = await ask("about", {id: card.id});
	if (!answer || state.about !== card) return;
	part("facts").replaceChildren(...answer.pairs.flatMap(([label, value]) => [make("dt", {textContent: label}), make("dd", {textContent: value, translate: false})]));
	showWords("captions", "tags", answer.tags);
	part("predicts").hidden = !answer.prediction;
	if (answer.prediction) part("prediction").value = answer.prediction;
}

function showWords(holder, list, words) {
	part(holder).hidden = !words.length;
	part(list).replaceChildren(...words.map((word) => make("button", {type: "button", textContent: word})));
}

// --- listeners

const cardAt = (target) => state.shown[target.closest(".card")?.dataset.number];

root.addEventListener("click", ({target}) => {
	const kind = target.closest("[data-kind]")?.dataset.kind, folder = target.closest("[data-folder]")?.dataset.folder;
	const act = target.closest("[data-act]")?.dataset.act;
	if (kind) open(kind === state.kind ? null : kind);
	else if (folder !== undefined) {
		state.folder = state.folder === folder ? null : folder;
		showFolders();
		filter();
	} else if (act === "refresh") open(state.kind, {refresh: true});
	else if (act === "close" || target === part("about")) part("about").close();
	else if (act === "usePicture") {
		part("about").close();
		press("preview", state.about);
	} else if (target.closest(".cards-words button")) {
		const box = boxOf("prompt"), word = target.textContent;
		write(box, box.value.includes(word) ? without(box.value, word) : added(box.value, word, ", "));
	} else if (target.closest(".card-about")) showAbout(cardAt(target));
	else if (target.closest(".card-use")) {
		state.focused = Number(target.closest(".card").dataset.number);
		toggle(cardAt(target));
	}
});
part("search").addEventListener("input", filter);
part("sort").addEventListener("change", filter);
part("prediction").addEventListener("change", ({target}) => ask("predict", {id: state.about.id, prediction: target.value}));
part("weight").addEventListener("input", () => { state.weighed = true; });
part("all").addEventListener("change", ({target}) => target.matches("input") && weigh(cardAt(target), Number(target.value)));
part("grid").addEventListener("scroll", draw);
part("all").addEventListener("keydown", (event) => {
	const {columns} = layout();
	const step = {ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns}[event.key];
	if (!step || !event.target.matches(".card-use")) {
		if (event.key === "i" && event.target.matches(".card-use")) showAbout(cardAt(event.target));
		return;
	}
	event.preventDefault();
	const to = state.focused + step;
	if (to < 0 || to >= state.shown.length) return;
	state.focused = to;
	const top = Math.floor(to / columns) * (HEIGHT + GAP), grid = part("grid");
	if (top < grid.scrollTop) grid.scrollTop = top;
	else if (top + HEIGHT > grid.scrollTop + grid.clientHeight) grid.scrollTop = top + HEIGHT - grid.clientHeight;
	draw();
	part("all").querySelector(`[data-number="${to}"] .card-use`).focus();
});
document.addEventListener("input", ({target}) => { if (target === boxOf("prompt") || target === boxOf("neg_prompt")) mark(); });
new ResizeObserver(draw).observe(part("grid"));
// The server has changed a preview: the cards are looked at again.
watch("value", () => { if (state.kind) open(state.kind); });
inpaintPage.completions = (before) => inpaintPage.ask(server, "complete", {before});
