// Changes a mask by its outline. A mask is {width, height, data}, a byte for each pixel; more than 127 is inside. What lies
// outside of the picture continues its border. Independent of the page.

// The squared distance of each pixel to the nearest one for which `isSource(index)`; Infinity if there is none. Felzenszwalb
// and Huttenlocher, Distance Transforms of Sampled Functions (2012): the lower envelope of parabolas, by columns and then rows.
function squaredDistances(width, height, isSource) {
	const squares = new Float64Array(width * height).map((_, i) => (isSource(i) ? 0 : Infinity));
	const longest = Math.max(width, height);
	const line = new Float64Array(longest);
	const places = new Int32Array(longest);
	const borders = new Float64Array(longest + 1);
	const along = (start, step, count) => {
		let last = -1;
		for (let at = 0; at < count; at++) {
			const value = (line[at] = squares[start + at * step]);
			if (value === Infinity) continue;
			let border = -Infinity;
			while (last >= 0) {
				const place = places[last];
				border = (value + at * at - line[place] - place * place) / (2 * (at - place));
				if (border > borders[last]) break;
				last--;
			}
			places[++last] = at;
			borders[last] = last ? border : -Infinity;
		}
		if (last < 0) return;
		for (let at = 0, parabola = 0; at < count; at++) {
			while (parabola < last && borders[parabola + 1] < at) parabola++;
			const place = places[parabola];
			squares[start + at * step] = (at - place) ** 2 + line[place];
		}
	};
	for (let x = 0; x < width; x++) along(x, width, height);
	for (let y = 0; y < height; y++) along(y * width, 1, width);
	return squares;
}

// Grows the mask by a disc of radius `by`; shrinks it if that is negative.
function grown({width, height, data}, by) {
	const isGrowing = by > 0;
	const squares = squaredDistances(width, height, (i) => data[i] > 127 === isGrowing);
	const edge = isGrowing ? 255 : 0;
	return {width, height, data: data.map((value, i) => (squares[i] <= by * by ? edge : value))};
}

// Blurs the mask: a Gaussian of standard deviation `sigma`, approximated by three means in a row.
function feathered({width, height, data}, sigma) {
	const radii = meanRadii(sigma);
	let from = Float32Array.from(data);
	let to = new Float32Array(data.length);
	for (const radius of radii) {
		for (let y = 0; y < height; y++) meanAlong(from, to, y * width, 1, width, radius);
		for (let x = 0; x < width; x++) meanAlong(to, from, x, width, height, radius);
	}
	return {width, height, data: Uint8Array.from(from, (value) => Math.round(value))};
}

// The radii of three means whose variances sum to sigma squared as nearly as whole numbers allow. A mean of radius r has the
// variance r (r + 1) / 3.
function meanRadii(sigma) {
	const small = Math.floor(Math.sqrt(sigma * sigma + 0.25) - 0.5);
	const missing = sigma * sigma - small * (small + 1);
	const larger = Math.round((3 * missing) / (2 * (small + 1)));
	return [0, 1, 2].map((i) => (i < larger ? small + 1 : small));
}

function meanAlong(from, to, start, step, count, radius) {
	const at = (i) => from[start + Math.min(count - 1, Math.max(0, i)) * step];
	let sum = 0;
	for (let i = -radius; i <= radius; i++) sum += at(i);
	for (let i = 0; i < count; i++) {
		to[start + i * step] = sum / (2 * radius + 1);
		sum += at(i + radius + 1) - at(i - radius);
	}
}

// Rounds corners off and takes specks away that are smaller than `sigma`.
function smoothed(mask, sigma) {
	const soft = feathered(mask, sigma);
	return {...soft, data: soft.data.map((value) => (value > 127 ? 255 : 0))};
}
