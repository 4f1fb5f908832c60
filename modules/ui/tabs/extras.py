"""The Extras tab: upscales finished pictures and restores faces, one or many, as one job of the queue.

Each picture is saved as soon as it is finished. A file that cannot be processed is reported, and the others go on.
"""

from __future__ import annotations

import html
import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from modules.base.optional import install_line
from modules.engine import postprocessing
from modules.engine.postprocessing import POSTPROCESSING, Extras, Tools
from modules.errors import InvalidInput, NotFound
from modules.gallery import saving
from modules.imaging.upscale import RESAMPLING
from modules.jobs.job import Job, Origin
from modules.settings import Settings
from modules.ui.canvas.canvas import MaskData, open_picture
from modules.ui.controls import numbers
from modules.ui.controls.numbers import Slider
from modules.ui.controls.request_panel import tool_button
from modules.ui.page.component import Image
from modules.ui.page.events import AT_ONCE, LIVE, QUIET
from modules.ui.page.header import Header
from modules.ui.page.help import explain
from modules.ui.page.messages import told
from modules.ui.tabs.progress_view import Watched
from modules.ui.tabs.tab import Source, Target, connect_send, picture_of, show

MOST_FILES = 500
FOLDER = "extras-images"
SCALES = ("Scale by", "Scale to")
TARGETS = ("img2img", "inpaint")
NEEDED = ("spandrel", "torchvision")

MORE_UPSCALERS = ("More upscalers (ESRGAN, SwinIR, DAT and others) are files, .safetensors or .pth: put them into "
                  "models/ESRGAN and press the round arrow.")
NOT_INSTALLED = "Upscalers from files need two libraries that are not installed here:"


@dataclass(frozen=True)
class Made:
    """A finished picture: its source file, the saved file, the source's parameters text, and a description of the
    postprocessing."""

    source: Path
    path: Path
    parameters: str
    words: str


@dataclass(frozen=True)
class ExtrasTab:
    """The tab's widgets. `chosen` are those of the request, by name. `many` is True while Batch Process is open."""

    header: Header
    sources: gr.Tabs
    many: gr.State
    picture: gr.Image
    files: gr.File
    chosen: dict[str, Any]
    faces: gr.Column
    refresh: gr.Button
    note: gr.HTML
    watched: Watched
    gallery: gr.Gallery
    made: gr.State
    selected: gr.State
    buttons: dict[str, gr.Button]
    compared: gr.ImageSlider
    words: gr.HTML
    parameters: gr.Textbox

    def connect_send(self, button: gr.Button, source: Source, inputs: list[Any], tabs: gr.Tabs) -> None:
        """Connect `button`: it puts the picture that `source` makes of `inputs` into this tab and shows the tab."""

        @told
        def send(*arguments: Any) -> list[Any]:
            picture, _ = source(*arguments)
            return [False, picture.path or picture.image]

        shown = show("single", show("extras", button.click, tabs).then, self.sources)
        shown.then(send, inputs, [self.many, self.picture], **QUIET)


