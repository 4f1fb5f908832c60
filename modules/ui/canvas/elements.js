// The elements on the page, and the state that all parts share.

const find = (selector) => element.querySelector(selector);
const root = find(".mc");
const view = find(".mc-view");
const stage = find(".mc-stage");
const picture = find(".mc-stage img");
const paper = find(".mc-stage canvas");
const ring = find(".mc-ring");
const shapes = element.querySelectorAll(".mc-shape polygon");
const note = find(".mc-note");
const input = (name) => find(`[data-set="${name}"]`);
const button = (name) => find(`.mc-bar [data-act="${name}"]`);

const plain = root.dataset.plain === "true"; // a picture without a mask

const state = {
	mask: null, // Mask, when there is a picture
	file: null, // the picture's File
	image: null, // Gradio's FileData of it, when the server has it
	uploading: null, // the File on its way
	synced: true, // whether props.value holds the mask as it is
	version: 0, // counts changes of the mask
	brush: 40, // diameter in picture pixels
	color: "#ff2e63", opacity: 55,
	tool: plain ? "pan" : "freehand", erase: false,
	scale: 1, x: 0, y: 0, fitted: true,
	pointer: null, // where the mouse or pen is, in the view
	keyPoint: null, // where the keyboard's brush is, in the picture
	space: false,
};

function setWords() {
	for (const group of element.querySelectorAll("[data-label]")) group.setAttribute("aria-label", TEXT[group.dataset.label]);
	for (const item of element.querySelectorAll("[data-text]")) item.textContent = TEXT[item.dataset.text];
	for (const item of element.querySelectorAll("button[data-act], input[data-set]")) {
		const name = item.dataset.act || item.dataset.set;
		item.setAttribute("aria-label", TEXT[name].split(" (")[0].split(". ")[0]);
		item.title = TEXT[`${name}Title`] || TEXT[name];
	}
	for (const item of element.querySelectorAll("[data-file]")) {
		item.setAttribute("aria-label", item.dataset.file === "mask" ? TEXT.uploadMask : TEXT.choose);
	}
}
