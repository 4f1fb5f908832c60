// Finds parts of a picture by their colour. `pixels` is ImageData. A selection has a byte for each pixel, 255 = selected;
// the caller joins it with the mask. Independent of the page.

// A test for pixels whose red, green and blue are all within `tolerance` of those of pixel number `at`.
function isLike(pixels, at, tolerance) {
	const rgba = pixels.data;
	const [r, g, b] = rgba.subarray(at * 4, at * 4 + 3);
	return (i) => Math.abs(rgba[i * 4] - r) <= tolerance && Math.abs(rgba[i * 4 + 1] - g) <= tolerance
		&& Math.abs(rgba[i * 4 + 2] - b) <= tolerance;
}

// All pixels like the one at (x, y).
function colourRange(pixels, x, y, tolerance) {
	const like = isLike(pixels, y * pixels.width + x, tolerance);
	const selected = new Uint8Array(pixels.width * pixels.height);
	for (let i = 0; i < selected.length; i++) if (like(i)) selected[i] = 255;
	return selected;
}

// The pixels like the one at (x, y) that are 4-connected to it.
function floodFill(pixels, x, y, tolerance) {
	const {width, height} = pixels;
	const like = isLike(pixels, y * width + x, tolerance);
	const selected = new Uint8Array(width * height);
	const isNew = (i) => selected[i] === 0 && like(i);
	const waiting = [y * width + x];
	while (waiting.length) {
		const start = waiting.pop();
		if (!isNew(start)) continue;
		const row = start - (start % width);
		let left = start;
		let right = start;
		while (left > row && isNew(left - 1)) left--;
		while (right < row + width - 1 && isNew(right + 1)) right++;
		selected.fill(255, left, right + 1);
		for (const next of [-width, width]) {
			if (row + next < 0 || row + next >= width * height) continue;
			for (let i = left + next; i <= right + next; i++) if (isNew(i) && (i === left + next || !isNew(i - 1))) waiting.push(i);
		}
	}
	return selected;
}

// The pixels in which some channel of two pictures of one size differs by more than `tolerance`.
function difference(pixels, other, tolerance) {
	const [a, b] = [pixels.data, other.data];
	const selected = new Uint8Array(pixels.width * pixels.height);
	for (let i = 0; i < a.length; i++) if (Math.abs(a[i] - b[i]) > tolerance) selected[i >> 2] = 255;
	return selected;
}

// The transparent pixels.
function transparency(pixels) {
	return bytesFromPixels(pixels, true).map((value) => 255 - value);
}

const JOIN = {
	replace: (mask, selected) => selected,
	add: (mask, selected) => mask.map((value, i) => Math.max(value, selected[i])),
	intersect: (mask, selected) => mask.map((value, i) => Math.min(value, selected[i])),
	subtract: (mask, selected) => mask.map((value, i) => Math.min(value, 255 - selected[i])),
};
