"""The keep-brush of the inpaint tab: what it has painted on the canvas becomes a new result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import gradio as gr

from modules.engine import keeping
from modules.errors import InvalidInput, NotFound
from modules.jobs.job import Job, Origin
from modules.jobs.tasks import Carry, Step
from modules.request import Txt2Img
from modules.request.job_context import JobContext
from modules.request.result import GeneratedImage, Result
from modules.ui.canvas.canvas import MaskData, decode_mask
from modules.ui.page.events import LIVE
from modules.ui.page.header import Header
from modules.ui.page.messages import told
from modules.ui.tabs.candidates import Candidates
from modules.ui.tabs.results import OWN_WINDOW_FIRST, Results, shown_of
from modules.ui.tabs.tab import Tab

ORIGINAL, FIRST = 1, 2
"""The numbers that the canvas gives to the picture and to the first result."""


def connect(tab: Tab, header: Header) -> None:
    """Connect the strip of results: what is painted becomes a job."""
    results = tab.results
    assert isinstance(results.gallery, Candidates)
    assert tab.canvas is not None

    @told
    def start(window: str, picture: MaskData, event: gr.EventData) -> str:
        submit(results, window, picture, str(event.job), int(event.base), str(event.labels))
        return window

    results.watch_after(results.gallery.apply(start, [results.window, tab.canvas], results.window, js=OWN_WINDOW_FIRST,
                                              **LIVE), header)


def submit(results: Results, window: str, picture: MaskData, job_id: str, base: int, labels: str) -> Job:
    """A job that makes a new result of result number `base` of a job of the window, in front of those that it had.

    `labels` is a mask as a data URL, with the numbers of the pictures. Raises InvalidInput, and NotFound for a result
    that there is no more.
    """
    before = next((job for job in results.queue.of(window, results.tab) if job.id == job_id), None)
    shown = shown_of(before.result) if before and before.result else []
    if before is None or before.result is None or not 0 <= base < len(shown):
        raise NotFound("There is no such result, or not any more.")
    old, made = before.result, shown[base].made
    pictures = {number: keeping.photograph_of(one.made) for number, one in enumerate(shown, FIRST)}
    if original := picture.photograph():
        pictures[ORIGINAL] = original
    painted = decode_mask(labels, made.image.size)
    if painted is None:
        raise InvalidInput("Paint over the part that is better in another picture first.")
    parts = keeping.parts(painted, pictures)

    def make(_: Sequence[GeneratedImage]) -> tuple[Txt2Img, Carry | None]:
        return old.request, carry

    def carry(request: Txt2Img, job: JobContext) -> Result:
        kept = job.keep([keeping.keep(made, parts, request.options)], request)
        return replace(old, images=(*kept, *old.images), warnings=())

    origin = Origin(str(window)[:64], results.tab, name="Keep-brush")
    return results.queue.submit_steps([Step(make)], save=old.request.options.samples_save, origin=origin)
