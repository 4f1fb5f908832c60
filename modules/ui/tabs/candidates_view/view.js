// The strip of results. The canvas of the tab knows which one is shown; this draws it and passes presses on.

const {make} = inpaintPage;
const root = element.querySelector(".rs"), strip = element.querySelector(".rs-strip"), acts = element.querySelector(".rs-acts"), keep = element.querySelector(".rs-keep");
const canvas = () => document.querySelector(`.mc[data-canvas="${props.canvas_id}"]`);
const tell = (type, detail) => canvas()?.dispatchEvent(new CustomEvent(type, {detail}));
const last = element.querySelector(".rs-last");
const handOver = () => tell("results", {items: props.value?.items ?? [], news: props.value?.news});

function makeThumbnail({index, number, thumbnail, image, view}) {
	const picture = make("img", {src: thumbnail, alt: "", "data-picture": (view ?? image).url, draggable: true});
	return make("button", {type: "button", className: "rs-one", "data-index": index, ariaLabel: `Result ${number}`,
		title: `Result ${number}`}, picture, make("b", {}, String(number)));
}

let drawn = "", chosenIndex = null;
function draw({results, chosen, comparing, keeping, keepable}) {
	const state = results.map((result) => `${result.index} ${result.image.url}`).join();
	if (state !== drawn) {
		drawn = state;
		const original = make("button", {type: "button", className: "rs-one rs-original", title: "The picture itself (hold O)"}, "Original");
		strip.replaceChildren(...(results.length ? [original, ...results.map(makeThumbnail)] : []));
	}
	root.dataset.empty = !results.length;
	acts.hidden = !results.length || Boolean(keeping);
	keep.hidden = !keeping;
	last.hidden = !results.length;
	const shown = chosen ?? results[0];
	if (shown) last.style.backgroundImage = `url("${shown.thumbnail}")`;
	const pressed = keeping ? keeping.source : chosen?.index ?? -1;
	for (const one of strip.children) {
		one.setAttribute("aria-pressed", Number(one.dataset.index ?? -1) === pressed);
		one.disabled = Boolean(keeping) && one.dataset.index === String(chosen.index);
	}
	for (const button of acts.children) button.disabled = !chosen || (button.dataset.act === "keepBrush" && !keepable);
	acts.querySelector('[data-act="compare"]').setAttribute("aria-pressed", comparing);
	strip.querySelector('[aria-pressed="true"]')?.scrollIntoView({block: "nearest", inline: "nearest"});
	if (chosen && chosen.index !== chosenIndex) trigger("select", {index: chosen.index});
	chosenIndex = chosen?.index ?? chosenIndex;
}

strip.addEventListener("click", (event) => {
	const one = event.target.closest(".rs-one");
	if (one) tell("results-act", {act: "choose", index: Number(one.dataset.index)});
});
for (const row of [acts, keep]) row.addEventListener("click", (event) => {
	const act = event.target.closest("[data-act]")?.dataset.act;
	if (act) tell("results-act", {act});
});

last.addEventListener("click", () => {
	if (chosenIndex !== null) tell("results-act", {act: "choose", index: chosenIndex});
	canvas()?.scrollIntoView({block: "start"});
});

// A listener on the document exists as long as the element is part of it. Gradio builds a tab before it puts it there.
const life = new AbortController();
let wasThere = false;
for (const [type, act] of [["results-shown", ({detail}) => draw(detail)], ["results-wanted", handOver],
	["results-kept", ({detail: {base, labels}}) => trigger("apply", {job: props.value.job, base, labels})]]) {
	document.addEventListener(type, (event) => {
		if (wasThere && !element.isConnected) return life.abort();
		wasThere ||= element.isConnected;
		if (event.detail.canvas === props.canvas_id) act(event);
	}, {signal: life.signal});
}
watch("value", () => {
	chosenIndex = 0; // the server shows what belongs to the first
	handOver();
});
handOver();
