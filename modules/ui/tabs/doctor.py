"""What a file of weights is: chosen or dropped on the PNG Info tab, of which only its header is sent."""

from __future__ import annotations

import html
from pathlib import PurePosixPath

import gradio as gr

from modules.errors import UserError
from modules.settings import Settings
from modules.ui.page.events import AT_ONCE

LONGEST_HEADER = 20_000_000

PICKER = """<label class="model-picker">Model file (.safetensors)
<input type="file" accept=".safetensors" id="doctor_file"></label>"""

ON_LOAD = """const input = element.querySelector("input");
const examine = async (file) => {
    const start = await file.slice(0, 8).arrayBuffer();
    const length = start.byteLength < 8 ? 0 : Number(new DataView(start).getBigUint64(0, true));
    const header = length <= MOST ? await file.slice(8, 8 + length).text() : "";
    trigger("click", {name: file.name, header});
};
input.addEventListener("change", () => { if (input.files[0]) { examine(input.files[0]); input.value = ""; } });
element.addEventListener("dragover", (event) => event.preventDefault());
element.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files[0]) examine(event.dataTransfer.files[0]);
});""".replace("MOST", str(LONGEST_HEADER))


def draw(settings: Settings) -> None:
    """Draw the picker and the place for what is said of the file."""
    picker = gr.HTML(PICKER, js_on_load=ON_LOAD, apply_default_css=False, elem_id="doctor", padding=False)
    said = gr.HTML("", js_on_load=None, apply_default_css=False, elem_id="doctor_said")

    def examine(event: gr.EventData) -> str:
        return said_html(str(event.name), str(event.header), settings)

    picker.click(examine, None, said, **AT_ONCE)


def said_html(name: str, header: str, settings: Settings) -> str:
    """The sentences on a file of that name with that header, as HTML."""
    from modules.networks import doctor

    try:
        name = PurePosixPath(name.replace("\\", "/")).name[:200]
        sentences = doctor.examine(doctor.header_of_text(name, header), doctor.spare_files(settings))
    except UserError as error:
        sentences = [error.message]
    rows = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in sentences)
    return f'<div class="info" role="status">{rows}</div>'
