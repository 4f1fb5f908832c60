// Zoom and pan: screen = picture * scale + (x, y).

const MAX_SCALE = 40;

function place() {
	stage.style.transform = `matrix(${state.scale}, 0, 0, ${state.scale}, ${state.x}, ${state.y})`;
	stage.style.setProperty("--mc-scale", state.scale);
	root.dataset.close = state.scale >= 4;
	button("actual").textContent = `${Math.round(state.scale * 100)}%`;
	showRing();
}

function fit() {
	state.fitted = true;
	if (!state.mask || !view.clientWidth) return; // in a hidden tab the view has no size: it is fitted when shown
	const margin = view.clientWidth > 500 ? 16 : 6;
	const room = [view.clientWidth - 2 * margin, view.clientHeight - 2 * margin];
	state.scale = Math.min(room[0] / state.mask.width, room[1] / state.mask.height, 8);
	state.x = (view.clientWidth - state.mask.width * state.scale) / 2;
	state.y = (view.clientHeight - state.mask.height * state.scale) / 2;
	place();
}

function zoomTo(scale, px = view.clientWidth / 2, py = view.clientHeight / 2) {
	if (!state.mask) return;
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

// Some part of the picture stays in the view.
function keepInSight() {
	const edge = 48;
	const w = state.mask.width * state.scale;
	const h = state.mask.height * state.scale;
	state.x = Math.min(view.clientWidth - edge, Math.max(edge - w, state.x));
	state.y = Math.min(view.clientHeight - edge, Math.max(edge - h, state.y));
}

// Where an event is: `view` pixels and the picture's.
function locate(event) {
	const box = view.getBoundingClientRect();
	const vx = event.clientX - box.left - view.clientLeft;
	const vy = event.clientY - box.top - view.clientTop;
	return {vx, vy, x: (vx - state.x) / state.scale, y: (vy - state.y) / state.scale};
}

function showRing() {
	const show = state.mask && state.pointer && state.tool === "freehand" && !state.space && root.dataset.panning !== "true";
	ring.style.visibility = show ? "visible" : "hidden";
	if (!show) return;
	const size = Math.max(4, state.brush * state.scale);
	ring.style.width = ring.style.height = `${size}px`;
	ring.style.transform = `translate(${state.pointer.vx - size / 2}px, ${state.pointer.vy - size / 2}px)`;
}
