// The Settings tab. `server.read` returns the settings and their values, `server.change` changes some.

const root = element.querySelector(".st");
const part = (name) => root.querySelector(`[data-part="${name}"]`);
const RESET = '<svg viewBox="0 0 20 20" aria-hidden="true"><path d="M4 9.500a6 6 0 1 1 1.800 4.800M4 4.500v5h5"/></svg>';
const rows = new Map(); // name -> {about, row, control}
let values = {};

const {make} = inpaintPage;
// One call after the other, since answers may overtake each other.
let answered = Promise.resolve();
const ask = (name, question) => answered = answered.then(() => inpaintPage.ask(server, name, question));

// --- one control for each kind of setting: its nodes, how to read its value, and how to show one

const single = (node, property = "value") => ({
	nodes: [node], main: node, read: () => node[property], show: (value) => { node[property] = value; }});

const controls = {
	check: () => single(make("input", {type: "checkbox"}), "checked"),
	text: () => single(make("textarea", {rows: 2})),
	colour: () => single(make("input", {type: "color"})),
	choice: ({choices}) => single(make("select", {}, ...choices.map((one) => make("option", {value: one, textContent: one})))),
	number({low, high, whole}) {
		const number = make("input", {type: "number", min: low, max: high, step: whole ? 1 : "any"});
		// Text that is not a number is sent as it is; the server refuses it with a message.
		const read = () => (number.value === "" || number.validity.badInput ? "" : Number(number.value));
		if (high > 10000) return {nodes: [number], main: number, read, show: (value) => { number.value = value; }};
		const range = make("input", {type: "range", min: low, max: high, step: whole ? 1 : 0.01});
		const move = (value) => {
			range.value = value;
			inpaintPage.fillSlider(range);
		};
		range.addEventListener("input", () => move(number.value = range.value));
		number.addEventListener("input", () => { if (number.value !== "") move(number.value); });
		return {nodes: [range, number], main: number, read, show: (value) => move(number.value = value)};
	},
};

function draw(sections) {
	for (const section of sections) {
		const box = make("section", {}, make("h2", {textContent: section.title}), ...section.settings.map(drawRow));
		part("sections").append(box);
		part("nav").append(make("button", {
			type: "button", textContent: section.title, onclick: () => box.scrollIntoView({block: "start"})}));
	}
}

function drawRow(about) {
	const control = controls[about.kind](about), id = `setting_${about.name}`;
	const label = make("label", {id: `${id}_label`, htmlFor: id, textContent: about.label});
	control.main.id = id;
	for (const node of control.nodes) node.setAttribute("aria-labelledby", label.id);
	const reset = make("button", {
		type: "button", className: "st-reset", title: "Reset to default", ariaLabel: "Reset to default", innerHTML: RESET,
		onclick: () => change({[about.name]: about.default})});
	const row = make("div", {className: `st-row st-${about.kind}`, "data-name": about.name},
		make("div", {className: "st-words"}, label, make("p", {className: "st-help", textContent: about.help})),
		make("div", {className: "st-control"}, ...control.nodes), reset,
		make("p", {className: "st-problem", role: "alert", hidden: true}));
	for (const node of control.nodes) node.addEventListener("change", () => change({[about.name]: control.read()}));
	rows.set(about.name, {about, row, control});
	return row;
}

function show(changed) {
	for (const [name, {about, row, control}] of rows) {
		if (!(name in changed)) continue;
		row.classList.toggle("st-changed", changed[name] !== about.default);
		// A control that is being edited keeps its text, and so does one whose value was refused.
		if (changed[name] === values[name]) continue;
		control.show(changed[name]);
		complain(name, "");
	}
	values = {...values, ...changed};
}

function complain(name, sentence) {
	const {row, control} = rows.get(name), problem = row.querySelector(".st-problem");
	row.classList.toggle("st-wrong", sentence !== "");
	control.main.setAttribute("aria-invalid", sentence !== "");
	problem.textContent = sentence;
	problem.hidden = !sentence;
}

async function change(changes) {
	const names = Object.keys(changes);
	const answer = await ask("change", changes);
	part("note").textContent = "";
	part("undo").hidden = true;
	if (answer.problem) {
		if (names.length === 1) complain(names[0], answer.problem);
		else part("note").textContent = answer.problem;
		return false;
	}
	for (const name of names) complain(name, "");
	show(answer.values);
	trigger("submit");
	return true;
}

let before = {};
async function resetAll() {
	const kept = Object.fromEntries([...rows.keys()].map((name) => [name, values[name]]));
	const defaults = Object.fromEntries([...rows].map(([name, {about}]) => [name, about.default]));
	if (!await change(defaults)) return;
	before = kept;
	part("note").textContent = "All settings are at their defaults.";
	part("undo").hidden = false;
}

// Searches the translated texts, the English texts, and the names of the options.
function filter() {
	const words = part("search").value.toLowerCase().split(/\s+/).filter(Boolean);
	for (const {about, row} of rows.values()) {
		const text = `${row.textContent} ${about.label} ${about.help} ${about.name}`.toLowerCase();
		row.hidden = !words.every((word) => text.includes(word));
	}
	const boxes = [...root.querySelectorAll("section")];
	for (const box of boxes) box.hidden = !box.querySelector(".st-row:not([hidden])");
	part("none").hidden = boxes.some((box) => !box.hidden);
}

async function look() {
	const answer = await ask("read");
	part("note").textContent = answer.problem ?? "";
	if (answer.problem) return;
	if (!rows.size) draw(answer.sections);
	show(answer.values);
}

part("search").addEventListener("input", filter);
root.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
part("resetAll").addEventListener("click", resetAll);
part("undo").addEventListener("click", () => change(before));
// The values are refreshed whenever the tab is shown, since programs change options, too.
new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && look()).observe(root.querySelector("form"));
