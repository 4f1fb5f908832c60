"""Shared by txt2img, img2img and inpaint: the columns, Generate, reading parameters, and sending pictures to tabs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import gradio as gr
from PIL import Image

from modules.errors import InvalidInput, NotFound
from modules.request import Txt2Img
from modules.request.options import Options
from modules.text import image_metadata
from modules.ui.canvas.canvas import MaskCanvas, MaskData, open_picture
from modules.ui.controls import (
    cards,
    examples,
    fewer_steps,
    presets,
    prompts,
    request_panel,
    scripts,
    sections,
    timetable,
)
from modules.ui.controls.cards import CardsView
from modules.ui.controls.control_units import ControlUnits
from modules.ui.controls.describe import Describe
from modules.ui.controls.detail_passes import DetailPasses
from modules.ui.controls.pasting import is_parameters, paste, send_along
from modules.ui.controls.presets import Presets
from modules.ui.controls.prompts import Prompts, styled
from modules.ui.controls.request_panel import Panel, tool_button
from modules.ui.page.events import QUIET
from modules.ui.page.header import Header
from modules.ui.page.messages import told
from modules.ui.tabs.download import Shown
from modules.ui.tabs.live import Live
from modules.ui.tabs.results import Results, draw_stage, generate_buttons, results

MakeRequest = Callable[[Mapping[str, Any], MaskData, Options], Txt2Img]
"""(the panel's values by name, the canvas's value, the options in force) -> the request. Raises InvalidInput."""


@dataclass(frozen=True)
class Tab:
    """The widgets of one tab. txt2img has no `canvas`, and only inpaint is `live`.

    `paste` reads parameters. `dropped` is the hidden file input for a picture that is dropped on the prompt. `note`
    shows what of a parameters text was not taken over.
    """

    panel: Panel
    prompts: Prompts
    cards: CardsView
    results: Results
    examples: gr.HTML
    canvas: MaskCanvas | None
    paste: gr.Button
    dropped: gr.File
    note: gr.HTML
    presets: Presets
    control: ControlUnits
    detail: DetailPasses
    fast: gr.Button
    live: Live | None = None

    @property
    def name(self) -> str:
        """ "txt2img", "img2img" or "inpaint"."""
        return self.panel.tab


MOST_PIXELS = 10**9
"""Of a picture that was made here."""

Source = Callable[..., tuple[MaskData, str]]
"""(inputs of an event) -> a picture and its parameters text. Raises UserError."""


class Receiver(Protocol):
    """A tab of another kind to which a picture can be sent."""

    def connect_send(self, button: gr.Button, source: Source, inputs: list[Any], tabs: gr.Tabs) -> None:
        """Connect `button`: it puts the picture that `source` makes of `inputs` into the tab and shows the tab."""


Target = Tab | Receiver


def draw(header: Header, panel: Panel, window: gr.Textbox, *,
         picture: Callable[[Panel], MaskCanvas] | None = None) -> Tab:
    """Draw a tab here. `picture` draws the canvas and the widgets below it."""
    last_seed = gr.State(None)
    canvas = stage = None
    with gr.Row(elem_classes="bench" if picture else "bench two"):
        rail = gr.Column(elem_classes="rail", min_width=260)
        bench_stage = gr.Column(elem_classes="area-stage", min_width=260)
        if picture:
            with bench_stage:
                canvas = picture(panel)
                stage = draw_stage(panel.tab, on_canvas=True) if panel.masked else None
        with rail, gr.Column(elem_classes="area-prompt", min_width=260):
            prompt_tools = prompts.draw(panel)
            shown_cards = cards.draw(panel.tab, header.engine, header.completion)
            strip = examples.examples(panel.tab)
            with gr.Row(elem_classes="tight go-row"):
                buttons = generate_buttons(panel.tab)
                paste_button = tool_button(
                    "paste", "Read the parameters from the prompt, the clipboard or the last picture",
                    panel.elem_id("paste"))
            describe = Describe(panel) if canvas else None
            if describe:
                describe.draw()
            note = gr.HTML("", elem_id=panel.elem_id("paste_note"), elem_classes="paste-note", js_on_load=None,
                           apply_default_css=False)
            dropped = gr.File(label="Picture with parameters", type="filepath", visible="hidden",
                              elem_id=panel.elem_id("dropped"))
        with bench_stage, gr.Column(elem_classes="area-results", min_width=260):
            shown = results(header.queue, panel.tab, buttons, last_seed, window, header.engine.settings.root_path,
                            stage)
        with rail, gr.Column(elem_classes="area-settings", min_width=260):
            request_panel.sampling(panel)
            fast = fewer_steps.draw(panel)
            request_panel.seed_row(panel, last_seed)
            request_panel.size(panel, canvas=canvas)
            control, detail = ControlUnits(panel, header.engine, header.queue), DetailPasses(panel, header.engine)
            with sections.more(panel):
                shown_presets = presets.draw(panel)
                request_panel.names_of(panel, "scheduler", "Automatic")
                levels = timetable.draw(panel)
                request_panel.batch(panel)
                request_panel.variation(panel)
                if canvas is None:
                    sections.hires_fix(panel)
                sections.refiner(panel)
                soft_view = sections.soft_inpainting(panel) if panel.masked else None
                control.draw()
                detail.draw()
                request_panel.advanced(panel, header.engine.options)
                request_panel.going_on(panel)
                scripts.draw(panel, header.engine)
    if describe and canvas:
        describe.connect(canvas, header.engine, header.queue)
    timetable.connect(levels, panel, header.engine)
    request_panel.connect_etas(panel, lambda: header.engine.samplers)
    examples.connect(strip, panel.widgets["prompt"])
    if soft_view and canvas:
        sections.connect_soft_view(panel, header.engine, canvas, soft_view)
    control.connect(canvas)
    if canvas:
        detail.connect(lambda picture: picture.chosen(), [canvas], header.queue)
    else:
        detail.connect(shown_picture, [shown.shown, shown.selected], header.queue)
    return Tab(panel, prompt_tools, shown_cards, shown, strip, canvas, paste_button, dropped, note,
               shown_presets, control, detail, fast)


def connect_generate(tab: Tab, header: Header, demo: gr.Blocks, make_request: MakeRequest) -> None:
    """Connect Generate: it submits the request that `make_request` makes of the tab's widgets. So does live painting.
    """
    pictures, control = [tab.canvas] if tab.canvas else [], tab.control

    def request_of(*arguments: Any) -> Txt2Img:
        picture = arguments[0] if pictures else MaskData()
        arguments, followed = arguments[len(pictures):], len(control.canvases)
        checkpoint, vae, *values = arguments[followed:]
        named = styled(tab.panel.values(values), tab.panel)
        request = make_request(named, picture, header.options(checkpoint, vae))
        request = replace(request, control_units=control.units(named, arguments[:followed]),
                          detail=tab.detail.passes(named))
        return scripts.with_script(request, named, tab.panel, header.engine)

    inputs = [*pictures, *control.canvases, header.checkpoint, header.vae, *tab.panel.inputs]
    tab.results.connect(demo, request_of, inputs, header)
    if tab.live:
        tab.live.connect(tab.panel, tab.results.last_seed, request_of, inputs, tab.results.window)
    engine = header.engine
    tab.control.follow(presets.connect(tab.presets, tab.panel, demo, engine))
    cards.connect(tab.cards, engine, shown_picture, [tab.results.shown, tab.results.selected])
    prompts.connect(tab.prompts, tab.panel, demo,
                    lambda: engine.networks.words(engine.loaded.model if engine.loaded else None))


def connect_paste(tab: Tab, header: Header) -> None:
    """Connect the button that reads parameters, and the pictures that are dropped on the prompt."""

    @told
    def read(text: str, locked: bool, last: str = "") -> list[Any]:
        if not is_parameters(text):
            raise NotFound("There is no parameters text in the prompt or the clipboard, and no picture made here yet."
                           if not (text or "").strip() else "What is in the prompt is no parameters text.")
        updates, note = paste(text, tab.panel, header.engine, locked=locked)
        return [*updates, note]

    @told
    def read_dropped(file: str | None, locked: bool) -> list[Any]:
        text = image_metadata.read(open_picture(Path(file or ""), tab.panel.settings.max_image_mp * 10**6))
        if not is_parameters(text):
            raise InvalidInput("This picture has no parameters in it.")
        return [None, *read(text, locked)]

    locked, outputs = tab.panel.widgets["seed_locked"], [*tab.panel.inputs, tab.note]
    pasted = tab.paste.click(read, [tab.panel.widgets["prompt"], locked, tab.results.infotext], outputs, **QUIET,
                    js="async (prompt, locked, last) => [await inpaintPage.parameters(prompt, last), locked, last]")
    tab.control.follow(pasted)
    tab.control.follow(tab.dropped.upload(read_dropped, [tab.dropped, locked], [tab.dropped, *outputs], **QUIET))


def connect_sending(sender: Tab, tabs_by_name: Mapping[str, Target], tabs: gr.Tabs, header: Header) -> None:
    """Connect the "Send to" buttons of `sender`. They send the selected picture and its parameters."""

    for name, button in sender.results.send_buttons.items():
        connect_send(button, selected_picture, [sender.results.shown, sender.results.selected], tabs_by_name[name],
                     tabs, header, whole=False)


def selected_picture(shown: list[Shown], index: int) -> tuple[MaskData, str]:
    """The selected picture of a gallery and its parameters text. Raises NotFound if there is none."""
    if not shown:
        raise NotFound("There is no picture to send yet.")
    one = shown[min(index, len(shown) - 1)]
    return picture_of(one.image), one.made.infotext


def shown_picture(shown: list[Shown], index: int) -> Image.Image:
    """The selected picture of a gallery. Raises NotFound if there is none."""
    if not shown:
        raise NotFound("This tab has no picture yet.")
    image = shown[min(index, len(shown) - 1)].image
    return image if isinstance(image, Image.Image) else open_picture(image, MOST_PIXELS)


def connect_send(button: gr.Button, source: Source, inputs: list[Any], target: Target, tabs: gr.Tabs,
                 header: Header, *, whole: bool = True) -> None:
    """Connect `button`: it puts the picture and parameters text that `source` makes of `inputs` into `target`.

    With `whole` all of the text is taken over (see `paste`), otherwise only what goes along with a result (see
    `send_along`).
    """
    if not isinstance(target, Tab):
        target.connect_send(button, source, inputs, tabs)
        return
    canvas = [target.canvas] if target.canvas else []

    @told
    def send(locked: bool, *arguments: Any) -> list[Any]:
        picture, text = source(*arguments)
        updates, note = ([gr.skip()] * len(target.panel.inputs), "")
        if is_parameters(text) and whole:
            updates, note = paste(text, target.panel, header.engine, locked=locked)
        elif is_parameters(text):
            updates = send_along(text, target.panel, locked=locked)
        return [*([picture] if canvas else []), *updates, note]

    # Show the tab first: a widget that gets an update before its tab was ever open keeps only the value of the update.
    sent = show(target.name, button.click, tabs).then(
        send, [target.panel.widgets["seed_locked"], *inputs], [*canvas, *target.panel.inputs, target.note], **QUIET)
    target.control.follow(sent)


def show(name: str, event: Any, tabs: gr.Tabs) -> Any:
    """Connect `event`, such as `button.click`, so that it shows the tab `name`.

    This is done by a script in the page. After a server event with tabs as its output, Gradio's page would visit all
    components in them, at that event and at each later one.
    """
    return event(None, None, tabs, js=f"() => ({{selected: {json.dumps(name)}, __type__: 'update'}})", **QUIET)


def picture_of(image: Image.Image | Path) -> MaskData:
    """A result as a value of the canvas. Raises NotFound if its file has been deleted."""
    if isinstance(image, Path):
        if not image.is_file():
            raise NotFound(f"The file {image.name} is no longer there.")
        return MaskData(path=image)
    return MaskData(image=image)
