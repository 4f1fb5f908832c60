// Adds the event listeners.

const ACTS = {
	look, undo, compare, unselect, previous: () => step(-1), next: () => step(1), swap, copy,
	describe: () => describe(false), tags: () => describe(true),
	like: toggleLike, select: toggleChosen, delete: removeShown,
	rebuild: async () => {
		unselect();
		if (await ask("rebuild")) look();
	},
	clear: () => { form.reset(); say(""); reload(); },
	likeSelected: () => [...state.chosen.keys()].forEach((id) => like(id, true)),
	deleteSelected: () => remove([...state.chosen.keys()]),
	send: (button) => send(button.dataset.target),
	close: (button) => button.closest("dialog").close(),
};

root.addEventListener("click", (event) => {
	const button = event.target.closest("[data-act]");
	const id = Number(event.target.closest(".hi-tile")?.dataset.id);
	if (event.detail > 1 && button?.dataset.act.startsWith("delete")) return; // a double click deletes one picture, not the next one as well
	if (button) ACTS[button.dataset.act](button);
	else if (event.target.closest(".hi-open")) open(id);
	else if (event.target.closest(".hi-like")) like(id, event.target.closest(".hi-like").getAttribute("aria-pressed") !== "true");
	else if (event.target.matches("dialog")) event.target.close(); // outside its content
});
part("grid").addEventListener("change", ({target}) => choose(Number(target.closest(".hi-tile").dataset.id), target.checked));
part("grid").addEventListener("keydown", onGridKey);
part("big").addEventListener("keydown", onBigKey);
part("big").addEventListener("close", () => {
	tileOf(big.id)?.querySelector(".hi-open").focus();
	big.id = null;
});
part("picture").addEventListener("pointerdown", onSwipe);
part("picture").addEventListener("pointerup", onSwipe);
part("slider").addEventListener("input", slide);

let typing;
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("input", () => {
	say("");
	showFilters();
	clearTimeout(typing);
	typing = setTimeout(() => { state.pictures = []; reload(); }, 200);
});

// New pictures are loaded when the tab is shown, and the next tiles when the end of the page is near.
new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && look()).observe(form);
new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && more(), {rootMargin: "800px"})
	.observe(part("end"));
reload();
