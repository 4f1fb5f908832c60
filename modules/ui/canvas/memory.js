// Picture, mask and look survive a reload.

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
