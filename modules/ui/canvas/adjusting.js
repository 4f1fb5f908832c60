// The sliders that grow, smooth and feather the mask. While they are moved, they change the mask as it was when the first of
// them was; together they are one step, until something else is painted. Then they are at 0 again.

const ADJUST = ["grow", "smooth", "feather"];
const amounts = () => ADJUST.map((name) => Number(input(name).value));
let adjusted = null; // {painting, last, changed}: the step
let isAdjusting = false; // while it is made

const isSameAdjusting = () => Boolean(adjusted && adjusted.painting === state.painting && adjusted.last === lastStep());

function adjust() {
	const [grow, smooth, feather] = amounts();
	isAdjusting = true;
	if (isSameAdjusting() && adjusted.changed) state.history.undo();
	const {mask} = state.painting;
	const box = mask.around(Math.max(0, grow) + 2 * smooth + 3 * feather);
	const changed = !isEmptyBox(box) && edit(() => {
		let part = {width: box.x1 - box.x0, height: box.y1 - box.y0, data: mask.read(box)};
		if (grow) part = grown(part, grow);
		if (smooth) part = smoothed(part, smooth);
		if (feather) part = feathered(part, feather);
		mask.write(box, part.data);
	});
	adjusted = {painting: state.painting, last: lastStep(), changed};
	isAdjusting = false;
	if (!changed) paintingChanged();
	showAdjusting();
}

function showAdjusting() {
	for (const name of ADJUST) {
		if (!isAdjusting && !isSameAdjusting()) input(name).value = 0;
		find(`[data-of="${name}"]`).textContent = `${input(name).value} px`;
	}
}
