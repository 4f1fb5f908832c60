// A training that runs: its progress, the curve of its losses, and sample pictures.

const LOOK = 700; // milliseconds between two looks
const WIDTH = 600, HEIGHT = 150, POINTS = 300;

async function train() {
	const going = await ask("train", question(), tell);
	if (going) follow(going.job);
}

async function follow(job) {
	state.job = job;
	running(true);
	for (;;) {
		const now = await ask("progress", {job}, tell);
		if (!now) break;
		show(now);
		if (now.over) break;
		await new Promise((done) => setTimeout(done, LOOK));
	}
	running(false);
}

function running(is) {
	element.querySelector('[data-act="train"]').hidden = is;
	element.querySelector('[data-act="stop"]').hidden = !is;
	part("bar").hidden = !is;
}

function show(now) {
	tell(now.words);
	part("bar").value = now.share;
	part("curve").hidden = now.losses.length < 2;
	if (now.losses.length > 1) part("curve").replaceChildren(curveOf(now));
	const shown = part("rows").children.length;
	if (now.samples.length < shown) part("rows").replaceChildren();
	for (const {address, step} of now.samples.slice(part("rows").children.length)) {
		part("rows").append(make("figure", {}, make("img", {src: address, alt: `Sample of step ${step}`}), make("figcaption", {textContent: `step ${step}`})));
	}
}

// The mean losses of as many stretches of steps as fit, and the validations, as lines.
function curveOf({losses, validations, first, steps}) {
	const size = Math.ceil(losses.length / POINTS), means = [];
	for (let at = 0; at < losses.length; at += size) {
		const some = losses.slice(at, at + size);
		means.push([first + at + some.length / 2, some.reduce((sum, one) => sum + one, 0) / some.length]);
	}
	const most = Math.max(...means.map(([, loss]) => loss), ...validations.map(([, loss]) => loss)) || 1;
	const line = (points, name) => {
		const made = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
		made.setAttribute("class", name);
		made.setAttribute("points", points.map(([step, loss]) => `${(step / steps * WIDTH).toFixed(1)},${(HEIGHT - loss / most * (HEIGHT - 8)).toFixed(1)}`).join(" "));
		return made;
	};
	const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
	svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
	svg.setAttribute("preserveAspectRatio", "none");
	svg.setAttribute("role", "img");
	svg.setAttribute("aria-label", "Loss by step");
	svg.append(line(means, "tr-loss"), line(validations, "tr-held"));
	return svg;
}

const ACTS = {create, replace: replaceAll, caption: captionAll, train, toml: showFile, estimate, keep: keepMarks, whole: () => showCrop(opened.whole), leave: closeCanvas, stop: () => { tell("Stopping after this step…"); ask("stop", {job: state.job}, tell); }};
element.addEventListener("click", ({target}) => {
	const button = target.closest("[data-act]");
	if (button && !button.closest(".mc")) ACTS[button.dataset.act](button);
});

fill(part("folder"), begun.folders);
fill(part("describer"), begun.describers);
inpaintHelp.add({});
showFolder();
if (begun.job) follow(begun.job);
