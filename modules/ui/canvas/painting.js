// The painting over one picture: a mask (a byte for each pixel, 255 = paint), colours (a 32-bit word for each pixel, RGBA
// in memory order), and the history of their steps for undoing. Independent of the page.

const HISTORY_BYTES = 96 * 2 ** 20;

// A step has `swap()`, which undoes it and then redoes it, and `bytes`, the memory that it uses.
class History {
	constructor() {
		this.done = [];
		this.undone = [];
	}

	push(step) {
		this.done.push(step);
		this.undone.length = 0;
		this.forgetOldest();
	}

	undo() {
		return this.travel(this.done, this.undone);
	}

	redo() {
		return this.travel(this.undone, this.done);
	}

	travel(from, to) {
		const step = from.pop();
		if (!step) return false;
		step.swap();
		to.push(step);
		return true;
	}

	forgetOldest() {
		let bytes = 0;
		for (let i = this.done.length - 1; i >= 0; i--) {
			bytes += this.done[i].bytes;
			if (bytes > HISTORY_BYTES && i < this.done.length - 1) {
				this.done.splice(0, i + 1);
				return;
			}
		}
	}
}

class Painting {
	constructor(width, height, history = new History()) {
		this.width = width;
		this.height = height;
		this.mask = new Layer(width, height, Uint8Array);
		this.colours = null; // created when first needed: it takes four bytes for each pixel
		this.history = history;
	}

	get size() {
		return [this.width, this.height];
	}

	get layers() {
		return this.colours ? [this.mask, this.colours] : [this.mask];
	}

	get painted() {
		return this.layers.some((layer) => layer.painted > 0);
	}

	get bytes() {
		return this.width * this.height * (this.colours ? 5 : 1);
	}

	needColours() {
		this.colours = this.colours || new Layer(this.width, this.height, Uint32Array);
		return this.colours;
	}

	// Draws one shape with `draw(layer, value)`. The eraser (`value` 0) erases both mask and colours.
	draw(value, inColour, draw) {
		if (value === 0) for (const layer of this.layers) draw(layer, 0);
		else draw(inColour ? this.needColours() : this.mask, value);
	}

	// Ends the step. Returns whether it changed anything.
	commit() {
		const changes = this.layers.map((layer) => ({layer, tiles: layer.takeChanges()})).filter((one) => one.tiles.length);
		if (!changes.length) return false;
		const bytes = changes.flatMap((one) => one.tiles).reduce((sum, tile) => sum + tile.values.byteLength, 0);
		this.history.push({bytes, swap: () => changes.forEach(({layer, tiles}) => layer.swap(tiles))});
		return true;
	}

	cancel() {
		for (const layer of this.layers) layer.cancel();
	}

	// Replaces mask bytes and colour words, outside the history. Data of another size is ignored.
	load(bytes, words) {
		const count = this.width * this.height;
		if (bytes?.length === count) this.mask.load(bytes);
		if (words?.length === count) this.needColours().load(words);
	}

	// Turns colours into mask, for a picture that has been replaced.
	coloursToMask() {
		if (!this.colours || !this.colours.painted) return;
		const {mask, colours} = this;
		mask.replace(mask.data.map((value, i) => Math.max(value, colours.data[i] >>> 24)));
		colours.fill(0);
	}
}
