// Two pictures in one frame. An invisible slider over them sets how much of each is shown.

const SIDES = ["left", "right"];
let compared = [];

function compare() {
	compared = [...state.chosen.values()];
	part("versus").showModal();
	showPair();
}

async function showPair() {
	const shown = compared;
	SIDES.forEach((side, i) => {
		part(side).src = shown[i].shown;
		part(side).translate = !shown[i].prompt;
		part(side).alt = TEXT.open(shown[i].prompt);
		part(`${side}Name`).textContent = shown[i].name;
	});
	part("pair").style.setProperty("--ratio", shown[0].width / shown[0].height);
	part("slider").focus();
	slide();
	part("differences").replaceChildren();
	const answer = await ask("details", {ids: shown.map((picture) => picture.id)});
	if (answer && shown === compared) part("differences").append(differences(...answer.details));
}

function slide() {
	part("pair").style.setProperty("--at", `${part("slider").value}%`);
}

function swap() {
	compared = compared.toReversed();
	showPair();
}

// The differences of two texts as rows of three cells.
function differences(one, other) {
	const values = [one, other].map((side) => new Map(side.pairs));
	const keys = [...new Set([...values[0].keys(), ...values[1].keys()])]
		.filter((key) => values[0].get(key) !== values[1].get(key));
	if (!keys.length) return make("p", {textContent: TEXT.same});
	return make("table", {translate: false}, make("tbody", {}, ...keys.map((key) => make("tr", {}, make("th", {scope: "row", textContent: key}),
		...values.map((side) => make("td", {textContent: side.get(key) || TEXT.other}))))));
}
