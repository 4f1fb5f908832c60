// The help texts of controls as tooltips, and the list of keys and gestures.
//
// A control's help mark shows its text to mouse and finger. Whoever moves by keyboard sees it when the control has the
// focus; buttons without a mark show their title then. A long press shows a title to a finger.
const inpaintHelp = (() => {
	const MARK = "help-mark";
	const LONG_PRESS = 500; // ms
	const LEAVING = 150; // ms in which the pointer may go from the mark to the tooltip
	const LABELS = '[data-testid="block-info"], [data-testid="block-label"], .sf-label, .label-text, label > span';
	const CONTROLS = "input, textarea, select, button";

	// --- marks

	const texts = new Map(); // element id -> help text
	function add(more) {
		for (const [id, text] of Object.entries(more)) texts.set(id, text);
		place();
	}

	// Gives every control on the page whose text is known its mark, once.
	function place() {
		for (const [id, text] of texts) {
			const block = document.getElementById(id);
			if (block && block.dataset.help !== text) block.dataset.help = text;
		}
		for (const block of document.querySelectorAll(`[data-help]:not(:has(.${MARK}))`)) {
			const label = block.querySelector(LABELS) ?? block;
			label.append(inpaintPage.make("i", {className: MARK, "aria-hidden": "true"}));
		}
	}

	// --- the tooltip

	const tip = inpaintPage.make("div", {id: "help_tip", role: "tooltip", popover: "manual"});
	let anchor = null, described = null, stood = null, timer;
	// Shown for the control that has the focus: neither a pointer that rests elsewhere nor the scrolling that brings the
	// control into sight hides it.
	let ofFocus = false;

	function show(beside, text, control) {
		hide();
		clearTimeout(timer);
		ofFocus = false;
		anchor = beside;
		tip.textContent = text;
		document.body.append(tip);
		tip.showPopover();
		stood = anchor.getBoundingClientRect();
		put();
		if (!control) return;
		described = control;
		control.setAttribute("aria-describedby", tip.id);
	}

	function put() {
		const at = anchor.getBoundingClientRect(), own = tip.getBoundingClientRect(), gap = 6, edge = 8;
		const left = Math.min(Math.max(edge, at.left + at.width / 2 - own.width / 2), innerWidth - own.width - edge);
		const above = at.top - own.height - gap;
		tip.style.left = `${Math.max(edge, left)}px`;
		tip.style.top = `${above >= edge ? above : at.bottom + gap}px`;
	}

	function hide() {
		clearTimeout(timer);
		if (!anchor) return false;
		tip.hidePopover();
		described?.removeAttribute("aria-describedby");
		anchor = described = null;
		return true;
	}

	const later = (act, after) => {
		clearTimeout(timer);
		timer = setTimeout(act, after);
	};
	const markOf = (target) => target.closest?.(`.${MARK}`);
	const showMark = (mark) => {
		const block = mark.closest("[data-help]");
		show(mark, block.dataset.help, block.querySelector(CONTROLS));
	};

	function onOver(event) {
		if (event.pointerType !== "mouse") return;
		const mark = markOf(event.target);
		if (mark && mark !== anchor) showMark(mark);
		else if (mark || event.target === tip) clearTimeout(timer);
		else if (!ofFocus && anchor?.matches(`.${MARK}`)) later(hide, LEAVING);
	}

	// A press on a mark is none on its label. A finger's second press closes. A script's press is nobody's.
	function onClick(event) {
		const mark = markOf(event.target);
		if (!mark) return void (event.isTrusted && event.target !== tip && hide());
		event.preventDefault();
		event.stopPropagation();
		if (mark !== anchor) showMark(mark);
		else if (event.pointerType !== "mouse") hide();
	}

	let byKeyboard = false;
	function onFocus({target}) {
		if (!byKeyboard || target === document) return;
		const block = target.closest?.("[data-help]");
		if (block) show(block.querySelector(`.${MARK}`) ?? block, block.dataset.help, target);
		else if (target.title) show(target, target.title);
		else return void hide();
		ofFocus = true;
	}

	// What scrolls may be elsewhere, or have scrolled before the tooltip was there.
	function onScroll() {
		if (!anchor) return;
		const at = anchor.getBoundingClientRect();
		if (Math.hypot(at.left - stood.left, at.top - stood.top) < 1) return;
		if (ofFocus) put();
		else hide();
	}

	function onPress(event) {
		byKeyboard = false;
		const titled = event.pointerType === "touch" && event.target.closest?.("[title]");
		if (titled) later(() => show(titled, titled.title), LONG_PRESS);
	}

	function onKey(event) {
		byKeyboard = true;
		if (event.key === "Escape") {
			if (!hide() || event.target.closest?.("dialog[open]")) return; // a dialog closes at once
			event.stopImmediatePropagation();
		} else if (event.key === "?" && !isTyping(event.target)) openList();
		else return;
		event.preventDefault();
	}

	const isTyping = (target) => target.isContentEditable
		|| target.matches?.('textarea, select, input:not([type="range"], [type="color"], [type="checkbox"], [type="radio"], [type="file"])');

	// --- the list of keys and gestures

	// A text is a key; {gesture} is something done with mouse or fingers.
	const LIST = {
		"Everywhere": [
			[["Ctrl+Enter"], "Generate, after the job that runs"], [["Ctrl+Shift+Enter"], "Interrupt and generate"], [["Alt+Enter"], "Skip the running batch"],
			[["Esc"], "Close what is open, otherwise interrupt"], [["Tab"], "Go on to the next control and show its help"],
			[["?"], "This list"],
		],
		"Prompts": [
			[["Ctrl+↑", "Ctrl+↓"], "Change the weight of the word at the cursor"],
			[[{gesture: "Drop a picture"}], "Read its parameters"],
		],
		"Canvas": [
			[["B"], "Paint"], [["E"], "Erase"], [[{gesture: "Right button"}], "Erase with any tool"],
			[["[", "]", "Q", "W"], "Brush size"], [["D"], "Freehand"], [["R"], "Fill a rectangle"], [["L"], "Fill a lasso"],
			[["H"], "Move the picture"], [["Space", "Shift", {gesture: "Middle button"}], "Hold and drag to move the picture"],
			[[{gesture: "Wheel"}, "+", "="], "Zoom in"], [[{gesture: "Wheel"}, "-"], "Zoom out"], [["0"], "Fit"], [["A"], "Actual size"],
			[[{gesture: "Two fingers"}], "Move and zoom the picture"], [["F", "S"], "Full screen"],
			[["Ctrl+Z"], "Undo"], [["Ctrl+Shift+Z", "Ctrl+Y"], "Redo"], [["I"], "Invert mask"],
			[["M"], "Click what is meant"], [[{gesture: "Shift and click"}], "Leave out what is clicked"], [["N"], "Begin the next thing to click"],
			[["Shift+Enter", {gesture: "Click and drag"}], "A box around what is meant, from corner to corner"],
			[["Delete", "Backspace"], "Clear mask"], [["C"], "Paint with colours"], [["K", {gesture: "Alt and click"}], "Take a colour from the picture"],
			[["←", "→", "↑", "↓"], "Move the brush by half its size, with Shift by one pixel"],
			[["Enter"], "Use the tool at the brush, with Alt erase"],
			[["Enter"], "Set a corner of a rectangle or a lasso; Enter at the last corner fills the lasso"], [["Esc"], "Drop the stroke that is being drawn"],
			[["←", "→", "↑", "↓"], "Move the frame of what is worked on, or its corner, when it has the focus; Enter goes to the next corner"],
			[["Ctrl+V", {gesture: "Drop a picture"}], "Put a picture on the canvas"],
		],
		"Results": [
			[["1", "9"], "Show a result"], [["O"], "Hold to see the original"], [["X"], "Compare with the original"],
			[["P"], "Paint parts of another result in"], [["U"], "Use the result as the picture"], [["Delete"], "Discard the result"],
		],
		"History": [
			[["←", "→", "↑", "↓", {gesture: "Swipe"}], "The next picture"], [["F"], "Favourite"], [["X"], "Choose for comparing"],
			[["Delete"], "Move to the trash"],
		],
	};

	let dialog = null;
	function openList() {
		hide();
		dialog ??= makeList();
		document.body.append(dialog);
		if (!dialog.open) dialog.showModal();
		const box = dialog.querySelector("input");
		box.value = "";
		box.dispatchEvent(new Event("input"));
		box.focus();
	}

	function makeList() {
		const {make} = inpaintPage;
		const key = (one) => (one.gesture ? make("span", {className: "gesture", textContent: one.gesture})
			: make("kbd", {translate: false, textContent: one}));
		const entry = ([keys, does]) => make("div", {}, make("dt", {}, ...keys.map(key)), make("dd", {textContent: does}));
		const groups = Object.entries(LIST).map(([name, entries]) =>
			make("section", {}, make("h3", {textContent: name}), make("dl", {}, ...entries.map(entry))));
		const none = make("p", {className: "none", textContent: "Nothing of that name.", hidden: true});
		const box = make("input", {type: "search", placeholder: "Search", ariaLabel: "Search the list", oninput() {
			const words = box.value.trim().toLowerCase();
			for (const group of groups) {
				const rows = [...group.querySelectorAll("dl > div")];
				for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(words);
				group.hidden = rows.every((row) => row.hidden);
			}
			none.hidden = groups.some((group) => !group.hidden);
		}});
		const close = make("button", {type: "button", className: "close", title: "Close", ariaLabel: "Close", textContent: "×", onclick: () => made.close()});
		const made = make("dialog", {id: "shortcuts", ariaLabel: "Keys and gestures", onclick: (event) => event.target === made && made.close()},
			make("header", {}, make("h2", {textContent: "Keys and gestures"}), box, close), ...groups, none);
		return made;
	}

	document.addEventListener("pointerover", onOver);
	document.addEventListener("click", onClick, {capture: true});
	document.addEventListener("focusin", onFocus);
	document.addEventListener("pointerdown", onPress, {capture: true});
	for (const end of ["pointerup", "pointercancel"]) document.addEventListener(end, (event) => event.pointerType === "touch" && clearTimeout(timer));
	document.addEventListener("keydown", onKey, {capture: true});
	document.addEventListener("scroll", onScroll, {capture: true, passive: true});
	// Many changes in a row need one look. The page changes with every frame of a running job.
	let looking = false;
	new MutationObserver((changes) => {
		if (looking || !changes.some((change) => [...change.addedNodes].some((node) => node.firstElementChild))) return;
		looking = true;
		setTimeout(() => {
			looking = false;
			place();
		});
	}).observe(document, {childList: true, subtree: true});
	return {add, openList};
})();
window.inpaintHelp = inpaintHelp;
