// Favourites, the selection, deleting and undoing.

async function like(id, favourite) {
	const picture = state.pictures[indexOf(id)];
	if (!await ask("like", {id, favourite})) return;
	if (picture) picture.favourite = favourite;
	tileOf(id)?.querySelector(".hi-like").setAttribute("aria-pressed", favourite);
	if (big.id === id) showButtons(picture);
}

function choose(id, chosen) {
	if (chosen) state.chosen.set(id, state.pictures[indexOf(id)]);
	else state.chosen.delete(id);
	const pick = tileOf(id)?.querySelector(".hi-pick");
	if (pick) pick.checked = chosen;
	showSelection();
}

function showSelection() {
	const count = state.chosen.size;
	part("selection").hidden = count === 0;
	part("selected").textContent = TEXT.selected(count);
	root.querySelector('[data-act="compare"]').disabled = count !== 2;
	root.classList.toggle("hi-choosing", count > 0);
}

function unselect() {
	for (const id of [...state.chosen.keys()]) choose(id, false);
}

async function remove(ids) {
	const answer = await ask("trash", {ids});
	if (!answer) return reload();
	for (const id of ids) {
		choose(id, false);
		tileOf(id)?.remove();
	}
	state.pictures = state.pictures.filter((picture) => !ids.includes(picture.id));
	for (const day of part("grid").querySelectorAll(".hi-day")) {
		if (!day.nextElementSibling?.matches(".hi-tile")) day.remove();
	}
	state.count -= answer.count;
	if (answer.count) say(TEXT.deleted(answer.count)); // 0 if another window was faster
	showState(answer);
	if (isNearEnd()) more();
}

async function undo() {
	const answer = await ask("undo");
	if (!answer) return;
	await reload();
	say(TEXT.restored(answer.count));
	if (big.id !== null) show(big.id);
}
