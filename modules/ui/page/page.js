// Keys and small things of the whole page. One name is global, because event handlers of buttons call it.
const inpaintPage = (() => {
	const shown = (selector) => [...document.querySelectorAll(selector)].find((item) => item.offsetParent !== null);
	const press = (selector) => {
		const button = shown(selector);
		if (button) button.click();
		return Boolean(button);
	};

	// Stops the job that runs and starts the next when Generate takes the place of Interrupt again. It is gone meanwhile.
	function restart() {
		const {id} = shown(".interrupt") ?? {};
		if (!id || !press(".interrupt")) return false;
		new MutationObserver((_, watch) => {
			const go = document.getElementById(id.replace("interrupt", "generate"));
			if (!go) return;
			watch.disconnect();
			go.click();
		}).observe(document.body, {childList: true, subtree: true});
		return true;
	}

	// Ctrl+Enter generates; while a job runs it stops that first. Alt+Enter skips, Escape interrupts.
	function onKey(event) {
		const enter = event.key === "Enter";
		let done = false;
		if (enter && (event.ctrlKey || event.metaKey)) done = press(".go") || restart();
		else if (enter && event.altKey) done = press(".skip");
		else if (event.key === "Escape" && !document.fullscreenElement && event.target.matches("body, .prompt-box textarea")) done = press(".interrupt");
		if (done) event.preventDefault();
	}

	// A double click is one press: its second half would meet Interrupt, which takes the place of Generate.
	function onClick(event) {
		if (event.detail > 1 && event.target.closest(".go, .interrupt")) event.stopImmediatePropagation();
	}

	// Buttons that are only a sign get their title and name from a class, title--What_it_does. A text box with a copy
	// button is not inside its label.
	function nameControls() {
		for (const box of document.querySelectorAll("textarea:not([aria-label])")) {
			const label = box.labels.length ? null : box.closest(".block")?.querySelector('[data-testid="block-info"]');
			if (label) box.setAttribute("aria-label", label.textContent.trim());
		}
		for (const button of document.querySelectorAll('button[class*="title--"]:not([title])')) {
			const title = button.className.match(/title--(\S+)/)[1].replaceAll("_", " ");
			button.title = title;
			button.setAttribute("aria-label", title);
		}
	}

	// A picture's [width, height], made smaller where it is larger than allowed.
	function fitSize(size, width, height, largest) {
		if (!size) return [width, height];
		const shrink = Math.min(1, largest / Math.max(...size));
		return size.map((pixels) => Math.max(64, Math.round(pixels * shrink)));
	}

	// The number boxes of Gradio's sliders.
	const BOX = "input[data-testid=number-input]";
	const numberOf = (id) => document.querySelector(`#${id} ${BOX}`);
	function setNumber(box, value) {
		box.value = value;
		box.dispatchEvent(new Event("input", {bubbles: true}));
	}

	// One that was emptied and left has its last value back; Gradio would take the smallest there is.
	const entered = new WeakMap(); // each box's
	function onEntered({target}) {
		if (!target.matches?.(BOX) || !target.value) return;
		if (!target.validity.rangeUnderflow && !target.validity.rangeOverflow) entered.set(target, target.value);
	}
	function onBlur({target}) {
		if (target.matches?.(BOX) && !target.value && entered.has(target)) setNumber(target, entered.get(target));
	}

	// Width and height go with a picture that grew on the canvas, and come back when that is undone.
	function onStep({detail: {canvas, size, step}}) {
		const boxes = [numberOf(`${canvas}_width`), numberOf(`${canvas}_height`)];
		if (!boxes.every(Boolean)) return;
		const held = boxes.map((box) => box.value);
		const next = step.beside ?? fitSize(size, ...held, Number(boxes[0].max));
		boxes.forEach((box, i) => setNumber(box, next[i]));
		step.beside = held;
	}

	// The picture of this page that is being dragged, such as a result; a small one may name the whole one.
	let dragged = null;
	const onDragStart = ({target}) => void (dragged = target.matches?.("img") ? target.dataset.picture ?? target.src : null);
	const onDragEnd = () => void (dragged = null);

	// Whether a picture is on its way here, from outside or from this page.
	const isPicture = (transfer) => Boolean(dragged) || transfer.types.includes("Files");

	const pictureIn = (files) => [...(files ?? [])].find((one) => one.type.startsWith("image/"));

	// What is at an address as a File; an empty one when it is there no more.
	async function fetchFile(url, name) {
		const answer = await fetch(url).catch(() => null);
		const blob = answer?.ok ? await answer.blob().catch(() => new Blob()) : new Blob();
		return new File([blob], name, {type: blob.type});
	}

	// The picture that is being dropped, as a promise of its File (an empty one if it is gone); undefined for anything else.
	function dropped(transfer) {
		const file = pictureIn(transfer.files);
		if (file || !dragged) return file && Promise.resolve(file);
		return fetchFile(dragged, dragged.split("/").pop());
	}

	// An element with its properties or attributes, and its children.
	function make(tag, attributes = {}, ...children) {
		const made = document.createElement(tag);
		for (const [name, value] of Object.entries(attributes)) {
			if (name in made) made[name] = value;
			else made.setAttribute(name, value);
		}
		made.append(...children);
		return made;
	}

	// What a function of a part's `server` answers; {problem: one sentence} when it does not.
	async function ask(server, name, question = {}) {
		const lost = {problem: "The server did not answer."};
		try {
			return await server[name](question) ?? lost;
		} catch {
			return lost;
		}
	}

	// A slider of our own is filled up to its value, as Gradio's are.
	function fillSlider(range) {
		range.style.setProperty("--range_progress", `${100 * (range.value - range.min) / (range.max - range.min)}%`);
	}

	// Where parameters are read from: the prompt, else the clipboard, else those of the picture made last.
	async function parameters(prompt, last) {
		if (prompt.trim()) return prompt;
		const copied = await navigator.clipboard?.readText().catch(() => "") ?? "";
		return copied.includes("Steps: ") ? copied : last;
	}

	// The values of a tab's controls after the settings have become `current`, [name]: those that follow a setting which
	// is another one than it was take its value. `built` is what it was at first.
	const followed = {};
	function follow(tab, names, built, current, values) {
		const before = followed[tab] ?? built;
		followed[tab] = current[tab];
		return names.map((name, i) => (same(before[name], current[tab][name]) ? values[i] : current[tab][name]));
	}

	// The controls over a reload, in the browser's storage, each with the value that the page started it with: where that
	// is another one now, because a setting was changed, the control starts there. Nothing is kept before it has been
	// brought back, and only what was changed here since: another window may have kept the rest. A text box has no value
	// until it is drawn.
	const same = (one, other) => JSON.stringify(one ?? "") === JSON.stringify(other ?? "");
	const CONTROLS = "inpaint-webui:controls";
	let starts = null, known = null;
	function stored() {
		try {
			return JSON.parse(localStorage.getItem(CONTROLS)) ?? {};
		} catch {
			return {}; // a browser that keeps nothing, or something else wrote there
		}
	}
	function keep(names, values) {
		if (!starts) return;
		const changed = [...names.keys()].filter((i) => !same(values[i], known[i]));
		if (!changed.length) return;
		known = values;
		const kept = {...stored(), ...Object.fromEntries(changed.map((i) => [names[i], [starts[i], values[i]]]))};
		try {
			localStorage.setItem(CONTROLS, JSON.stringify(kept));
		} catch {} // a browser that keeps nothing
	}
	function bringBack(names, values) {
		const kept = stored();
		starts = values;
		known = names.map((name, i) => (same(kept[name]?.[0], values[i]) ? kept[name]?.[1] ?? values[i] : values[i]));
		return known;
	}
	// All controls have their values. The attribute is for whoever drives the page by a program. Gradio measured the tabs
	// before they had their style, and puts into a menu what had no room then; it measures again when the window changes.
	function ready() {
		document.documentElement.dataset.ready = "true";
		window.dispatchEvent(new Event("resize"));
	}

	// The tab that is open when a window is left is open again when it comes back.
	const TAB = "inpaint-webui:tab";
	function keepTab() {
		const open = shown("#tabs > [role=tabpanel]");
		try {
			if (open) sessionStorage.setItem(TAB, open.id.replace("tab_", ""));
		} catch {} // a browser that keeps nothing
	}
	function startTab(usual) {
		try {
			return sessionStorage.getItem(TAB) ?? usual;
		} catch {
			return usual;
		}
	}

	// The values are kept when the page is left, and when nothing has been done for a while, as browsers may crash.
	const AWHILE = 1000; // ms
	const keepControls = () => document.getElementById("keep_controls")?.click();
	let resting;
	function onInput(event) {
		if (event.target.id === "keep_controls") return;
		clearTimeout(resting);
		resting = setTimeout(keepControls, AWHILE);
	}

	function useTheme(name) {
		const url = new URL(location);
		if (url.searchParams.get("__theme") === name) return;
		url.searchParams.set("__theme", name);
		location.replace(url);
	}

	function begin() {
		nameControls();
		new MutationObserver(nameControls).observe(document.body, {childList: true, subtree: true});
	}

	document.addEventListener("keydown", onKey);
	document.addEventListener("click", onClick, {capture: true});
	for (const event of ["focus", "change"]) document.addEventListener(event, onEntered, {capture: true});
	document.addEventListener("blur", onBlur, {capture: true});
	document.addEventListener("step", onStep);
	document.addEventListener("dragstart", onDragStart);
	// The picture may leave the page while it is dragged, and then no dragend comes.
	for (const event of ["dragend", "pointerdown", "pointermove"]) document.addEventListener(event, onDragEnd, {capture: true});
	for (const input of ["input", "change", "click"]) document.addEventListener(input, onInput);
	document.addEventListener("visibilitychange", () => document.hidden && keepControls());
	window.addEventListener("pagehide", keepControls);
	window.addEventListener("pagehide", keepTab);
	if (document.body) begin();
	else document.addEventListener("DOMContentLoaded", begin);
	return {fitSize, pictureIn, fetchFile, isPicture, dropped, make, ask, fillSlider, parameters, follow, keep, bringBack, startTab, ready, useTheme};
})();
window.inpaintPage = inpaintPage;
