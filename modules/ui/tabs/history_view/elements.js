// The parts of the tab, asking the server, and what the tab knows.

const {make} = inpaintPage;
const root = element.querySelector(".hi");
const part = (name) => root.querySelector(`[data-part="${name}"]`);
const form = root.querySelector("form");
const PAGE = 60, MOST = 600;

// pictures: those that are shown, newest first. cursor: where the next ones begin, null when there are none.
// chosen: the selected pictures by their ids, whether or not the filters still show them.
const state = {pictures: [], cursor: null, count: 0, version: -1, chosen: new Map(), asked: 0, loading: false};
const indexOf = (id) => state.pictures.findIndex((picture) => picture.id === id);

// The answer of a function of the server, or null when there is none, which is said.
async function ask(name, question) {
	const answer = await inpaintPage.ask(server, name, question);
	if (answer.problem) say(answer.problem);
	return answer.problem ? null : answer;
}

function say(sentence) {
	part("note").textContent = sentence;
}

const icon = (name) => {
	const holder = document.createElement("template");
	holder.innerHTML = ICONS[name];
	return holder.content.firstChild;
};