def build(header: Header) -> ExtrasTab:
    """Draw the tab here."""
    with gr.Row(elem_classes="extras-bench"):
        with gr.Column(elem_classes="area-prompt", min_width=300):
            with gr.Tabs(selected="single", elem_id="extras_sources") as sources:
                with gr.Tab("Single Image", id="single") as single:
                    picture = explain(
                        Image(label="Source", format="png", height=280, sources=["upload", "clipboard"],
                              buttons=["fullscreen"], elem_id="extras_image"),
                        "The picture to enlarge or to mend. Drop, paste or choose one.")
                with gr.Tab("Batch Process", id="batch") as batch:
                    files = explain(
                        gr.File(label="Pictures", file_count="multiple", file_types=["image"], type="filepath",
                                height=280, elem_id="extras_files"),
                        "The pictures to work on one after another. All get the same settings.")
            with gr.Row(elem_classes="tight go-row"):
                generate = gr.Button("Generate", variant="primary", size="lg", elem_id="extras_generate",
                                     elem_classes="go")
                interrupt = gr.Button("Interrupt", variant="stop", size="lg", elem_id="extras_interrupt",
                                      visible=False, elem_classes="interrupt")
        with gr.Column(elem_classes="area-results", min_width=300):
            with gr.Column(elem_classes="show"):
                gallery = gr.Gallery(label="Results", show_label=False, format="png", object_fit="contain", columns=2,
                                     height="auto", preview=True, buttons=["download", "fullscreen"],
                                     interactive=False, elem_id="extras_gallery", elem_classes="gallery")
                stage = gr.HTML("", elem_id="extras_stage", elem_classes="stage", js_on_load=None,
                                apply_default_css=False)
            with gr.Row(elem_classes="tight send-row"):
                buttons = {name: gr.Button(f"Send to {name}", size="sm", interactive=False, min_width=90,
                                           elem_id=f"extras_send_to_{name}") for name in TARGETS}
            words = gr.HTML("", elem_id="extras_words", elem_classes="quiet", js_on_load=None, apply_default_css=False)
            parameters = explain(
                gr.Textbox(label="Parameters", lines=2, max_lines=12, interactive=False, buttons=["copy"],
                           elem_id="extras_parameters", elem_classes="infotext"),
                "How the picture was made. Copy it to make the picture again.")
            compared = gr.ImageSlider(label="Before and after", format="png", visible=False, interactive=False,
                                      buttons=["fullscreen"], max_height=560, elem_id="extras_compared")
        with gr.Column(elem_classes="area-settings", min_width=300):
            chosen, refresh, note = _scaling()
            with gr.Column(visible=False, elem_classes="tight", elem_id="extras_faces") as faces:
                chosen |= _face_restoration()
            chosen["cut_out"] = explain(
                gr.Checkbox(False, label="Cut the subject out", elem_id="extras_cut_out"),
                "Makes everything but the subject transparent. It is a guess without a network in models/subject.")
    many = gr.State(False)
    single.select(lambda: False, None, many, **AT_ONCE)
    batch.select(lambda: True, None, many, **AT_ONCE)
    return ExtrasTab(header, sources, many, picture, files, chosen, faces, refresh, note,
                     Watched(generate, interrupt, gr.State(""), stage), gallery, gr.State([]), gr.State(0), buttons,
                     compared, words, parameters)


def _scaling() -> tuple[dict[str, Any], gr.Button, gr.HTML]:
    """Draw the widgets for size and upscalers. Returns them by name, the refresh button, and the place for a note."""
    mode = explain(
        gr.Radio(list(SCALES), value=SCALES[0], label="Resize mode", elem_id="extras_mode", elem_classes="compact"),
        "Whether the new size is a factor or given in pixels.")
    factor = explain(
        Slider(1, 8, value=2, step=0.05, label="Resize", elem_id="extras_factor"),
        "By how much the picture is enlarged. 2 doubles width and height.")
    width, height = (explain(Slider(64, 8192, value=1024, step=8, label=name.capitalize(), visible=False,
                                    elem_id=f"extras_{name}"),
                             "The size that the enlarged picture covers, in pixels.")
                     for name in ("width", "height"))
    crop = explain(
        gr.Checkbox(True, label="Crop to fit", visible=False, elem_id="extras_crop"),
        "Cuts the enlarged picture to exactly that size. Otherwise it keeps its proportions and may be larger.")
    with gr.Row(elem_classes="tight with-buttons"):
        with gr.Column(min_width=0):
            upscaler = explain(
                gr.Dropdown(list(RESAMPLING), label="Upscaler 1", value="Lanczos", elem_id="extras_upscaler"),
                "What enlarges the picture. Lanczos is plain; a model file adds detail.")
        refresh = tool_button("refresh", "Look for new files", "extras_refresh")
    note = gr.HTML("", elem_id="extras_note", elem_classes="quiet", js_on_load=None, apply_default_css=False)
    second = explain(
        gr.Dropdown(["None", *RESAMPLING], label="Upscaler 2", value="None", elem_id="extras_upscaler_2"),
        "A second upscaler that is mixed with the first. Use it to tame a model that sharpens too much.")
    visibility = explain(
        Slider(0, 1, value=0.5, step=0.001, label="Upscaler 2 visibility", visible=False, elem_id="extras_visibility"),
        "How much of the second upscaler is seen. 0 shows the first alone, 1 the second.")
    mode.change(lambda chosen: [gr.update(visible=chosen == scale) for scale in (SCALES[0], *[SCALES[1]] * 3)], mode,
                [factor, width, height, crop], **AT_ONCE)
    second.change(lambda name: gr.update(visible=name != "None"), second, visibility, **AT_ONCE)
    widgets = {"mode": mode, "factor": factor, "width": width, "height": height, "crop": crop, "upscaler": upscaler,
               "second_upscaler": second, "visibility": visibility}
    return widgets, refresh, note


