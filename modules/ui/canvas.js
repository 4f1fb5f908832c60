// The mask canvas on the page. Gradio calls this as the body of a function with `element`, `props`, `upload`, `watch`.
// Its parts, in this order: words, page elements, view (zoom and pan), painting, keys, pictures, masks, memory, start.

const TEXT = {
	toolbar: "Mask tools", view: "Picture and mask. Arrow keys move the brush, Enter paints",
	mode: "Paint or erase", shape: "Shape", size: "Brush size", history: "History", mask: "Mask", look: "Mask appearance",
	zoom: "Zoom", picture: "Picture", color: "Mask colour", opacity: "Mask opacity",
	brush: "Paint (B). Right button erases", eraser: "Erase (E)",
	freehand: "Freehand (D)", rectangle: "Fill a rectangle (R)", lasso: "Fill a lasso (L)",
	pan: "Move the picture (H, or hold Space or Shift, or middle button)",
	sizeTitle: "Brush size in picture pixels ( [ and ] )",
	undo: "Undo (Ctrl+Z)", redo: "Redo (Ctrl+Shift+Z)", invert: "Invert mask (I)", clear: "Clear mask (Delete)",
	uploadMask: "Upload a mask", downloadMask: "Download the mask", zoomOut: "Zoom out (-)", zoomIn: "Zoom in (+)",
	actual: "Actual size (1)", fit: "Fit (0)", fullscreen: "Full screen (S)", choose: "Choose a picture",
	remove: "Remove the picture", dropTitle: "Drop a picture here", dropHint: "or paste one, or click to choose",
	noMask: "Nothing painted yet", masked: (percent) => `Mask covers ${percent}`,
	uploading: "uploading…", uploadFailed: "The picture could not be sent to the server.", retry: "Try again",
	notPicture: "This file is not a picture that the browser can show.",
	alphaOffer: "This picture has transparency: use it as mask?", useIt: "Use as mask", dismiss: "Not now",
	maskKept: "The mask was kept: the new picture has the same size.", clearIt: "Clear mask", ok: "OK",
	maskCleared: "The mask was cleared: the new picture has another size.",
	removed: "The picture was removed.", bringBack: "Undo",
};

// --- page elements

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

// --- view: screen = picture * scale + (x, y)

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

// --- drawing on the screen, at most once a frame and only where something changed

let frame = 0;
function redraw() {
	if (!frame) frame = requestAnimationFrame(drawNow);
}

function drawNow() {
	frame = 0;
	showRing();
	if (!state.mask) return;
	const box = state.mask.takeDirty();
	if (isEmptyBox(box)) return;
	const width = box.x1 - box.x0;
	const pixels = new ImageData(width, box.y1 - box.y0);
	const words = new Uint32Array(pixels.data.buffer);
	const tint = tintWord(state.color);
	for (let y = box.y0, i = 0; y < box.y1; y++) {
		const row = y * state.mask.width;
		for (let x = box.x0; x < box.x1; x++, i++) words[i] = (state.mask.data[row + x] << 24) | tint;
	}
	paper.getContext("2d").putImageData(pixels, box.x0, box.y0);
}

function tintWord(color) {
	const rgb = parseInt(color.slice(1), 16);
	return ((rgb & 255) << 16) | (rgb & 0xff00) | (rgb >> 16);
}

function setLook() {
	paper.style.opacity = state.opacity / 100;
	root.style.setProperty("--mc-mask-color", state.color);
	if (!state.mask) return;
	grow(state.mask.dirty, state.mask.box);
	redraw();
}

