// The texts of the History tab that are not in its template.

const TEXT = {
	count: (count) => count === 1 ? "1 picture" : `${count.toLocaleString()} pictures`,
	position: (number, count) => `${number.toLocaleString()} / ${count.toLocaleString()}`,
	reading: (done, total) => `Reading ${done.toLocaleString()} of ${total.toLocaleString()} new files…`,
	understanding: (done, total) => `Reading what pictures mean: ${done.toLocaleString()} of ${total.toLocaleString()}…`,
	nearest: (count) => count === 1 ? "1 picture, by meaning" : `${count.toLocaleString()} pictures, the nearest in meaning first`,
	selected: (count) => `${count.toLocaleString()} selected`,
	nothing: "No pictures yet: what you make appears here.",
	nothingFound: "No picture fits these filters.",
	deleted: (count) => count === 1 ? "1 picture was moved to the trash folder." : `${count} pictures were moved to the trash folder.`,
	restored: (count) => count === 1 ? "1 picture is back." : `${count} pictures are back.`,
	describing: "Looking at the picture…",
	copied: "The parameters were copied.",
	notCopied: "The browser does not allow copying here.",
	open: (prompt) => prompt || "Picture without a prompt",
	like: "Favourite", select: "Select", other: "—", same: "Both have the same parameters.",
};
