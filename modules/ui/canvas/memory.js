// Stores picture, mask, colours and look in the browser, so that they survive a reload.

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

// Writes several parts in one transaction that ends at once. A longer one would be aborted when the page is left.
async function store(parts) {
	try {
		const transaction = (await openDatabase()).transaction(STORE, "readwrite");
		const objects = transaction.objectStore(STORE);
		for (const [part, value] of Object.entries(parts)) {
			if (value === null) objects.delete(key(part));
			else objects.put(value, key(part));
		}
		transaction.commit();
	} catch {
		// A private window may refuse storage. Then nothing is stored, and everything else works.
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

const savePicture = () => store({picture: state.file});
const savePainting = (mask, paint) => store({mask, paint});
const LOOK = ["color", "opacity", "ink", "inkOpacity", "inColour", "tolerance"];
const saveLook = () => store({look: {...Object.fromEntries(LOOK.map((name) => [name, state[name]])), brush: state.brush}});

async function restore() {
	const [file, mask, paint, look] = await Promise.all(["picture", "mask", "paint", "look"].map(recall));
	for (const name of LOOK) if (look && name in look) state[name] = look[name];
	if (file && !state.painting) await restorePicture(file, mask, paint, look);
	showLook();
	root.dataset.ready = "true";
}

async function restorePicture(file, mask, paint, look) {
	const loaded = await loadPicture(file);
	if (!loaded) return forgetPicture();
	replacePicture(loaded, file, null);
	state.painting.load(...(await readLayers(mask, paint)));
	if (look) state.brush = look.brush;
	await sendPicture(file);
}
