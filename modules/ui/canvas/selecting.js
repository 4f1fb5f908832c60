// Selections: a mask made from the content of the picture. Each is one step. The tolerance still changes the last one.

const SEEKERS = {flood: floodFill, range: colourRange}; // the tools that need a click in the picture

let seen = {bitmap: null, pixels: null};
function picturePixels() {
	if (seen.bitmap !== state.bitmap) seen = {bitmap: state.bitmap, pixels: bitmapPixels(state.bitmap)};
	return seen.pixels;
}

const lastStep = () => state.history.done.at(-1);

// `find(tolerance)` returns the selected bytes.
function select(find) {
	const selected = find(state.tolerance);
	const changed = edit(({mask}) => mask.replace(JOIN[state.join](mask.data, selected)));
	state.selection = {find, changed, last: lastStep()};
	root.dataset.selected = countPainted(selected);
	if (countPainted(selected)) hush();
	else say(TEXT.nothingFound, [TEXT.ok, hush]);
}

function selectAt(at) {
	const [x, y] = [Math.floor(at.x), Math.floor(at.y)];
	const {width, height} = state.painting;
	if (x < 0 || y < 0 || x >= width || y >= height) return;
	const seek = SEEKERS[state.tool];
	select((tolerance) => seek(picturePixels(), x, y, tolerance));
}

const selectTransparency = () => select(() => transparency(picturePixels()));

async function selectDifference(file) {
	const loaded = await loadPicture(file);
	if (!loaded) return;
	const {naturalWidth: width, naturalHeight: height} = loaded;
	if ([width, height].join() !== state.painting.size.join()) return say(TEXT.otherSize(width, height), [TEXT.ok, hush]);
	const other = bitmapPixels(loaded);
	select((tolerance) => difference(picturePixels(), other, tolerance));
}

function setJoin(join) {
	state.join = join;
	showState();
}

// Applies a new tolerance to the last selection, as long as nothing has been painted since.
function setTolerance(tolerance) {
	state.tolerance = tolerance;
	showState();
	const {selection, painting} = state;
	if (!selection || !painting || selection.last !== lastStep()) return;
	if (selection.changed) state.history.undo();
	select(selection.find);
}
