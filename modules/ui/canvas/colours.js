// The colour brush: on or off, its colour, and picking a colour from the picture.

function setInColour(on) {
	state.inColour = on;
	if (state.tool === "eyedropper") state.tool = "freehand";
	setMode(false);
	saveLook();
}

function setInk(colour) {
	state.ink = colour;
	showInk();
	saveLook();
}

function showInk() {
	input("ink").value = state.ink;
	input("inkOpacity").value = state.inkOpacity;
	for (const swatch of element.querySelectorAll("[data-ink]")) swatch.setAttribute("aria-pressed", swatch.dataset.ink === state.ink);
}

// The visible colour at a place: the painted one, otherwise the picture's.
function takeColour(at) {
	const {width, height, colours} = state.painting;
	if (at.x < 0 || at.y < 0 || at.x >= width || at.y >= height) return;
	const word = colours ? colours.data[Math.floor(at.y) * width + Math.floor(at.x)] : 0;
	setInk(word ? hexColour(word) : colourAt(state.bitmap, at.x, at.y));
	setMode(false);
}

function makeSwatches() {
	find(".mc-swatches").append(...SWATCHES.map((colour) => {
		const swatch = document.createElement("button");
		swatch.type = "button";
		swatch.dataset.ink = swatch.title = colour;
		swatch.setAttribute("aria-label", `${TEXT.ink} ${colour}`);
		swatch.style.setProperty("--mc-swatch", colour);
		swatch.onclick = () => (setInk(colour), setMode(false));
		return swatch;
	}));
}
