// Keyboard shortcuts and helpers for the whole page. One name is global, because Gradio's event handlers call it.
const inpaintPage = (() => {
	const shown = (selector) => [...document.querySelectorAll(selector)].find((item) => item.offsetParent !== null);
	const press = (selector) => {
		const button = shown(selector);
		if (button) button.click();
		return Boolean(button);
	};

	// Ctrl+Enter generates: while a job runs, the new one waits for it. With Shift, the running one is interrupted first.
	// Alt+Enter skips, Escape interrupts.
	function onKey(event) {
		const enter = event.key === "Enter";
		let done = false;
		if (enter && (event.ctrlKey || event.metaKey)) {
			if (event.shiftKey) press(".interrupt");
			done = press(".go");
		} else if (enter && event.altKey) done = press(".skip");
		else if (event.key === "Escape" && !document.fullscreenElement && event.target.matches("body, .prompt-box textarea")) done = press(".interrupt");
		if (done) event.preventDefault();
	}

	// A double click counts as one.
	function onClick(event) {
		if (event.detail > 1 && event.target.closest(".go, .interrupt")) event.stopImmediatePropagation();
	}

	// Moves the focus over header and tabs to the prompt, or to the first control of a tab without one.
	function skip() {
		(shown(".prompt-box textarea") ?? shown("#tabs > [role=tabpanel] :is(button, input, textarea, select)"))?.focus();
	}

	// Gives icon buttons their title and accessible name from the class title--What_it_does, a name to text boxes with a copy
	// button, which are not inside their label, and a role to an empty gallery, which has a name already.
	function nameControls() {
		for (const button of document.querySelectorAll(".more-open:not([aria-expanded])")) button.setAttribute("aria-expanded", document.documentElement.dataset.more);
		for (const empty of document.querySelectorAll(".empty[aria-label]:not([role])")) empty.setAttribute("role", "img");
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

	// [width, height] in other proportions, such as "3:2", with about as many pixels, each between `least` and `largest`. The
	// sides are multiples of about a sixteenth of the size, between 8 and 64 pixels. A portrait stays one.
	function inProportion(aspect, width, height, least, largest) {
		const [long, short] = aspect.split(":").map(Number), side = Math.sqrt(width * height);
		const unit = Math.min(64, Math.max(8, 2 ** Math.round(Math.log2(side / 16))));
		const sides = [long, short].map((part) => Math.round(side * Math.sqrt(part * part / (long * short)) / unit) * unit);
		const shrink = Math.min(1, largest / sides[0]);
		const size = sides.map((pixels) => Math.max(least, Math.floor(pixels * shrink / unit) * unit));
		return width < height ? size.reverse() : size;
	}
	function onAspect({target}) {
		const button = target.closest?.("[data-aspect]");
		if (!button) return;
		const {tab} = button.closest("[data-tab]").dataset, boxes = [numberOf(`${tab}_width`), numberOf(`${tab}_height`)];
		const size = inProportion(button.dataset.aspect, ...boxes.map((box) => Number(box.value)), Number(boxes[0].min), Number(boxes[0].max));
		boxes.forEach((box, i) => setNumber(box, size[i]));
	}

	// A picture's [width, height], reduced to the largest size allowed.
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

	// A box that is left empty gets its last value back; Gradio would use the minimum.
	const entered = new WeakMap(); // box -> last valid value
	function onEntered({target}) {
		if (!target.matches?.(BOX) || !target.value) return;
		if (!target.validity.rangeUnderflow && !target.validity.rangeOverflow) entered.set(target, target.value);
	}
	function onBlur({target}) {
		if (target.matches?.(BOX) && !target.value && entered.has(target)) setNumber(target, entered.get(target));
	}

	// Width and height follow a picture that grows on the canvas, and are restored when that is undone.
	function onStep({detail: {canvas, size, step}}) {
		const boxes = [numberOf(`${canvas}_width`), numberOf(`${canvas}_height`)];
		if (!boxes.every(Boolean)) return;
		const held = boxes.map((box) => box.value);
		const next = step.beside ?? fitSize(size, ...held, Number(boxes[0].max));
		boxes.forEach((box, i) => setNumber(box, next[i]));
		step.beside = held;
	}

	// A frame that is dragged on a canvas is a hidden text of its tab.
	function onCropped({detail: {canvas, text}}) {
		const box = document.querySelector(`#${canvas}_only_masked_frame :is(textarea, input)`);
		if (!box || box.value === text) return;
		box.value = text;
		box.dispatchEvent(new Event("input", {bubbles: true}));
	}

	// The picture of this page that is being dragged, such as a result. A thumbnail may name the full picture.
	let dragged = null;
	const onDragStart = ({target}) => void (dragged = target.matches?.("img") ? target.dataset.picture ?? target.src : null);
	const onDragEnd = () => void (dragged = null);

	// Whether a picture is being dragged, from outside or from this page.
	const isPicture = (transfer) => Boolean(dragged) || transfer.types.includes("Files");

	const pictureIn = (files) => [...(files ?? [])].find((one) => one.type.startsWith("image/"));

	// Fetches an address as a File; an empty one if it no longer exists.
	async function fetchFile(url, name) {
		const answer = await fetch(url).catch(() => null);
		const blob = answer?.ok ? await answer.blob().catch(() => new Blob()) : new Blob();
		return new File([blob], name, {type: blob.type});
	}

	// The dropped picture as a promise of its File (an empty one if it is gone); undefined for anything else.
	function dropped(transfer) {
		const file = pictureIn(transfer.files);
		if (file || !dragged) return file && Promise.resolve(file);
		return fetchFile(dragged, dragged.split("/").pop());
	}

	// Creates an element with properties or attributes, and children.
	function make(tag, attributes = {}, ...children) {
		const made = document.createElement(tag);
		for (const [name, value] of Object.entries(attributes)) {
			if (name in made) made[name] = value;
			else made.setAttribute(name, value);
		}
		made.append(...children);
		return made;
	}

	// The answer of a server function; {problem: one sentence} if it fails.
	async function ask(server, name, question = {}) {
		const lost = {problem: "The server did not answer."};
		try {
			return await server[name](question) ?? lost;
		} catch {
			return lost;
		}
	}

	// Fills a slider of our own up to its value, like Gradio's.
	function fillSlider(range) {
		range.style.setProperty("--range_progress", `${100 * (range.value - range.min) / (range.max - range.min)}%`);
	}

	// The rarer controls of all tabs, behind "More". The button says how many of a tab's are not at their defaults.
	const MORE = "inpaint-webui:more";
	function showMore(shown) {
		document.documentElement.dataset.more = shown;
		for (const button of document.querySelectorAll(".more-open")) button.setAttribute("aria-expanded", shown);
	}
	function onMore({target}) {
		if (!target.closest?.(".more-open")) return;
		const shown = document.documentElement.dataset.more !== "true";
		inpaintWindow.write(local, MORE, shown);
		showMore(shown);
	}
	function tellMore(names) {
		for (const button of document.querySelectorAll(".more-open")) {
			const of = `${button.dataset.tab}/`;
			const changed = names.filter((name, i) => name.startsWith(of) && !same(starts[i], known[i])
				&& document.getElementById(name.replace("/", "_"))?.closest(".more")).length;
			button.lastChild.textContent = changed ? `${changed} changed` : "";
		}
	}

	// The parameters to read: those in the prompt, otherwise in the clipboard, otherwise of the last picture.
	async function parameters(prompt, last) {
		if (prompt.trim()) return prompt;
		const copied = await navigator.clipboard?.readText().catch(() => "") ?? "";
		return copied.includes("Steps: ") ? copied : last;
	}

	// The values of a tab's controls `names` after the settings have become `current`. A control whose setting has changed
	// gets its value. `built` are the settings that the page was built with.
	const followed = {};
	function follow(tab, names, built, current, values) {
		const before = followed[tab] ?? built;
		followed[tab] = current[tab];
		return names.map((name, i) => (same(before[name], current[tab][name]) ? values[i] : current[tab][name]));
	}

	// Stores the controls for a reload of this window, each with the default that it had. If its default is another one now,
	// because a setting was changed, the control keeps the new default. Values are stored only after they have been restored.
	// A text box has no value before it is drawn. The browser also keeps those of the last window, which a new window begins
	// with if the settings say so.
	const same = (one, other) => JSON.stringify(one ?? "") === JSON.stringify(other ?? "");
	const CONTROLS = "inpaint-webui:controls";
	const {session, local} = inpaintWindow;
	if (inpaintWindow.takesOver) inpaintWindow.write(session, CONTROLS, inpaintWindow.read(local, CONTROLS));
	const stored = () => inpaintWindow.read(session, CONTROLS) ?? {};
	let starts = null, known = null;
	function keep(names, values) {
		if (!starts) return;
		const changed = [...names.keys()].filter((i) => !same(values[i], known[i]));
		if (!changed.length) return;
		known = values;
		tellMore(names);
		const kept = {...stored(), ...Object.fromEntries(changed.map((i) => [names[i], [starts[i], values[i]]]))};
		for (const storage of [session, local]) inpaintWindow.write(storage, CONTROLS, kept);
		inpaintWindow.touch();
	}
	function restore(names, values) {
		const kept = stored();
		starts = values;
		known = names.map((name, i) => (same(kept[name]?.[0], values[i]) ? kept[name]?.[1] ?? values[i] : values[i]));
		tellMore(names);
		if (known.every((value, i) => same(value, values[i]))) ready();
		else document.querySelector("#bring_controls_back").click();
	}
	const bringBack = () => known;
	// All controls have their values. The attribute is for programs that drive the page. Gradio has measured the tabs before
	// they had their style and moved those without room into a menu; it measures again when the window is resized.
	function ready() {
		document.documentElement.dataset.ready = "true";
		window.dispatchEvent(new Event("resize"));
	}

	// The tab that is open when the page is left is opened again after a reload. A tab that was chosen while the page was
	// still loading stays open.
	const TAB = "inpaint-webui:tab";
	const openTab = () => shown("#tabs > [role=tabpanel]")?.id.replace("tab_", "");
	let tabChosen = false;
	function onTab(event) {
		if (event.isTrusted && event.target.closest?.("#tabs > .tab-wrapper")) tabChosen = true;
	}
	function keepTab() {
		if (openTab()) inpaintWindow.write(session, TAB, openTab());
	}
	function startTab(usual) {
		return (tabChosen && openTab()) || inpaintWindow.read(session, TAB) || usual;
	}

	// Values are stored when the page is left, and after a pause, since browsers may crash.
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
		showMore(inpaintWindow.read(local, MORE) === true);
		nameControls();
		new MutationObserver(nameControls).observe(document.body, {childList: true, subtree: true});
	}

	document.addEventListener("keydown", onKey);
	document.addEventListener("click", onTab, {capture: true});
	document.addEventListener("click", onClick, {capture: true});
	document.addEventListener("click", onAspect);
	document.addEventListener("click", onMore);
	for (const event of ["focus", "change"]) document.addEventListener(event, onEntered, {capture: true});
	document.addEventListener("blur", onBlur, {capture: true});
	document.addEventListener("step", onStep);
	document.addEventListener("cropped", onCropped);
	document.addEventListener("dragstart", onDragStart);
	// A picture dragged out of the page may give no dragend event.
	for (const event of ["dragend", "pointerdown", "pointermove"]) document.addEventListener(event, onDragEnd, {capture: true});
	for (const input of ["input", "change", "click"]) document.addEventListener(input, onInput);
	document.addEventListener("visibilitychange", () => document.hidden && keepControls());
	window.addEventListener("pagehide", keepControls);
	window.addEventListener("pagehide", keepTab);
	if (document.body) begin();
	else document.addEventListener("DOMContentLoaded", begin);
	return {skip, fitSize, pictureIn, fetchFile, isPicture, dropped, make, ask, fillSlider, parameters, follow, keep, restore, bringBack, startTab, ready, useTheme, windowId: inpaintWindow.id};
})();
window.inpaintPage = inpaintPage;
