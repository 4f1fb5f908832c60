// The steps of a finished job, for those who want to look inside. `props.value` is {root, names}: the recordings of the job.

const {make} = inpaintPage;
const find = (selector) => element.querySelector(selector);
const box = find(".st"), slider = find(".st-at"), runs = find(".st-run"), images = find(".st-image"), minus = find(".st-minus"), drawn = find(".st-drawn"), play = find(".st-play");
const PICTURES = { // in the order of the loop
	current: ["Before the blend", "x, or the guess, as the step before left it"],
	original: ["What is kept", "the photograph's latent, in the classic loop with this level's noise"],
	result: ["After the blend", "keep × original + paint × current"],
	x: ["What the network sees", "x at this noise level"],
	x0: ["Its guess", "the finished picture, as far as it can be told now"],
	eps: ["The noise it sees", "x = signal × guess + noise × this"],
	guidance: ["What guidance adds", "the prompt's guess minus the negative prompt's"],
};
const COLOURS = ["#2563eb", "#dc2626", "#16a34a", "#9333ea"];
const view = {x: 0, y: 0, zoom: 1, cell: null};
const MOST_EARLIER = 12;
const known = new Map(); // the runs that were recorded in this tab, by name: the words of a choice
let about = null, other = null, frames = {}, timer, waiting;

const own = () => props.value.names[runs.selectedIndex] ?? props.value.names[0];
const base = () => `${props.value.root}/v1/steps/${own()}`;
const image = () => Math.max(0, images.selectedIndex);
const read = (name) => fetch(`${props.value.root}/v1/steps/${name}`).then((answer) => (answer.ok ? answer.json() : null)).catch(() => null);
const address = (call, name) => `${base()}/${call}/${name}.png?image=${image()}${other ? `&minus=${minus.value}` : ""}`;

function receive() {
	stop();
	const names = props.value?.names ?? [];
	box.hidden = names.length === 0;
	box.open = false;
	about = other = null;
	const now = new Date().toLocaleTimeString();
	for (const [number, name] of names.entries()) if (!known.has(name)) known.set(name, names.length > 1 ? `${now} · ${number + 1}` : now);
	for (const name of [...known.keys()].slice(0, Math.max(0, known.size - MOST_EARLIER))) known.delete(name);
	find(".st-about").textContent = names.length > 1 ? `${names.length} runs` : "";
	runs.replaceChildren(...names.map((name, number) => new Option(`Run ${number + 1}`, name)));
	runs.hidden = names.length < 2;
}

async function load() {
	stop();
	other = null;
	about = await read(own());
	if (!about) {
		find(".st-level").textContent = "This recording is no longer there.";
		find(".st-pictures").replaceChildren();
		return;
	}
	known.set(own(), `${known.get(own()).split(" · ")[0]} · ${about.sampler}`);
	const others = [...known].filter(([name]) => name !== own());
	minus.replaceChildren(new Option("No comparison", ""), ...others.map(([name, words]) => new Option(words, name)));
	minus.hidden = others.length === 0;
	view.cell = null;
	find(".st-plot").hidden = true;
	images.replaceChildren(...Array.from({length: about.images}, (_, number) => new Option(`Picture ${number + 1}`)));
	images.hidden = about.images < 2;
	slider.max = about.calls.length - 1;
	slider.value = slider.max;
	find(".st-about").textContent = [about.sampler, `${about.calls.length} calls`, ...(about.second ? ["second pass"] : [])].join(" · ");
	for (const link of element.querySelectorAll("[data-path]")) link.href = `${base()}/${link.dataset.path}`;
	draw();
}

// Another run is compared with: every picture becomes the difference of the two.
async function compare() {
	const chosen = minus.value;
	const found = chosen ? await read(chosen) : null;
	if (!about || chosen !== minus.value) return;
	const fits = found && found.width === about.width && found.height === about.height && found.images > image();
	if (chosen && !fits) minus.value = "";
	other = fits ? found : null;
	draw();
	if (chosen && !fits) find(".st-level").textContent = found ? "That run has another size." : "This recording is no longer there.";
}

