// A layer: one number for each pixel, 0 where nothing is painted, and functions that draw on it. Independent of the page.

const TILE = 128;

// A box is {x0, y0, x1, y1} in whole pixels, x1 and y1 not included.
const emptyBox = () => ({x0: Infinity, y0: Infinity, x1: -Infinity, y1: -Infinity});
const isEmptyBox = (box) => box.x0 >= box.x1 || box.y0 >= box.y1;

class Layer {
	// `Values` is the class of its array: Uint8Array for a mask, Uint32Array for colours.
	constructor(width, height, Values) {
		this.width = width;
		this.height = height;
		this.data = new Values(width * height);
		this.painted = 0; // pixels that are not 0
		this.columns = Math.ceil(width / TILE);
		this.counts = new Uint16Array(this.columns * Math.ceil(height / TILE)); // the same for each tile
		this.saved = new Map(); // tile number -> its values before the current step
		this.dirty = new Set(); // the tiles that are not on the screen yet
		this.isFlipped = false; // whether the screen shows the opposite of all others
	}

	get box() {
		return {x0: 0, y0: 0, x1: this.width, y1: this.height};
	}

	get coverage() {
		return this.painted / (this.width * this.height);
	}

	// --- drawing: each call belongs to the current step, which `takeChanges` ends and `cancel` reverts

	// A stroke of a round brush of `radius` pixels from (x0, y0) to (x1, y1): all pixels whose centres it covers. The edge of
	// a brush with a `softness` from 0 to 1 falls off over that share of the radius; that is for masks.
	stroke(x0, y0, x1, y1, radius, value, softness = 0) {
		const box = this.clip({
			x0: Math.floor(Math.min(x0, x1) - radius), y0: Math.floor(Math.min(y0, y1) - radius),
			x1: Math.ceil(Math.max(x0, x1) + radius), y1: Math.ceil(Math.max(y0, y1) + radius),
		});
		if (isEmptyBox(box)) return;
		this.touch(box);
		const length = Math.hypot(x1 - x0, y1 - y0);
		if (softness && radius >= 1) return this.softStroke(box, x0, y0, x1, y1, length, radius, value, softness);
		for (let y = box.y0; y < box.y1; y++) {
			const [left, right] = capsuleRow(y + 0.5, x0, y0, x1, y1, length, radius);
			this.fillRow(y, left, right, value);
		}
		if (radius < 1) this.fillRow(Math.floor(y1), Math.floor(x1) + 0.5, Math.floor(x1) + 0.5, value);
	}

	softStroke(box, x0, y0, x1, y1, length, radius, value, softness) {
		const [dx, dy] = length ? [(x1 - x0) / length, (y1 - y0) / length] : [0, 0];
		for (let y = box.y0; y < box.y1; y++) {
			for (let x = box.x0; x < box.x1; x++) {
				const [u, v] = [x + 0.5 - x0, y + 0.5 - y0];
				const along = Math.min(length, Math.max(0, u * dx + v * dy));
				const inside = 1 - Math.hypot(u - along * dx, v - along * dy) / radius; // 1 on the line, 0 at the edge
				if (inside <= 0) continue;
				const share = Math.min(1, inside / softness);
				const level = Math.round(255 * share * share * (3 - 2 * share));
				const at = y * this.width + x;
				this.data[at] = value ? Math.max(this.data[at], level) : Math.min(this.data[at], 255 - level);
			}
		}
	}

	rectangle(x0, y0, x1, y1, value) {
		const box = this.clip({
			x0: Math.round(Math.min(x0, x1)), y0: Math.round(Math.min(y0, y1)),
			x1: Math.round(Math.max(x0, x1)), y1: Math.round(Math.max(y0, y1)),
		});
		if (isEmptyBox(box)) return;
		this.touch(box);
		for (let y = box.y0; y < box.y1; y++) this.data.fill(value, y * this.width + box.x0, y * this.width + box.x1);
	}

	// The inside of the closed polygon through `points` ([x, y] each), by the non-zero rule.
	polygon(points, value) {
		const xs = points.map((p) => p[0]);
		const ys = points.map((p) => p[1]);
		const box = this.clip({
			x0: Math.floor(smallest(xs)), y0: Math.floor(smallest(ys)),
			x1: Math.ceil(largest(xs)), y1: Math.ceil(largest(ys)),
		});
		if (points.length < 3 || isEmptyBox(box)) return;
		this.touch(box);
		for (let y = box.y0; y < box.y1; y++) {
			for (const [left, right] of insideSpans(points, y + 0.5)) this.fillRow(y, left, right, value);
		}
	}

