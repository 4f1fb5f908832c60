// The steps that can be undone and redone. Independent of the page.

const HISTORY_BYTES = 96 * 2 ** 20;

// A step has `swap()`, which undoes it and then redoes it, `bytes`, the memory that it uses, an `id`, and `toRecord()`,
// which changes with each swap. `stored` says whether the browser has the present record.
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
		step.stored = false;
		to.push(step);
		return true;
	}

	// The steps that are to be stored: those next to the present, of at most `most` bytes each way, pictures' files included.
	nearest(most) {
		const near = (steps) => {
			let bytes = 0;
			const first = steps.findLastIndex((step) => (bytes += step.bytes + (step.other?.file?.size ?? 0)) > most);
			return steps.slice(first + 1);
		};
		return {done: near(this.done), undone: near(this.undone)};
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
