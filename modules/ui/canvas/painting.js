// The painting over one picture: a mask (a byte for each pixel, 255 = paint), colours (a 32-bit word for each pixel, RGBA
// in memory order). Independent of the page.

class Painting {
	// `id` is that of a painting that was stored.
	constructor(width, height, id = newId()) {
		this.id = id;
		this.width = width;
		this.height = height;
		this.mask = new Layer(width, height, Uint8Array);
		this.colours = null; // created when first needed: it takes four bytes for each pixel
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

	// Ends the step and returns it for the history; null if it changed nothing.
	commit() {
		const changes = this.takeChanges();
		return changes.length ? new PaintStep(this, changes) : null;
	}

	takeChanges() {
		const changes = this.layers.map((layer) => ({isMask: layer === this.mask, tiles: layer.takeChanges()}));
		return changes.filter((one) => one.tiles.length);
	}

	layer(isMask) {
		return isMask ? this.mask : this.needColours();
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

	// What is painted, as a value that a database can hold, and such a value as a painting.
	toRecord() {
		const {id, width, height} = this;
		return {id, width, height, layers: this.layers.map((layer) => ({isMask: layer === this.mask, tiles: layer.paintedTiles()}))};
	}

	static fromRecord({id, width, height, layers}) {
		const painting = new Painting(width, height, id);
		for (const {isMask, tiles} of layers) painting.layer(isMask).swap(tiles);
		return painting;
	}
}

// A step of painting: for mask and colours, the values of the tiles before it, or after it when it is undone.
class PaintStep {
	constructor(painting, changes) {
		Object.assign(this, {id: newId(), painting, changes});
		this.bytes = changes.flatMap((one) => one.tiles).reduce((sum, tile) => sum + tile.values.byteLength, 0);
	}

	swap() {
		for (const {isMask, tiles} of this.changes) this.painting.layer(isMask).swap(tiles);
	}

	toRecord() {
		return {painting: this.painting.id, changes: this.changes};
	}
}

// A step that inverts the mask. `counts` are those of the mask's tiles after the next swap.
class InvertStep {
	constructor(painting, counts = painting.mask.countsInverted()) {
		Object.assign(this, {id: newId(), painting, counts, bytes: counts.byteLength});
	}

	swap() {
		this.counts = this.painting.mask.flip(this.counts);
	}

	toRecord() {
		return {painting: this.painting.id, inverts: this.counts};
	}
}

// Unlike that of another window or of the page before a reload.
let ids = 0;
const newId = () => `${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}-${ids++}`;
