// The settings, drawn from their declarations.

const fields = {settings: {}, dataset: {}};

function draw(place, group, item) {
	const id = `train_${group}_${item.name}`;
	const shown = item.kind === "choice" || item.name === "checkpoint"
		? make("select", {id, translate: item.kind === "choice"})
		: make("input", {id, type: {flag: "checkbox", number: "number"}[item.kind] ?? "text", ...(item.kind === "number" ? {step: "any"} : {translate: false})});
	if (item.name === "checkpoint") fill(shown, begun.checkpoints);
	else if (item.kind === "choice") fill(shown, item.choices, item.value);
	else if (item.kind === "flag") shown.checked = item.value;
	else shown.value = item.value;
	fields[group][item.name] = shown;
	const label = make("span", {textContent: item.label});
	place.append(make("label", {className: `tr-field${item.kind === "flag" ? " tr-flag" : ""}`, "data-help": item.help}, ...(item.kind === "flag" ? [shown, label] : [label, shown])));
}

const valuesOf = (group) => Object.fromEntries(Object.entries(fields[group]).map(([name, field]) =>
	[name, field.type === "checkbox" ? field.checked : field.value]));
const question = () => ({settings: valuesOf("settings"), dataset: {folder: folder(), ...valuesOf("dataset")}, samples: part("samples").value});

begun.settings.forEach((item, number) => draw(part(number < begun.first ? "first" : "more"), "settings", item));
begun.dataset.forEach((item) => draw(part(item.name === "trigger" ? "first" : "more"), "dataset", item));

async function showFile() {
	const answer = await ask("toml", question(), tell);
	part("file").hidden = !answer;
	if (answer) part("file").textContent = answer.toml;
}

async function estimate() {
	tell("Estimating…");
	const answer = await ask("estimate", question(), tell);
	if (!answer) return;
	const [total, program, weights, learned, work] = ["total", "program", "weights", "learned", "work"].map((name) => (answer.bytes[name] / 2 ** 30).toFixed(1));
	tell(`It will need about ${total} GB of memory: ${program} for the program, ${weights} for the checkpoint, ${learned} for what is learned, ${work} for what is computed at once.`);
}
