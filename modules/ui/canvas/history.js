// The steps that can be undone and redone. Independent of the page.

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
