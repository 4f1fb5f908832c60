// The elements on the page, and the state shared by all parts.

const find = (selector) => element.querySelector(selector);
const root = find(".mc");
const view = find(".mc-view");
const stage = find(".mc-stage");
const picture = find(".mc-picture");
const resultPicture = find(".mc-result");
const coloursPaper = find(".mc-colours");
const maskPaper = find(".mc-mask");
const ring = find(".mc-ring");
const shapes = element.querySelectorAll(".mc-shape:not(.mc-frame) polygon");
const note = find(".mc-note");
const input = (name) => find(`[data-set="${name}"]`);
const button = (name) => find(`.mc-tools [data-act="${name}"]`);
const buttons = (name) => element.querySelectorAll(`.mc-tools [data-act="${name}"]`);

const sketch = root.dataset.sketch === "true"; // only colours can be painted; they become part of the picture
const fixed = root.dataset.fixed === "true"; // only a mask can be painted, and the picture stays

const state = {
	painting: null, // a Painting if there is a picture
	history: new History(),
	file: null, // the picture's File
	image: null, // its FileData of Gradio once it is uploaded
	bitmap: null, // its image element
	uploading: null, // the File that is being uploaded
	synced: true, // whether props.value has the current painting
	version: 0, // counts the changes of the painting
	brush: 40, softness: 0, // diameter in pixels of the picture, and the soft share of the radius in percent
	color: "#ff2e63", opacity: 55, // the look of the mask
	inColour: sketch, ink: "#e8352e", inkOpacity: 100, // the colour brush
	tool: sketch ? "pan" : "freehand", erase: false,
	join: "add", tolerance: 24, // the settings of selections
	notMeant: false, // whether clicks say what is not meant
	selection: null, // the last selection, while its tolerance can still be changed
	crops: [], // the boxes that "Only masked" works on
	frame: null, // the pixels by which the picture would grow: {left, up, right, down}
	scale: 1, x: 0, y: 0, fitted: true,
	pointer: null, // the place of mouse or pen, in the view
	keyPoint: null, // the place of the keyboard's brush, in the picture
	space: false,
	result: null, // the result that is shown instead of the picture
	comparing: false, // whether a slider shows a part of both
	split: 0, // its place in the view
	held: false, // whether the picture is shown for a moment
	keeping: null, // what the keep-brush does, if it is on
	live: false, // whether the page wants each stroke at once
};

function setWords() {
	if (sketch) Object.assign(TEXT, SKETCH_TEXT);
	if (fixed) Object.assign(TEXT, FIXED_TEXT);
	for (const group of element.querySelectorAll("[data-label]")) group.setAttribute("aria-label", TEXT[group.dataset.label]);
	for (const item of element.querySelectorAll("[data-text]")) item.textContent = TEXT[item.dataset.text];
	const nameOf = (name) => TEXT[name].split(" (")[0].split(". ")[0];
	for (const item of element.querySelectorAll("[data-name]")) item.textContent = nameOf(item.dataset.name);
	for (const item of element.querySelectorAll("button[data-act], input[data-set]")) {
		const name = item.dataset.act || item.dataset.set;
		if (!item.dataset.text) item.setAttribute("aria-label", nameOf(name));
		item.title = TEXT[`${name}Title`] || TEXT[name];
	}
	input("said").placeholder = TEXT.saidHint;
	for (const item of element.querySelectorAll("[data-file]")) item.setAttribute("aria-label", TEXT[item.dataset.file]);
}
