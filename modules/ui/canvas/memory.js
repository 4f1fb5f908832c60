// Stores picture, mask, colours and look in the browser for this window, so that they survive a reload.

const STORE = "canvas";
const key = (part, owner = inpaintWindow.id) => `${owner}/${props.canvas_id}:${part}`;
const PARTS = ["picture", "mask", "paint", "look"];
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
	inpaintWindow.touch();
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

const answered = (request) => new Promise((resolve, reject) => {
	request.onsuccess = () => resolve(request.result);
	request.onerror = () => reject(request.error);
});

async function recall(part, owner) {
	try {
		return await answered((await openDatabase()).transaction(STORE).objectStore(STORE).get(key(part, owner)));
	} catch {
		return undefined;
	}
}

// What this window has stored; at its first look, what the window has stored that it takes over.
async function recallAll() {
	const {from} = inpaintWindow;
	if (!from || await recall("taken")) return Promise.all(PARTS.map((part) => recall(part)));
	const parts = await Promise.all(PARTS.map((part) => recall(part, from)));
	const found = PARTS.map((part, i) => [part, parts[i]]).filter(([, value]) => value !== undefined);
	await store({...Object.fromEntries(found), taken: true});
	return parts;
}

// Deletes what windows have stored that are long gone.
async function forgetWindows() {
	try {
		const objects = (await openDatabase()).transaction(STORE, "readwrite").objectStore(STORE);
		const owners = [...inpaintWindow.known(), inpaintWindow.id, inpaintWindow.from];
		for (const name of await answered(objects.getAllKeys())) if (!owners.includes(name.split("/")[0])) objects.delete(name);
	} catch {
		// As above.
	}
}

const savePicture = () => store({picture: state.file});
const savePainting = (mask, paint) => store({mask, paint});
const LOOK = ["color", "opacity", "ink", "inkOpacity", "inColour", "tolerance"];
const saveLook = () => store({look: {...Object.fromEntries(LOOK.map((name) => [name, state[name]])), brush: state.brush}});

async function restore() {
	const [file, mask, paint, look] = await recallAll();
	for (const name of LOOK) if (look && name in look) state[name] = look[name];
	if (file && !state.painting) await restorePicture(file, mask, paint, look);
	showLook();
	root.dataset.ready = "true";
	forgetWindows();
}

async function restorePicture(file, mask, paint, look) {
	const loaded = await loadPicture(file);
	if (!loaded) return savePicture();
	const painting = new Painting(loaded.naturalWidth, loaded.naturalHeight);
	painting.load(...(await readLayers(mask, paint)));
	show({file, image: null, bitmap: loaded, painting});
	if (look) state.brush = look.brush;
	await sendPicture(file);
}