	fill(value) {
		this.touch(this.box);
		this.data.fill(value);
	}

	replace(data) {
		this.touch(this.box);
		this.data.set(data);
	}

	// --- steps

	// Ends the step. Returns the old values of the tiles that it changed, each with how many of them are painted.
	takeChanges() {
		const tiles = [];
		for (const [number, before] of this.saved) {
			const after = this.tile(number);
			if (!sameValues(before, after)) tiles.push({number, values: before, painted: this.count(number, countPainted(after))});
		}
		this.saved.clear();
		return tiles;
	}

	cancel() {
		for (const [number, values] of this.saved) this.setTile(number, values);
		this.saved.clear();
	}

	// Swaps the values in `tiles` with those of the layer.
	swap(tiles) {
		for (const tile of tiles) {
			const present = this.tile(tile.number);
			this.setTile(tile.number, tile.values);
			tile.values = present;
			tile.painted = this.count(tile.number, tile.painted);
		}
	}

	// Inverts a mask. `counts` are how many pixels of each tile are painted afterwards; returned are those from before.
	flip(counts) {
		const words = new Uint32Array(this.data.buffer, 0, this.data.length >> 2);
		for (let i = 0; i < words.length; i++) words[i] = ~words[i];
		for (let i = words.length * 4; i < this.data.length; i++) this.data[i] = ~this.data[i];
		const before = this.counts;
		this.counts = counts;
		this.painted = counts.reduce((sum, count) => sum + count, 0);
		this.isFlipped = !this.isFlipped;
		return before;
	}

	// How many pixels of each tile are painted once the mask is inverted.
	countsInverted() {
		return this.counts.map((_, number) => {
			const {x0, y0, x1, y1} = this.tileBox(number);
			let count = 0;
			for (let y = y0; y < y1; y++) {
				for (let i = y * this.width + x0; i < y * this.width + x1; i++) if (this.data[i] !== 255) count++;
			}
			return count;
		});
	}

	// Replaces the layer by `data`. There is nothing to undo then.
	load(data) {
		this.data.set(data);
		this.saved.clear();
		for (let number = 0; number < this.counts.length; number++) this.count(number, countPainted(this.tile(number)));
		this.markAll();
	}

	// Sets how many pixels of a tile are painted. Returns how many there were.
	count(number, painted) {
		const before = this.counts[number];
		this.painted += painted - before;
		this.counts[number] = painted;
		return before;
	}

	// The tiles on which something is painted.
	paintedTiles() {
		const numbers = [...this.counts.keys()].filter((number) => this.counts[number]);
		return numbers.map((number) => ({number, values: this.tile(number), painted: this.counts[number]}));
	}

	// --- boxes, rows and tiles

	// The box of the painted tiles with `margin` pixels around; an empty one if nothing is painted.
	around(margin) {
		const boxes = [...this.counts.keys()].filter((number) => this.counts[number]).map((number) => this.tileBox(number));
		return this.clip(boxes.reduce((all, box) => ({
			x0: Math.min(all.x0, box.x0 - margin), y0: Math.min(all.y0, box.y0 - margin),
			x1: Math.max(all.x1, box.x1 + margin), y1: Math.max(all.y1, box.y1 + margin),
		}), emptyBox()));
	}

	read({x0, y0, x1, y1}) {
		const values = new this.data.constructor((x1 - x0) * (y1 - y0));
		for (let y = y0; y < y1; y++) {
			values.set(this.data.subarray(y * this.width + x0, y * this.width + x1), (y - y0) * (x1 - x0));
		}
		return values;
	}

	write(box, values) {
		this.touch(box);
		this.copy(box, values);
	}

	copy({x0, y0, x1, y1}, values) {
		for (let y = y0; y < y1; y++) {
			this.data.set(values.subarray((y - y0) * (x1 - x0), (y - y0 + 1) * (x1 - x0)), y * this.width + x0);
		}
	}

	// Fills the pixels of row `y` whose centres lie in [left, right].
	fillRow(y, left, right, value) {
		const from = Math.max(0, Math.ceil(left - 0.5));
		const to = Math.min(this.width, Math.floor(right - 0.5) + 1);
		if (from < to && y >= 0 && y < this.height) this.data.fill(value, y * this.width + from, y * this.width + to);
	}

