"""The results of a tab: the progress of its job, then the pictures and their parameters.

The page only watches the job. A click puts a request into the queue and stores the job's id in the browser; `watch`
follows that job until it is over. A page that was reloaded continues to watch it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from modules.jobs.job import Job
from modules.jobs.queue import JobQueue
from modules.request import Txt2Img
from modules.ui.page.events import AT_ONCE, LIVE
from modules.ui.page.header import Header
from modules.ui.page.help import explain
from modules.ui.page.messages import tell, told
from modules.ui.tabs import download
from modules.ui.tabs.download import Download, Shown
from modules.ui.tabs.progress_view import frames, order, summary_html

TARGETS = ("img2img", "inpaint", "extras")
# The browser stores only a job id, so the secret just has to stay the same after a restart.
BROWSER_SECRET = "inpaint-webui"


@dataclass
class Results:
    """The widgets of a tab's results, and its buttons Generate, Interrupt and Skip."""

    queue: JobQueue
    job_id: gr.BrowserState
    shown: gr.State
    selected: gr.State
    last_seed: gr.State
    generate: gr.Button
    interrupt: gr.Button
    skip: gr.Button
    stage: gr.HTML
    gallery: gr.Gallery
    infotext: gr.Textbox
    send_buttons: dict[str, gr.Button]
    download: Download

    def connect(self, demo: gr.Blocks, make_request: Callable[..., Txt2Img], inputs: list[Component],
                header: Header) -> None:
        """Connect the buttons. Generate submits the request that `make_request` makes of `inputs`."""
        self.watch_click(self.generate, lambda *arguments: self.queue.submit(make_request(*arguments)), inputs, header)
        demo.load(self.watch_again, self.job_id, self.outputs, **LIVE)
        order(self.interrupt, self.queue.interrupt, self.job_id)
        order(self.skip, self.queue.skip, self.job_id)
        self.gallery.select(self.select, self.shown, [self.selected, self.infotext, self.last_seed], **AT_ONCE)

    def watch_click(self, button: gr.Button, submit: Callable[..., Job], inputs: list[Component],
                    header: Header) -> None:
        """Connect `button`: `submit` makes a job of `inputs`, and the page watches the job."""

        @told
        def start(*arguments: Any) -> str:
            return submit(*arguments).id

        # Generate is visible again a moment before the previous `watch` has ended; the next one waits for that.
        button.click(start, inputs, self.job_id, **LIVE).success(
            self.watch, self.job_id, self.outputs, trigger_mode="always_last", **LIVE).then(
                header.idle, None, header.status, **AT_ONCE)

    @property
    def outputs(self) -> list[Component]:
        """The outputs of `watch`."""
        return [self.stage, self.gallery, self.infotext, self.shown, self.selected, self.last_seed, self.generate,
                self.interrupt, self.skip, *self._on_pictures]

    @property
    def _on_pictures(self) -> list[gr.Button]:
        """The buttons that need a picture."""
        return [*self.send_buttons.values(), self.download.button]

    def watch(self, job_id: str | None) -> Iterator[dict[Any, Any]]:
        """Follow the job that has just been submitted."""
        yield from self._follow(self.queue.get(job_id or ""), is_news=True)

    def watch_again(self, job_id: str | None) -> Iterator[dict[Any, Any]]:
        """Follow the job after a reload, or show its results. Messages of a finished job are not shown again."""
        job = self.queue.get(job_id or "")
        yield from self._follow(job, is_news=job is not None and not job.over)

    def _follow(self, job: Job | None, *, is_news: bool) -> Iterator[dict[Any, Any]]:
        """Yield updates until the job is over, at most a few times a second. Messages are shown only if `is_news`."""
        if job is None:
            yield {self.stage: ""}
            return
        buttons = self._buttons(running=True)
        for frame in frames(job):
            yield {self.stage: frame} | buttons
            buttons = {}
        yield self._finished(job, is_news=is_news)

    def _finished(self, job: Job, *, is_news: bool) -> dict[Any, Any]:
        sentences = [job.error.message] if job.error else list(job.result.warnings) if job.result else []
        if is_news:
            for sentence in sentences:
                tell(sentence)
        if job.result and job.result.work < 1:
            sentences = [*sentences, f"Small mask: the network did {job.result.work:.0%} of the whole picture's work."]
        changes: dict[Any, Any] = self._buttons(running=False) | {self.stage: summary_html(job, sentences)}
        if job.result is None or not job.result.images:
            return changes
        shown = [Shown(made, job.result.request) for made in job.result.images]
        extras = [extra for made in job.result.images for extra in made.extras]
        more: dict[Any, Any] = {
            self.gallery: gr.update(value=[(one, None) for one in (*(one.for_gallery for one in shown), *extras)],
                                    selected_index=0, preview=True),
            self.shown: shown, self.selected: 0, self.infotext: shown[0].made.infotext,
            self.last_seed: shown[0].made.seed,
        }
        more |= {button: gr.update(interactive=True) for button in self._on_pictures}
        return changes | more

    def _buttons(self, *, running: bool) -> dict[Any, Any]:
        return {self.generate: gr.update(visible=not running), self.interrupt: gr.update(visible=running),
                self.skip: gr.update(visible=running)}

    @staticmethod
    def select(shown: list[Shown], event: gr.SelectData) -> tuple[Any, Any, Any]:
        """Show the parameters of the picture selected in the gallery. Masks and composites belong to the first
        picture."""
        index = event.index if isinstance(event.index, int) and event.index < len(shown) else 0
        if not shown:
            return 0, gr.skip(), gr.skip()
        return index, shown[index].made.infotext, shown[index].made.seed


