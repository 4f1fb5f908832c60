// The sliders that grow, smooth and feather the mask. While they are moved, they change the mask as it was when the first of
// them was; together they are one step, until something else is painted. Then they are at 0 again. The slider that snaps the
// outline to the picture's edges is a step of its own, which the server makes.

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

let snap = null; // {painting, last, changed, mask}: that step, and the mask's PNG before it
let isSnapping = false; // while it is made

const isSameSnap = () => Boolean(snap && snap.painting === state.painting && snap.last === lastStep());
const snapReach = () => Number(input("snap").value);

// Follows the slider: while the server answers, only where the slider is then counts.
async function snapToEdges() {
	if (!state.image) return say(TEXT.stillSent, [TEXT.ok, hush]);
	if (isSnapping) return showAdjusting();
	isSnapping = true;
	root.dataset.pointing = "true";
	showAdjusting();
	if (!isSameSnap()) snap = {painting: state.painting, last: lastStep(), changed: false, mask: await layerUrlLater(state.painting.mask)};
	for (let reach = null, goes = true; goes && reach !== snapReach();) goes = await snapBy((reach = snapReach()));
	isSnapping = false;
	root.dataset.pointing = "false";
	showState();
}

// Returns false if that did not work, or if something else was painted meanwhile.
async function snapBy(reach) {
	const question = {path: state.image.path, size: state.painting.size, mask: snap.mask, reach};
	const answer = reach ? await inpaintPage.ask(server, "snap", question) : {};
	const picture = answer.mask && (await decoded(answer.mask));
	if (!isSameSnap()) return false;
	if (answer.problem) return say(answer.problem, [TEXT.ok, hush]), false;
	if (snap.changed) state.history.undo();
	snap.changed = Boolean(picture) && edit(({mask}) => mask.replace(bytesFromPixels(bitmapPixels(picture), false)));
	snap.last = lastStep();
	if (!snap.changed) paintingChanged();
	return true;
}

function showAdjusting() {
	for (const name of [...ADJUST, "snap"]) {
		const isMoved = name === "snap" ? isSnapping || isSameSnap() : isAdjusting || isSameAdjusting();
		if (!isMoved) input(name).value = 0;
		find(`[data-of="${name}"]`).textContent = `${input(name).value} px`;
	}
}
