// The elements on the page, and the state that all parts share.

const find = (selector) => element.querySelector(selector);
const root = find(".mc");
const view = find(".mc-view");
const stage = find(".mc-stage");
const picture = find(".mc-stage img");
const coloursPaper = find(".mc-colours");
const maskPaper = find(".mc-mask");
const ring = find(".mc-ring");
const shapes = element.querySelectorAll(".mc-shape:not(.mc-frame) polygon");
const note = find(".mc-note");
const input = (name) => find(`[data-set="${name}"]`);
const button = (name) => find(`.mc-tools [data-act="${name}"]`);
const buttons = (name) => element.querySelectorAll(`.mc-tools [data-act="${name}"]`);

const sketch = root.dataset.sketch === "true"; // colours only: what is painted becomes part of the picture

const state = {
	painting: null, // Painting, when there is a picture
	file: null, // the picture's File
	image: null, // Gradio's FileData of it, when the server has it
	bitmap: null, // the image element made of it
	uploading: null, // the File on its way
	synced: true, // whether props.value holds the painting as it is
	version: 0, // counts changes of the painting
	brush: 40, // diameter in picture pixels
	color: "#ff2e63", opacity: 55, // how the mask looks
	inColour: sketch, ink: "#e8352e", inkOpacity: 100, // what the brush paints
	tool: sketch ? "pan" : "freehand", erase: false,
	join: "add", tolerance: 24, // how selections are made
	selection: null, // the last one, while it can still be tuned
	frame: null, // pixels by which the picture may grow: {left, up, right, down}
	scale: 1, x: 0, y: 0, fitted: true,
	pointer: null, // where the mouse or pen is, in the view
	keyPoint: null, // where the keyboard's brush is, in the picture
	space: false,
};

function setWords() {
	if (sketch) Object.assign(TEXT, SKETCH_TEXT);
	for (const group of element.querySelectorAll("[data-label]")) group.setAttribute("aria-label", TEXT[group.dataset.label]);
	for (const item of element.querySelectorAll("[data-text]")) item.textContent = TEXT[item.dataset.text];
	for (const item of element.querySelectorAll("button[data-act], input[data-set]")) {
		const name = item.dataset.act || item.dataset.set;
		if (!item.dataset.text) item.setAttribute("aria-label", TEXT[name].split(" (")[0].split(". ")[0]);
		item.title = TEXT[`${name}Title`] || TEXT[name];
	}
	for (const item of element.querySelectorAll("[data-file]")) item.setAttribute("aria-label", TEXT[item.dataset.file]);
}