def _face_restoration() -> dict[str, Any]:
    """Draw the widgets for the face restoration model and its visibility."""
    restorer = explain(
        gr.Dropdown(["None"], label="Face restoration model", value="None", elem_id="extras_restorer"),
        "The model that repairs faces. Files in models/GFPGAN are offered.")
    shown = explain(
        Slider(0, 1, value=1, step=0.001, label="Face restoration visibility", visible=False,
               elem_id="extras_restorer_visibility"),
        "How much of the repaired faces is seen. Lower it to keep the person's own look.")
    restorer.change(lambda name: gr.update(visible=name != "None"), restorer, shown, **AT_ONCE)
    return {"restorer": restorer, "restorer_visibility": shown}


def connect(tab: ExtrasTab, tabs_by_name: Mapping[str, Target], tabs: gr.Tabs, demo: gr.Blocks,
            saved: Callable[[Path], object] = lambda path: None) -> None:
    """Connect the tab. `saved` is called with the path of each new file."""
    header = tab.header
    engine = header.engine
    lists = [*(tab.chosen[name] for name in ("upscaler", "second_upscaler", "restorer")), tab.faces, tab.note]
    shown: list[Any] = [tab.made, tab.selected, tab.words, tab.parameters, tab.compared]

    def fill() -> list[Any]:
        names, restorers = engine.upscalers.names(), engine.restorers.names()
        first = names if restorers else names[1:]
        return [*(gr.update(choices=choices) for choices in (first, names, ["None", *restorers])),
                gr.update(visible=bool(restorers)), note_html(engine.upscalers.files())]

    @told
    def submit(many: bool, picture: str | None, files: list[str] | None, *values: Any) -> tuple[Job, list[Made]]:
        request = request_of(numbers.by_name(tab.chosen, values))
        engine.tools.check(request)
        made: list[Made] = []

        def finished(one: Made) -> None:
            made.append(one)
            saved(one.path)

        sources = chosen_files((files if many else [picture] if picture else None) or [])
        return header.queue.submit_work(worker(engine.settings, engine.tools, request, sources, finished),
                                         origin=Origin(name="Extras")), made

    def run(*arguments: Any) -> Iterator[dict[Any, Any]]:
        job, made = submit(*arguments)

        def finished() -> tuple[list[str], dict[Any, Any]]:
            if not made:
                return [], {}
            changes: dict[Any, Any] = dict(zip(shown, [made, 0, *about(made[0])], strict=True))
            changes[tab.gallery] = gr.update(value=[one.path for one in made], selected_index=0, preview=True)
            return [], changes | {button: gr.update(interactive=True) for button in tab.buttons.values()}

        yield from tab.watched.follow(job, finished)

    def select(made: list[Made], event: gr.SelectData) -> list[Any]:
        index = event.index if isinstance(event.index, int) and event.index < len(made) else 0
        return [index, *about(made[index])] if made else [gr.skip()] * 4

    def source(made: list[Made], index: int) -> tuple[MaskData, str]:
        if not made:
            raise NotFound("There is no picture to send yet.")
        return picture_of(made[index].path), made[index].parameters

    demo.load(fill, None, lists, **AT_ONCE)
    tab.refresh.click(fill, None, lists, **AT_ONCE)
    tab.watched.start.click(run, [tab.many, tab.picture, tab.files, *tab.chosen.values()],
                            [*tab.watched.outputs, tab.gallery, *shown, *tab.buttons.values()],
                            trigger_mode="always_last", **LIVE)  # the button is visible again before `run` has ended
    tab.watched.connect(header.queue)
    tab.gallery.select(select, tab.made, shown[1:], **AT_ONCE)
    for name, button in tab.buttons.items():
        connect_send(button, source, [tab.made, tab.selected], tabs_by_name[name], tabs, header)


