// Files that are chosen, dropped or pasted, and loading and saving the mask.

const CHOSEN = {choose: choosePicture, uploadMask, other: selectDifference};
const chooseFile = (kind) => find(`[data-file="${kind}"]`).click();

// A picture that comes with the program.
async function trySample() {
	const {file, problem} = await inpaintPage.ask(server, "sample");
	if (problem) return say(problem, [TEXT.ok, hush]);
	await choosePicture(await inpaintPage.fetchFile(file, "sample.jpg"));
	return say(TEXT.sampleHint, [TEXT.ok, hush]);
}

// White is painted, or opaque in a picture with transparency.
async function uploadMask(file) {
	const loaded = await loadPicture(file);
	if (!loaded) return;
	const [width, height] = [loaded.naturalWidth, loaded.naturalHeight];
	const bytes = resizeBytes(bytesFromPixels(bitmapPixels(loaded)), width, height, ...state.painting.size);
	edit(({mask}) => mask.replace(bytes));
	if (!state.painting.mask.painted) say(TEXT.maskEmpty, [TEXT.ok, hush]);
	else if ([width, height].join() !== state.painting.size.join()) say(TEXT.maskResized(width, height), [TEXT.ok, hush]);
	else hush();
}

function downloadMask() {
	const link = document.createElement("a");
	link.href = layerUrl(state.painting.mask);
	link.download = `${state.file.name.replace(/\.[^.]*$/, "")}_mask.png`;
	link.click();
}