// Before and after are the same picture as x in some loops; then one of them is enough.
function shown() {
	const where = about.calls[0].where;
	return about.shown.filter((name) => name in PICTURES && (!other || other.shown.includes(name)) && !(where !== "x0" && name === "result"));
}

function draw() {
	const names = shown();
	frames = {};
	find(".st-pictures").replaceChildren(...names.map((name) => {
		const img = make("img", {alt: PICTURES[name][0], draggable: false});
		frames[name] = img;
		const frame = make("div", {className: "st-frame"}, img);
		frame.style.aspectRatio = `${about.width} / ${about.height}`;
		return make("figure", {}, frame, make("figcaption", {}, make("b", {textContent: PICTURES[name][0]}), make("span", {textContent: PICTURES[name][1]})));
	}));
	move();
	show();
}

function show() {
	const number = Number(slider.value), call = about.calls[number];
	for (const [name, img] of Object.entries(frames)) {
		img.src = address(number, name);
		img.classList.remove("st-fine");
	}
	clearTimeout(waiting);
	if (drawn.value && !other && !timer) waiting = setTimeout(() => refine(number, frames), 200);
	const facts = [`call ${number + 1} of ${about.calls.length}`, `step ${call.step + 1}`, `t ${call.t.toFixed(1)}`,
		`signal ${call.signal.toFixed(3)}`, `noise ${call.noise.toFixed(3)}`];
	if (call.window) facts.push(`window ${call.window[2] - call.window[0]} × ${call.window[3] - call.window[1]} cells`);
	if (call.control.length) facts.push(`control ${(call.control.reduce((sum, one) => sum + one, 0) / call.control.length).toFixed(3)}`);
	find(".st-against").hidden = !other;
	find(".st-on").disabled = number === 0;
	find(".st-level").textContent = facts.join(" · ");
	slider.setAttribute("aria-valuetext", facts[0]);
	mark();
	const next = about.calls[number + 1];
	if (next) for (const name of Object.keys(frames)) new Image().src = address(number + 1, name);
}

// The autoencoder draws the latents of a call, one after another, as long as nobody looks at another one.
async function refine(number, those) {
	for (const [name, img] of Object.entries(those)) {
		if (name === "guidance") continue; // a difference, not a latent
		const answer = await fetch(`${address(number, name)}&decoded=true`).catch(() => null);
		const said = answer?.ok ? await answer.blob() : await answer?.json().catch(() => null);
		if (those !== frames || number !== Number(slider.value) || !drawn.value || other || timer) return;
		if (!answer?.ok) {
			drawn.value = "";
			find(".st-level").textContent = said?.detail ?? "The server does not answer.";
			return;
		}
		img.src = URL.createObjectURL(said);
		img.onload = () => URL.revokeObjectURL(img.src);
		img.classList.add("st-fine");
	}
}

// --- zoom and pan, the same in all pictures

function move() {
	for (const img of Object.values(frames)) img.style.transform = `translate(${view.x * 100}%, ${view.y * 100}%) scale(${view.zoom})`;
}

function keepInside() {
	for (const axis of ["x", "y"]) view[axis] = Math.min(0, Math.max(1 - view.zoom, view[axis]));
}

function zoomAt(frame, event, factor) {
	const at = place(frame, event), before = view.zoom;
	view.zoom = Math.min(16, Math.max(1, view.zoom * factor));
	for (const axis of ["x", "y"]) view[axis] = at[axis] - (at[axis] - view[axis]) * view.zoom / before;
	keepInside();
	move();
}

// Where an event lies in a frame, each from 0 to 1.
function place(frame, event) {
	const area = frame.getBoundingClientRect();
	return {x: (event.clientX - area.left) / area.width, y: (event.clientY - area.top) / area.height};
}