function showState() {
	const mask = state.mask;
	const painted = mask && mask.painted > 0;
	root.dataset.empty = !mask;
	root.dataset.masked = Boolean(painted);
	root.dataset.tool = state.tool;
	root.dataset.erasing = state.erase;
	root.dataset.imageSize = mask ? `${mask.width}x${mask.height}` : "";
	root.dataset.maskCoverage = mask ? mask.coverage.toFixed(6) : "";
	root.dataset.synced = state.synced && !state.uploading;
	for (const name of ["brush", "eraser"]) button(name).setAttribute("aria-pressed", state.erase === (name === "eraser"));
	for (const name of ["freehand", "rectangle", "lasso", "pan"]) button(name).setAttribute("aria-pressed", state.tool === name);
	for (const item of element.querySelectorAll(".mc-bar button")) item.disabled = !mask && item.dataset.act !== "choose";
	button("undo").disabled = !mask || !mask.done.length;
	button("redo").disabled = !mask || !mask.undone.length;
	button("clear").disabled = button("downloadMask").disabled = !painted;
	find(".mc-size-text").textContent = `${state.brush} px`;
	input("size").value = sizeToSlider(state.brush);
	find(".mc-info").textContent = mask ? `${mask.width} × ${mask.height}${state.uploading ? ` · ${TEXT.uploading}` : ""}` : "";
	find(".mc-cover").textContent = mask ? (painted ? TEXT.masked(percent(mask.coverage)) : TEXT.noMask) : "";
}

function percent(share) {
	if (share < 0.001) return "< 0.1 %";
	return `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`;
}

// The slider is logarithmic: 1 to 1024 pixels.
const sizeToSlider = (size) => Math.round(Math.log2(size) * 10);
const sliderToSize = (value) => Math.max(1, Math.round(2 ** (value / 10)));

function setBrush(size) {
	state.brush = Math.min(1024, Math.max(1, Math.round(size)));
	showRing();
	showState();
	saveLook();
}

function stepBrush(direction) {
	setBrush(state.brush + direction * Math.max(1, Math.round(state.brush * 0.12)));
}

// --- painting

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

// --- commands and keys

function setMode(erase) {
	state.erase = erase;
	if (state.tool === "pan") state.tool = "freehand";
	showRing();
	showState();
}

function setTool(tool) {
	state.tool = tool;
	showRing();
	showState();
}

function edit(change) {
	cancelGesture();
	change(state.mask);
	finishStep();
}

function travel(direction) {
	cancelGesture();
	if (direction < 0 ? state.mask.undo() : state.mask.redo()) maskChanged();
}

function toggleFullscreen() {
	if (document.fullscreenElement === root) return document.exitFullscreen();
	if (root.requestFullscreen) return root.requestFullscreen();
	root.classList.toggle("mc-cover-page");
}

const COMMANDS = {
	brush: () => setMode(false), eraser: () => setMode(true),
	freehand: () => setTool("freehand"), rectangle: () => setTool("rectangle"), lasso: () => setTool("lasso"),
	pan: () => setTool("pan"), undo: () => travel(-1), redo: () => travel(1),
	invert: () => edit((mask) => mask.invert()), clear: () => edit((mask) => mask.fill(0)),
	uploadMask: () => find('[data-file="mask"]').click(), downloadMask: () => downloadMask(),
	zoomOut: () => zoomTo(state.scale / 1.25), zoomIn: () => zoomTo(state.scale * 1.25),
	actual: () => zoomTo(1 / devicePixelRatio), fit: () => fit(), fullscreen: () => toggleFullscreen(),
	choose: () => find('[data-file="picture"]').click(), remove: () => removePicture(),
};

const PLAIN_COMMANDS = ["zoomIn", "zoomOut", "actual", "fit", "fullscreen", "choose", "remove"];

const KEYS = {
	b: "brush", e: "eraser", d: "freehand", r: "rectangle", l: "lasso", h: "pan", i: "invert", delete: "clear",
	backspace: "clear", s: "fullscreen", 0: "fit", 1: "actual", "+": "zoomIn", "=": "zoomIn", "-": "zoomOut",
};

