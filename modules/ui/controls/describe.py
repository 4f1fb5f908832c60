"""The buttons that put words for the picture into the prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr
from PIL import Image

from modules.engine.describing import CLIP, DEEPDANBOORU
from modules.engine.engine import Engine
from modules.errors import InvalidInput
from modules.jobs.answers import answer
from modules.jobs.job import Job
from modules.jobs.queue import JobQueue
from modules.ui.canvas.canvas import MaskCanvas, MaskData
from modules.ui.controls.request_panel import Panel
from modules.ui.page.events import QUIET
from modules.ui.page.help import explain
from modules.ui.page.messages import told


@dataclass
class Describe:
    """The buttons. `draw` draws them, `connect` connects them once canvas and prompt are there."""

    panel: Panel

    def draw(self) -> None:
        """Draw them here."""
        with gr.Row(elem_classes="tight"):
            self._sentence = explain(
                gr.Button("Describe", size="sm", min_width=90, elem_id=self.panel.elem_id("describe")),
                "Adds a sentence about the picture to the prompt. A captioner such as BLIP in models/captioners knows "
                "any picture; the included one knows only the things that the included checkpoint draws.")
            self._tags = explain(
                gr.Button("Tags", size="sm", min_width=90, elem_id=self.panel.elem_id("describe_tags")),
                "Adds words for the picture to the prompt. It needs a tagger such as WD14 in models/taggers.")

    def connect(self, canvas: MaskCanvas, engine: Engine, queue: JobQueue) -> None:
        """Connect them."""
        prompt = self.panel.widgets["prompt"]
        shown = QUIET | {"show_progress": "minimal", "show_progress_on": [prompt]}
        for button, model in ((self._sentence, CLIP), (self._tags, DEEPDANBOORU)):
            button.click(_describer(model, engine, queue), [canvas, prompt], prompt, **shown)


def _describer(model: str, engine: Engine, queue: JobQueue) -> Any:
    @told
    def describe(picture: MaskData, prompt: str) -> str:
        return added(prompt or "", described(picture.chosen(), model, engine, queue))

    return describe


def described(image: Image.Image, model: str, engine: Engine, queue: JobQueue) -> str:
    """Words for `image` by `model`, which `Describers.describe` explains, in their turn. Raises NotFound, InvalidInput,
    CheckpointError."""
    engine.describers.named(model)
    threshold = engine.options.interrogate_deepbooru_score_threshold

    def work(job: Job) -> str:
        job.stage("Looking at the picture")
        return engine.describers.describe(image, model, threshold, job.check)

    return answer(queue, work, nbytes=image.width * image.height * 4,
                  interrupted=InvalidInput("The picture was not described: it was interrupted."))


def added(prompt: str, words: str) -> str:
    """`prompt` with `words` behind it, unless it has them."""
    if not words or words in prompt:
        return prompt
    return f"{prompt.rstrip().rstrip(',')}, {words}" if prompt.strip() else words
