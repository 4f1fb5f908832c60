// Gestures of a pressed pointer: strokes, rectangles, lassos, panning, pinching.

const touches = new Map(); // pointer id -> the last place of that finger
const SHAPES = ["freehand", "rectangle", "lasso"];
let gesture = null; // the current gesture: {kind, id, ...}

function onDown(event) {
	if (!state.painting || event.target.closest("button")) return;
	view.focus({preventScroll: true});
	const at = locate(event);
	if (event.pointerType === "touch") {
		touches.set(event.pointerId, at);
		if (touches.size === 2) return startPinch(event);
		if (touches.size > 2) return;
	} else {
		state.pointer = at;
	}
	if (isByKey()) cancelGesture();
	if (gesture) return;
	event.preventDefault();
	view.setPointerCapture(event.pointerId);
	const pointing = !state.keeping && state.tool === "point" && !state.space && [0, 2].includes(event.button);
	if (pointing) return startTap(event, at, !(event.shiftKey || event.button === 2 || state.notMeant));
	const panning = event.button === 1 || (event.button === 0 && (state.tool === "pan" || state.space || event.shiftKey));
	if (panning) startPan(event, at);
	else if (event.button === 0 && (state.tool === "eyedropper" || (state.inColour && event.altKey))) takeColour(at);
	else if (event.button === 0 && state.tool in SEEKERS) selectAt(at);
	else if ([0, 2, 5].includes(event.button) && SHAPES.includes(state.tool)) startPaint(event, at);
}

// What is pressed points when it is lifted: a second finger makes it a zoom, and moving it a box.
function startTap(event, at, meant) {
	gesture = {kind: "tap", id: event.pointerId, from: at, to: at, meant};
}

const BOX = 8; // pixels of the screen after which what is pressed draws a box

function dragBox(at) {
	const {from, kind, meant} = gesture;
	if (kind === "tap" && (!meant || Math.hypot(at.vx - from.vx, at.vy - from.vy) < BOX)) return;
	Object.assign(gesture, {kind: "box", to: at});
	showShape();
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

// The right button and the eraser end of a pen erase with every tool.
function startPaint(event, at) {
	const erase = state.erase || event.button === 2 || event.button === 5 || (event.altKey && !state.inColour);
	startShape({kind: state.tool, id: event.pointerId, pressure: pressureOf(event), value: brushValue(erase), from: at, to: at, points: [[at.x, at.y]]});
	if (gesture.kind === "freehand") paintTo(at);
	redraw();
}

function startShape(begun) {
	if (!state.keeping) chooseResult(null); // the mask is painted on the picture
	gesture = begun;
	root.dataset.erasing = begun.value === 0;
	root.dataset.painting = "true";
}

function endShape() {
	const {kind, from, to, points, value} = gesture;
	if (kind === "rectangle") draw(value, (layer) => layer.rectangle(from.x, from.y, to.x, to.y, value));
	if (kind === "lasso") draw(value, (layer) => layer.polygon(points, value));
	endGesture();
	finishStep();
}

// The value that a brush writes into its layer: 0 erases.
function brushValue(erase) {
	if (erase) return 0;
	if (state.keeping) return state.keeping.source;
	if (!state.inColour) return 255;
	return ((Math.round(state.inkOpacity * 2.55) << 24) | colourWord(state.ink)) >>> 0;
}

// Colours and the keep-brush have hard edges.
const softnessOf = (layer) => (layer === state.painting.mask ? state.softness / 100 : 0);

const draw = (value, shape) => brushed().draw(value, state.inColour && !state.keeping, shape);

// A pen that is pressed lightly paints a thin line.
const pressureOf = (event) => (event.pointerType === "pen" && event.pressure ? event.pressure : 1);

function paintTo(at) {
	const {to, value, pressure} = gesture;
	const radius = Math.max(0.5, (state.brush / 2) * pressure);
	draw(value, (layer) => layer.stroke(to.x, to.y, at.x, at.y, radius, value, softnessOf(layer)));
	gesture.to = at;
}

function onMove(event) {
	if (!state.painting) return;
	const at = locate(event);
	if (event.pointerType === "touch") {
		if (gesture && gesture.kind === "pinch" && touches.has(event.pointerId)) return pinch(event, at);
		if (touches.has(event.pointerId)) touches.set(event.pointerId, at);
	} else {
		state.pointer = at;
		redraw();
	}
	if (!gesture || gesture.id !== event.pointerId) return;
	if (gesture.kind === "tap" || gesture.kind === "box") return dragBox(at);
	if (gesture.kind === "pan") {
		panBy(at.vx - gesture.at.vx, at.vy - gesture.at.vy);
		gesture.at = at;
		return;
	}
	const events = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
	for (const each of events.length ? events : [event]) {
		gesture.pressure = pressureOf(each);
		follow(locate(each));
	}
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
	const {kind, from, to, meant} = gesture;
	if (kind === "tap") return endGesture(), pointAt(from, meant);
	if (kind === "box") return endGesture(), boxAt(from, to);
	if (kind === "pan") return endGesture();
	endShape();
}

function cancelGesture() {
	if (!gesture) return;
	brushed()?.cancel();
	endGesture();
}

function endGesture() {
	gesture = null;
	root.dataset.panning = root.dataset.painting = "false";
	root.dataset.erasing = state.erase;
	for (const shape of shapes) shape.setAttribute("points", "");
	redraw();
}

// Ends a step: updates history, screen and value. Returns whether anything changed.
function finishStep() {
	const step = brushed().commit();
	if (step) {
		historyOf().push(step);
		if (state.keeping) keepingChanged();
		else paintingChanged();
	}
	redraw();
	showState();
	return Boolean(step);
}

function paintingChanged() {
	state.synced = false;
	state.version += 1;
	redraw();
	showState();
	placeDots();
	clearTimeout(paintingChanged.timer);
	paintingChanged.timer = setTimeout(sync, state.live ? 0 : 350);
}

function showShape() {
	const {from, to} = gesture;
	const corners = [[from.x, from.y], [to.x, from.y], [to.x, to.y], [from.x, to.y]];
	const outline = [...gesture.points ?? [], [to.x, to.y]];
	const points = (["rectangle", "box"].includes(gesture.kind) ? corners : outline).map(toView).join(" ");
	for (const shape of shapes) shape.setAttribute("points", points);
}

function onWheel(event) {
	if (!state.painting) return;
	event.preventDefault();
	if (event.ctrlKey && !event.shiftKey && Number.isInteger(event.deltaY) && Math.abs(event.deltaY) >= 40) {
		return stepBrush(event.deltaY < 0 ? 1 : -1);
	}
	const at = locate(event);
	const lines = event.deltaMode === 1 ? 30 : 1;
	zoomTo(state.scale * Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.0016)), at.vx, at.vy);
}
