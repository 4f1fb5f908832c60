// A lead and the controls of the chosen script. `props.scripts` are the declarations, `props.value` is {title, arguments}.
// `props.lead` is "dropdown", or "switch" or "" for a single form. `server.axis_values` returns the choices of an axis of
// the X/Y/Z plot.

const {make} = inpaintPage;
const form = element.querySelector(".script-form");
const NONE = "None";
const SCRIPT_HELP = "A way to make several pictures or to work in passes. Choose one to see its settings.";
const axisValues = {}; // label of an axis -> its choices
let serial = 0;

const script = () => (props.lead ? props.scripts.find((one) => one.title === props.value?.title) : props.scripts[0]);
const valueOf = (input) => props.value.arguments?.[input.name] ?? input.value;
const inputOf = (name) => script().inputs.find((one) => one.name === name);

function set(changes, {again = false} = {}) {
	props.value = {...props.value, arguments: {...props.value.arguments, ...changes}};
	trigger("change");
	if (again) draw();
}

function chooseScript(title) {
	props.value = {title, arguments: {}};
	trigger("change");
	draw();
}

// --- one control for each kind of input

const named = ({name, help}) => ({"data-name": name, ...(help && {"data-help": help})});

function labelled(input, control, tag = "label") {
	return make(tag, {className: `sf-field sf-${input.kind}`, ...named(input)},
		make("span", {className: "sf-label", textContent: input.label}), control);
}

function options(choices, chosen) {
	return choices.map((choice) => make("option", {value: choice, textContent: choice, selected: choice === chosen}));
}

const controls = {
	note: (input) => make("p", {className: "sf-note", textContent: input.label}),
	text: (input) => labelled(input, make("input", {
		type: "text", value: valueOf(input), oninput: (event) => set({[input.name]: event.target.value})})),
	dropdown: (input) => labelled(input, make("select", {
		onchange: (event) => set({[input.name]: event.target.value}, {again: true})}, ...options(input.choices, valueOf(input)))),
	checkbox: (input) => make("label", {className: "sf-check", ...named(input)}, make("input", {
		type: "checkbox", checked: valueOf(input),
		onchange: (event) => set({[input.name]: event.target.checked}, {again: input.name === "csv_mode"})}), make("span", {textContent: input.label})),
	radio(input) {
		const name = `sf-${++serial}`;
		return labelled(input, make("div", {className: "sf-choices", role: "radiogroup", ariaLabel: input.label},
			...input.choices.map((choice) => make("label", {}, make("input", {
				type: "radio", name, checked: choice === valueOf(input), onchange: () => set({[input.name]: choice})}), choice))), "div");
	},
	checkboxes: (input) => labelled(input, several(input, input.choices), "div"),
	slider(input) {
		const bounds = {min: input.low, max: input.high, step: input.step, value: valueOf(input), ariaLabel: input.label};
		const range = make("input", {type: "range", ...bounds});
		const number = make("input", {type: "number", ...bounds});
		const follow = (from, to) => () => {
			if (from.value === "" || !from.checkValidity()) return;
			to.value = from.value;
			inpaintPage.fillSlider(range);
			set({[input.name]: Number(from.value)});
		};
		range.oninput = follow(range, number);
		number.oninput = follow(number, range);
		number.onblur = () => {
			number.value = range.value = valueOf(input);
			inpaintPage.fillSlider(range);
		};
		inpaintPage.fillSlider(range);
		return make("div", {className: "sf-field sf-slider", ...named(input)},
			make("span", {className: "sf-label", textContent: input.label}), number, range);
	},
	lines(input) {
		const box = make("textarea", {
			rows: 4, value: valueOf(input), oninput: (event) => set({[input.name]: event.target.value})});
		const file = make("input", {type: "file", accept: "text/plain,.txt", hidden: true, onchange: async () => {
			const [chosen] = file.files;
			file.value = "";
			if (!chosen || chosen.size > 2 ** 20) return;
			box.value = await chosen.text();
			set({[input.name]: box.value});
		}});
		const button = make("button", {type: "button", textContent: "Upload prompt inputs", onclick: () => file.click()});
		return make("div", {}, labelled(input, box), file, button);
	},
};

