// The tools by the keyboard: arrow keys move the ring by half a brush (Shift: one pixel), Enter does there what a press of
// the pointer does. Painted strokes are dabs. A rectangle and a lasso are gestures whose corners Enter sets: the second one
// fills a rectangle, and Enter at the last corner of a lasso fills it.

const PAN_STEP = 64; // pixels of the view

const keyPlace = () => state.keyPoint || {x: state.painting.width / 2, y: state.painting.height / 2};
const isByKey = () => gesture?.id === "keyboard";

function moveByKey(key, fine) {
	const right = (key === "arrowright") - (key === "arrowleft");
	const down = (key === "arrowdown") - (key === "arrowup");
	if (state.tool === "pan") return panBy(right * PAN_STEP, down * PAN_STEP);
	const step = fine ? 1 : Math.max(1, state.brush / 2);
	const at = keyPlace();
	const {width, height} = state.painting;
	const x = Math.min(width, Math.max(0, at.x + step * right));
	const y = Math.min(height, Math.max(0, at.y + step * down));
	state.keyPoint = {x, y};
	state.pointer = {vx: x * state.scale + state.x, vy: y * state.scale + state.y, byKey: true};
	if (isByKey()) {
		gesture.to = state.keyPoint;
		showShape();
	}
	showRing();
}

function actByKey(erase, corner) {
	const at = keyPlace();
	const {tool} = state;
	if (tool === "point" && corner) return cornerAt(at);
	if (tool === "point") return pointAt(at, !erase && !state.notMeant);
	if (tool === "eyedropper") return takeColour(at);
	if (tool in SEEKERS) return selectAt(at);
	if (tool === "freehand") {
		const value = brushValue(erase || state.erase);
		edit(() => draw(value, (layer) => layer.stroke(at.x, at.y, at.x, at.y, state.brush / 2, value, softnessOf(layer))));
	} else if (SHAPES.includes(tool)) setCorner(at, erase);
}

function setCorner(at, erase) {
	if (!isByKey()) {
		cancelGesture();
		startShape({kind: state.tool, id: "keyboard", value: brushValue(erase || state.erase), from: at, to: at, points: [[at.x, at.y]]});
		return showShape();
	}
	const [x, y] = gesture.points.at(-1);
	gesture.to = at;
	if (gesture.kind === "rectangle" || (x === at.x && y === at.y)) return endShape();
	gesture.points.push([at.x, at.y]);
	showShape();
}
