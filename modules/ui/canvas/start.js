// Adds the event listeners.

function showLook() {
	input("color").value = state.color;
	input("opacity").value = state.opacity;
	input("softness").value = state.softness;
	showInk();
	setLook();
	showState();
}

function listenToTools() {
	root.addEventListener("click", (event) => {
		const name = event.target.closest("[data-act]")?.dataset.act;
		if (name) COMMANDS[name]();
	});
	input("size").addEventListener("input", (event) => setBrush(sliderToSize(Number(event.target.value))));
	listenToLook("color", setLook);
	listenToLook("opacity", setLook);
	listenToLook("softness", showState);
	listenToLook("ink", () => setMode(false));
	listenToLook("inkOpacity", () => {});
	for (const name of ADJUST) input(name).addEventListener("input", adjust);
	input("snap").addEventListener("input", snapToEdges);
	input("tolerance").addEventListener("input", (event) => setTolerance(Number(event.target.value)));
	input("said").addEventListener("keydown", (event) => event.key === "Enter" && !event.isComposing && takeWords());
	for (const chooser of element.querySelectorAll("[data-file]")) {
		chooser.addEventListener("change", () => {
			const file = chooser.files[0];
			chooser.value = "";
			if (file) CHOSEN[chooser.dataset.file](file);
		});
	}
	root.addEventListener("frame", (event) => setFrame(event.detail));
}

// An input whose value is stored in the state under its name.
function listenToLook(name, act) {
	input(name).addEventListener("input", ({target}) => {
		state[name] = target.type === "range" ? Number(target.value) : target.value;
		showInk();
		act();
		saveLook();
	});
}

function listenToPointer() {
	view.addEventListener("pointerdown", onDown);
	view.addEventListener("pointermove", onMove);
	view.addEventListener("pointerup", onUp);
	view.addEventListener("pointercancel", (event) => {
		touches.delete(event.pointerId);
		cancelGesture();
	});
	view.addEventListener("pointerleave", () => {
		if (!gesture) state.pointer = null;
		showRing();
	});
	view.addEventListener("contextmenu", (event) => state.painting && event.preventDefault());
	view.addEventListener("wheel", onWheel, {passive: false});
}

function listenToDrops() {
	root.addEventListener("dragover", (event) => {
		event.preventDefault();
		root.dataset.dragging = "true";
	});
	root.addEventListener("dragleave", (event) => {
		if (!root.contains(event.relatedTarget)) root.dataset.dragging = "false";
	});
	root.addEventListener("drop", (event) => {
		event.preventDefault();
		event.stopPropagation();
		root.dataset.dragging = "false";
		inpaintPage.dropped(event.dataTransfer)?.then(choosePicture);
	});
}

// Listeners on the document exist as long as the element is part of it.
function listenToDocument() {
	const life = new AbortController();
	const on = (type, act, options) => document.addEventListener(type, (event) => {
		if (!element.isConnected) return life.abort();
		act(event);
	}, {signal: life.signal, ...options});
	on("keydown", onKey, {capture: true});
	on("keyup", (event) => {
		if (event.key === " " && state.space) holdSpace(false);
		if (event.key.toLowerCase() === "o" && state.held) holdPicture(false);
	});
	on("pointerdown", (event) => !root.contains(event.target) && syncNow(), {capture: true});
	on("visibilitychange", () => document.hidden && syncNow());
	on("paste", (event) => {
		const file = inpaintPage.pictureIn(event.clipboardData?.files);
		if (!file || !root.offsetParent) return;
		event.preventDefault();
		choosePicture(file);
	});
	window.addEventListener("pagehide", syncNow, {signal: life.signal});
	window.addEventListener("blur", () => state.held && holdPicture(false), {signal: life.signal});
}

setWords();
makeSwatches();
showLook();
listenToTools();
listenToPointer();
listenToDrops();
listenToCrops();
listenToResults();
listenToDocument();
new ResizeObserver(() => (state.fitted ? fit() : state.painting && place())).observe(view);
watch("value", receive);
if (props.value?.image) receive().then(() => (root.dataset.ready = "true"));
else restore();
