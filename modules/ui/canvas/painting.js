// What is painted over one picture: a mask (a byte a pixel, 255 = paint), colours (a word a pixel, RGBA in memory order),
// and the history in which their steps can be undone. Knows no page.

const HISTORY_BYTES = 96 * 2 ** 20;

// A step has `swap()`, which takes it back and then brings it again, and the `bytes` that it keeps.
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
		this.colours = null; // made when first needed: it takes four bytes a pixel
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

	// Draws one shape: `draw(layer, value)`. An eraser (`value` 0) takes both mask and colours away.
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

	// Takes mask bytes and colour words over, outside the history. Those of another size are left out.
	load(bytes, words) {
		const count = this.width * this.height;
		if (bytes?.length === count) this.mask.load(bytes);
		if (words?.length === count) this.needColours().load(words);
	}

	// Colours that belong to a picture that is gone become mask.
	coloursToMask() {
		if (!this.colours || !this.colours.painted) return;
		const {mask, colours} = this;
		mask.replace(mask.data.map((value, i) => Math.max(value, colours.data[i] >>> 24)));
		colours.fill(0);
	}
}