def generate_buttons(tab: str) -> tuple[gr.Button, gr.Button, gr.Button]:
    """Draw Generate, and Interrupt and Skip, which replace it while a job runs."""
    generate = gr.Button("Generate", variant="primary", size="lg", elem_id=f"{tab}_generate", elem_classes="go")
    interrupt = gr.Button("Interrupt", variant="stop", size="lg", elem_id=f"{tab}_interrupt", visible=False,
                          elem_classes="interrupt", min_width=80)
    skip = gr.Button("Skip", size="lg", elem_id=f"{tab}_skip", visible=False, elem_classes="skip", min_width=80)
    return generate, interrupt, skip


def remembered_job(tab: str) -> gr.BrowserState:
    """The id of the tab's last job, stored in the browser. Call this outside the tabs: the components of a hidden tab
    do not exist yet when the page reads the value."""
    return gr.BrowserState("", storage_key=f"inpaint-webui:{tab}:job", secret=BROWSER_SECRET)


def results(queue: JobQueue, tab: str, buttons: tuple[gr.Button, gr.Button, gr.Button], last_seed: gr.State,
            job_id: gr.BrowserState) -> Results:
    """Draw the widgets of the results here."""
    with gr.Column(elem_classes="show"):
        gallery = gr.Gallery(label="Results", show_label=False, format="png", object_fit="contain", columns=2,
                             height="auto", preview=True, buttons=["download", "fullscreen"], interactive=False,
                             elem_id=f"{tab}_gallery", elem_classes="gallery")
        stage = gr.HTML("", elem_id=f"{tab}_stage", elem_classes="stage", js_on_load=None, apply_default_css=False)
    with gr.Row(elem_classes="tight send-row"):
        send_buttons = {target: gr.Button(f"Send to {target}", size="sm", interactive=False, min_width=90,
                                          elem_id=f"{tab}_send_to_{target}") for target in TARGETS}
        save = download.draw(tab)
    infotext = explain(
        gr.Textbox(label="Parameters", lines=2, max_lines=12, interactive=False, buttons=["copy"],
                   elem_id=f"{tab}_infotext", elem_classes="infotext"),
        "How the picture was made. Copy it to make the picture again.")
    return Results(queue, job_id, gr.State([]), gr.State(0), last_seed, *buttons, stage, gallery, infotext,
                   send_buttons, save)
