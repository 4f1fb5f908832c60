// Zoom and pan: screen = picture * scale + (x, y).

const MAX_SCALE = 40;
const POINT = 10; // pixels of the ring that shows where the keyboard clicks

function place() {
	stage.style.transform = `matrix(${state.scale}, 0, 0, ${state.scale}, ${state.x}, ${state.y})`;
	stage.style.setProperty("--mc-scale", state.scale);
	root.dataset.close = state.scale >= 4;
	button("actual").textContent = `${Math.round(state.scale * 100)}%`;
	showFrame();
	placeCrops();
	placeDots();
	placeSlider();
	showRing();
}

function fit() {
	state.fitted = true;
	if (!state.painting || !view.clientWidth) return; // in a hidden tab the view has no size; it is fitted when the tab is shown
	const margin = view.clientWidth > 500 ? 16 : 6;
	const {x0, y0, x1, y1} = frameBox();
	state.scale = Math.min((view.clientWidth - 2 * margin) / (x1 - x0), (view.clientHeight - 2 * margin) / (y1 - y0), 8);
	state.x = view.clientWidth / 2 - ((x0 + x1) / 2) * state.scale;
	state.y = view.clientHeight / 2 - ((y0 + y1) / 2) * state.scale;
	place();
}

function zoomTo(scale, px = view.clientWidth / 2, py = view.clientHeight / 2) {
	if (!state.painting) return;
	const next = Math.min(MAX_SCALE, Math.max(0.02, scale));
	state.x = px - ((px - state.x) * next) / state.scale;
	state.y = py - ((py - state.y) * next) / state.scale;
	state.scale = next;
	state.fitted = false;
	keepInSight();
	place();
}

function panBy(dx, dy) {
	state.x += dx;
	state.y += dy;
	state.fitted = false;
	keepInSight();
	place();
}

// Keeps a part of the picture inside the view.
function keepInSight() {
	const edge = 48;
	const w = state.painting.width * state.scale;
	const h = state.painting.height * state.scale;
	state.x = Math.min(view.clientWidth - edge, Math.max(edge - w, state.x));
	state.y = Math.min(view.clientHeight - edge, Math.max(edge - h, state.y));
}

// The place of an event, in pixels of the view and of the picture.
function locate(event) {
	const box = view.getBoundingClientRect();
	const vx = event.clientX - box.left - view.clientLeft;
	const vy = event.clientY - box.top - view.clientTop;
	return {vx, vy, x: (vx - state.x) / state.scale, y: (vy - state.y) / state.scale};
}

// A place in the picture as an SVG point in the view.
const toView = ([x, y]) => `${x * state.scale + state.x},${y * state.scale + state.y}`;

// The box of the picture with the pixels by which it would grow, in pixels of the picture.
function frameBox() {
	const {width, height} = state.painting;
	const {left, up, right, down} = state.frame || {left: 0, up: 0, right: 0, down: 0};
	return {x0: -left, y0: -up, x1: width + right, y1: height + down};
}

// Draws the outline of the grown picture.
function showFrame() {
	const shown = state.painting && state.frame;
	const {x0, y0, x1, y1} = shown ? frameBox() : emptyBox();
	const corners = shown ? [[x0, y0], [x1, y0], [x1, y1], [x0, y1]].map(toView) : [];
	for (const shape of element.querySelectorAll(".mc-frame polygon")) shape.setAttribute("points", corners.join(" "));
	root.dataset.frame = shown ? `${x1 - x0}x${y1 - y0}` : "";
}

// Sets the pixels by which the picture would grow; null or all 0 for none.
function setFrame(frame) {
	state.frame = frame && Object.values(frame).some((pixels) => pixels > 0) ? frame : null;
	if (state.painting) fit();
	else showFrame();
}

function showRing() {
	const isShown = ["freehand", "point"].includes(state.tool) || (state.pointer?.byKey && state.tool !== "pan");
	const show = state.painting && state.pointer && isShown && !state.space && root.dataset.panning !== "true";
	ring.style.visibility = show ? "visible" : "hidden";
	if (!show) return;
	const size = state.tool !== "freehand" ? POINT : Math.max(4, state.brush * state.scale);
	ring.style.width = ring.style.height = `${size}px`;
	ring.style.transform = `translate(${state.pointer.vx - size / 2}px, ${state.pointer.vy - size / 2}px)`;
}
