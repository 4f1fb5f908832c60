// The row of tools and its menu "More tools". Groups for which the row has no room stand in the menu.

const bar = find('.mc-bar[role="toolbar"]');
const menu = find(".mc-more");
const inOrder = [...bar.children];
const leaving = inOrder.filter((group) => group.dataset.leaves).sort((a, b) => b.dataset.leaves - a.dataset.leaves);
let left = 0; // how many of them are in the menu
const widths = []; // what they needed in the row

function arrange() {
	if (!bar.clientWidth) return; // in a hidden tab
	const taken = () => [...bar.children].reduce((sum, group) => sum + group.getBoundingClientRect().width, 0);
	const room = bar.clientWidth - 2 * parseFloat(getComputedStyle(bar).paddingLeft);
	while (left && taken() + widths[left - 1] <= room) {
		const group = leaving[--left];
		bar.insertBefore(group, inOrder.slice(inOrder.indexOf(group) + 1).find((one) => one.parentElement === bar));
	}
	while (left < leaving.length && taken() > room) {
		widths[left] = leaving[left].getBoundingClientRect().width;
		find(".mc-left").prepend(leaving[left++]);
	}
}

// The menu is a sheet at the bottom of a narrow window, so that the picture stays in sight; elsewhere it is below its button.
function placeMenu() {
	const below = button("more").getBoundingClientRect();
	menu.style.setProperty("--mc-left", `${Math.max(8, below.right - menu.offsetWidth) + scrollX}px`);
	menu.style.setProperty("--mc-top", `${below.bottom + 4 + scrollY}px`);
	menu.style.setProperty("--mc-room", `${Math.max(160, innerHeight - below.bottom - 12)}px`);
}

button("more").popoverTargetElement = menu;
menu.addEventListener("toggle", placeMenu);
menu.addEventListener("click", ({target}) => {
	if (target.closest("button") && !target.closest('[data-label="zoom"], [data-label="mask"]')) menu.hidePopover();
});
new ResizeObserver(arrange).observe(bar);
