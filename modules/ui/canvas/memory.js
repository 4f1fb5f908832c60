// Stores picture, mask, colours, look and history in the browser for this window, so that they survive a reload. A canvas
// without a name stores nothing.

const STORE = "canvas";
const STORED_BYTES = 128 * 2 ** 20; // of the history, each way
const key = (part, owner = inpaintWindow.id) => `${owner}/${props.canvas_id}:${part}`;
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
// `refused` is called if the browser has no room.
async function store(parts, refused = () => {}) {
	if (!props.canvas_id) return;
	inpaintWindow.touch();
	try {
		const transaction = (await openDatabase()).transaction(STORE, "readwrite");
		transaction.onabort = refused;
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

// What a window has stored, by its part.
async function recall(owner = inpaintWindow.id) {
	try {
		const objects = (await openDatabase()).transaction(STORE).objectStore(STORE);
		const range = IDBKeyRange.bound(key("", owner), key("\uffff", owner));
		const [names, values] = await Promise.all([answered(objects.getAllKeys(range)), answered(objects.getAll(range))]);
		return Object.fromEntries(names.map((name, i) => [name.slice(key("", owner).length), values[i]]));
	} catch {
		return {};
	}
}

// What this window has stored; at its first look, what the window has stored that it takes over.
async function recallAll() {
	const own = await recall();
	if (!inpaintWindow.from || own.taken) return own;
	const parts = await recall(inpaintWindow.from);
	await store({...parts, taken: true});
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

let storedFile = null; // the picture that is stored
let storedRecords = new Set(); // the names of the history's parts that are stored
let keepsHistory = true; // until the browser has no room for it

// Stores the PNGs of mask and colours, and with them what is new of the picture and of the history. They belong together,
// so one transaction has them all.
function save(mask, paint) {
	const picture = storedFile === state.file ? {} : {picture: state.file};
	storedFile = state.file;
	const records = keepsHistory ? historyRecords() : {};
	store({mask, paint, ...picture, ...records}, () => {
		keepsHistory = false;
		store({mask, paint, ...picture, history: null});
	});
}

// The parts of the history that have changed since they were stored, and null for those that are gone. Paintings that are
// not the present one are parts of their own.
function historyRecords() {
	const {done, undone} = state.history.nearest(STORED_BYTES);
	const records = {history: {done: done.map((step) => step.id), undone: undone.map((step) => step.id), painting: state.painting?.id}};
	const wanted = new Set();
	for (const step of [...done, ...undone]) {
		const others = step.other?.painting && step.other.painting !== state.painting ? [step.other.painting] : [];
		const parts = [[`step ${step.id}`, step], ...others.map((painting) => [`painting ${painting.id}`, painting])];
		for (const [name, one] of parts) {
			wanted.add(name);
			if (!step.stored || !storedRecords.has(name)) records[name] = one.toRecord();
		}
		step.stored = true;
	}
	for (const name of storedRecords) if (!wanted.has(name)) records[name] = null;
	storedRecords = wanted;
	return records;
}

// Makes the steps of the history again. One that cannot be made ends it.
async function restoreHistory(parts, present) {
	const paintings = present ? {[present.id]: present} : {};
	const paintingOf = (id) => (paintings[id] ??= parts[`painting ${id}`] ? Painting.fromRecord(parts[`painting ${id}`]) : null);
	const make = async (id) => {
		const record = parts[`step ${id}`];
		const painting = record && paintingOf(record.painting);
		if (!record || (record.painting && !painting)) return null;
		const step = record.inverts ? new InvertStep(painting, record.inverts)
			: record.changes ? new PaintStep(painting, record.changes) : await PictureStep.fromRecord(record, painting);
		return step && Object.assign(step, {id, stored: true});
	};
	const all = async (ids) => {
		const steps = await Promise.all(ids.map(make));
		return steps.slice(steps.findLastIndex((step) => !step) + 1);
	};
	const [done, undone] = await Promise.all([all(parts.history.done), all(parts.history.undone)]);
	storedRecords = new Set(Object.keys(parts).filter((name) => /^(step|painting) /.test(name)));
	return {done, undone};
}

const LOOK = ["softness", "color", "opacity", "ink", "inkOpacity", "inColour", "tolerance"];
const saveLook = () => store({look: {...Object.fromEntries(LOOK.map((name) => [name, state[name]])), brush: state.brush}});

async function restore() {
	const parts = await recallAll();
	const {look} = parts;
	unfinished = parts.strokes ?? null;
	for (const name of LOOK) if (look && name in look) state[name] = look[name];
	if (parts.picture || parts.history) await restorePicture(parts);
	showLook();
	root.dataset.ready = "true";
	forgetWindows();
}

// A picture that was removed can still be brought back, so there may be none.
async function restorePicture(parts) {
	const {picture: file = null, mask, paint, look, history} = parts;
	const loaded = file && await loadPicture(file);
	if (file && !loaded) return store({picture: null, history: null});
	const painting = file && new Painting(loaded.naturalWidth, loaded.naturalHeight, history?.painting);
	painting?.load(...(await readLayers(mask, paint)));
	const steps = history && await restoreHistory(parts, painting);
	if (state.painting || state.history.done.length) return; // somebody was faster
	Object.assign(state.history, steps);
	show({file, image: null, bitmap: loaded, painting});
	storedFile = file;
	if (!file) return;
	restoreKeeping();
	if (look) state.brush = look.brush;
	await sendPicture(file);
}
