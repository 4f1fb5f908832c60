// One control for each kind of declared input. The values are in `props.value.arguments` by name. `draw`, which the form
// has, draws all controls anew.

const {make} = inpaintPage;
let serial = 0;

const valueOf = (input) => props.value.arguments?.[input.name] ?? input.value;

function set(changes, {again = false} = {}) {
	props.value = {...props.value, arguments: {...props.value.arguments, ...changes}};
	trigger("change");
	if (again) draw();
}

// Offers what there is now, such as files that came after the page: `server.live_choices` tells.
async function renew(input, select) {
	const found = await server.live_choices(input.name).catch(() => []);
	if (!found.length || found.join("\n") === input.choices.join("\n")) return;
	input.choices = found;
	select.replaceChildren(...options(found, valueOf(input)));
}

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
		onfocus: (event) => input.live && renew(input, event.target),
		onchange: (event) => set({[input.name]: event.target.value}, {again: true})}, ...options(input.choices, valueOf(input)))),
	checkbox: (input) => make("label", {className: "sf-check", ...named(input)}, make("input", {
		type: "checkbox", checked: valueOf(input),
		onchange: (event) => set({[input.name]: event.target.checked}, {again: true})}), make("span", {textContent: input.label})),
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

// A control that is drawn anew keeps the focus.
const focusedName = () => (element.contains(document.activeElement) ? document.activeElement.closest("[data-name]")?.dataset.name : null);
const focusOn = (name) => element.querySelector(`[data-name="${name}"] :is(select, input, textarea)`)?.focus();
