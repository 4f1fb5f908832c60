// The painting over one picture: a mask (a byte for each pixel, 255 = paint), colours (a 32-bit word for each pixel, RGBA
// in memory order). Independent of the page.

class Painting {
	constructor(width, height) {
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
		const changes = this.layers.map((layer) => ({layer, tiles: layer.takeChanges()})).filter((one) => one.tiles.length);
		if (!changes.length) return null;
		const bytes = changes.flatMap((one) => one.tiles).reduce((sum, tile) => sum + tile.values.byteLength, 0);
		return {bytes, swap: () => changes.forEach(({layer, tiles}) => layer.swap(tiles))};
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
