// One Tab stop for each row of tools: arrow keys move inside it. In a row, Left and Right go to the next tool also from a
// slider; Up and Down change its value.
(() => {
	const ROW = '[role="toolbar"]', TOOL = "button, input, select";
	const used = new WeakMap(); // row -> the tool that had the focus last
	const toolsOf = (row) => [...row.querySelectorAll(TOOL)].filter((one) => !one.disabled && one.checkVisibility({visibilityProperty: true}));

	// Which tools can be used changes with the page, so the stops are set when Tab is pressed, before the focus moves.
	function setStops() {
		for (const row of document.querySelectorAll(ROW)) {
			const tools = toolsOf(row), stop = tools.includes(used.get(row)) ? used.get(row) : tools[0];
			for (const one of row.querySelectorAll(TOOL)) one.tabIndex = one === stop ? 0 : -1;
		}
	}

	function onKey(event) {
		if (event.key === "Tab") return setStops();
		const row = event.target.closest?.(ROW), step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
		if (!row || !step || event.ctrlKey || event.metaKey || event.altKey) return;
		const tools = toolsOf(row), at = tools.indexOf(event.target);
		if (at < 0) return;
		event.preventDefault();
		event.stopPropagation();
		tools.at((at + step) % tools.length).focus();
	}

	document.addEventListener("keydown", onKey, {capture: true});
	document.addEventListener("focusin", ({target}) => {
		const row = target.closest?.(ROW);
		if (row) used.set(row, target);
	});
})();
