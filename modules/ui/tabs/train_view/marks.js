// A picture on the canvas: the mask of what is learned, and the frame of what is cut out.

let opened = null; // {name, props, root, crop, whole} while the canvas is shown; boxes are [left, top, right, bottom]
let sources = null; // what the canvas is drawn of

// Resolves when the canvas has set `name` of its dataset to "true".
const turned = (root, name) => new Promise((done) => {
	const look = () => root.dataset[name] === "true" && (watcher.disconnect(), done());
	const watcher = new MutationObserver(look);
	watcher.observe(root, {attributeFilter: [`data-${name}`]});
	look();
});

const frameText = ([left, top, right, bottom]) => `${right - left}x${bottom - top}+${left}+${top}`;

async function openCanvas(picture) {
	sources ??= await ask("canvas");
	const found = sources && await ask("opened", {folder: folder(), picture: picture.name});
	if (!found) return;
	say("");
	const place = make("div", {className: "tr-canvas"}), props = {canvas_id: "", value: found.value};
	place.innerHTML = sources.html;
	place.append(make("style", {textContent: `.tr-canvas { ${sources.style} }`}));
	part("canvas").replaceChildren(place);
	part("marks").hidden = false;
	part("unkept").textContent = "";
	part("marked").textContent = `Mask and crop of ${picture.name}`;
	const run = new Function("element, props, upload, watch, server", sources.script);
	run(place, props, upload, () => {}, server); // nothing but this script sets the value, and only here
	const root = place.querySelector(".mc");
	const [width, height] = found.value.size;
	opened = {name: picture.name, props, root, crop: found.crop, whole: [0, 0, width, height]};
	part("marks").scrollIntoView({block: "start"});
	root.querySelector(".mc-view").focus({preventScroll: true});
	const mine = opened;
	await turned(root, "ready"); // until then the canvas tells of frames that it takes away
	if (opened !== mine) return;
	showCrop(opened.crop);
	root.addEventListener("cropped", ({detail: {text}}) => {
		const [, ...numbers] = text.match(/^(\d+)x(\d+)\+(\d+)\+(\d+)$/) ?? [];
		const [wide, high, left, top] = numbers.map(Number);
		showCrop(text ? [left, top, left + wide, top + high] : opened.whole);
	});
}

function showCrop(box) {
	opened.crop = box;
	opened.root.dispatchEvent(new CustomEvent("crops", {detail: {boxes: [box], byHand: true}}));
}

function closeCanvas() {
	const {name} = opened;
	opened = null;
	part("marks").hidden = true;
	part("canvas").replaceChildren();
	state.pictures.find((picture) => picture.name === name)?.opens.focus();
}

async function keepMarks() {
	const {name, props, root, crop} = opened;
	await turned(root, "synced");
	const found = await ask("mark", {folder: folder(), picture: name, mask: props.value.mask, crop: frameText(crop)},
		(sentence) => { part("unkept").textContent = sentence; });
	if (!found) return;
	await showFolder(found);
	if (opened?.name === name) closeCanvas();
}

// What the table says of a picture's mask and crop, each with a button that takes it away.
function marksOf(picture) {
	const mark = (what, words, name) => {
		const gone = make("button", {type: "button", textContent: "×", "aria-label": name});
		gone.addEventListener("click", async () => showFolder(await ask("unmark", {folder: folder(), picture: picture.name, what}) ?? undefined));
		return make("span", {className: "tr-mark"}, make("span", {textContent: words}), gone);
	};
	return [picture.masked && mark("mask", "Mask", `Take away the mask of ${picture.name}`),
		picture.crop && mark("crop", `Crop ${picture.crop}`, `Take away the crop of ${picture.name}`)].filter(Boolean);
}
