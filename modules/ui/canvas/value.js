// The component's value, in both directions.

const urlOf = (layer) => (layer?.painted ? layerUrl(layer) : null);

// Updates props.value. Encoding a large PNG takes a while, so this waits for a pause in the painting and then runs
// asynchronously. A click or key elsewhere on the page, which may be Generate, updates it at once.
async function sync() {
	if (gesture) return void (paintingChanged.timer = setTimeout(sync, 350));
	const {version, painting} = state;
	const later = (layer) => (layer?.painted ? layerUrlLater(layer) : null);
	const urls = await Promise.all([later(painting?.mask), later(painting?.colours)]);
	if (!state.synced && state.version === version) publish(...urls);
}

function syncNow() {
	if (!state.synced) publish();
	storeStrokes();
}

// The arguments are the PNGs of mask and colours, if the caller has them already.
function publish(mask = urlOf(state.painting?.mask), paint = urlOf(state.painting?.colours)) {
	clearTimeout(paintingChanged.timer);
	const {painting} = state;
	state.synced = true;
	props.value = {
		image: state.image, mask, paint, size: painting ? painting.size : null,
		loading: Boolean(state.uploading), as_step: false,
	};
	showState();
	save(mask, paint);
	root.dispatchEvent(new CustomEvent("published", {bubbles: true, detail: props.value}));
}

// The server has set the value (a "send to", for example; perhaps while this tab is hidden).
async function receive() {
	const value = props.value || {};
	if (!value.image) {
		if (state.painting) removePicture();
		return;
	}
	if (state.image && value.image.path === state.image.path && !value.mask && !value.paint) return publish();
	if (!value.mask && state.painting?.mask.painted && value.size?.join() === state.painting.size.join()) {
		props.value = {...value, mask: layerUrl(state.painting.mask)}; // Generate may be pressed before the picture is loaded
	}
	const step = value.as_step && state.painting ? new PictureStep(value.size) : null;
	const file = await inpaintPage.fetchFile(value.image.url, value.image.orig_name || "picture.png");
	const loaded = await loadPicture(file);
	if (!loaded || props.value.image?.path !== value.image.path) return step?.tell(); // listeners restore what they changed
	if (step) {
		const painting = new Painting(loaded.naturalWidth, loaded.naturalHeight);
		painting.load(...(await readLayers(value.mask, value.paint)));
		step.arrive({file, image: value.image, bitmap: loaded, painting});
	} else {
		const change = replacePicture(loaded, file, value.image);
		if (value.mask || value.paint) await receivePainting(value);
		else showChange(change);
		if (change !== "kept") tellCrop("");
	}
	publish();
}

async function receivePainting(value) {
	const [bytes, words] = await readLayers(value.mask, value.paint);
	const {painting} = state;
	if (bytes?.length === painting.mask.data.length) painting.mask.replace(bytes);
	if (words?.length === painting.mask.data.length) painting.needColours().replace(words);
	finishStep();
	hush();
}

// Decodes mask bytes and colour words from their PNGs; undefined for a missing one.
async function readLayers(mask, paint) {
	const [maskPicture, paintPicture] = await Promise.all([mask && loadPicture(mask), paint && loadPicture(paint)]);
	return [maskPicture ? bytesFromPixels(bitmapPixels(maskPicture)) : undefined,
		paintPicture ? wordsFromPixels(bitmapPixels(paintPicture)) : undefined];
}