	clip(box) {
		return {
			x0: Math.max(0, box.x0), y0: Math.max(0, box.y0),
			x1: Math.min(this.width, box.x1), y1: Math.min(this.height, box.y1),
		};
	}

	// Stores the old values inside `box`. To be called before anything is written there.
	touch(box) {
		for (let row = Math.floor(box.y0 / TILE); row * TILE < box.y1; row++) {
			for (let column = Math.floor(box.x0 / TILE); column * TILE < box.x1; column++) {
				const number = row * this.columns + column;
				if (!this.saved.has(number)) this.saved.set(number, this.tile(number));
				this.dirty.add(number);
			}
		}
	}

	tileBox(number) {
		const x0 = (number % this.columns) * TILE;
		const y0 = Math.floor(number / this.columns) * TILE;
		return this.clip({x0, y0, x1: x0 + TILE, y1: y0 + TILE});
	}

	tile(number) {
		return this.read(this.tileBox(number));
	}

	setTile(number, values) {
		this.copy(this.tileBox(number), values);
		this.dirty.add(number);
	}

	markAll() {
		for (let number = 0; number < this.counts.length; number++) this.dirty.add(number);
	}

	// The boxes of up to `most` tiles that are not on the screen yet. Those side by side have one together.
	takeDirty(most) {
		const numbers = Uint32Array.from(this.dirty).sort().subarray(0, most);
		const boxes = [];
		let last = -1;
		for (const number of numbers) {
			this.dirty.delete(number);
			const box = this.tileBox(number);
			if (number === last + 1 && number % this.columns) boxes.at(-1).x1 = box.x1;
			else boxes.push(box);
			last = number;
		}
		return boxes;
	}
}

// The interval in which the line at height `y` crosses a capsule: [left, right], empty if left > right. A capsule is
// convex, so there is one interval: the hull of those for the two discs and for the strip between them.
function capsuleRow(y, x0, y0, x1, y1, length, radius) {
	const crossing = [Infinity, -Infinity];
	addDisc(crossing, y, x0, y0, radius);
	if (length === 0) return crossing;
	addDisc(crossing, y, x1, y1, radius);
	const dx = (x1 - x0) / length;
	const dy = (y1 - y0) / length;
	const along = interval(dx, (y - y0) * dy, 0, length);
	const across = interval(-dy, (y - y0) * dx, -radius, radius);
	const left = x0 + Math.max(along[0], across[0]);
	const right = x0 + Math.min(along[1], across[1]);
	if (left <= right) {
		crossing[0] = Math.min(crossing[0], left);
		crossing[1] = Math.max(crossing[1], right);
	}
	return crossing;
}

function addDisc(crossing, y, cx, cy, radius) {
	const square = radius * radius - (y - cy) * (y - cy);
	if (square < 0) return;
	crossing[0] = Math.min(crossing[0], cx - Math.sqrt(square));
	crossing[1] = Math.max(crossing[1], cx + Math.sqrt(square));
}

// The interval of u in which low <= slope * u + offset <= high.
function interval(slope, offset, low, high) {
	if (Math.abs(slope) < 1e-9) return offset >= low && offset <= high ? [-Infinity, Infinity] : [Infinity, -Infinity];
	const a = (low - offset) / slope;
	const b = (high - offset) / slope;
	return a < b ? [a, b] : [b, a];
}

function insideSpans(points, y) {
	const crossings = [];
	for (let i = 0; i < points.length; i++) {
		const [ax, ay] = points[i];
		const [bx, by] = points[(i + 1) % points.length];
		if (ay <= y === by <= y) continue;
		crossings.push({x: ax + ((y - ay) * (bx - ax)) / (by - ay), turn: ay <= y ? 1 : -1});
	}
	crossings.sort((a, b) => a.x - b.x);
	const spans = [];
	let winding = 0;
	for (let i = 0; i + 1 < crossings.length; i++) {
		winding += crossings[i].turn;
		if (winding) spans.push([crossings[i].x, crossings[i + 1].x]);
	}
	return spans;
}

function smallest(values) {
	return values.reduce((a, b) => Math.min(a, b), Infinity);
}

function largest(values) {
	return values.reduce((a, b) => Math.max(a, b), -Infinity);
}

function sameValues(a, b) {
	for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
	return true;
}

function countPainted(values) {
	let count = 0;
	for (let i = 0; i < values.length; i++) if (values[i]) count++;
	return count;
}
