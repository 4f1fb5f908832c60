// Icons, 20 x 20. "@name" in the template stands for one.

const ICONS = Object.fromEntries(Object.entries({
	star: "M10 3l2.100 4.600 5 .600-3.700 3.400 1 4.900-4.400-2.500-4.400 2.500 1-4.900L2.900 8.200l5-.600z",
	check: "M4 10.500l4 4 8-9",
	down: "M10 3v10M6 9.500l4 4 4-4M4 16.500h12",
	bin: "M4 5.500h12M8 5.500v-2h4v2M5.500 5.500l.700 11h7.600l.700-11M8.500 8.500v5M11.500 8.500v5",
	cross: "M5 5l10 10M15 5L5 15",
	chevron: "M12.500 4l-6 6 6 6",
}).map(([name, path]) => [name, `<svg viewBox="0 0 20 20" aria-hidden="true"><path d="${path}"/></svg>`]));

for (const place of element.querySelectorAll("button, a")) {
	const name = place.textContent.trim();
	if (name.startsWith("@")) place.innerHTML = ICONS[name.slice(1)];
}
