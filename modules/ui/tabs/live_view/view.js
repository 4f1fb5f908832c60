// Hands the pictures to the canvas, and asks for a new one when the canvas has published another painting.

const tab = "%s";
const canvas = () => document.querySelector(`#${tab}_canvas .mc`);
const isOn = () => Boolean(document.querySelector(`#${tab}_live input`)?.checked);

function show() {
	const image = element.querySelector("img");
	const [x0, y0, x1, y1] = image?.dataset.box.split(",").map(Number) ?? [];
	canvas()?.dispatchEvent(new CustomEvent("live", {detail: image ? {src: image.src, box: {x0, y0, x1, y1}} : null}));
}
new MutationObserver(show).observe(element, {childList: true, subtree: true, attributes: true});

let asked = "", painted = "", picture = "";
function ask() {
	if (isOn() && painted !== asked) {
		asked = painted;
		document.querySelector(`#${tab}_live_refresh`).click();
	}
}

const life = new AbortController();
const on = (type, act) => document.addEventListener(type, (event) => {
	if (!element.isConnected) return life.abort();
	act(event);
}, {signal: life.signal});
on("published", ({target, detail: {image, mask, paint}}) => {
	if (target !== canvas()) return;
	if (image?.path !== picture) target.dispatchEvent(new CustomEvent("live", {detail: null}));
	picture = image?.path;
	painted = JSON.stringify([image?.path, mask, paint]);
	ask();
});
on("change", ({target}) => {
	if (!target.matches(`#${tab}_live input`)) return;
	canvas().dispatchEvent(new CustomEvent("live-switched", {detail: isOn()}));
	asked = null;
	ask();
});
