// What the canvas says.

const TEXT = {
	toolbar: "Mask tools", view: "Picture and mask. Arrow keys move the brush, Enter paints",
	mode: "Paint or erase", shape: "Shape", size: "Brush size", history: "History", mask: "Mask", look: "Mask appearance",
	zoom: "Zoom", picture: "Picture", color: "Mask colour", opacity: "Mask opacity",
	brush: "Paint (B). Right button erases", eraser: "Erase (E)",
	freehand: "Freehand (D)", rectangle: "Fill a rectangle (R)", lasso: "Fill a lasso (L)",
	pan: "Move the picture (H, or hold Space or Shift, or middle button)",
	sizeTitle: "Brush size in picture pixels ( [ and ] )",
	undo: "Undo (Ctrl+Z)", redo: "Redo (Ctrl+Shift+Z)", invert: "Invert mask (I)", clear: "Clear mask (Delete)",
	uploadMask: "Upload a mask", downloadMask: "Download the mask", zoomOut: "Zoom out (-)", zoomIn: "Zoom in (+)",
	actual: "Actual size (1)", fit: "Fit (0)", fullscreen: "Full screen (S)", choose: "Choose a picture",
	remove: "Remove the picture", dropTitle: "Drop a picture here", dropHint: "or paste one, or click to choose",
	noMask: "Nothing painted yet", masked: (percent) => `Mask covers ${percent}`,
	uploading: "uploading…", uploadFailed: "The picture could not be sent to the server.", retry: "Try again",
	notPicture: "This file is not a picture that the browser can show.",
	alphaOffer: "This picture has transparency: use it as mask?", useIt: "Use as mask", dismiss: "Not now",
	maskKept: "The mask was kept: the new picture has the same size.", clearIt: "Clear mask", ok: "OK",
	maskCleared: "The mask was cleared: the new picture has another size.",
	removed: "The picture was removed.", bringBack: "Undo",
};
