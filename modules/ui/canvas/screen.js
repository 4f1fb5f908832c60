// What is seen of the mask and its numbers; drawn at most once a frame and only where something changed.

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
