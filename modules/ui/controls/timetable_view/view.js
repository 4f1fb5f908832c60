// The noise levels of the run that the tab's controls ask for. The server draws them; nothing is asked while folded.

const box = element.querySelector(".tt"), body = element.querySelector(".tt-body");
let timer;
function ask() {
	clearTimeout(timer);
	if (box.open) timer = setTimeout(() => element.isConnected && trigger("click", {}), 150);
}
box.addEventListener("toggle", ask);
element.addEventListener("timetable", ask);
watch("value", () => { body.innerHTML = props.value ?? ""; });