const allowed = (name) => !plain || PLAIN_COMMANDS.includes(name);
const isHere = () => view.matches(":hover") || root.contains(document.activeElement) || document.fullscreenElement === root;
const isTyping = (target) => target.isContentEditable || target.tagName === "TEXTAREA" || target.tagName === "SELECT"
	|| (target.tagName === "INPUT" && !["range", "color", "checkbox", "radio", "file"].includes(target.type));

function onKey(event) {
	if (event.key === "Enter" || event.ctrlKey || event.metaKey) syncNow();
	if (!state.mask || !isHere() || isTyping(event.target) || event.isComposing) return;
	const key = event.key.toLowerCase();
	if (event.ctrlKey || event.metaKey) {
		if (key !== "z" && key !== "y") return;
		if (plain) return;
		travel(key === "y" || event.shiftKey ? 1 : -1);
	} else if (key === "[" || key === "q") stepBrush(-1);
	else if (key === "]" || key === "w") stepBrush(1);
	else if (key === " " && !event.target.closest("button")) holdSpace(true);
	else if (key === "escape" && gesture) cancelGesture();
	else if (key.startsWith("arrow") && event.target === view) moveKeyPoint(key, event.shiftKey);
	else if (key === "enter" && event.target === view && !plain) paintAtKeyPoint(event.altKey);
	else if (KEYS[key] && !event.altKey && !(event.target.type === "range") && allowed(KEYS[key])) COMMANDS[KEYS[key]]();
	else return;
	event.preventDefault();
}

function holdSpace(held) {
	state.space = held;
	root.dataset.panning = held || Boolean(gesture && gesture.kind === "pan");
	showRing();
}

// Painting without a pointer: arrow keys move the ring by half a brush (Shift: one pixel), Enter paints from the
// place painted last to here when they touch.
function moveKeyPoint(key, fine) {
	const step = fine ? 1 : Math.max(1, state.brush / 2);
	const at = state.keyPoint || {x: state.mask.width / 2, y: state.mask.height / 2};
	const moved = {
		x: at.x + step * ((key === "arrowright") - (key === "arrowleft")),
		y: at.y + step * ((key === "arrowdown") - (key === "arrowup")),
	};
	state.keyPoint = {x: Math.min(state.mask.width, Math.max(0, moved.x)), y: Math.min(state.mask.height, Math.max(0, moved.y))};
	state.pointer = {vx: state.keyPoint.x * state.scale + state.x, vy: state.keyPoint.y * state.scale + state.y};
	showRing();
}

function paintAtKeyPoint(erase) {
	const {x, y} = state.keyPoint || {x: state.mask.width / 2, y: state.mask.height / 2};
	edit((mask) => mask.stroke(x, y, x, y, state.brush / 2, erase || state.erase ? 0 : 255));
}

// --- pictures

let before = null; // what an "Undo" after a change of picture brings back
const keep = () => ({file: state.file, image: state.image, mask: state.mask});

function loadPicture(url) {
	const loaded = new Image();
	loaded.src = url;
	return loaded.decode().then(() => loaded);
}

// A picture chosen, dropped or pasted here: shows it at once and sends it to the server.
async function choosePicture(file) {
	try {
		const loaded = await loadPicture(URL.createObjectURL(file));
		const change = showPicture(loaded, file);
		state.image = null;
		showChange(change);
		savePicture();
		if (!plain && change !== "kept" && file.type !== "image/jpeg") offerAlpha(loaded);
		await sendPicture(file);
	} catch {
		say(TEXT.notPicture, [TEXT.ok, hush]);
	}
}

async function sendPicture(file) {
	state.uploading = file;
	publish();
	try {
		const sent = await upload(file);
		if (state.uploading !== file) return; // another picture has come since
		state.image = {...sent, orig_name: file.name, mime_type: file.type, size: file.size, meta: {_type: "gradio.FileData"}};
		state.uploading = null;
	} catch {
		if (state.uploading !== file) return;
		say(TEXT.uploadFailed, [TEXT.retry, () => (hush(), sendPicture(file))]);
		return;
	}
	publish();
}

