// Where Gradio's own script, which runs after this one, is put right from the outside.
(() => {
	// Gradio counts the seconds of its "Loading..." at every frame, also when that is gone: a tenth of a core for as long
	// as the page is open. Once it is ready, a count that began before gets no more frames.
	const COUNTS = /performance\.now\(\)/;
	const nextFrame = window.requestAnimationFrame.bind(window);
	const isReady = () => "ready" in document.documentElement.dataset;
	let early = false; // while a frame runs that was asked for before the page was ready, or by one that was
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

	// The queue's answers come in a stream, which the server ends when no question is open. What is asked at that moment is
	// answered in the next stream, but Gradio opens none, because it has not read yet that this one has ended. So the end is
	// kept from it as long as a question is open, and it reads the next stream as a continuation of this one.
	const get = window.fetch.bind(window);
	const asking = new Set(); // promises of questions on their way to the server
	const open = new Map(); // [event id]: 1 until it is answered, -1 where the answer came before the id
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
