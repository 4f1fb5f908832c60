// Draws the mask and its numbers, at most once a frame and only where something has changed.

const MOST_TILES = 512; // drawn in one frame, so that a large picture does not hold up the page
let frame = 0;
function redraw() {
	if (!frame) frame = requestAnimationFrame(drawNow);
}

function drawNow() {
	frame = 0;
	showRing();
	if (!state.painting) return;
	const {mask, colours} = state.painting;
	const tint = colourWord(state.color);
	drawLayer(mask, maskPaper, Uint32Array.from({length: 256}, (_, value) => (value << 24) | tint));
	if (colours) drawLayer(colours, coloursPaper);
	const kept = state.keeping?.painting.mask;
	if (kept) drawKept(kept);
	if ([...state.painting.layers, ...(kept ? [kept] : [])].some((layer) => layer.dirty.size)) redraw();
}

// `words` has the colour for each value of a mask; the values of colours are words themselves.
function drawLayer(layer, paper, words) {
	if (layer.isFlipped) flipPaper(layer, paper);
	const boxes = layer.takeDirty(MOST_TILES);
	if (!boxes.length) return;
	if (paper.width !== layer.width || paper.height !== layer.height) [paper.width, paper.height] = [layer.width, layer.height];
	for (const box of boxes) drawBox(layer, box, paper.getContext("2d"), words);
}

// A full fill by "xor" makes transparent what is opaque, and the other way round.
function flipPaper(layer, paper) {
	layer.isFlipped = false;
	if (paper.width !== layer.width || paper.height !== layer.height) return layer.markAll();
	const context = paper.getContext("2d");
	context.globalCompositeOperation = "xor";
	context.fillStyle = state.color;
	context.fillRect(0, 0, paper.width, paper.height);
	context.globalCompositeOperation = "source-over";
}

function drawBox(layer, {x0, y0, x1, y1}, context, words) {
	const pixels = new ImageData(x1 - x0, y1 - y0);
	const target = new Uint32Array(pixels.data.buffer);
	for (let y = y0, i = 0; y < y1; y++) {
		const values = layer.data.subarray(y * layer.width + x0, y * layer.width + x1);
		if (words) for (let x = 0; x < values.length; x++) target[i + x] = words[values[x]];
		else target.set(values, i);
		i += values.length;
	}
	context.putImageData(pixels, x0, y0);
}

// Redraws everything.
function redrawAll() {
	if (!state.painting) return;
	if (!state.painting.colours) coloursPaper.width = coloursPaper.height = 1;
	for (const layer of state.painting.layers) layer.markAll();
	redraw();
}

function setLook() {
	maskPaper.style.opacity = state.opacity / 100;
	root.style.setProperty("--mc-mask-color", state.color);
	redrawAll();
}

function showState() {
	const {painting} = state;
	const history = historyOf();
	const {mask, colours} = painting || {};
	root.dataset.empty = !painting;
	root.dataset.masked = Boolean(mask?.painted);
	root.dataset.tool = state.tool;
	root.dataset.erasing = state.erase;
	root.dataset.imageSize = painting ? painting.size.join("x") : "";
	root.dataset.maskCoverage = painting ? mask.coverage.toFixed(6) : "";
	root.dataset.synced = state.synced && !state.uploading;
	for (const item of element.querySelectorAll(".mc-tools button")) item.disabled = !painting && !["choose", "more"].includes(item.dataset.act);
	for (const name of ["clear", "inColour", "invert", "remove", "select", "uploadMask"]) button(name).disabled ||= Boolean(state.keeping);
	for (const name of ADJUST) input(name).disabled = Boolean(state.keeping) || (!mask?.painted && !isSameAdjusting());
	input("snap").disabled = Boolean(state.keeping) || (!mask?.painted && !isSameSnap());
	showAdjusting();
	press("brush", !state.erase && SHAPES.includes(state.tool));
	press("eraser", state.erase && SHAPES.includes(state.tool));
	for (const name of ["freehand", "rectangle", "lasso", "pan", "flood", "range", "point", "eyedropper"]) press(name, state.tool === name);
	for (const name of ["replace", "add", "subtract", "intersect"]) press(name, state.join === name);
	press("notMeant", state.notMeant);
	press("inColour", state.inColour);
	press("select", !panel("select").hidden);
	panel("colours").hidden = !painting || !state.inColour || Boolean(state.keeping);
	if (state.keeping) panel("select").hidden = true;
	button("undo").disabled = !history.done.length;
	button("redo").disabled = !history.undone.length;
	button("clear").disabled ||= !painting?.painted;
	button("downloadMask").disabled = !mask?.painted;
	find(".mc-size-text").textContent = `${state.brush} px`;
	input("size").value = sizeToSlider(state.brush);
	find('[data-of="softness"]').textContent = `${state.softness} %`;
	find(".mc-tolerance-text").textContent = input("tolerance").value = state.tolerance;
	find(".mc-info").textContent = painting ? `${mask.width} × ${mask.height}${state.uploading ? ` · ${TEXT.uploading}` : ""}` : "";
	const covered = [mask?.painted && TEXT.masked(percent(mask.coverage)), colours?.painted && TEXT.coloured(percent(colours.coverage))];
	find(".mc-cover").textContent = painting ? covered.filter(Boolean).join(" · ") || TEXT.noMask : "";
}

const panel = (name) => find(`[data-panel="${name}"]`);

function press(name, pressed) {
	for (const item of buttons(name)) item.setAttribute("aria-pressed", pressed);
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