// Puts a picture under the mask. The mask stays if the size is the same. Returns what happened to it.
function showPicture(loaded, file) {
	cancelGesture();
	before = keep();
	const {naturalWidth: width, naturalHeight: height} = loaded;
	const old = state.mask;
	const same = old && old.width === width && old.height === height;
	if (picture.src.startsWith("blob:") && picture.src !== loaded.src) before.url = picture.src;
	picture.src = loaded.src;
	state.file = file;
	useMask(same ? old : new Mask(width, height));
	if (!same || state.fitted) fit();
	if (!old || !old.painted) return "none";
	return same ? "kept" : "cleared";
}

function useMask(mask) {
	const resized = !state.mask || state.mask.width !== mask.width || state.mask.height !== mask.height;
	state.mask = mask;
	state.keyPoint = null;
	if (resized || paper.width !== mask.width || paper.height !== mask.height) {
		paper.width = mask.width;
		paper.height = mask.height;
		stage.style.width = `${mask.width}px`;
		stage.style.height = `${mask.height}px`;
		state.brush = Math.max(8, Math.round(Math.min(mask.width, mask.height) / 16));
	}
	grow(mask.dirty, mask.box);
	redraw();
	showState();
}

function showChange(change) {
	const back = [TEXT.bringBack, bringBack];
	if (change === "kept") say(TEXT.maskKept, [TEXT.clearIt, () => (hush(), COMMANDS.clear())], [TEXT.ok, hush]);
	else if (change === "cleared") say(TEXT.maskCleared, back, [TEXT.ok, hush]);
	else hush();
}

function removePicture() {
	cancelGesture();
	before = keep();
	forgetPicture();
	say(TEXT.removed, [TEXT.bringBack, bringBack], [TEXT.ok, hush]);
}

function forgetPicture() {
	state.mask = state.file = state.image = state.uploading = null;
	picture.removeAttribute("src");
	publish();
	savePicture();
}

async function bringBack() {
	hush();
	const old = before;
	if (!old || !old.mask) return;
	const file = old.file;
	const loaded = await loadPicture(file ? URL.createObjectURL(file) : old.image.url);
	picture.src = loaded.src;
	Object.assign(state, {file, image: old.image, uploading: null});
	useMask(old.mask);
	fit();
	savePicture();
	if (state.image) publish();
	else await sendPicture(file);
}

function offerAlpha(loaded) {
	const pixels = bitmapPixels(loaded);
	if (!hasTransparency(pixels)) return;
	// What is see-through is what is missing, so that is what to paint.
	const bytes = bytesFromPixels(pixels, true).map((value) => 255 - value);
	say(TEXT.alphaOffer, [TEXT.useIt, () => (hush(), edit((mask) => mask.replace(bytes)))], [TEXT.dismiss, hush]);
}

function say(text, ...choices) {
	note.hidden = false;
	note.querySelector("span").textContent = text;
	note.querySelectorAll("button").forEach((item, i) => {
		item.hidden = !choices[i];
		item.textContent = choices[i] ? choices[i][0] : "";
		item.onclick = choices[i] ? choices[i][1] : null;
	});
}

function hush() {
	note.hidden = true;
}

// --- masks from and to files

async function uploadMask(file) {
	try {
		const loaded = await loadPicture(URL.createObjectURL(file));
		const bytes = bytesFromPixels(bitmapPixels(loaded));
		const {width, height} = state.mask;
		edit((mask) => mask.replace(resizeBytes(bytes, loaded.width, loaded.height, width, height)));
	} catch {
		say(TEXT.notPicture, [TEXT.ok, hush]);
	}
}

function downloadMask() {
	const link = document.createElement("a");
	link.href = maskDataUrl(state.mask);
	link.download = `${(state.file ? state.file.name : "picture").replace(/\.[^.]*$/, "")}_mask.png`;
	link.click();
}

