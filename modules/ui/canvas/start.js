// Listening begins.

function showLook() {
	input("color").value = state.color;
	input("opacity").value = state.opacity;
	setLook();
	showState();
}

function pictureIn(list) {
	return [...(list || [])].find((file) => file.type.startsWith("image/"));
}

function listenToTools() {
	root.addEventListener("click", (event) => {
		const name = event.target.closest("[data-act]")?.dataset.act;
		if (name) COMMANDS[name]();
	});
	input("size").addEventListener("input", (event) => setBrush(sliderToSize(Number(event.target.value))));
	for (const name of ["color", "opacity"]) {
		input(name).addEventListener("input", (event) => {
			state[name] = name === "opacity" ? Number(event.target.value) : event.target.value;
			setLook();
			saveLook();
		});
	}
	for (const chooser of element.querySelectorAll("[data-file]")) {
		chooser.addEventListener("change", () => {
			const file = chooser.files[0];
			chooser.value = "";
			if (file) (chooser.dataset.file === "mask" ? uploadMask : choosePicture)(file);
		});
	}
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
	view.addEventListener("contextmenu", (event) => state.mask && event.preventDefault());
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
		const file = pictureIn(event.dataTransfer.files);
		if (file) choosePicture(file);
	});
}

// Listeners on the document live as long as the element is part of it.
function listenToDocument() {
	const life = new AbortController();
	const on = (type, act, options) => document.addEventListener(type, (event) => {
		if (!element.isConnected) return life.abort();
		act(event);
	}, {signal: life.signal, ...options});
	on("keydown", onKey, {capture: true});
	on("keyup", (event) => event.key === " " && state.space && holdSpace(false));
	on("pointerdown", (event) => !view.contains(event.target) && syncNow(), {capture: true});
	on("visibilitychange", () => document.hidden && syncNow());
	on("paste", (event) => {
		const file = pictureIn(event.clipboardData?.files);
		if (!file || !root.offsetParent) return;
		event.preventDefault();
		choosePicture(file);
	});
	window.addEventListener("pagehide", syncNow, {signal: life.signal});
}

setWords();
showLook();
listenToTools();
listenToPointer();
listenToDrops();
listenToDocument();
new ResizeObserver(() => (state.fitted ? fit() : state.mask && place())).observe(view);
watch("value", receive);
if (props.value?.image) receive().then(() => (root.dataset.ready = "true"));
else restore();
