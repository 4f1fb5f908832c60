// What a pressed pointer does: strokes, rectangles, lassos, moving the picture, pinching.

const touches = new Map(); // pointer id -> last place of each finger
let gesture = null; // what the pressed pointer does: {kind, id, ...}

function onDown(event) {
	if (!state.mask || event.target.closest("button, .mc-note")) return;
	view.focus({preventScroll: true});
	const at = locate(event);
	if (event.pointerType === "touch") {
		touches.set(event.pointerId, at);
		if (touches.size === 2) return startPinch(event);
		if (touches.size > 2) return;
	} else {
		state.pointer = at;
	}
	if (gesture) return;
	event.preventDefault();
	view.setPointerCapture(event.pointerId);
	const panning = event.button === 1 || (event.button === 0 && (state.tool === "pan" || state.space || event.shiftKey));
	if (panning) startPan(event, at);
	else if (!plain && [0, 2, 5].includes(event.button)) startPaint(event, at);
}

function startPan(event, at) {
	gesture = {kind: "pan", id: event.pointerId, at};
	root.dataset.panning = "true";
	showRing();
}

function startPinch(event) {
	if (gesture && gesture.kind !== "pan") cancelGesture();
	view.setPointerCapture(event.pointerId);
	gesture = {kind: "pinch", id: null};
}

// Right button and the pen's eraser end erase, whatever the tool.
function startPaint(event, at) {
	const erase = state.erase || event.button === 2 || event.button === 5 || event.altKey;
	gesture = {kind: state.tool, id: event.pointerId, value: erase ? 0 : 255, from: at, to: at, points: [[at.x, at.y]]};
	root.dataset.erasing = erase;
	root.dataset.painting = "true";
	if (gesture.kind === "freehand") paintTo(at);
	redraw();
}

function paintTo(at) {
	state.mask.stroke(gesture.to.x, gesture.to.y, at.x, at.y, state.brush / 2, gesture.value);
	gesture.to = at;
}

function onMove(event) {
	if (!state.mask) return;
	const at = locate(event);
	if (event.pointerType === "touch") {
		if (gesture && gesture.kind === "pinch" && touches.has(event.pointerId)) return pinch(event, at);
		if (touches.has(event.pointerId)) touches.set(event.pointerId, at);
	} else {
		state.pointer = at;
		redraw();
	}
	if (!gesture || gesture.id !== event.pointerId) return;
	if (gesture.kind === "pan") {
		panBy(at.vx - gesture.at.vx, at.vy - gesture.at.vy);
		gesture.at = at;
		return;
	}
	const events = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
	for (const each of events.length ? events : [event]) follow(locate(each));
	redraw();
}

function follow(at) {
	if (gesture.kind === "freehand") return paintTo(at);
	gesture.to = at;
	gesture.points.push([at.x, at.y]);
	showShape();
}

function pinch(event, at) {
	const other = [...touches.entries()].find(([id]) => id !== event.pointerId);
	const before = touches.get(event.pointerId);
	touches.set(event.pointerId, at);
	if (!other) return;
	const apart = (p) => Math.max(8, Math.hypot(p.vx - other[1].vx, p.vy - other[1].vy));
	panBy((at.vx - before.vx) / 2, (at.vy - before.vy) / 2);
	zoomTo((state.scale * apart(at)) / apart(before), (at.vx + other[1].vx) / 2, (at.vy + other[1].vy) / 2);
}

function onUp(event) {
	touches.delete(event.pointerId);
	if (!gesture) return;
	if (gesture.kind === "pinch") {
		if (!touches.size) endGesture();
		return;
	}
	if (gesture.id !== event.pointerId) return;
	if (gesture.kind === "rectangle") {
		state.mask.rectangle(gesture.from.x, gesture.from.y, gesture.to.x, gesture.to.y, gesture.value);
	}
	if (gesture.kind === "lasso") state.mask.polygon(gesture.points, gesture.value);
	const painted = gesture.kind !== "pan";
	endGesture();
	if (painted) finishStep();
}

function cancelGesture() {
	if (!gesture) return;
	if (state.mask) state.mask.cancel();
	endGesture();
}

function endGesture() {
	gesture = null;
	root.dataset.panning = root.dataset.painting = "false";
	root.dataset.erasing = state.erase;
	for (const shape of shapes) shape.setAttribute("points", "");
	redraw();
}

// Ends a step of the mask: history, screen, value.
function finishStep() {
	if (state.mask.commit()) maskChanged();
	redraw();
	showState();
}

function maskChanged() {
	state.synced = false;
	state.version += 1;
	redraw();
	showState();
	clearTimeout(maskChanged.timer);
	maskChanged.timer = setTimeout(sync, 350);
}

function showShape() {
	const toView = ([x, y]) => `${x * state.scale + state.x},${y * state.scale + state.y}`;
	const {from, to} = gesture;
	const corners = [[from.x, from.y], [to.x, from.y], [to.x, to.y], [from.x, to.y]];
	const points = (gesture.kind === "rectangle" ? corners : gesture.points).map(toView).join(" ");
	for (const shape of shapes) shape.setAttribute("points", points);
}

function onWheel(event) {
	if (!state.mask) return;
	event.preventDefault();
	if (event.ctrlKey && !event.shiftKey && Number.isInteger(event.deltaY) && Math.abs(event.deltaY) >= 40) {
		return stepBrush(event.deltaY < 0 ? 1 : -1);
	}
	const at = locate(event);
	const lines = event.deltaMode === 1 ? 30 : 1;
	zoomTo(state.scale * Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.0016)), at.vx, at.vy);
}