// Check boxes for a list of values. The values are in the order of `choices`.
function several(input, choices) {
	return make("div", {className: "sf-choices", role: "group", ariaLabel: input.label}, ...choices.map((choice) =>
		make("label", {}, make("input", {type: "checkbox", checked: valueOf(input).includes(choice), onchange: (event) => {
			const kept = choices.filter((one) => (one === choice ? event.target.checked : valueOf(input).includes(one)));
			set({[input.name]: kept});
		}}), choice)));
}

// --- the axes of the X/Y/Z plot

const AXIS = /^([xyz])_(type|values|chosen)$/;

// Values to a comma-separated list, with quotes around a value that has a comma; and back.
const line = (values) => values.map((one) => (/[",]/.test(one) ? `"${one.replaceAll('"', '""')}"` : one)).join(",");
const items = (text) => [...text.matchAll(/\s*(?:"((?:[^"]|"")*)"|([^,]*))\s*(?:,|$)/g)]
	.map(([, quoted, plain]) => (quoted?.replaceAll('""', '"') ?? plain ?? "").trim()).filter(Boolean);

function axisRow(axis) {
	const [type, text, chosen] = ["type", "values", "chosen"].map((part) => inputOf(`${axis}_${part}`));
	const label = valueOf(type);
	const choices = axisValues[label];
	if (!choices) askFor(label);
	const picked = choices?.length && !valueOf(inputOf("csv_mode"));
	if (picked && !valueOf(chosen).length && valueOf(text)) {
		set({[chosen.name]: choices.filter((one) => items(valueOf(text)).includes(one)), [text.name]: ""});
	} else if (!picked && choices && valueOf(chosen).length) {
		set({[text.name]: choices.length ? line(valueOf(chosen)) : "", [chosen.name]: []});
	}
	const fill = make("button", {
		type: "button", className: "sf-fill", title: `Fill in all values of ${axis.toUpperCase()}`, textContent: "All",
		hidden: !choices?.length, onclick: () => set(picked ? {[chosen.name]: choices} : {[text.name]: line(choices)}, {again: true})});
	const values = picked ? labelled(chosen, several(chosen, choices), "div") : controls.text(text);
	values.hidden = label === "Nothing";
	return make("div", {className: "sf-axis", "data-axis": axis}, controls.dropdown(type), values, fill);
}

async function askFor(label) {
	axisValues[label] = [];
	const found = await server.axis_values(label);
	if (!found.length) return;
	axisValues[label] = found;
	draw();
}

function swapButton(one, other) {
	return make("button", {
		type: "button", textContent: `Swap ${one.toUpperCase()}/${other.toUpperCase()} axes`, "data-swap": one + other,
		onclick: () => set(Object.fromEntries(["type", "values", "chosen"].flatMap((part) => [
			[`${one}_${part}`, valueOf(inputOf(`${other}_${part}`))],
			[`${other}_${part}`, valueOf(inputOf(`${one}_${part}`))]])), {again: true})});
}

// --- the whole

const leads = {
	"": () => [],
	dropdown: (chosen) => [make("label", {className: "sf-field sf-dropdown", ...named({name: "title", help: SCRIPT_HELP})},
		make("span", {className: "sf-label", textContent: "Script"}),
		make("select", {onchange: (event) => chooseScript(event.target.value)},
			...options([NONE, ...props.scripts.map((one) => one.title)], chosen?.title ?? NONE)))],
	switch: (chosen) => [make("label", {className: "sf-check sf-switch", "data-name": "title"}, make("input", {
		type: "checkbox", checked: Boolean(chosen), onchange(event) {
			props.value = {...props.value, title: event.target.checked ? props.scripts[0].title : NONE};
			trigger("change");
			draw();
		}}), props.scripts[0].title)],
};

function draw() {
	const focused = form.contains(document.activeElement) ? document.activeElement.closest("[data-name]")?.dataset.name : null;
	const chosen = script();
	form.replaceChildren(...leads[props.lead](chosen));
	if (chosen) {
		const axes = inputOf("x_type") ? ["x", "y", "z"] : [];
		form.append(...axes.map(axisRow));
		if (axes.length) form.append(make("div", {className: "sf-row"}, ...["xy", "yz", "xz"].map((pair) => swapButton(...pair))));
		form.append(...chosen.inputs.filter((one) => !AXIS.test(one.name)).map((one) => controls[one.kind](one)));
	}
	form.querySelector(`[data-name="${focused}"] :is(select, input, textarea)`)?.focus();
}

watch("value", draw);
draw();
