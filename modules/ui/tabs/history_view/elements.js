// The elements of the tab, calls to the server, and the tab's state.

const {make} = inpaintPage;
const root = element.querySelector(".hi");
const part = (name) => root.querySelector(`[data-part="${name}"]`);
const form = root.querySelector("form");
const PAGE = 60, MOST = 600;
const READING = 1000; // milliseconds between two looks at a search by meaning while pictures are read for it

// pictures: the shown ones, newest first, or if `ranked` the nearest. read: [done, total] while pictures are read for a
// search by meaning. cursor: the start of the next ones, null if there are none. chosen: the
// selected pictures by id, whether or not they match the filters.
const state = {pictures: [], cursor: null, count: 0, ranked: false, read: null, version: -1, chosen: new Map(), asked: 0, loading: false};
const indexOf = (id) => state.pictures.findIndex((picture) => picture.id === id);

// The answer of a server function. Reports an error and returns null if it fails.
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
