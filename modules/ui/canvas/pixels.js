// Converts pictures to mask bytes and colours, and those to PNG files. Independent of the page.

// The ImageData of an image element.
function bitmapPixels(bitmap) {
	const {naturalWidth: width, naturalHeight: height} = bitmap;
	const context = new OffscreenCanvas(width, height).getContext("2d", {willReadFrequently: true});
	context.drawImage(bitmap, 0, 0);
	return context.getImageData(0, 0, width, height);
}

// A picture as mask bytes: its alpha channel if it has transparency, otherwise its luminance.
function bytesFromPixels(pixels, wantAlpha) {
	const rgba = pixels.data;
	const bytes = new Uint8Array(rgba.length / 4);
	const useAlpha = wantAlpha || hasTransparency(pixels);
	for (let i = 0, j = 0; i < bytes.length; i++, j += 4) {
		bytes[i] = useAlpha ? rgba[j + 3] : (rgba[j] * 19595 + rgba[j + 1] * 38470 + rgba[j + 2] * 7471 + 0x8000) >> 16;
	}
	return bytes;
}

function hasTransparency(pixels) {
	for (let i = 3; i < pixels.data.length; i += 4) if (pixels.data[i] < 250) return true;
	return false;
}

// Resizes mask bytes: nearest for a hard mask, linear for a soft one.
function resizeBytes(bytes, width, height, newWidth, newHeight) {
	if (width === newWidth && height === newHeight) return bytes;
	const hard = bytes.every((value) => value === 0 || value === 255);
	const result = new Uint8Array(newWidth * newHeight);
	for (let y = 0; y < newHeight; y++) {
		const v = ((y + 0.5) * height) / newHeight;
		for (let x = 0; x < newWidth; x++) {
			const u = ((x + 0.5) * width) / newWidth;
			result[y * newWidth + x] = hard
				? bytes[Math.floor(v) * width + Math.floor(u)]
				: linearAt(bytes, width, height, u - 0.5, v - 0.5);
		}
	}
	return result;
}

function linearAt(bytes, width, height, u, v) {
	const x0 = Math.max(0, Math.floor(u));
	const y0 = Math.max(0, Math.floor(v));
	const x1 = Math.min(width - 1, x0 + 1);
	const y1 = Math.min(height - 1, y0 + 1);
	const fx = Math.max(0, u - x0);
	const fy = Math.max(0, v - y0);
	const top = bytes[y0 * width + x0] * (1 - fx) + bytes[y0 * width + x1] * fx;
	const bottom = bytes[y1 * width + x0] * (1 - fx) + bytes[y1 * width + x1] * fx;
	return Math.round(top * (1 - fy) + bottom * fy);
}

const wordsFromPixels = (pixels) => new Uint32Array(pixels.data.buffer);

// The colour at a place as "#rrggbb".
function colourAt(bitmap, x, y) {
	const context = new OffscreenCanvas(1, 1).getContext("2d");
	context.drawImage(bitmap, Math.floor(x), Math.floor(y), 1, 1, 0, 0, 1, 1);
	return hexColour(new Uint32Array(context.getImageData(0, 0, 1, 1).data.buffer)[0]);
}

// "#rrggbb" to a 32-bit word in memory order, red first, with alpha 0; and back.
function colourWord(hex) {
	const rgb = parseInt(hex.slice(1), 16);
	return ((rgb & 255) << 16) | (rgb & 0xff00) | (rgb >> 16);
}

const hexColour = (word) => `#${[word, word >> 8, word >> 16].map((part) => (part & 255).toString(16).padStart(2, "0")).join("")}`;

// The layer as a picture: a mask as grey levels, colours as RGBA.
function layerPixels(layer) {
	const pixels = new ImageData(layer.width, layer.height);
	const words = new Uint32Array(pixels.data.buffer);
	if (layer.data instanceof Uint32Array) words.set(layer.data);
	else for (let i = 0; i < words.length; i++) words[i] = 0xff000000 | (layer.data[i] * 0x010101);
	return pixels;
}

// The layer's PNG as a data URL, synchronously.
function layerUrl(layer) {
	const canvas = document.createElement("canvas");
	canvas.width = layer.width;
	canvas.height = layer.height;
	canvas.getContext("2d", {willReadFrequently: true}).putImageData(layerPixels(layer), 0, 0);
	return canvas.toDataURL("image/png");
}

// The same in a thread of its own: a large layer would hold up the page.
let encoder = null;
function layerUrlLater({width, height, data}) {
	encoder ??= new Worker(URL.createObjectURL(new Blob([`${layerPixels}\nonmessage = ${encodeLayer}`])));
	const {port1, port2} = new MessageChannel();
	const copy = data.slice();
	encoder.postMessage({width, height, data: copy, port: port2}, [copy.buffer, port2]);
	return new Promise((resolve) => (port1.onmessage = (answer) => resolve(answer.data)));
}

// What that thread does.
async function encodeLayer({data: {port, ...layer}}) {
	const canvas = new OffscreenCanvas(layer.width, layer.height);
	canvas.getContext("2d", {willReadFrequently: true}).putImageData(layerPixels(layer), 0, 0);
	port.postMessage(new FileReaderSync().readAsDataURL(await canvas.convertToBlob({type: "image/png"})));
}
