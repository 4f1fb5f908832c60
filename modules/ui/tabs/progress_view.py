"""Shows a job on the page: preview, progress bar and status while it runs, then a summary."""

from __future__ import annotations

import html
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component
from PIL import Image

from modules.imaging.jpeg import preview_jpeg
from modules.jobs.job import Job
from modules.jobs.queue import JobQueue
from modules.ui.page.events import AT_ONCE
from modules.ui.page.messages import tell

FRAME_SECONDS = 0.25


@dataclass(frozen=True)
class Watched:
    """The widgets of a job that has no request (extras, merging): its start button, Interrupt, and its progress
    view."""

    start: gr.Button
    interrupt: gr.Button
    job_id: gr.State
    stage: gr.HTML

    @property
    def outputs(self) -> list[Component]:
        """The outputs of `follow`."""
        return [self.start, self.interrupt, self.job_id, self.stage]

    def connect(self, queue: JobQueue) -> None:
        """Connect Interrupt."""
        order(self.interrupt, queue.interrupt, self.job_id)

    def follow(self, job: Job, finished: Callable[[], tuple[list[str], dict[Any, Any]]]) -> Iterator[dict[Any, Any]]:
        """Yield updates of the progress until the job is over, then the final update.

        `finished` returns the sentences of the summary and further updates. If the job failed, its error is shown
        instead of the sentences.
        """
        yield self._buttons(running=True) | {self.job_id: job.id}
        for frame in frames(job):  # with the buttons: Gradio may write a tab's first values late, over these
            yield self._buttons(running=True) | {self.stage: frame}
        if job.error:
            tell(job.error.message)
        sentences, changes = finished()
        said = summary_html(job, [job.error.message] if job.error else sentences)
        yield self._buttons(running=False) | {self.stage: said} | changes

    def _buttons(self, *, running: bool) -> dict[Any, Any]:
        return {self.start: gr.update(visible=not running), self.interrupt: gr.update(visible=running)}


def order(button: gr.Button, act: Callable[[str], object], job_id: gr.State) -> None:
    """Connect a button that acts on the running job. The effect is visible in the progress view."""

    def click(running: str) -> None:
        if running:
            act(running)

    button.click(click, job_id, None, **AT_ONCE)


def frames(job: Job) -> Iterator[str]:
    """Yield the progress as HTML until the job is over, at most once in `FRAME_SECONDS`."""
    picture = ""
    version, preview_version = -1, 0
    while not job.over:
        if job.preview_version != preview_version:
            preview_version = job.preview_version
            picture = data_url(job.preview()) or picture
        yield stage_html(job, picture)
        frame_end = time.monotonic() + FRAME_SECONDS
        version = job.wait_change(version, timeout=1.0)
        job.wait(max(0.0, frame_end - time.monotonic()))


def stage_html(job: Job, picture: str) -> str:
    """A running or waiting job as HTML: preview, progress bar, status."""
    image = f'<img src="{picture}" alt="Preview">' if picture else '<div class="blank"></div>'
    return (f'<div class="live" data-state="{job.state}">{image}<div class="bar"><i style="width:{job.progress:.1%}">'
            f'</i></div><p role="status">{html.escape(progress_words(job))}</p></div>')


def progress_words(job: Job) -> str:
    """The status of the job in words: its place in the queue, its activity, or its step and the time that is left."""
    if job.state == "queued":
        before = "1 job is" if job.position == 1 else f"{job.position} jobs are"
        return f"Waiting: {before} before this one."
    if not job.sampling_step:
        return f"{job.stage_text}…"
    words = [f"{job.progress:.0%}", f"step {job.sampling_step} of {job.sampling_steps}"]
    if job.batch_count > 1:
        words.append(f"batch {min(job.batch + 1, job.batch_count)} of {job.batch_count}")
    if job.eta is not None:
        words.append(f"{duration(job.eta)} left")
    return " · ".join(words)


def summary_html(job: Job, sentences: list[str]) -> str:
    """The summary of a finished job as HTML. Empty if there is nothing to report."""
    if job.state == "interrupted":
        sentences = ["Interrupted.", *sentences]
    if not sentences:
        return ""
    kind = "failed" if job.state == "failed" else "note"
    return f'<p class="said {kind}" role="status">{html.escape(" ".join(sentences))}</p>'


def duration(seconds: float) -> str:
    """A duration in words: "7 s", "2 min 5 s"."""
    whole = max(1, round(seconds))
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60} s"


def data_url(image: Image.Image | None) -> str:
    """A preview as a data URL. Empty for None."""
    return f"data:image/jpeg;base64,{preview_jpeg(image)}" if image else ""
