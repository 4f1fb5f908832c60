// Pictures and mask files: chosen, dropped, pasted, replaced, taken away and brought back.

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
