// The queue panel, and what follows from how the queue stands: jobs of this window that nobody watches are watched again,
// and "Generate forever" presses Generate when the window's last job of that tab is done.

const {make} = inpaintPage;
const OFTEN = 1000, SELDOM = 4000; // ms between two looks
const find = (selector) => element.querySelector(selector);
const open = find(".q-open"), panel = find(".q-panel"), list = find("ol");
const rows = new Map(); // job id -> its row and parts
const isOpen = () => panel.matches(":popover-open");

let timer, answer = {jobs: [], tabs: {}};
async function look(ask = server.queue_look, question = {}) {
	clearTimeout(timer);
	const found = await ask({window: inpaintWindow.id, open: isOpen(), ...question}).catch(() => null);
	if (!element.isConnected) return;
	if (found?.jobs) {
		answer = found;
		show();
		for (const [tab, standing] of Object.entries(found.tabs)) watchAgain(tab, standing), goOn(tab, standing);
		tellOfEnd(found.tabs);
	}
	clearTimeout(timer);
	timer = setTimeout(look, isOpen() || forever.size || answer.jobs.some((job) => job.mine) ? OFTEN : SELDOM);
}

// --- the list

function show() {
	const {jobs} = answer, badge = open.querySelector("b");
	badge.hidden = !jobs.length;
	badge.textContent = jobs.length;
	find(".q-none").hidden = jobs.length > 0;
	if (!isOpen()) return;
	showWorkers(answer.workers ?? []);
	const ids = jobs.map((job, place) => job.id ?? `place ${place}`);
	for (const [id, row] of rows) if (!ids.includes(id)) row.item.remove(), rows.delete(id);
	jobs.forEach((job, place) => {
		if (!rows.has(ids[place])) rows.set(ids[place], makeRow(job));
		const row = rows.get(ids[place]);
		if (list.children[place] !== row.item) list.insertBefore(row.item, list.children[place] ?? null);
		fill(row, job, jobs);
	});
}

function makeRow({id}) {
	const row = {
		thumbnail: make("img", {className: "q-thumbnail", alt: ""}), name: make("p", {className: "q-name"}),
		state: make("p", {className: "q-state"}), bar: make("i"),
		up: actButton("↑", "Earlier", {id, places: -1}), down: actButton("↓", "Later", {id, places: 1}),
		cancel: actButton("×", "Cancel this job", {id}),
	};
	row.acts = make("div", {className: "q-acts"}, row.up, row.down, row.cancel);
	row.track = make("div", {className: "q-bar"}, row.bar);
	row.item = make("li", {}, row.thumbnail, make("div", {}, row.name, row.state), row.acts, row.track);
	return row;
}

// --- the workers, where there are several

const STATES = {starting: "Starting", idle: "Ready", working: "At work", lost: "Lost: it is looked for again", refused: "Left out"};
const workerRows = [];
function showWorkers(workers) {
	const ready = workers.filter(({state}) => ["idle", "working"].includes(state)), busy = workers.filter(({state}) => state === "working");
	find(".q-workers").hidden = !workers.length;
	set(find(".q-workers summary"), "textContent", `${ready.length} of ${workers.length} workers are ready, ${busy.length} at work`);
	workers.forEach((worker, place) => {
		if (!workerRows[place]) {
			const row = workerRows[place] = {name: make("p", {translate: false}), state: make("p", {className: "q-state"}), rate: make("p", {className: "q-state"}),
				memory: make("p", {className: "q-state"}), failure: make("p", {className: "q-failure", translate: false})};
			find(".q-workers ul").append(make("li", {}, row.name, row.state, row.rate, row.memory, row.failure));
		}
		const row = workerRows[place];
		set(row.name, "textContent", [worker.number, worker.machine, worker.device, worker.checkpoint].filter(Boolean).join(" · "));
		set(row.state, "textContent", STATES[worker.state]);
		set(row.rate, "textContent", `${worker.pictures_a_minute} pictures in the last minute`);
		const memory = worker.memory.cuda?.system ?? worker.memory.ram, gb = (bytes) => (bytes / 2 ** 30).toFixed(1);
		set(row.memory, "textContent", memory ? `${gb(memory.used)} of ${gb(memory.total)} GB of memory in use` : "");
		set(row.failure, "textContent", worker.failure);
	});
}

const actButton = (sign, title, question) => make("button", {
	type: "button", textContent: sign, title, ariaLabel: title, onclick: () => look(server.queue_act, question)});

// A property is written only if it is another one, so that the page is not translated anew.
function set(node, name, value) {
	if (node[`q_${name}`] === value) return;
	node[`q_${name}`] = value;
	node[name] = value;
}

