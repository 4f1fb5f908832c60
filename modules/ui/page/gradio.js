// Workarounds for problems in Gradio's own script, which runs after this one.
(() => {
	// Gradio counts the seconds of its "Loading..." at every frame and does not stop when that text is gone, which takes a
	// tenth of a core as long as the page is open. Once the page is ready, a counter that started before gets no more frames.
	const COUNTS = /performance\.now\(\)/;
	const nextFrame = window.requestAnimationFrame.bind(window);
	const isReady = () => "ready" in document.documentElement.dataset;
	let early = false; // true in a frame that was requested before the page was ready, or by such a frame
	window.requestAnimationFrame = (callback) => {
		const mark = early || !isReady();
		if (mark && isReady() && COUNTS.test(callback)) return 0;
		return nextFrame((time) => {
			early = mark;
			try {
				callback(time);
			} finally {
				early = false;
			}
		});
	};

	// For each component Gradio goes through the targets of all events. Svelte makes proxies of plain arrays and of what is
	// in them, and going through proxies takes a large part of the time that the page needs to load. Events do not change.
	class Unwatched extends Array {}
	let config;
	Object.defineProperty(window, "gradio_config", {
		get: () => config,
		set(given) {
			config = {...given, dependencies: Unwatched.from(given.dependencies ?? [])};
		},
	});

	// The results of the queue come in an event stream, which the server closes when no event is pending. An event sent at
	// that moment is answered in the next stream. Gradio does not open that one, because it has not read the end of the
	// current one yet. So the end is withheld while an event is pending, and the next stream continues the current one.
	const get = window.fetch.bind(window);
	const asking = new Set(); // promises of the requests that are being sent
	const open = new Map(); // event id -> 1 until it is answered, -1 if the answer came before the id
	const count = (id, by) => (open.get(id) ? open.delete(id) : open.set(id, by));

	async function ask(...question) {
		const answer = await get(...question);
		const {event_id: id} = await answer.clone().json().catch(() => ({}));
		if (id) count(id, 1);
		return answer;
	}

	async function relay(request, answer, controller) {
		const bytes = new TextEncoder();
		const send = (message) => controller.enqueue(bytes.encode(`${message}\n\n`));
		for (let end = ""; ; end = "", answer = await get(request.clone())) {
			const texts = answer.body.pipeThrough(new TextDecoderStream()).getReader();
			for (let text = "", part; !(part = await texts.read()).done;) {
				const messages = (text + part.value).split("\n\n");
				text = messages.pop();
				for (const message of messages) {
					const {msg, event_id: id} = JSON.parse(message.slice("data:".length));
					if (msg === "process_completed") count(id, -1);
					if (msg === "close_stream") end = message;
					else send(message);
				}
			}
			await Promise.allSettled(asking);
			if (end && open.size) continue;
			if (end) send(end);
			return controller.close();
		}
	}

	async function listen(...question) {
		const request = new Request(...question);
		const answer = await get(request.clone());
		if (!answer.ok) return answer;
		const start = (controller) => void relay(request, answer, controller).catch((error) => controller.error(error));
		return new Response(new ReadableStream({start}), answer);
	}

	window.fetch = (...question) => {
		const {pathname} = new URL(question[0].url ?? question[0], location);
		if (pathname.endsWith("/queue/data")) return listen(...question);
		if (!pathname.endsWith("/queue/join")) return get(...question);
		const asked = ask(...question);
		asking.add(asked);
		const settled = () => asking.delete(asked);
		asked.then(settled, settled);
		return asked;
	};
})();
