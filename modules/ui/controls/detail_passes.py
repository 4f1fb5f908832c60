"""The detailer's section of a tab: up to four passes, each with a switch and its controls."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from PIL import Image

from modules.annotate.registry import preprocessors
from modules.engine import detailing
from modules.engine.engine import Engine
from modules.errors import InvalidInput
from modules.hooks.choices import Available
from modules.hooks.forms import Form, Input
from modules.jobs.answers import answer
from modules.jobs.job import Job
from modules.jobs.queue import JobQueue
from modules.request.control import NO_MODEL
from modules.request.detail import (
    MOST_PASSES,
    PASSTHROUGH,
    SAME_CHECKPOINT,
    SAME_SAMPLER,
    SAME_SCHEDULER,
    SAME_VAE,
    DetailPass,
)
from modules.request.fields import Declared, declared
from modules.ui.controls.request_panel import Panel
from modules.ui.controls.scripts import NONE, Choice, ScriptForm
from modules.ui.page.events import QUIET
from modules.ui.page.help import explain
from modules.ui.page.messages import told

TITLE, SWITCH = "ADetailer", "Enable this pass"
NUMBERS = "1st", "2nd", "3rd", "4th"


@dataclass
class DetailPasses:
    """The section. Call `draw` among the settings, and `connect` once the pictures are there."""

    panel: Panel
    engine: Engine

    def draw(self) -> None:
        """Draw the section here."""
        form = form_of(self.engine)
        with gr.Accordion(TITLE, open=False, elem_classes="fold", elem_id=self.panel.elem_id("detail")):
            with gr.Tabs(elem_classes="control-units"):
                for number in range(MOST_PASSES):
                    with gr.Tab(NUMBERS[number]):
                        self.panel.add(_name(number), ScriptForm(
                            engine=self.engine, forms=[form], lead="switch", elem_classes="script",
                            elem_id=self.panel.elem_id(f"detail{number}")))
            self._look = explain(
                gr.Button("Show the finds", size="sm", elem_id=self.panel.elem_id("detail_look")),
                "Draws what the passes that are switched on find, and what of it they would paint: in the picture of "
                "the canvas, or on txt2img in the result.")
            self._found = explain(
                gr.Image(label="Finds", visible=False, interactive=False, format="png",
                         elem_id=self.panel.elem_id("detail_found")),
                "Each pass has a colour; a box has its place in the order and how sure the detector is.")
            self._counts = gr.HTML("", js_on_load=None, apply_default_css=False,
                                   elem_id=self.panel.elem_id("detail_counts"))

    def connect(self, picture: Callable[..., Image.Image], sources: Sequence[Any], queue: JobQueue) -> None:
        """Connect the button. `picture` makes of the values of `sources` the picture to look at, and raises
        UserError."""
        widgets = [self.panel.widgets[_name(number)] for number in range(MOST_PASSES)]

        @told
        def look(*arguments: Any) -> list[Any]:
            given, choices = arguments[:len(sources)], arguments[len(sources):]
            passes = self.passes({_name(number): choice for number, choice in enumerate(choices)})
            if not passes:
                raise InvalidInput("Enable a pass of ADetailer first.")
            image = picture(*given)

            def work(job: Job) -> tuple[Image.Image, list[int]]:
                job.stage("Looking for what is to be detailed")
                return detailing.preview(image, passes, self.engine.detectors, self.engine.options.ad_bbox_sortby)

            shown, counts = answer(queue, work, nbytes=image.width * image.height * 8,
                                   interrupted=InvalidInput("Nothing was looked for: it was interrupted."))
            told_counts = "".join(f"<li><span>{html.escape(one.model)}</span>: {count}</li>"
                                  for one, count in zip(passes, counts, strict=True))
            return [gr.update(value=shown, visible=True), f"<ul>{told_counts}</ul>"]

        self._look.click(look, [*sources, *widgets], [self._found, self._counts],
                         **QUIET | {"show_progress": "minimal", "show_progress_on": [self._counts]})

    def passes(self, values: Mapping[str, Any]) -> tuple[DetailPass, ...]:
        """The passes that are switched on; `values` are the panel's by name. Raises InvalidInput."""
        form = form_of(self.engine)
        choices: list[Choice] = [values[_name(number)] for number in range(MOST_PASSES)]
        return tuple(DetailPass(**{one.name: one.read(choice.arguments.get(one.name), self.engine.available)
                                   for one in form.inputs}) for choice in choices if choice.title != NONE)


def form_of(engine: Engine) -> Form:
    """The controls of a pass."""
    return Form(title=SWITCH, inputs=tuple(_input(item, engine) for item in declared(DetailPass)))


def pasted(passes: Sequence[DetailPass], panel: Panel, engine: Engine, problems: list[str]) -> dict[str, Any]:
    """The panel's values for the passes of a parameters text. A detector that is not here is added to `problems`, and
    what stands in for it is chosen."""
    values: dict[str, Any] = {_name(number): Choice() for number in range(MOST_PASSES)}
    number = 0
    for one in passes:
        try:
            model, instead = engine.detectors.find(one.model)
        except InvalidInput as error:
            problems.append(error.message)
            continue
        problems += [instead] if instead else []
        values[_name(number)] = Choice(title=SWITCH, arguments={
            item.name: getattr(one, item.name) for item in declared(DetailPass)} | {"model": model})
        number += 1
    return values


def _name(number: int) -> str:
    return f"detail{number}"


def _input(item: Declared, engine: Engine) -> Input:
    """The input of a field of a pass."""
    def models(available: Available) -> Sequence[str]:
        return engine.detectors.names()

    choices = {"model": models, "checkpoint": lambda available: [SAME_CHECKPOINT, *available.checkpoints()],
               "vae": lambda available: [SAME_VAE, *available.vaes()],
               "controlnet_model": lambda available: [NO_MODEL, PASSTHROUGH, *engine.control_files.titles()],
               "controlnet_module": lambda available: [NO_MODEL, *(one.title for one in preprocessors())],
               "sampler": lambda available: [SAME_SAMPLER, *available.samplers()],
               "scheduler": lambda available: [SAME_SCHEDULER, *available.schedules()]}
    common: dict[str, Any] = {"name": item.name, "label": item.label, "help": item.help, "default": item.default}
    if item.name in choices or item.choices:
        return Input(kind="dropdown", choices=choices.get(item.name, item.choices), **common)
    if item.kind is bool:
        return Input(kind="checkbox", **common)
    if item.kind is str:
        return Input(kind="text", **common)
    low, high, step = item.slider(None)
    return Input(kind="slider", low=low, high=high, step=step, **common)