const WHOSE = {mine: "This window", window: "Another window", program: "A program"};
function fill(row, job, jobs) {
	const runs = job.position === 0;
	set(row.name, "translate", !job.seen || job.titled);
	set(row.name, "textContent", job.seen ? job.name || "Without a prompt" : "Somebody's job");
	const whose = job.titled && job.whose === "program" ? [] : [WHOSE[job.whose]];
	const stand = runs ? (job.step ? `step ${job.step} of ${job.steps}` : `${job.stage || "Running"}…`) : `place ${job.position}`;
	set(row.state, "textContent", [...(job.seen ? [...whose, ...(job.tab ? [job.tab] : [])] : []), job.seen || !runs ? stand : "Running"].join(" · "));
	set(row.acts, "hidden", !job.seen);
	set(row.track, "hidden", !job.seen || !runs);
	row.bar.style.width = `${100 * (job.progress ?? 0)}%`;
	set(row.up, "disabled", job.position <= 1);
	set(row.down, "disabled", runs || job === jobs.at(-1));
	if (job.thumbnail) set(row.thumbnail, "src", job.thumbnail);
	row.thumbnail.style.visibility = job.thumbnail ? "visible" : "hidden";
}

// --- opening and closing

function toggle(on) {
	if (on === isOpen()) return;
	if (on) {
		panel.showPopover();
		const at = open.getBoundingClientRect();
		panel.style.top = `${at.bottom + 6}px`;
		panel.style.left = `${Math.max(8, Math.min(at.left, innerWidth - panel.offsetWidth - 8))}px`;
		look();
	} else panel.hidePopover();
	open.setAttribute("aria-expanded", on);
}

open.addEventListener("click", () => toggle(!isOpen()));
find(".q-close").addEventListener("click", () => {
	toggle(false);
	open.focus();
});
document.addEventListener("pointerdown", (event) => !element.contains(event.target) && toggle(false));
document.addEventListener("keydown", (event) => {
	if (event.key !== "Escape" || !isOpen()) return;
	event.stopImmediatePropagation();
	toggle(false);
	open.focus();
}, {capture: true});

// --- jobs of this window that nobody watches: it was reloaded while it sent one

const unwatched = new Map(); // tab -> how often that was found in a row
function watchAgain(tab, {left}) {
	const button = document.getElementById(`${tab}_interrupt`);
	const lost = left > 0 && !button;
	unwatched.set(tab, lost ? (unwatched.get(tab) ?? 0) + 1 : 0);
	if (unwatched.get(tab) > 1) document.getElementById(`${tab}_follow`)?.click();
}

// --- Generate forever

const PATIENCE = 10; // looks without a new job after which Generate has been refused
const forever = new Map(); // tab -> {last: id of the job after which Generate was pressed, looks}
function setForever(tab, on) {
	if (on) forever.set(tab, {last: null, looks: 0});
	else forever.delete(tab);
	document.getElementById(`${tab}_forever`)?.setAttribute("aria-pressed", on);
}

function goOn(tab, {left, last, state}) {
	const endless = forever.get(tab);
	if (!endless || left) return;
	if (endless.last === null) press(tab, endless, last);
	else if (last !== endless.last) {
		if (state === "done") press(tab, endless, last);
		else setForever(tab, false);
	} else if (++endless.looks > PATIENCE) setForever(tab, false);
}

function press(tab, endless, last) {
	Object.assign(endless, {last, looks: 0});
	document.getElementById(`${tab}_generate`)?.click();
}

// --- telling that this window's jobs are done, when that is wanted

const TELL = "inpaint-webui:tell";
const tell = find(".q-tell input");
tell.checked = inpaintWindow.read(inpaintWindow.local, TELL) === true;
tell.addEventListener("change", () => {
	inpaintWindow.write(inpaintWindow.local, TELL, tell.checked);
	if (tell.checked) beep(), window.Notification?.requestPermission();
});

let waited = false; // whether a job of this window had not ended yet at the last look
function tellOfEnd(tabs) {
	const waits = Object.values(tabs).some(({left}) => left > 0);
	const isEnd = waited && !waits;
	waited = waits;
	if (!isEnd || !tell.checked) return;
	beep();
	if (!document.hasFocus() && window.Notification?.permission === "granted") new Notification("Inpaint WebUI", {body: inpaintLanguage.say("Your pictures are ready.")});
}

// Two soft tones.
let sound = null;
function beep() {
	sound ??= new AudioContext();
	[[660, 0], [880, 0.14]].forEach(([hertz, after]) => {
		const [tone, volume, begin] = [sound.createOscillator(), sound.createGain(), sound.currentTime + after];
		tone.frequency.value = hertz;
		volume.gain.setValueAtTime(0.08, begin);
		volume.gain.exponentialRampToValueAtTime(0.001, begin + 0.3);
		tone.connect(volume).connect(sound.destination);
		tone.start(begin);
		tone.stop(begin + 0.3);
	});
}

document.addEventListener("click", ({target}) => {
	const tab = target.closest?.(".forever")?.id.replace("_forever", "");
	if (tab) setForever(tab, !forever.has(tab)), look();
	else if (target.closest?.(".interrupt")) setForever(target.closest(".interrupt").id.replace("_interrupt", ""), false);
	if (target.closest?.(".go, .interrupt, .skip")) clearTimeout(timer), timer = setTimeout(look, 200);
});
document.addEventListener("visibilitychange", () => document.hidden || look());
look();
