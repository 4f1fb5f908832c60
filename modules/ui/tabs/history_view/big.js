// One large picture with its parameters. Arrow keys and swipes show the next one.

const big = {id: null, text: ""};

function open(id) {
	if (!part("big").open) part("big").showModal();
	show(id);
}

async function show(id) {
	const at = indexOf(id), picture = state.pictures[at];
	if (!picture) return part("big").close();
	big.id = id;
	part("words").hidden = true;
	part("picture").src = picture.shown;
	part("picture").translate = !picture.prompt;
	part("picture").alt = TEXT.open(picture.prompt);
	part("download").href = picture.url;
	part("download").download = picture.name;
	part("position").textContent = TEXT.position(at + 1, state.count);
	part("facts").textContent = [picture.name, `${picture.width} × ${picture.height}`,
		new Date(picture.created).toLocaleString(undefined, {dateStyle: "medium", timeStyle: "short"})].join(" · ");
	root.querySelector('[data-act="previous"]').disabled = at === 0;
	root.querySelector('[data-act="next"]').disabled = at === state.pictures.length - 1 && !state.cursor;
	if (!part("big").contains(document.activeElement) || document.activeElement.disabled) part("big").focus();
	showButtons(picture);
	for (const near of [state.pictures[at + 1], state.pictures[at - 1]]) if (near) new Image().src = near.shown;
	const answer = await ask("details", {ids: [id]});
	if (!answer || big.id !== id) return;
	big.text = answer.details[0].text;
	part("details").innerHTML = answer.details[0].html;
	root.querySelector('[data-act="copy"]').disabled = !big.text;
}

function showButtons(picture) {
	root.querySelector('[data-act="like"]').setAttribute("aria-pressed", picture.favourite);
	root.querySelector('[data-act="select"]').setAttribute("aria-pressed", state.chosen.has(picture.id));
}

async function step(by) {
	const at = indexOf(big.id) + by;
	if (at >= state.pictures.length) await more();
	if (state.pictures[at]) show(state.pictures[at].id);
}

// The next picture replaces the deleted one.
async function removeShown() {
	const at = indexOf(big.id), id = big.id;
	await remove([id]);
	if (indexOf(id) >= 0) return;
	const next = state.pictures[Math.min(at, state.pictures.length - 1)];
	if (next) show(next.id);
	else part("big").close();
}

function toggleLike() {
	like(big.id, !state.pictures[indexOf(big.id)].favourite);
}

function toggleChosen() {
	choose(big.id, !state.chosen.has(big.id));
	showButtons(state.pictures[indexOf(big.id)]);
}

// Sending uses the tab's hidden buttons, whose Gradio events fill the widgets of the other tab.
function send(target) {
	props.value = big.id;
	part("big").close();
	requestAnimationFrame(() => document.querySelector(`#history_send_to_${target}`).click());
}

async function copy() {
	try {
		await navigator.clipboard.writeText(big.text);
		part("facts").textContent = TEXT.copied;
	} catch {
		part("facts").textContent = TEXT.notCopied;
	}
}

// Words for the picture, or why there are none.
async function describe(tags) {
	const id = big.id;
	part("words").hidden = false;
	part("words").textContent = TEXT.describing;
	const answer = await inpaintPage.ask(server, "words", {id, tags});
	if (big.id !== id) return;
	part("words").textContent = answer.problem || answer.words;
	part("words").translate = Boolean(answer.problem);
}

function onBigKey(event) {
	const act = {ArrowLeft: () => step(-1), ArrowRight: () => step(1), f: toggleLike, x: toggleChosen,
		Delete: removeShown}[event.key];
	if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
	event.preventDefault();
	act();
}

const swipe = {x: 0, y: 0};
function onSwipe(event) {
	if (event.pointerType !== "touch") return;
	if (event.type === "pointerdown") Object.assign(swipe, {x: event.clientX, y: event.clientY});
	const dx = event.clientX - swipe.x, dy = event.clientY - swipe.y;
	if (event.type === "pointerup" && Math.abs(dx) > 50 && Math.abs(dx) > 2 * Math.abs(dy)) step(dx < 0 ? 1 : -1);
}