def request_of(values: dict[str, Any]) -> Extras:
    """The request that the widgets describe. Raises InvalidInput."""
    size = (int(values["width"]), int(values["height"])) if values["mode"] == SCALES[1] else None
    restorer = values["restorer"] or "None"
    return Extras(upscaler=values["upscaler"] or "None", factor=values["factor"], size=size, crop=bool(values["crop"]),
                  second_upscaler=values["second_upscaler"] or "None", visibility=values["visibility"],
                  faces=() if restorer == "None" else ((restorer, values["restorer_visibility"]),),
                  cut_out=bool(values["cut_out"]))


def chosen_files(files: Sequence[str]) -> list[Path]:
    """The files sorted by name. Raises InvalidInput if there are none, or too many."""
    if not files:
        raise InvalidInput("Choose a picture first.")
    if len(files) > MOST_FILES:
        raise InvalidInput(f"These are {len(files)} files; {MOST_FILES} are the most for one batch.")
    return sorted(map(Path, files), key=lambda file: file.name)


def worker(settings: Settings, tools: Tools, request: Extras, sources: Sequence[Path],
           finished: Callable[[Made], object]) -> Callable[[Job], None]:
    """The work of the job: open one file after the other, process and save it, and pass it to `finished`."""
    limit = settings.max_image_mp * 10**6

    def enlarge(source: Path, job: Job) -> Made:
        image = open_picture(source, limit)
        result = postprocessing.process(image, request, tools, job, max_pixels=limit)
        path = saving.save(result.image, result.parameters, settings.outputs_dir / FOLDER,
                           texts={POSTPROCESSING: result.text})
        sizes = [f"{size[0]} x {size[1]}" for size in (image.size, result.image.size)]
        return Made(source, path, result.parameters, f"{' → '.join(sizes)}. {result.text}")

    def work(job: Job) -> None:
        problems = []
        for number, source in enumerate(sources):
            job.batches(number, len(sources))
            job.check()
            try:
                finished(enlarge(source, job))
            except InvalidInput as error:
                problems.append(f"{source.name}: {error.message}" if len(sources) > 1 else error.message)
        if problems:
            raise InvalidInput(" ".join(problems))

    return work


def about(made: Made) -> list[Any]:
    """Updates that show a finished picture: the description, the parameters, and the comparison with its source."""
    return [f"<p>{html.escape(made.words)}</p>", made.parameters,
            gr.update(value=(made.source, made.path), visible=True)]


def note_html(files: dict[str, Path]) -> str:
    """A note as HTML on how to get more upscalers. Empty if there are files and they can be used."""
    missing = any(importlib.util.find_spec(name) is None for name in NEEDED)
    parts = [] if files else [html.escape(MORE_UPSCALERS)]
    if missing:
        parts += [html.escape(NOT_INSTALLED), f"<code translate=no>{html.escape(install_line())}</code>"]
    return f"<p>{' '.join(parts)}</p>" if parts else ""
