// Choosing, dropping, pasting, replacing and removing pictures. Each is a step of the history.

const present = () => ({file: state.file, image: state.image, bitmap: state.bitmap, painting: state.painting});

// Loads the picture in a file or at a URL. Reports an error and returns null if there is none.
async function loadPicture(source) {
	try {
		return await decoded(source instanceof Blob ? URL.createObjectURL(source) : source);
	} catch {
		const shown = isTiff(source) && (await decoded(await pngOf(source)).catch(() => null));
		if (!shown) say(TEXT.notPicture, [TEXT.ok, hush]);
		return shown || null;
	}
}

async function decoded(url) {
	const loaded = new Image();
	loaded.src = url;
	await loaded.decode();
	return loaded;
}

const isTiff = (source) => source instanceof File && /tiff?$/i.test(source.type || source.name);

// The address of a PNG that shows a TIFF, which browsers do not show. The server makes it; "" if it cannot.
async function pngOf(file) {
	const sent = await upload(file).catch(() => null);
	const {path} = sent ? await inpaintPage.ask(server, "as_png", {path: sent.path}) : {};
	return path ? sent.url.replace(/file=.*/s, () => `file=${path}`) : "";
}

// Shows a picture that was chosen, dropped or pasted here, and uploads it.
async function choosePicture(file) {
	if (fixed) return;
	const loaded = await loadPicture(file);
	if (!loaded) return;
	const change = replacePicture(loaded, file, null);
	showChange(change);
	if (change !== "kept") tellCrop("");
	if (!sketch && change !== "kept" && file.type !== "image/jpeg") offerAlpha(loaded);
}

async function sendPicture(file) {
	state.uploading = file;
	publish();
	try {
		const sent = await upload(file);
		if (state.uploading !== file) return; // another picture has been chosen meanwhile
		state.image = {...sent, orig_name: file.name, mime_type: file.type, size: file.size, meta: {_type: "gradio.FileData"}};
		state.uploading = null;
	} catch {
		if (state.uploading !== file) return;
		say(TEXT.uploadFailed, [TEXT.retry, () => (hush(), sendPicture(file))]);
		return;
	}
	publish();
}

// Puts a picture under the mask. Returns what happened to the mask: "none", "kept" or "cleared".
function replacePicture(loaded, file, image) {
	const {painting: old} = state;
	const painted = Boolean(old?.painted);
	changePicture({file, image, bitmap: loaded});
	if (!painted) return "none";
	return state.painting === old ? "kept" : "cleared";
}

// Shows another picture (its File, Gradio's FileData if there is one, and the image element), as a step of the history.
// The painting is kept if the size is the same; colours belong to the picture that they were painted on.
function changePicture({file, image, bitmap}) {
	const {naturalWidth: width, naturalHeight: height} = bitmap;
	const {painting: old} = state;
	const same = old?.size.join() === [width, height].join();
	new PictureStep().arrive({file, image, bitmap, painting: same ? old : new Painting(width, height)});
	if (same && old.colours?.painted) edit((painting) => (sketch ? painting.colours.fill(0) : painting.coloursToMask()));
}

// Shows a picture with its painting, or none if `painting` is null.
function show({file, image, bitmap, painting}) {
	cancelGesture();
	if (bitmap) picture.src = bitmap.src;
	else picture.removeAttribute("src");
	const resized = state.painting?.size.join() !== painting?.size.join();
	if (resized) setCrops({});
	if (resized && painting) {
		stage.style.width = `${painting.width}px`;
		stage.style.height = `${painting.height}px`;
		state.brush = Math.max(8, Math.round(Math.min(...painting.size) / 16));
	}
	Object.assign(state, {file, image, bitmap, painting, uploading: null, keyPoint: null, selection: null});
	if (resized) fit();
	chooseResult(null);
	redrawAll();
	showState();
}

// A step to another picture. If `size` is given, controls beside the canvas, such as the size of the request, change with
// it: listeners store their state in `beside`. The event is sent first, since the picture may take long to load.
class PictureStep {
	constructor(size = null) {
		Object.assign(this, {id: newId(), bytes: 0, other: null, beside: null, isSized: Boolean(size)});
		this.tell(size);
	}

	tell(size) {
		if (!this.isSized) return;
		root.dispatchEvent(new CustomEvent("step", {bubbles: true, detail: {canvas: props.canvas_id, size, step: this}}));
	}

	// The picture is loaded: `next` continues the history of what is shown now. The first picture is no step.
	arrive(next) {
		const {painting} = state;
		if (painting && painting !== next.painting) this.bytes = painting.bytes;
		this.exchange(next);
		if (painting || state.history.done.length) state.history.push(this);
	}

	swap() {
		this.exchange(this.other);
		this.tell(state.painting?.size);
	}

	exchange(next) {
		this.other = present();
		show(next);
		state.synced = false; // until it is published
		if (state.file && !state.image) sendPicture(state.file);
	}

	// A record of it. The painting is beside it, unless it is the present one.
	toRecord() {
		const {bytes, beside, isSized, other: {file, painting}} = this;
		return {bytes, beside, isSized, file, painting: painting && painting.id};
	}

	// The step of a record; `painting` is the one that the record names. Null if its picture cannot be shown any more.
	static async fromRecord({bytes, beside, isSized, file}, painting) {
		const bitmap = file && await loadPicture(file);
		if (file && !bitmap) return null;
		return Object.assign(new PictureStep(), {bytes, beside, isSized, other: {file, image: null, bitmap, painting}});
	}
}

function showChange(change) {
	if (change === "none") return hush();
	const step = state.history.done.findLast((one) => one instanceof PictureStep);
	if (change === "cleared") return say(TEXT.maskCleared, [TEXT.bringBack, () => bringBack(step)]);
	const other = sketch ? [TEXT.bringBack, () => (hush(), travel(-1))] : [TEXT.clearIt, () => (hush(), clear())];
	say(TEXT.maskKept, other, [TEXT.ok, hush]);
}

function removePicture() {
	const step = new PictureStep();
	step.arrive({file: null, image: null, bitmap: null, painting: null});
	tellCrop("");
	publish();
	say(TEXT.removed, [TEXT.bringBack, () => bringBack(step)], [TEXT.ok, hush]);
}

// Undoes all steps back to before `step`.
function bringBack(step) {
	hush();
	while (state.history.done.includes(step)) travel(-1);
}

function offerAlpha(loaded) {
	const pixels = bitmapPixels(loaded);
	if (!hasTransparency(pixels)) return;
	say(TEXT.alphaOffer, [TEXT.useIt, () => (hush(), edit(({mask}) => mask.replace(transparency(pixels))))], [TEXT.dismiss, hush]);
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
