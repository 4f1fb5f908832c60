// The commands of buttons and keys.

function setMode(erase) {
	if (isByKey()) cancelGesture();
	state.erase = erase;
	if (!SHAPES.includes(state.tool)) state.tool = "freehand";
	showRing();
	showState();
}

function setTool(tool) {
	if (isByKey()) cancelGesture();
	state.tool = tool;
	showRing();
	showState();
}

// Changes the painting in one step of the history. Returns whether anything changed.
function edit(change) {
	cancelGesture();
	change(state.painting);
	return finishStep();
}

function travel(direction) {
	cancelGesture();
	const history = historyOf();
	if (!(direction < 0 ? history.undo() : history.redo())) return;
	if (state.keeping) keepingChanged();
	else paintingChanged();
}

function clear() {
	edit((painting) => painting.layers.forEach((layer) => layer.fill(0)));
}

function invert() {
	cancelGesture();
	const step = new InvertStep(state.painting);
	step.swap();
	state.history.push(step);
	paintingChanged();
}

function toggleFullscreen() {
	if (document.fullscreenElement === root) return document.exitFullscreen();
	if (root.requestFullscreen) return root.requestFullscreen();
	root.classList.toggle("mc-cover-page");
}

function togglePanel(name) {
	panel(name).hidden = !panel(name).hidden;
	showState();
}

function pointTool() {
	panel("select").hidden = false;
	setTool("point");
	placeDots();
}

function setNotMeant(notMeant) {
	state.notMeant = notMeant;
	showState();
}

const COMMANDS = {
	brush: () => setMode(false), eraser: () => setMode(true),
	freehand: () => setTool("freehand"), rectangle: () => setTool("rectangle"), lasso: () => setTool("lasso"),
	pan: () => setTool("pan"), undo: () => travel(-1), redo: () => travel(1),
	invert, clear,
	inColour: () => setInColour(!state.inColour), eyedropper: () => setTool("eyedropper"),
	select: () => togglePanel("select"), replace: () => setJoin("replace"), add: () => setJoin("add"),
	subtract: () => setJoin("subtract"), intersect: () => setJoin("intersect"), point: () => pointTool(),
	notMeant: () => setNotMeant(!state.notMeant), nextThing: () => nextThing(), nextSize: () => nextSize(), takeWords: () => takeWords(),
	subject: () => takeSubject(false), background: () => takeSubject(true), flood: () => setTool("flood"), range: () => setTool("range"),
	alpha: () => selectTransparency(), difference: () => chooseFile("other"),
	uploadMask: () => chooseFile("uploadMask"), downloadMask: () => downloadMask(),
	zoomOut: () => zoomTo(state.scale / 1.25), zoomIn: () => zoomTo(state.scale * 1.25),
	actual: () => zoomTo(1 / devicePixelRatio), fit: () => fit(), fullscreen: () => toggleFullscreen(),
	choose: () => chooseFile("choose"), trySample: () => trySample(), remove: () => removePicture(), compare: () => compare(!state.comparing),
	useResult, discard: discardResult, keepBrush: () => beginKeeping(), keepDone: () => endKeeping(true), keepCancel: () => endKeeping(), more: () => {},
};

const MASK_COMMANDS = ["invert", "inColour"]; // those of KEYS that have no effect where only colours can be painted

const KEYS = {
	b: "brush", e: "eraser", d: "freehand", r: "rectangle", l: "lasso", h: "pan", i: "invert", delete: "clear",
	backspace: "clear", f: "fullscreen", s: "fullscreen", c: "inColour", k: "eyedropper", 0: "fit", a: "actual",
	"+": "zoomIn", "=": "zoomIn", "-": "zoomOut", m: "point", n: "nextThing",
};
const RESULT_KEYS = {x: "compare", u: "useResult", p: "keepBrush", delete: "discard", backspace: "discard"};
const NOT_KEEPING = [...MASK_COMMANDS, "clear", "eyedropper", "point", "nextThing"]; // those of KEYS that the keep-brush does not know

const POINT_COMMANDS = ["point", "nextThing"];
const allowed = (name) => !(state.keeping && NOT_KEEPING.includes(name)) && (POINT_COMMANDS.includes(name) ? canPoint : !sketch || !MASK_COMMANDS.includes(name)) && !(fixed && name === "inColour");
const isHere = () => view.matches(":hover") || root.contains(document.activeElement) || document.fullscreenElement === root;
const isTyping = (target) => target.isContentEditable || target.tagName === "TEXTAREA" || target.tagName === "SELECT"
	|| (target.tagName === "INPUT" && !["range", "color", "checkbox", "radio", "file"].includes(target.type));

function onKey(event) {
	if (event.key === "Enter" || event.ctrlKey || event.metaKey) syncNow();
	if (isTyping(event.target) || event.isComposing) return;
	const key = event.key.toLowerCase();
	if (!event.ctrlKey && !event.metaKey && !event.altKey && isForResults(key, event)) return event.preventDefault();
	if (!isHere() || !(state.painting || state.history.done.length)) return;
	if (event.ctrlKey || event.metaKey) {
		if (key !== "z" && key !== "y") return;
		travel(key === "y" || event.shiftKey ? 1 : -1);
	} else if (!state.painting) return;
	else if (key === "[" || key === "q") stepBrush(-1);
	else if (key === "]" || key === "w") stepBrush(1);
	else if (key === " " && !event.target.closest("button")) holdSpace(true);
	else if (key === "escape" && gesture) cancelGesture();
	else if (key.startsWith("arrow") && event.target === view) moveByKey(key, event.shiftKey);
	else if (key === "enter" && event.target === view) actByKey(event.altKey, event.shiftKey);
	else if (KEYS[key] && !event.altKey && !(event.target.type === "range") && allowed(KEYS[key])) COMMANDS[KEYS[key]]();
	else return;
	event.preventDefault();
}

// The keys for results work wherever the focus is, as long as the canvas is in sight and nothing is being typed.
function isForResults(key, event) {
	if (!results.length || !root.offsetParent || event.target.closest("dialog, [popover]")) return false;
	const one = results.find((result) => String(result.number) === key);
	if (one) pickResult(one);
	else if (key === "o") holdPicture(true);
	else if (state.keeping) return false;
	else if (state.result && RESULT_KEYS[key]) COMMANDS[RESULT_KEYS[key]]();
	else return false;
	return true;
}

function holdSpace(held) {
	state.space = held;
	root.dataset.panning = held || Boolean(gesture && gesture.kind === "pan");
	showRing();
}
