// The boxes that "Only masked" works on. The server computes them; a frame that is dragged is sent to it as a text. The
// label and the corners of a frame have the keyboard too: arrow keys drag what has the focus, and Enter goes to the next.

const cropsLayer = find(".mc-crops");
const SMALLEST_CROP = 32; // pixels of the picture
const CROP_STEP = 8; // pixels of the view by which an arrow key drags; with Shift it is one of the picture
const CORNERS = ["x0y0", "x1y0", "x1y1", "x0y1"];
let dragging = null; // {id, corner, from, start} while a frame is dragged

// Takes over what the server says: {boxes: [[left, top, right, bottom]], byHand}.
function setCrops({boxes = [], byHand = false}) {
	if (dragging) return;
	state.crops = boxes.map(([x0, y0, x1, y1]) => ({x0, y0, x1, y1}));
	cropsLayer.dataset.byHand = byHand;
	drawCrops();
}

// Shows all frames. One frame can be dragged: by its label, and by its corners. Its elements stay, and with them the focus.
function drawCrops() {
	const shown = state.painting ? state.crops : [];
	root.dataset.crops = shown.map(cropText).join(" ");
	if (cropsLayer.children.length !== shown.length) {
		cropsLayer.replaceChildren(...shown.map((_, i) => (shown.length > 1 ? numberedCrop(i + 1) : draggableCrop())));
	}
	placeCrops();
}

function numberedCrop(number) {
	return inpaintPage.make("div", {className: "mc-crop"}, inpaintPage.make("span", {className: "mc-crop-name"}, String(number)));
}

function draggableCrop() {
	const handle = (corner, tabindex) => ({"data-corner": corner, role: "button", tabindex, "aria-label": TEXT.corners[corner]});
	return inpaintPage.make("div", {className: "mc-crop"},
		inpaintPage.make("span", {className: "mc-crop-name", title: TEXT.crop, ...handle("all", 0)}),
		...CORNERS.map((corner) => inpaintPage.make("i", handle(corner, -1))));
}

function placeCrops() {
	[...cropsLayer.children].forEach((frame, i) => {
		const {x0, y0, x1, y1} = state.crops[i];
		const left = x0 * state.scale + state.x;
		const top = y0 * state.scale + state.y;
		Object.assign(frame.style, {
			transform: `translate(${left}px, ${top}px)`,
			width: `${(x1 - x0) * state.scale}px`, height: `${(y1 - y0) * state.scale}px`,
		});
		frame.dataset.under = top < 24; // no room for the label above
		if (state.crops.length === 1) frame.firstChild.textContent = `${x1 - x0} × ${y1 - y0}`;
	});
}

const cropText = ({x0, y0, x1, y1}) => `${x1 - x0}x${y1 - y0}+${x0}+${y0}`;

// Sends the frame that was set by hand; an empty text lets it follow the mask again.
function tellCrop(text) {
	root.dispatchEvent(new CustomEvent("cropped", {bubbles: true, detail: {canvas: props.canvas_id, text}}));
}

function onCropDown(event) {
	const corner = event.target.dataset.corner;
	if (!corner || event.button !== 0) return;
	event.preventDefault();
	event.stopPropagation();
	event.target.setPointerCapture(event.pointerId);
	dragging = {id: event.pointerId, corner, from: locate(event), start: state.crops[0]};
	state.pointer = null;
	showRing();
}

function onCropMove(event) {
	if (!event.target.dataset.corner) return;
	event.stopPropagation(); // the brush stays where it is
	state.pointer = null;
	showRing();
	if (dragging?.id !== event.pointerId) return;
	const at = locate(event);
	state.crops = [draggedCrop(dragging, Math.round(at.x - dragging.from.x), Math.round(at.y - dragging.from.y))];
	placeCrops();
}

function onCropUp(event) {
	if (dragging?.id !== event.pointerId) return;
	event.stopPropagation();
	endCrop();
}

function endCrop() {
	const moved = cropText(dragging.start) !== cropText(state.crops[0]);
	dragging = null;
	if (moved) tellCrop(cropText(state.crops[0]));
}

// A frame is sent when the arrow key is let go.
function onCropKey(event) {
	const {corner} = event.target.dataset;
	if (!corner || event.ctrlKey || event.metaKey || event.altKey) return;
	const right = (event.key === "ArrowRight") - (event.key === "ArrowLeft");
	const down = (event.key === "ArrowDown") - (event.key === "ArrowUp");
	if (event.key === "Enter") find(`[data-corner="${CORNERS[CORNERS.indexOf(corner) + 1] ?? "all"}"]`).focus();
	else if (right || down) {
		const step = event.shiftKey ? 1 : Math.max(1, Math.round(CROP_STEP / state.scale));
		dragging ??= {id: "keyboard", corner, start: state.crops[0]};
		state.crops = [draggedCrop({corner, start: state.crops[0]}, step * right, step * down)];
		placeCrops();
	} else return;
	event.preventDefault();
}

const endCropByKey = () => dragging?.id === "keyboard" && endCrop();

// The box after its corner, or all of it, has moved by (dx, dy); it stays inside the picture.
function draggedCrop({corner, start}, dx, dy) {
	const {width, height} = state.painting;
	const box = {...start};
	if (corner === "all") {
		const right = Math.min(width - start.x1, Math.max(-start.x0, dx));
		const down = Math.min(height - start.y1, Math.max(-start.y0, dy));
		return {x0: start.x0 + right, x1: start.x1 + right, y0: start.y0 + down, y1: start.y1 + down};
	}
	if (corner.includes("x0")) box.x0 = Math.min(Math.max(0, start.x0 + dx), start.x1 - SMALLEST_CROP);
	else box.x1 = Math.max(Math.min(width, start.x1 + dx), start.x0 + SMALLEST_CROP);
	if (corner.includes("y0")) box.y0 = Math.min(Math.max(0, start.y0 + dy), start.y1 - SMALLEST_CROP);
	else box.y1 = Math.max(Math.min(height, start.y1 + dy), start.y0 + SMALLEST_CROP);
	return box;
}

function listenToCrops() {
	root.addEventListener("crops", (event) => setCrops(event.detail));
	cropsLayer.addEventListener("pointerdown", onCropDown);
	cropsLayer.addEventListener("pointermove", onCropMove);
	cropsLayer.addEventListener("pointerup", onCropUp);
	cropsLayer.addEventListener("pointercancel", () => (dragging = null));
	cropsLayer.addEventListener("keydown", onCropKey);
	cropsLayer.addEventListener("keyup", endCropByKey);
	cropsLayer.addEventListener("focusout", endCropByKey);
	cropsLayer.addEventListener("dblclick", (event) => event.target.dataset.corner && tellCrop(""));
}
