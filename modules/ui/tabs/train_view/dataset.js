// Folders, their pictures, and the captions.

const folder = () => part("folder").value;

async function showFolder(given) {
	const found = given ?? (folder() ? await ask("folder", {folder: folder()}) : {pictures: [], sizes: []});
	if (!found) return;
	state.pictures = found.pictures;
	for (const name of ["table", "tools"]) part(name).hidden = !found.pictures.length;
	const sizes = found.sizes.map(({size, count}) => `${size} (${count})`).join(", ");
	part("sizes").replaceChildren(...(sizes ? [make("span", {textContent: "Proportions, at 512 pixels:"}), " ", make("span", {textContent: sizes, translate: false})] : []));
	part("table").tBodies[0].replaceChildren(...found.pictures.map(rowOf));
}

function rowOf(picture) {
	const name = make("div", {textContent: picture.name, translate: false});
	const about = [picture.problem ? "" : picture.size, picture.problem, picture.alike && `It looks like ${picture.alike}.`].filter(Boolean);
	const gone = make("button", {type: "button", textContent: "Remove", "aria-label": `Remove ${picture.name}`});
	gone.addEventListener("click", async () => showFolder(await ask("remove", {folder: folder(), picture: picture.name}) ?? undefined));
	const opens = make("button", {type: "button", textContent: "Mask and crop", "aria-label": `Mask and crop of ${picture.name}`});
	opens.addEventListener("click", () => openCanvas(picture));
	const text = make("textarea", {value: picture.caption, rows: 3, translate: false, "aria-label": `Caption of ${picture.name}`});
	text.addEventListener("change", () => saveCaption(picture, text.value));
	const row = make("tr", {}, make("td", {}, make("img", {src: picture.address, alt: "", loading: "lazy"}), name,
		...about.map((sentence) => make("div", {textContent: sentence})), ...marksOf(picture), opens, gone), make("td", {}, text));
	Object.assign(picture, {field: text, opens});
	return row;
}

async function saveCaption(picture, text) {
	picture.caption = picture.field.value = text;
	return ask("write", {folder: folder(), captions: {[picture.name]: text}});
}

async function addFiles(files) {
	if (!folder()) return say("Create a folder first.");
	say("Adding pictures…");
	const sent = [];
	for (const file of files) {
		const one = await upload(file).catch(() => null);
		if (!one) return say("A picture could not be sent.");
		sent.push({name: file.name, path: one.path});
	}
	const found = await ask("add", {folder: folder(), files: sent});
	await showFolder(found ?? undefined);
	if (found) say("");
}

async function create() {
	const name = part("new").value.trim();
	const made = await ask("new_folder", {folder: name});
	if (!made) return;
	part("new").value = "";
	say("");
	fill(part("folder"), made.folders, name);
	showFolder();
}

async function replaceAll() {
	const find = part("find").value, instead = part("instead").value, captions = {};
	if (!find) return say("Write what is to be found.");
	const pattern = new RegExp(find.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "gi");
	for (const picture of state.pictures) {
		const text = picture.caption.replace(pattern, () => instead);
		if (text !== picture.caption) captions[picture.name] = picture.caption = picture.field.value = text;
	}
	if (await ask("write", {folder: folder(), captions})) say(`${Object.keys(captions).length} captions were changed.`);
}

// Captions all pictures one by one, until the button is pressed again.
async function captionAll(button) {
	if (state.captioning) return void (state.captioning = false);
	if (!part("describer").value) return say("There is no captioner and no tagger here.");
	state.captioning = true;
	button.textContent = "Stop captioning";
	let done = 0;
	for (const picture of state.pictures) {
		if (!state.captioning) break;
		say(`Captioning picture ${++done} of ${state.pictures.length}…`);
		const found = await ask("caption", {folder: folder(), picture: picture.name, describer: part("describer").value});
		if (!found) break;
		picture.caption = picture.field.value = found.caption;
		if (done === state.pictures.length) say("");
	}
	state.captioning = false;
	button.textContent = "Caption all";
}

part("folder").addEventListener("change", () => {
	if (opened) closeCanvas();
	showFolder();
});
part("files").addEventListener("change", ({target}) => { addFiles([...target.files]); target.value = ""; });
part("drop").addEventListener("dragover", (event) => { event.preventDefault(); part("drop").classList.add("over"); });
part("drop").addEventListener("dragleave", () => part("drop").classList.remove("over"));
part("drop").addEventListener("drop", (event) => {
	event.preventDefault();
	part("drop").classList.remove("over");
	addFiles([...event.dataTransfer.files]);
});