// --- value: what the server gets

// Brings props.value up to date. PNG encoding of a large mask takes a while, so it waits for a pause in the painting and
// goes on beside it; a press or key elsewhere on the page (it may be Generate) does not wait.
async function sync() {
	if (gesture) return void (maskChanged.timer = setTimeout(sync, 350));
	const version = state.version;
	const url = state.mask?.painted ? await maskDataUrlLater(state.mask) : null;
	if (!state.synced && state.version === version) publish(url);
}

function syncNow() {
	if (!state.synced) publish();
}

// `maskUrl` is the mask's PNG, when somebody has it already.
function publish(maskUrl = null) {
	clearTimeout(maskChanged.timer);
	const mask = state.mask;
	state.synced = true;
	props.value = {
		image: state.image, mask: mask?.painted ? maskUrl || maskDataUrl(mask) : null, size: mask ? [mask.width, mask.height] : null,
		strokes: mask ? mask.steps : 0, loading: Boolean(state.uploading),
	};
	showState();
	saveMask(props.value.mask);
}

// The server has set the value (a "send to", for example; perhaps while this tab is hidden).
async function receive() {
	const value = props.value || {};
	if (!value.image) {
		if (state.mask) removePicture();
		return;
	}
	if (state.image && value.image.path === state.image.path && !value.mask) return publish();
	if (!value.mask && state.mask?.painted && value.size?.join() === [state.mask.width, state.mask.height].join()) {
		props.value = {...value, mask: maskDataUrl(state.mask)}; // Generate may be pressed before the picture is here
	}
	try {
		const blob = await (await fetch(value.image.url)).blob();
		const file = new File([blob], value.image.orig_name || "picture.png", {type: blob.type});
		const loaded = await loadPicture(URL.createObjectURL(file));
		if (props.value.image?.path !== value.image.path) return;
		const change = showPicture(loaded, file);
		Object.assign(state, {image: value.image, uploading: null});
		if (value.mask) await receiveMask(value.mask);
		else showChange(change);
		publish();
		savePicture();
	} catch {
		say(TEXT.notPicture, [TEXT.ok, hush]);
	}
}

async function receiveMask(url) {
	const loaded = await loadPicture(url);
	const bytes = bytesFromPixels(bitmapPixels(loaded));
	if (bytes.length !== state.mask.data.length) return;
	state.mask.replace(bytes);
	state.mask.commit();
	hush();
}

// --- memory: picture and mask survive a reload

const STORE = "canvas";
const key = (part) => `${props.canvas_id}:${part}`;
let database = null;

function openDatabase() {
	database = database || new Promise((resolve, reject) => {
		const request = indexedDB.open("inpaint-webui", 1);
		request.onupgradeneeded = () => request.result.createObjectStore(STORE);
		request.onsuccess = () => resolve(request.result);
		request.onerror = () => reject(request.error);
	});
	return database;
}

async function store(part, value) {
	try {
		const objects = (await openDatabase()).transaction(STORE, "readwrite").objectStore(STORE);
		if (value === null) objects.delete(key(part));
		else objects.put(value, key(part));
	} catch {
		// A private window may refuse storage: then nothing is remembered, and nothing else breaks.
	}
}

async function recall(part) {
	try {
		const request = (await openDatabase()).transaction(STORE).objectStore(STORE).get(key(part));
		return await new Promise((resolve, reject) => {
			request.onsuccess = () => resolve(request.result);
			request.onerror = () => reject(request.error);
		});
	} catch {
		return undefined;
	}
}

const savePicture = () => store("picture", state.file);
const saveMask = (url) => store("mask", url);
const saveLook = () => store("look", {color: state.color, opacity: state.opacity, brush: state.brush});

