// The identity of this window. What a window stores is its own, so that two do not share controls, pictures or jobs.
const inpaintWindow = (() => {
	const ID = "inpaint-webui:window", FROM = "inpaint-webui:from";
	const KNOWN = "inpaint-webui:windows", START = "inpaint-webui:start";
	const LAST = "the last window";
	const MOST = 20; // windows whose pictures are kept

	const session = () => sessionStorage, local = () => localStorage;
	function read(storage, key) {
		try {
			return JSON.parse(storage().getItem(key));
		} catch {
			return null; // a browser without storage, or invalid content
		}
	}
	function write(storage, key, value) {
		try {
			storage().setItem(key, JSON.stringify(value));
		} catch {} // a browser without storage, or a full one
	}
	const random = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

	// The ids of windows that have stored something, the latest last.
	const known = () => read(local, KNOWN) ?? [];
	const isNew = !read(session, ID);
	const id = read(session, ID) ?? random();
	if (isNew) {
		write(session, ID, id);
		write(session, FROM, read(local, START) === LAST ? known().at(-1) ?? null : null);
	}
	// The window whose pictures this one takes over, if any.
	const from = read(session, FROM);
	const takesOver = isNew && Boolean(from);

	// Called whenever something is stored.
	function touch() {
		if (known().at(-1) !== id) write(local, KNOWN, [...known().filter((one) => one !== id), id].slice(-MOST));
	}

	// A duplicated window begins with a copy of the other one's storage. It gets an id of its own and keeps the copy.
	const self = random();
	const others = new BroadcastChannel("inpaint-webui:windows");
	others.addEventListener("message", ({data}) => {
		if (data.asked === id && data.by !== self) others.postMessage({taken: id, to: data.by});
		if (data.to !== self) return;
		write(session, FROM, id);
		write(session, ID, random());
		location.reload();
	});
	others.postMessage({asked: id, by: self});

	return {id, from, takesOver, known, touch, read, write, session, local,
		startFrom: (what) => write(local, START, what)};
})();
window.inpaintWindow = inpaintWindow;
