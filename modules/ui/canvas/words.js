// The texts of the canvas. A key is in brackets; the text before it is the control's name.

const TEXT = {
	toolbar: "Mask tools", view: "Picture and mask. Arrow keys move the brush, Enter paints",
	mode: "Paint or erase", shape: "Shape", size: "Brush size", history: "History", mask: "Mask", look: "Mask appearance",
	zoom: "Zoom", picture: "Picture", color: "Mask colour", opacity: "Mask opacity",
	brush: "Paint (B). Right button erases", eraser: "Erase (E)",
	freehand: "Freehand (D)", rectangle: "Fill a rectangle (R)", lasso: "Fill a lasso (L)",
	pan: "Move the picture (H, or hold Space or Shift, or middle button)",
	sizeTitle: "Brush size in picture pixels ( [ and ] )",
	undo: "Undo (Ctrl+Z)", redo: "Redo (Ctrl+Shift+Z)", invert: "Invert mask (I)", clear: "Clear mask (Delete)",
	uploadMask: "Upload mask", downloadMask: "Download the mask", zoomOut: "Zoom out (-)", zoomIn: "Zoom in (+)",
	actual: "Actual size (A)", fit: "Fit (0)", fullscreen: "Full screen (F)", choose: "Choose a picture",
	remove: "Remove the picture", dropTitle: "Drop a picture here", dropHint: "or paste one, or click to choose",
	noMask: "Nothing painted yet", masked: (percent) => `Mask covers ${percent}`,
	coloured: (percent) => `Colours cover ${percent}`,
	uploading: "uploading…", uploadFailed: "The picture could not be sent to the server.", retry: "Try again",
	notPicture: "This file is not a picture that the browser can show.",
	alphaOffer: "This picture has transparency: use it as mask?", useIt: "Use as mask", dismiss: "Not now",
	maskKept: "The mask was kept: the new picture has the same size.", clearIt: "Clear mask", ok: "OK",
	maskCleared: "The mask was cleared: the new picture has another size.",
	maskResized: (width, height) => `The mask has ${width}x${height} pixels; it was resized to the picture.`,
	maskEmpty: "This mask is all black: there is nothing to paint.",
	removed: "The picture was removed.", bringBack: "Undo",
	crop: "What is worked on. Drag it or its corners; a double click lets it follow the mask again",
	colours: "Colours", inColour: "Paint with colours (C)", ink: "Colour", inkOpacity: "Colour opacity",
	eyedropper: "Take a colour from the picture (K, or Alt-click)", opacityLabel: "Opacity",
	selection: "Select", select: "Select: a mask from what is in the picture", replace: "Replace", add: "Add",
	intersect: "Intersect", points: "Point", point: "Click",
	pointTitle: "Click what is meant; Shift and click what is not (M)", notMeant: "Leave out",
	notMeantTitle: "Clicks say what is not meant", nextThing: "Next",
	nextThingTitle: "The next click begins another thing (N)", meantFirst: "Click what is meant first.",
	stillSent: "The picture is still being sent to the server; try again in a moment.",
	looking: "Looking at the picture…",
	subtract: "Subtract", join: "What a selection does to the mask", tolerance: "Tolerance", flood: "Flood fill",
	floodTitle: "Click the picture: the connected region of that colour", range: "Colour range",
	rangeTitle: "Click the picture: that colour, wherever it is", alpha: "Transparency",
	alphaTitle: "What is transparent in the picture", difference: "Difference",
	differenceTitle: "Where the picture differs from another one: choose that one", other: "The other picture",
	otherSize: (width, height) => `The other picture has ${width}x${height} pixels; it must have the size of this one.`,
	nothingFound: "There is nothing of that kind in the picture.",
	original: "Original", resultOf: (number, all) => (all > 1 ? `Result ${number} of ${all}` : "Result"),
	slider: "Original on the left, result on the right", discarded: "The result was discarded.",
};

const SKETCH_TEXT = {
	toolbar: "Sketch tools", view: "Picture and colours. Arrow keys move the brush, Enter paints", mask: "Painting",
	clear: "Clear what is painted (Delete)",
	maskKept: "The colours are part of the old picture and were cleared.", maskCleared: "The colours were cleared.",
};

// The palette, from white to black.
const SWATCHES = ["#ffffff", "#8d8d8d", "#111111", "#e8352e", "#f4a12a", "#f5d90a", "#3fa34d", "#2f7fd6", "#6c3fb5",
	"#8a5a36", "#f2c9a8"];