async function restore() {
	const [file, maskUrl, look] = await Promise.all([recall("picture"), recall("mask"), recall("look")]);
	if (look) Object.assign(state, {color: look.color, opacity: look.opacity});
	if (file && !state.mask) {
		try {
			showPicture(await loadPicture(URL.createObjectURL(file)), file);
			if (maskUrl) await restoreMask(maskUrl);
			if (look) state.brush = look.brush;
			await sendPicture(file);
		} catch {
			forgetPicture();
		}
	}
	showLook();
	root.dataset.ready = "true";
}

async function restoreMask(url) {
	const bytes = bytesFromPixels(bitmapPixels(await loadPicture(url)));
	if (bytes.length === state.mask.data.length) state.mask.load(bytes);
}

// --- start

function showLook() {
	input("color").value = state.color;
	input("opacity").value = state.opacity;
	setLook();
	showState();
}

function pictureIn(list) {
	return [...(list || [])].find((file) => file.type.startsWith("image/"));
}

function listenToTools() {
	root.addEventListener("click", (event) => {
		const name = event.target.closest("[data-act]")?.dataset.act;
		if (name) COMMANDS[name]();
	});
	input("size").addEventListener("input", (event) => setBrush(sliderToSize(Number(event.target.value))));
	for (const name of ["color", "opacity"]) {
		input(name).addEventListener("input", (event) => {
			state[name] = name === "opacity" ? Number(event.target.value) : event.target.value;
			setLook();
			saveLook();
		});
	}
	for (const chooser of element.querySelectorAll("[data-file]")) {
		chooser.addEventListener("change", () => {
			const file = chooser.files[0];
			chooser.value = "";
			if (file) (chooser.dataset.file === "mask" ? uploadMask : choosePicture)(file);
		});
	}
}

function listenToPointer() {
	view.addEventListener("pointerdown", onDown);
	view.addEventListener("pointermove", onMove);
	view.addEventListener("pointerup", onUp);
	view.addEventListener("pointercancel", (event) => {
		touches.delete(event.pointerId);
		cancelGesture();
	});
	view.addEventListener("pointerleave", () => {
		if (!gesture) state.pointer = null;
		showRing();
	});
	view.addEventListener("contextmenu", (event) => state.mask && event.preventDefault());
	view.addEventListener("wheel", onWheel, {passive: false});
}

function listenToDrops() {
	root.addEventListener("dragover", (event) => {
		event.preventDefault();
		root.dataset.dragging = "true";
	});
	root.addEventListener("dragleave", (event) => {
		if (!root.contains(event.relatedTarget)) root.dataset.dragging = "false";
	});
	root.addEventListener("drop", (event) => {
		event.preventDefault();
		event.stopPropagation();
		root.dataset.dragging = "false";
		const file = pictureIn(event.dataTransfer.files);
		if (file) choosePicture(file);
	});
}

// Listeners on the document live as long as the element is part of it.
function listenToDocument() {
	const life = new AbortController();
	const on = (type, act, options) => document.addEventListener(type, (event) => {
		if (!element.isConnected) return life.abort();
		act(event);
	}, {signal: life.signal, ...options});
	on("keydown", onKey, {capture: true});
	on("keyup", (event) => event.key === " " && state.space && holdSpace(false));
	on("pointerdown", (event) => !view.contains(event.target) && syncNow(), {capture: true});
	on("visibilitychange", () => document.hidden && syncNow());
	on("paste", (event) => {
		const file = pictureIn(event.clipboardData?.files);
		if (!file || !root.offsetParent) return;
		event.preventDefault();
		choosePicture(file);
	});
	window.addEventListener("pagehide", syncNow, {signal: life.signal});
}

setWords();
showLook();
listenToTools();
listenToPointer();
listenToDrops();
listenToDocument();
new ResizeObserver(() => (state.fitted ? fit() : state.mask && place())).observe(view);
watch("value", receive);
if (props.value?.image) receive().then(() => (root.dataset.ready = "true"));
else restore();
