// Completion in the prompt: a list of what the word before the cursor may become. Arrow keys choose, Tab takes, Escape
// closes the list and does nothing else. While an input method composes there is no list.
(() => {
	const BOX = ".prompt-box textarea";
	const LABELS = {lora: "LoRA", embedding: "Embedding", hypernetwork: "Hypernetwork", style: "Style", wildcard: "Wildcard", word: "Word", tag: "Tag"};
	const FOLLOWED = ["tag", "word", "style"]; // a comma is put behind these
	let list = null, box = null, entries = [], chosen = 0, moved = false, asked = 0;
	let listed = ""; // the text before the cursor that the entries belong to: more may have been typed since

	async function look(target) {
		const number = ++asked, before = target.value.slice(0, target.selectionStart);
		if (!worthAsking(before) || !inpaintPage.completions) return close();
		const answer = await inpaintPage.completions(before);
		if (number !== asked || document.activeElement !== target || target.value.slice(0, target.selectionStart) !== before) return;
		show(target, answer.entries ?? [], before);
	}

	// At least two letters behind the last sign that ends a word, or the beginning of a tag or a wildcard.
	function worthAsking(before) {
		return /(?:<[^<>\n]*|__[\w./*-]*|[^\s,()[\]{}<>|:]{2,})$/.test(before);
	}

	function show(target, found, before) {
		if (!found.length) return close();
		const kept = moved && list && !list.hidden ? found.findIndex((entry) => entry.text === entries[chosen].text) : -1;
		[box, entries, chosen, moved, listed] = [target, found, Math.max(kept, 0), kept >= 0, before];
		list ??= build();
		list.replaceChildren(...entries.map((entry, number) => inpaintPage.make("li",
			{role: "option", id: `completion-${number}`, ariaSelected: number === chosen},
			inpaintPage.make("span", {className: "completion-name", textContent: entry.name, translate: false}),
			inpaintPage.make("span", {className: "completion-kind", textContent: LABELS[entry.kind]}),
			...(entry.note ? [inpaintPage.make("span", {className: "completion-note", textContent: entry.note, translate: false})] : []))));
		list.hidden = false;
		box.setAttribute("aria-controls", list.id);
		mark();
		place();
	}

	function build() {
		const made = inpaintPage.make("ul", {id: "completions", className: "completions", role: "listbox", ariaLabel: "Completions"});
		// The focus stays in the prompt.
		made.addEventListener("mousedown", (event) => event.preventDefault());
		made.addEventListener("click", ({target}) => {
			const number = [...made.children].indexOf(target.closest("li"));
			if (number >= 0) take(entries[number]);
		});
		document.querySelector(".gradio-container").append(made);
		return made;
	}

	function place() {
		const around = box.getBoundingClientRect(), below = innerHeight - around.bottom;
		const height = Math.min(list.scrollHeight, Math.max(below, around.top) - 8, 320);
		Object.assign(list.style, {left: `${around.left}px`, width: `${around.width}px`, maxHeight: `${height}px`,
			top: below >= height + 8 || below > around.top ? `${around.bottom + 2}px` : `${around.top - height - 4}px`});
	}

	function mark() {
		[...list.children].forEach((one, number) => { one.ariaSelected = number === chosen; });
		box.setAttribute("aria-activedescendant", `completion-${chosen}`);
		list.children[chosen].scrollIntoView({block: "nearest"});
	}

	function close() {
		asked++;
		if (!list || list.hidden) return;
		list.hidden = true;
		list.replaceChildren();
		for (const name of ["aria-activedescendant", "aria-controls"]) box.removeAttribute(name);
	}

	function take(entry) {
		const end = box.selectionStart, after = box.value.slice(end);
		close();
		box.focus();
		box.setSelectionRange(Math.min(listed.length - entry.replaces, end), end);
		const comma = FOLLOWED.includes(entry.kind) && !/^\s*,/.test(after) ? ", " : "";
		document.execCommand("insertText", false, entry.text + comma); // works with the browser's undo
		close();
	}

	function onKey(event) {
		if (!list || list.hidden || event.target !== box || event.isComposing || event.keyCode === 229) return;
		if (event.ctrlKey || event.metaKey || event.altKey) return close();
		const step = {ArrowDown: 1, ArrowUp: -1}[event.key];
		if (step) {
			chosen = (chosen + step + entries.length) % entries.length;
			moved = true;
			mark();
		} else if ((event.key === "Tab" && !event.shiftKey) || (event.key === "Enter" && moved)) take(entries[chosen]);
		else if (event.key === "Escape") close();
		else if (["ArrowLeft", "ArrowRight", "Home", "End", "Enter"].includes(event.key)) return close();
		else return;
		event.preventDefault();
		event.stopImmediatePropagation();
	}

	document.addEventListener("keydown", onKey, {capture: true});
	document.addEventListener("input", (event) => {
		if (!event.isTrusted || !event.target.matches?.(BOX)) return;
		if (event.isComposing || !["insertText", "deleteContentBackward", "insertCompositionText"].includes(event.inputType)) close();
		else look(event.target);
	});
	document.addEventListener("compositionstart", close);
	document.addEventListener("focusout", ({target}) => target === box && close());
	document.addEventListener("click", ({target}) => target === box && close());
	const follow = ({target}) => { if (list && !list.hidden && target !== list) place(); };
	window.addEventListener("resize", follow);
	window.addEventListener("scroll", follow, {capture: true, passive: true});
})();
