// The value: what the server gets, and what it sends.

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
