// The controls of one ControlNet unit. `fixed.modules` are the preprocessors' sliders by title and `fixed.fields` the
// inputs that every unit has. `fixed.types` and, anew, `server.control_types` say what each Control Type offers.

const form = element.querySelector(".script-form");
const NO_MODEL = "None";
const TYPE = {name: "control_type", label: "Control Type", value: "All", kind: "dropdown",
	help: "What the control picture is about. It shortens the lists of preprocessors and models to those that go together."};
const MODULE = {name: "module", label: "Preprocessor", value: "none", kind: "dropdown",
	help: "Makes the map that the model reads of the control picture. Take none for a picture that is a map already."};
const MODEL = {name: "model", label: "Model", value: NO_MODEL, kind: "dropdown",
	help: "A control network of models/ControlNet. It must be made for the checkpoint's family and for the preprocessor."};
const DEFAULTS = {processor_res: undefined, threshold_a: undefined, threshold_b: undefined};
let types = fixed.types;

const chosenModule = () => fixed.modules[valueOf(MODULE)] ?? {inputs: [], hidden: [], model_free: false};

function list(input, choices, onchoose) {
	const all = [...new Set([...choices, valueOf(input)])];
	return labelled(input, make("select", {onchange: (event) => onchoose(event.target.value)}, ...options(all, valueOf(input))));
}

function chooseType(type) {
	set({...DEFAULTS, control_type: type, module: types[type].default_option, model: types[type].default_model}, {again: true});
}

function modelList(offered) {
	const refresh = make("button", {type: "button", className: "sf-refresh", title: "Look for models again", onclick: look});
	refresh.setAttribute("aria-label", "Look for models again");
	refresh.textContent = "↻";
	const shown = list(MODEL, offered.model_list, (model) => set({model}));
	shown.querySelector("select").disabled = chosenModule().model_free;
	return make("div", {className: "sf-with-button"}, shown, refresh);
}

async function look() {
	types = await server.control_types({});
	draw();
}

function draw() {
	const focused = focusedName();
	const offered = types[valueOf(TYPE)] ?? types.All;
	const {inputs, hidden, model_free} = chosenModule();
	const perfect = fixed.fields.find((one) => one.name === "pixel_perfect");
	form.replaceChildren(
		list(TYPE, Object.keys(types), chooseType),
		list(MODULE, offered.module_list, (module) => set({...DEFAULTS, module}, {again: true})),
		...(model_free ? [] : [modelList(offered)]),
		...inputs.filter((one) => one.name !== "processor_res" || !valueOf(perfect)).map(controls.slider),
		...fixed.fields.filter((one) => !hidden.includes(one.name)).map((one) => controls[one.kind](one)));
	focusOn(focused);
}

watch("value", draw);
draw();
look();
