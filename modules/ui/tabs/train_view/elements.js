// The elements of the tab, calls to the server, and the tab's state.

const {make} = inpaintPage;
element.innerHTML = begun.html;
element.append(make("style", {textContent: begun.style}));
const part = (name) => element.querySelector(`[data-part="${name}"]`);

// pictures: those of the chosen folder. captioning: whether captions are being made. job: the training that is watched.
const state = {pictures: [], captioning: false, job: begun.job};

const say = (sentence) => { part("note").textContent = sentence; };
const tell = (sentence) => { part("said").textContent = sentence; };

// The answer of a server function. Reports an error by `report` and returns null if it fails.
async function ask(name, question, report = say) {
	const answer = await inpaintPage.ask(server, name, question);
	if (answer.problem) report(answer.problem);
	return answer.problem ? null : answer;
}

function fill(select, names, chosen = select.value) {
	select.replaceChildren(...names.map((name) => make("option", {value: name, textContent: name})));
	if (names.includes(chosen)) select.value = chosen;
}
