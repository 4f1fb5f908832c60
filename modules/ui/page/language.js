// Translates the page: English texts are replaced by those in the table as they appear.
const inpaintLanguage = ((tables) => {
	// Not translated: what users write, values that are sent, and names of files.
	const KEPT = "[translate=no], .token, .caption-label, .filename, .examples, .tokens ol";
	const NO_TEXT = `${KEPT}, script, style, textarea`;
	const ATTRIBUTES = ["placeholder", "title", "aria-label", "alt"];
	const STORED = "inpaint-webui:language";
	const PARAMETER = "lang";
	const current = chosen() ?? fromBrowser();
	const table = tables[current] ?? {};
	// Patterns with more fixed words are tried first.
	const own = (key) => key.replace(/\{\d\}/g, "").length;
	const keys = Object.keys(table).filter((key) => key.includes("{0}")).sort((one, other) => own(other) - own(one));
	const patterns = keys.map((key) => {
		const parts = key.split(/\{\d\}/).map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
		return [new RegExp(`^${parts.join("(.+?)")}$`, "s"), table[key]];
	});

	// The language in the address, otherwise the one that was chosen before.
	function chosen() {
		const known = (name) => (name === "en" || Object.hasOwn(tables, name) ? name : undefined);
		const asked = known(new URLSearchParams(location.search).get(PARAMETER));
		try {
			return asked ?? known(localStorage.getItem(STORED));
		} catch {
			return asked; // a browser without storage
		}
	}

	// The first of the browser's languages that the page has, without regard to the country.
	function fromBrowser() {
		const spoken = (name) => name.split("-")[0].toLowerCase();
		for (const wanted of navigator.languages) {
			const found = ["en", ...Object.keys(tables)].find((name) => spoken(name) === spoken(wanted));
			if (found) return found;
		}
		return "en";
	}

	// The page is loaded again with the language in its address, so that it works in a browser without storage, too.
	function choose(name) {
		try {
			localStorage.setItem(STORED, name);
		} catch {}
		const url = new URL(location);
		url.searchParams.set(PARAMETER, name);
		location.replace(url);
	}

	// Translates one sentence, or several in a row.
	function sentence(words) {
		if (Object.hasOwn(table, words)) return table[words];
		const parts = words.replaceAll(". ", ".\n").split("\n");
		if (parts.length > 1) return parts.map(sentence).join(" ");
		for (const [pattern, said] of patterns) {
			const found = words.match(pattern);
			if (found) return said.replace(/\{(\d)\}/g, (_, index) => sentence(found[Number(index) + 1]));
		}
		return words;
	}

	// Translates a text and keeps the space around it. Parts separated by a dot are translated one by one.
	function say(text) {
		const words = text.trim().replace(/\s+/g, " ");
		if (!/[a-z]/i.test(words)) return text;
		const said = words.split(" · ").map(sentence).join(" · ");
		return said === words ? text : text.match(/^\s*/)[0] + said + text.match(/\s*$/)[0];
	}

	function sayText(node) {
		if (node.parentElement?.closest(NO_TEXT)) return;
		const said = say(node.data);
		if (said !== node.data) node.data = said;
	}

	function sayAttributes(element) {
		for (const name of ATTRIBUTES) {
			const text = element.getAttribute(name);
			const said = text && !element.closest(KEPT) ? say(text) : text;
			if (said !== text) element.setAttribute(name, said);
		}
		if (element.matches("input[role=combobox]")) sayValue(element);
	}

	// A Gradio dropdown shows its value in an input. The user sees it translated, scripts read it in English.
	const value = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value");
	function sayValue(input) {
		if (Object.hasOwn(input, "value") || input.closest(KEPT)) return;
		let english = value.get.call(input), said = null;
		Object.defineProperty(input, "value", {
			configurable: true,
			get: () => (value.get.call(input) === said ? english : value.get.call(input)),
			set: (text) => {
				english = text;
				said = Object.hasOwn(table, text) ? table[text] : text;
				value.set.call(input, said);
			},
		});
		input.value = english;
	}

	function sayAll(node) {
		if (node.nodeType === Node.TEXT_NODE) return sayText(node);
		if (node.nodeType !== Node.ELEMENT_NODE) return;
		sayAttributes(node);
		const walker = document.createTreeWalker(node, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT);
		while (walker.nextNode()) {
			if (walker.currentNode.nodeType === Node.TEXT_NODE) sayText(walker.currentNode);
			else sayAttributes(walker.currentNode);
		}
	}

	function onChange(changes) {
		for (const change of changes) {
			if (change.type === "childList") change.addedNodes.forEach(sayAll);
			else if (change.type === "attributes") sayAttributes(change.target);
			else sayText(change.target);
		}
	}

	// Gradio reads the browser's language for its own few texts and for the document.
	Object.defineProperty(navigator, "language", {get: () => current});
	document.documentElement.lang = current;
	if (current in tables) {
		sayAll(document.documentElement);
		new MutationObserver(onChange).observe(document.documentElement, {
			subtree: true, childList: true, characterData: true, attributeFilter: ATTRIBUTES});
	}
	return {current, choose, say};
})(TABLES);
window.inpaintLanguage = inpaintLanguage;