const fingers = new Map(); // pointer id -> last event
let dragged = 0;
function onPointer(event) {
	const frame = event.target.closest(".st-frame");
	if (event.type === "pointerdown" && frame) {
		frame.setPointerCapture(event.pointerId);
		if (!fingers.size) dragged = 0;
		fingers.set(event.pointerId, event);
	}
	const before = fingers.get(event.pointerId);
	if (!before || !frame) return;
	if (event.type === "pointermove") {
		const area = frame.getBoundingClientRect(), others = [...fingers.values()].filter((one) => one.pointerId !== event.pointerId);
		if (others.length) {
			const far = (one) => Math.hypot(one.clientX - others[0].clientX, one.clientY - others[0].clientY);
			zoomAt(frame, event, far(event) / Math.max(1, far(before)));
		} else {
			view.x += (event.clientX - before.clientX) / area.width;
			view.y += (event.clientY - before.clientY) / area.height;
			keepInside();
			move();
		}
		dragged += Math.hypot(event.clientX - before.clientX, event.clientY - before.clientY);
		fingers.set(event.pointerId, event);
	} else if (event.type === "pointerup" || event.type === "pointercancel") {
		fingers.delete(event.pointerId);
		if (event.type === "pointerup" && dragged < 4) pick(frame, event);
	}
}

// --- the values of one cell over the calls

async function pick(frame, event) {
	const at = place(frame, event), cell = (part, count, offset) => Math.min(count - 1, Math.max(0, Math.floor((part - offset) / view.zoom * count)));
	view.cell = {x: cell(at.x, about.width, view.x), y: cell(at.y, about.height, view.y)};
	const from = base(), answer = await fetch(`${from}/cell?x=${view.cell.x}&y=${view.cell.y}&image=${image()}`).then((one) => (one.ok ? one.json() : null)).catch(() => null);
	if (!answer || from !== base()) return;
	const values = answer.x0, flat = values.flat(), low = Math.min(...flat), high = Math.max(...flat);
	const across = (n) => (values.length < 2 ? 0 : n / (values.length - 1) * 400), down = (value) => 116 - (value - low) / (high - low || 1) * 112;
	find(".st-plot svg").innerHTML = values[0].map((_, channel) =>
		`<polyline stroke="${COLOURS[channel % COLOURS.length]}" points="${values.map((row, n) => `${across(n)},${down(row[channel])}`).join(" ")}"/>`).join("") + "<line y1='0' y2='120'/>";
	find(".st-plot figcaption").textContent = `The guess in cell ${view.cell.x}, ${view.cell.y}: its ${values[0].length} channels from ${low.toFixed(2)} to ${high.toFixed(2)}`;
	find(".st-plot").hidden = false;
	mark();
}

function mark() {
	const line = find(".st-plot line"), at = Number(slider.value) / Math.max(1, Number(slider.max)) * 400;
	line?.setAttribute("x1", at);
	line?.setAttribute("x2", at);
}

// --- playing

function stop() {
	clearInterval(timer);
	timer = undefined;
	play.textContent = "▶";
	play.title = play.ariaLabel = "Play";
}

function pause() {
	stop();
	show();
}

function start() {
	if (slider.value === slider.max) slider.value = 0;
	play.textContent = "❚❚";
	play.title = play.ariaLabel = "Pause";
	timer = setInterval(() => {
		if (!element.isConnected || slider.value === slider.max) return pause();
		slider.value = Number(slider.value) + 1;
		show();
	}, 250);
}

box.addEventListener("toggle", () => box.open && !about && load());
slider.addEventListener("input", () => about && show());
play.addEventListener("click", () => about && (timer ? pause() : start()));
find(".st-on").addEventListener("click", () => about && trigger("click", {name: props.value.names[Math.max(0, runs.selectedIndex)], calls: Number(slider.value)}));
runs.addEventListener("change", load);
images.addEventListener("change", () => about && show());
minus.addEventListener("change", compare);
drawn.addEventListener("change", () => about && show());
for (const type of ["pointerdown", "pointermove", "pointerup", "pointercancel"]) find(".st-pictures").addEventListener(type, onPointer);
find(".st-pictures").addEventListener("wheel", (event) => {
	const frame = event.target.closest(".st-frame");
	if (!frame || (view.zoom === 1 && event.deltaY > 0)) return;
	event.preventDefault();
	zoomAt(frame, event, event.deltaY < 0 ? 1.2 : 1 / 1.2);
}, {passive: false});
watch("value", receive);
receive();
