// Pictures become mask bytes, and masks become PNG files. Knows no page.

function bitmapPixels(bitmap) {
	const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
	const context = canvas.getContext("2d", {willReadFrequently: true});
	context.drawImage(bitmap, 0, 0);
	return context.getImageData(0, 0, bitmap.width, bitmap.height);
}

// The bytes that a picture means as a mask: its alpha channel if it has transparency, else its luminance.
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

// Brings mask bytes to another size: nearest for a hard mask, linear for a soft one.
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

function greyPixels(mask) {
	const pixels = new ImageData(mask.width, mask.height);
	const words = new Uint32Array(pixels.data.buffer);
	for (let i = 0; i < words.length; i++) words[i] = 0xff000000 | (mask.data[i] * 0x010101);
	return pixels;
}

// A grey PNG of the mask as a data URL, at once.
function maskDataUrl(mask) {
	const canvas = document.createElement("canvas");
	canvas.width = mask.width;
	canvas.height = mask.height;
	canvas.getContext("2d", {willReadFrequently: true}).putImageData(greyPixels(mask), 0, 0);
	return canvas.toDataURL("image/png");
}

// The same, without holding the page up.
async function maskDataUrlLater(mask) {
	const canvas = new OffscreenCanvas(mask.width, mask.height);
	canvas.getContext("2d", {willReadFrequently: true}).putImageData(greyPixels(mask), 0, 0);
	const blob = await canvas.convertToBlob({type: "image/png"});
	return new Promise((resolve) => {
		const reader = new FileReader();
		reader.onload = () => resolve(reader.result);
		reader.readAsDataURL(blob);
	});
}
