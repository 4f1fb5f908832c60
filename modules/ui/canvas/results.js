// The results of a job, shown in the place of the picture that they were made from. The strip beside the canvas lists them.

const slider = find(".mc-slider");
const what = find(".mc-what");
let results = []; // {index, number, image, view, size, thumbnail, loaded}; `loaded` is {file, bitmap} once it is there
let wanted = null; // the result that is shown as soon as it is loaded

// Takes over what the server sends. The first one is shown if it is news, unless somebody paints. While the keep-brush is
// on, they wait.
let late = null;
function setResults(sent) {
	late = state.keeping ? sent : null;
	if (late) return;
	const {items = [], news = false} = sent;
	if (news) showLive(null);
	results = items.map((item, index) => ({...item, index, loaded: null}));
	state.result = null;
	tellStrip();
	chooseResult(news && !gesture ? results[0] : null);
	restoreKeeping();
}

// Shows a result; null for the picture.
async function chooseResult(result = null) {
	wanted = result;
	if (!isLoaded(result)) await load(result);
	if (wanted !== result || !isLoaded(result)) return;
	endKeeping();
	state.result = result;
	if (!result) state.comparing = false;
	showResult();
}

// What a press on a result does; null for the picture.
const pickResult = (result = null) => (state.keeping ? chooseSource(result) : chooseResult(result));

const isLoaded = (result) => !result || Boolean(result.loaded); // null is the picture, which is there
const load = (result) => (result.loading ??= loadResult(result));

async function loadResult(result) {
	const file = await inpaintPage.fetchFile(result.image.url, result.image.orig_name);
	const bitmap = await loadPicture(result.view ? result.view.url : file);
	if (bitmap) result.loaded = {file, bitmap};
	else result.loading = null;
}

// The result becomes the picture. The mask stays, and Undo brings the old picture back.
function useResult() {
	const {result} = state;
	if (!result) return;
	changePicture({...result.loaded, image: result.image});
	publish();
}

// Takes the result out of the strip. Its file stays in the history.
function discardResult() {
	const {result} = state;
	if (!result) return;
	const place = results.indexOf(result);
	results.splice(place, 1);
	chooseResult(results[Math.min(place, results.length - 1)]);
	say(TEXT.discarded, [TEXT.bringBack, () => {
		results.splice(place, 0, result);
		hush();
		chooseResult(result);
	}]);
}

function holdPicture(held) {
	state.held = held;
	showResult();
}

// --- comparing

function compare(on) {
	state.comparing = Boolean(on && state.result && state.painting);
	state.split = view.clientWidth / 2;
	showResult();
}

function moveSlider(x) {
	state.split = Math.min(view.clientWidth, Math.max(0, x));
	placeSlider();
}

function placeSlider() {
	const {comparing, held, split, painting} = state;
	const shown = comparing && !held;
	slider.hidden = !shown;
	if (!shown) return void (resultPicture.style.clipPath = "");
	slider.style.transform = `translateX(${split}px)`;
	slider.setAttribute("aria-valuenow", Math.round((100 * split) / Math.max(1, view.clientWidth)));
	const share = (split - state.x) / state.scale / painting.width;
	resultPicture.style.clipPath = `inset(0 0 0 ${100 * Math.min(1, Math.max(0, share))}%)`;
}

// --- the screen

function showResult() {
	tellStrip();
	const {result, held, painting} = state;
	const shown = Boolean(result && painting && !held);
	if (result && resultPicture.src !== result.loaded.bitmap.src) resultPicture.src = result.loaded.bitmap.src;
	resultPicture.hidden = !shown;
	root.dataset.result = result ? result.number : "";
	root.dataset.held = held;
	if (shown) {
		const [width, height] = result.size;
		const sameShape = Math.abs((width * painting.height) / (height * painting.width) - 1) < 0.02;
		resultPicture.style.objectFit = sameShape ? "fill" : "contain";
	}
	what.hidden = !result;
	what.textContent = held ? TEXT.original : result ? named(result) : "";
	placeSlider();
}

function named(result) {
	const {keeping} = state;
	if (!keeping) return TEXT.resultOf(result.number, results.length);
	const source = results.find(({index}) => index === keeping.source - 2);
	return TEXT.keeping(source ? TEXT.theResult(source.number) : TEXT.theOriginal, result.number);
}

function tellStrip() {
	results.forEach((result, place) => (result.number = place + 1));
	root.dispatchEvent(new CustomEvent("results-shown", {bubbles: true, detail: {
		canvas: props.canvas_id, results, chosen: state.result, comparing: state.comparing,
		keeping: state.keeping && {source: state.keeping.source - 2}, keepable: Boolean(state.result && fits(state.result)),
	}}));
}

// --- the job that runs: its preview lies over the part that it works on

const preview = find(".mc-preview");

// `src` is the preview's address, empty for none. It stays where the frame was when the job began.
function showPreview(src) {
	const {crops, painting} = state;
	const box = crops.length ? crops[0] : painting?.mask.box;
	const begins = preview.hidden || root.dataset.live === "shown";
	root.dataset.live = "";
	if (src && begins) {
		preview.hidden = crops.length > 1 || !box;
		if (box) Object.assign(preview.style, placeOf(box));
	}
	if (src) preview.src = src;
	else preview.hidden = true;
}

// What live painting made: {src, box}, or null.
function showLive(made) {
	if (!made) return void (root.dataset.live === "shown" && showPreview(""));
	const {src, box} = made;
	Object.assign(preview.style, placeOf(box));
	preview.src = src;
	preview.hidden = false;
	root.dataset.live = "shown";
}

const placeOf = ({x0, y0, x1, y1}) => ({left: `${x0}px`, top: `${y0}px`, width: `${x1 - x0}px`, height: `${y1 - y0}px`});

function listenToResults() {
	root.addEventListener("preview", (event) => showPreview(event.detail));
	root.addEventListener("live", (event) => showLive(event.detail));
	root.addEventListener("live-switched", (event) => (state.live = event.detail));
	root.addEventListener("results", (event) => setResults(event.detail));
	root.addEventListener("results-act", ({detail: {act, index}}) => {
		if (act === "choose") pickResult(results.find((result) => result.index === index));
		else COMMANDS[act]();
	});
	slider.addEventListener("pointerdown", (event) => {
		event.preventDefault();
		event.stopPropagation();
		slider.focus({preventScroll: true});
		slider.setPointerCapture(event.pointerId);
	});
	slider.addEventListener("pointermove", (event) => {
		event.stopPropagation();
		if (slider.hasPointerCapture(event.pointerId)) moveSlider(locate(event).vx);
	});
	slider.addEventListener("keydown", (event) => {
		const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
		if (!step) return;
		event.preventDefault();
		event.stopPropagation();
		moveSlider(state.split + step * (event.shiftKey ? 1 : view.clientWidth / 50));
	});
	root.dispatchEvent(new CustomEvent("results-wanted", {bubbles: true, detail: {canvas: props.canvas_id}}));
}
