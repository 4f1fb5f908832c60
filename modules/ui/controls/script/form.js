// A lead and the controls of the chosen script. `props.scripts` are the declarations, `props.value` is {title, arguments}.
// `props.lead` is "dropdown", or "switch" or "" for a single form. `server.axis_values` returns the choices of an axis of
// the X/Y/Z plot.

const form = element.querySelector(".script-form");
const NONE = "None";
const SCRIPT_HELP = "A way to make several pictures or to work in passes. Choose one to see its settings.";
const axisValues = {}; // label of an axis -> its choices

const script = () => (props.lead ? props.scripts.find((one) => one.title === props.value?.title) : props.scripts[0]);
const inputOf = (name) => script().inputs.find((one) => one.name === name);

function chooseScript(title) {
	props.value = {title, arguments: {}};
	trigger("change");
	draw();
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
	const focused = focusedName();
	const chosen = script();
	form.replaceChildren(...leads[props.lead](chosen));
	if (chosen) {
		const axes = inputOf("x_type") ? ["x", "y", "z"] : [];
		form.append(...axes.map(axisRow));
		if (axes.length) form.append(make("div", {className: "sf-row"}, ...["xy", "yz", "xz"].map((pair) => swapButton(...pair))));
		form.append(...chosen.inputs.filter((one) => !AXIS.test(one.name)).map((one) => controls[one.kind](one)));
	}
	focusOn(focused);
}

watch("value", draw);
draw();
