// The prompt boxes: weights by keyboard, and reading a picture that is dropped on them.
(() => {
	const WORD_ENDS = ".,\\/!?%^*;:{}=`~() <>[]\t\n\r";
	const CLOSING = {"(": ")", "[": "]", "<": ">"};
	const promptBox = (target) => target.closest?.(".prompt-box textarea, .prompt-box .block");

	function wordAt(text, place) {
		let start = place, end = place;
		while (start > 0 && !WORD_ENDS.includes(text[start - 1])) start--;
		while (end < text.length && !WORD_ENDS.includes(text[end])) end++;
		return [start, end];
	}

	// The words of the innermost (words:1.2) or <lora:name:1> around a place, if there is one.
	function weightedAt(text, place) {
		for (const [open, close] of [["<", ">"], ["(", ")"]]) {
			let depth = 0, start = place;
			while (start > 0 && !(text[start - 1] === open && depth === 0)) {
				depth += text[start - 1] === close ? 1 : text[start - 1] === open ? -1 : 0;
				start--;
			}
			const rest = text.slice(start).match(open === "<" ? /^([^<>]*):-?[\d.]+>/ : /^((?:[^()]|\([^()]*\))*?):-?[\d.]+\)/);
			if (start > 0 && rest && place <= start + rest[0].length) return [start, start + rest[1].length];
		}
		return null;
	}

	// The replacement for text[from..to], and the place of the words in it. A weight of 1 needs no brackets.
	function weighed(text, start, end, step) {
		while (end > start && text[end - 1] === " ") end--;
		if (start === end) return null;
		const before = text[start - 1], words = text.slice(start, end);
		const given = text.slice(end).match(/^:(-?[\d.]+)([)>])/);
		let open = "(", weight = 1, from = start, to = end;
		if (given && CLOSING[before] === given[2]) {
			[open, weight, from, to] = [before, parseFloat(given[1]), start - 1, end + given[0].length];
			if (Number.isNaN(weight)) return null;
		} else if (before in CLOSING && before !== "<") {
			let depth = 0;
			while (text[start - depth - 1] === before && text[end + depth] === CLOSING[before]) depth++;
			weight = Math.round((before === "(" ? 1.1 : 1 / 1.1) ** depth * 10) / 10;
			[from, to] = [start - depth, end + depth];
		}
		weight = Number((weight + (open === "<" ? step / 2 : step)).toPrecision(12));
		if (open === "(" && weight === 1) return {from, to, words, replacement: words, inset: 0};
		const shown = Number.isInteger(weight) ? weight.toFixed(1) : String(weight);
		return {from, to, words, replacement: `${open}${words}:${shown}${CLOSING[open]}`, inset: 1};
	}

	function onKey(event) {
		const box = event.target;
		if (!(event.ctrlKey || event.metaKey) || !["ArrowUp", "ArrowDown"].includes(event.key)) return;
		if (!box.matches?.(".prompt-box textarea")) return;
		event.preventDefault();
		let [start, end] = [box.selectionStart, box.selectionEnd];
		if (start === end) [start, end] = weightedAt(box.value, start) ?? wordAt(box.value, start);
		const change = weighed(box.value, start, end, event.key === "ArrowUp" ? 0.1 : -0.1);
		if (!change) return;
		box.setSelectionRange(change.from, change.to);
		document.execCommand("insertText", false, change.replacement); // works with the browser's undo
		const first = change.from + change.inset;
		box.setSelectionRange(first, first + change.words.length);
	}

	// A picture dropped on a prompt is passed to the tab's hidden file input; the server reads its parameters.
	function onDrop(event) {
		const block = promptBox(event.target);
		const picture = block && inpaintPage.dropped(event.dataTransfer);
		if (!picture) return;
		event.preventDefault();
		event.stopPropagation();
		const tab = block.closest(".prompt-box").querySelector("[id$=prompt]").id.split("_")[0];
		const input = document.querySelector(`#${tab}_dropped input[type=file]`);
		picture.then((file) => {
			const files = new DataTransfer();
			files.items.add(file);
			input.files = files.files;
			input.dispatchEvent(new Event("change", {bubbles: true}));
		});
	}

	document.addEventListener("keydown", onKey);
	document.addEventListener("drop", onDrop, true);
	document.addEventListener("dragover", (event) => {
		if (promptBox(event.target) && inpaintPage.isPicture(event.dataTransfer)) event.preventDefault();
	}, true);
})();
