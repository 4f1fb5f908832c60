// The keep-brush: parts of the picture or of other results, painted into the result that is shown. A stroke says which
// picture is kept there, not with what colours; the server makes the result of the files' own values. Until then the browser
// stores the strokes, so that they survive a reload.

const keptPaper = find(".mc-kept");
const ORIGINAL = 1; // the number of the picture; result `index` has the number index + 2. 0 is the result that is shown

// state.keeping is {result, source, painting, history}: the result painted into, the number of the picture that is painted
// in, and its strokes, whose mask has these numbers.
const brushed = () => state.keeping?.painting ?? state.painting; // what the brush paints on
const historyOf = () => state.keeping?.history ?? state.history;

function beginKeeping() {
	const {result, painting} = state;
	if (!result || !fits(result)) return;
	state.comparing = false;
	if (!SHAPES.includes(state.tool) && state.tool !== "pan") state.tool = "freehand";
	state.keeping = {result, source: ORIGINAL, painting: new Painting(...painting.size), history: new History()};
	setMode(false);
	showResult();
}

// Whether parts of a result can be painted into another one, or into the picture.
const fits = ({size}) => Boolean(state.painting) && size.join() === state.painting.size.join();

// Chooses what is painted in: a result, or the picture if it is null.
async function chooseSource(result) {
	const {keeping} = state;
	if (result === keeping.result || (result && !fits(result))) return;
	if (!isLoaded(result)) await load(result);
	if (state.keeping !== keeping || !isLoaded(result)) return;
	keeping.source = result ? result.index + 2 : ORIGINAL;
	setMode(false);
	showResult();
}

// Ends it. The server makes a new result of what was painted if `wanted`.
function endKeeping(wanted = false) {
	const {keeping} = state;
	if (!keeping) return;
	cancelGesture();
	state.keeping = null;
	store({strokes: null});
	keptPaper.width = keptPaper.height = 1;
	if (wanted && keeping.painting.painted) {
		root.dispatchEvent(new CustomEvent("results-kept", {bubbles: true, detail: {
			canvas: props.canvas_id, base: keeping.result.index, labels: layerUrl(keeping.painting.mask),
		}}));
	}
	showState();
	showResult();
	if (late) setResults(late);
}

// --- the strokes that are stored: {path, source, painting, done, undone}, with the path of the result's file

let unfinished = null; // those of before a reload, until their result is there

function keepingChanged() {
	clearTimeout(keepingChanged.timer);
	state.keeping.isStored = false;
	keepingChanged.timer = setTimeout(storeStrokes, 350);
	redraw();
	showState();
}

function storeStrokes() {
	const {keeping} = state;
	if (!keeping || keeping.isStored !== false) return;
	keeping.isStored = true;
	const {done, undone} = keeping.history.nearest(STORED_BYTES);
	const changes = (steps) => steps.map((step) => step.changes);
	store({strokes: {path: keeping.result.image.path, source: keeping.source, painting: keeping.painting.toRecord(),
		done: changes(done), undone: changes(undone)}});
}

// Goes on with those strokes as soon as the picture and its results are there.
async function restoreKeeping() {
	const found = unfinished && results.find(({image}) => image.path === unfinished.path);
	if (!found || !fits(found)) return;
	const all = results;
	await Promise.all(all.map(load));
	if (results !== all || !unfinished || !all.every(isLoaded)) return;
	const {painting, source, done, undone} = unfinished;
	unfinished = null;
	await chooseResult(found);
	beginKeeping();
	const {keeping} = state;
	keeping.painting = Painting.fromRecord(painting);
	const steps = (changes) => changes.map((one) => new PaintStep(keeping.painting, one));
	Object.assign(keeping.history, {done: steps(done), undone: steps(undone)});
	await chooseSource(all.find(({index}) => index === source - 2) ?? null);
	redraw();
}

// The colours of a picture by its number, in memory order.
function wordsOf(number) {
	const {keeping} = state;
	keeping.words ??= {};
	const one = number === ORIGINAL ? state.bitmap : results.find(({index}) => index === number - 2)?.loaded.bitmap;
	return (keeping.words[number] ??= wordsFromPixels(one === state.bitmap ? picturePixels() : bitmapPixels(one)));
}

// Draws what is painted in over the result.
function drawKept(layer) {
	if (keptPaper.width !== layer.width || keptPaper.height !== layer.height) [keptPaper.width, keptPaper.height] = [layer.width, layer.height];
	const context = keptPaper.getContext("2d");
	for (const {x0, y0, x1, y1} of layer.takeDirty(MOST_TILES)) {
		const pixels = new ImageData(x1 - x0, y1 - y0);
		const target = new Uint32Array(pixels.data.buffer);
		for (let y = y0, i = 0; y < y1; y++) {
			for (let at = y * layer.width + x0; at < y * layer.width + x1; at++, i++) {
				const number = layer.data[at];
				if (number) target[i] = wordsOf(number)[at];
			}
		}
		context.putImageData(pixels, x0, y0);
	}
}
