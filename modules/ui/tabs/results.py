"""The results of a tab: the progress of its job, then the pictures and their parameters.

The page only watches the jobs. A click puts a request into the queue, also while another one runs. `watch` follows the
jobs of the window one after another until all are over. A window has an id in the browser, which a reload keeps, so a
page that was reloaded continues to watch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr
from gradio.components import Component

from modules.errors import NotFound
from modules.jobs.job import Job, Origin
from modules.jobs.queue import JobQueue
from modules.request import Txt2Img
from modules.request.going_on import changed
from modules.request.result import Result
from modules.ui.controls.request_panel import tool_button
from modules.ui.page.events import AT_ONCE, LIVE
from modules.ui.page.header import Header
from modules.ui.page.help import explain
from modules.ui.page.messages import tell, told
from modules.ui.tabs import download, steps
from modules.ui.tabs.candidates import Candidates, Found
from modules.ui.tabs.download import Download, Shown
from modules.ui.tabs.progress_view import frames, summary_html

TARGETS = ("img2img", "inpaint", "extras")
TO_INPAINT = ("Puts the picture on the inpaint tab, with its prompts, steps, CFG scale, size and seed. The mask there "
              "stays if the picture has the same size, and is cleared otherwise; Undo brings both back.")
NOTHING_YET = {
    "txt2img": "Write what should be in the picture and press Generate. The pictures appear here.",
    "img2img": "Choose a picture, write what should become of it and press Generate. The results appear here."}
OWN_WINDOW = "() => inpaintPage.windowId"
OWN_WINDOW_FIRST = "(_, ...values) => [inpaintPage.windowId, ...values]"
"""Scripts that put the id of the window into an event's only input, or into its first one."""


@dataclass
class Results:
    """The widgets of a tab's results, and its buttons Generate, Interrupt and Skip. `window` carries the window's id.
    A script of the page presses the hidden button `follow` when it finds a job that nobody watches. The inpaint tab
    has a strip of candidates as its `gallery`."""

    queue: JobQueue
    tab: str
    window: gr.Textbox
    follow: gr.Button
    shown: gr.State
    selected: gr.State
    last_seed: gr.State
    generate: gr.Button
    interrupt: gr.Button
    skip: gr.Button
    stage: gr.HTML
    gallery: gr.Gallery | Candidates
    infotext: gr.Textbox
    send_buttons: dict[str, gr.Button]
    download: Download
    inside: gr.HTML
    root_path: str

    def connect(self, demo: gr.Blocks, make_request: Callable[..., Txt2Img], inputs: list[Component],
                header: Header) -> None:
        """Connect the buttons. Generate submits the request that `make_request` makes of `inputs`."""
        self.watch_click(self.generate, lambda origin, *arguments: self.queue.submit(
            make_request(*arguments), origin=origin), inputs, header)
        self._connect_going_on(make_request, inputs, header)
        demo.load(self.watch, self.window, self.outputs, js=OWN_WINDOW, **LIVE)
        self.follow.click(self.watch, self.window, self.outputs, js=OWN_WINDOW, **LIVE)
        for button, act in ((self.interrupt, self.queue.interrupt), (self.skip, self.queue.skip)):
            button.click(self._order(act), self.window, None, js=OWN_WINDOW, **AT_ONCE)
        self.gallery.select(self.select, self.shown, [self.selected, self.infotext, self.last_seed], **AT_ONCE)

    def watch_click(self, button: gr.Button, submit: Callable[..., Job], inputs: list[Component],
                    header: Header) -> None:
        """Connect `button`: `submit` makes a job of its origin and `inputs`, and the page watches the job."""

        @told
        def start(window: str, *arguments: Any) -> str:
            submit(Origin(str(window)[:64], self.tab), *arguments)
            return window

        self.watch_after(button.click(start, [self.window, *inputs], self.window, js=OWN_WINDOW_FIRST, **LIVE), header)

    def _connect_going_on(self, make_request: Callable[..., Txt2Img], inputs: list[Component],
                          header: Header) -> None:
        """Connect "Go on from here" of Look inside: the run shown there goes on as the tab's widgets are now."""

        @told
        def start(window: str, event: gr.EventData, *arguments: Any) -> str:
            job, run = self._recorded(window, str(event.name))
            assert job.request is not None
            assert job.result is not None
            seeds = {name: getattr(job.result.request, name) for name in ("seed", "subseed")}
            request = changed(replace(job.request, **seeds), make_request(*arguments), int(event.calls), run)
            self.queue.submit(replace(request, replayed=job.recordings[run]), origin=Origin(str(window)[:64], self.tab))
            return window

        self.watch_after(self.inside.click(start, [self.window, *inputs], self.window, js=OWN_WINDOW_FIRST, **LIVE),
                          header)

    def _recorded(self, window: str, name: str) -> tuple[Job, int]:
        """The window's job with the recording of that name, and which of its runs that is. Raises NotFound."""
        for job in self.queue.of(window, self.tab):
            for run, file in enumerate(job.recordings):
                if file.stem == name and job.request and job.result:
                    return job, run
        raise NotFound("There is no such recording, or not any more.")

    def watch_after(self, event: Any, header: Header) -> None:
        """Watch the job that `event` has submitted. This waits for a `watch` that is still running: that one may have
        seen its last job."""
        event.success(self.watch, self.window, self.outputs, trigger_mode="always_last", **LIVE).then(
            header.idle, None, header.status, **AT_ONCE)

    def _order(self, act: Callable[[str], object]) -> Callable[[str], None]:
        """A handler that acts on the window's running job, or else on its next one."""

        def click(window: str) -> None:
            job = self._next(window)
            if job is not None:
                act(job.id)

        return click

    @property
    def outputs(self) -> list[Component]:
        """The outputs of `watch`."""
        return [self.stage, self.gallery, self.infotext, self.shown, self.selected, self.last_seed, self.interrupt,
                self.skip, self.inside, *self._on_pictures]

    @property
    def _on_pictures(self) -> list[gr.Button]:
        """The buttons that need a picture."""
        return [*self.send_buttons.values(), self.download.button]

    def _next(self, window: str) -> Job | None:
        """The first of the window's jobs that is not over. The queue may have been reordered: the running one first."""
        waiting = [job for job in self.queue.of(window, self.tab) if not job.over]
        return min(waiting, key=lambda job: job.position, default=None)

    def watch(self, window: str) -> Iterator[dict[Any, Any]]:
        """Follow the window's jobs until all are over. Without any that is not over, show how the last one ended."""
        jobs = self.queue.of(window, self.tab)
        if not jobs:
            yield {self.stage: ""}
            return
        job: Job | None = self._next(window) or next((job for job in jobs if not job.announced), jobs[-1])
        while job is not None:
            buttons = self._buttons(running=True)
            for frame in frames(job):
                yield {self.stage: frame} | buttons
                buttons = {}
            yield self._finished(job, another=self._next(window) is not None)
            jobs = self.queue.of(window, self.tab)
            job = self._next(window) or next((job for job in jobs if not job.announced), None)

    def _finished(self, job: Job, *, another: bool) -> dict[Any, Any]:
        """The result, and its messages unless they have been shown. `another` says that one more job follows."""
        is_news = not job.announced
        job.announced = True
        sentences = [job.error.message] if job.error else list(job.result.warnings) if job.result else []
        if is_news:
            for sentence in sentences:
                tell(sentence)
        if job.result and job.result.work < 1:
            sentences = [*sentences, f"Small mask: the network did {job.result.work:.0%} of the whole picture's work."]
        changes: dict[Any, Any] = self._buttons(running=another) | {self.stage: summary_html(job, sentences)}
        if job.result is None or not job.result.images:
            return changes
        shown = shown_of(job.result)
        more: dict[Any, Any] = {
            self.gallery: self._for_gallery(shown, job, is_news=is_news), self.shown: shown, self.selected: 0,
            self.infotext: shown[0].made.infotext, self.last_seed: shown[0].made.seed,
            self.inside: {"root": self.root_path, "names": job.recorded},
        }
        more |= {button: gr.update(interactive=True) for button in self._on_pictures}
        return changes | more

    def _for_gallery(self, shown: list[Shown], job: Job, *, is_news: bool) -> Any:
        if isinstance(self.gallery, Candidates):
            return Found(shown, is_news, job.id)
        return gr.update(value=[(one.for_gallery, None) for one in shown], selected_index=0, preview=True)

    def _buttons(self, *, running: bool) -> dict[Any, Any]:
        return {self.interrupt: gr.update(visible=running), self.skip: gr.update(visible=running)}

    @staticmethod
    def select(shown: list[Shown], event: gr.EventData) -> tuple[Any, Any, Any]:
        """Show the parameters of the picture selected in the gallery."""
        index = event.index if isinstance(event.index, int) and event.index < len(shown) else 0
        if not shown:
            return 0, gr.skip(), gr.skip()
        return index, shown[index].made.infotext, shown[index].made.seed


def shown_of(result: Result) -> list[Shown]:
    """What the gallery shows of a job's result: its pictures, then their masks and composites."""
    images = result.images
    extras = [replace(made, image=extra, path=None, photograph=None) for made in images for extra in made.extras]
    return [Shown(made, result.request) for made in (*images, *extras)]


PREVIEW_ON_LOAD = """const tell = () => {
    const canvas = document.querySelector('.mc[data-canvas="%s"]');
    canvas?.dispatchEvent(new CustomEvent("preview", {detail: element.querySelector(".live img")?.src ?? ""}));
};
new MutationObserver(tell).observe(element, {childList: true, subtree: true, attributes: true});"""
"""Sends the previews of the job to the canvas."""


def draw_stage(tab: str, *, on_canvas: bool = False) -> gr.HTML:
    """Draw the place for a job's progress and its summary. With `on_canvas` the tab's canvas shows the previews."""
    return gr.HTML("", elem_id=f"{tab}_stage", elem_classes="stage", apply_default_css=False,
                   js_on_load=PREVIEW_ON_LOAD % tab if on_canvas else None)


def generate_buttons(tab: str) -> tuple[gr.Button, gr.Button, gr.Button]:
    """Draw Generate, the switch that repeats it (a script of the queue panel does that), and Interrupt and Skip, which
    appear while a job runs."""
    generate = gr.Button("Generate", variant="primary", size="lg", elem_id=f"{tab}_generate", elem_classes="go")
    tool_button("forever", "Generate forever: start again after each picture, until this is pressed again or one is "
                           "interrupted", f"{tab}_forever", "forever")
    interrupt = gr.Button("Interrupt", variant="stop", size="lg", elem_id=f"{tab}_interrupt", visible=False,
                          elem_classes="interrupt", min_width=80)
    skip = gr.Button("Skip", size="lg", elem_id=f"{tab}_skip", visible=False, elem_classes="skip", min_width=80)
    return generate, interrupt, skip


def window_id() -> gr.Textbox:
    """The place through which the page's script sends the id of the window."""
    return gr.Textbox(visible=False)


def results(queue: JobQueue, tab: str, buttons: tuple[gr.Button, gr.Button, gr.Button], last_seed: gr.State,
            window: gr.Textbox, root_path: str, stage: gr.HTML | None = None) -> Results:
    """Draw the widgets of the results here. `root_path` is where the server's addresses begin. The inpaint tab has
    drawn the `stage`, the job's progress, below its canvas."""
    gallery: gr.Gallery | Candidates
    if stage:
        gallery = Candidates(tab, elem_id=f"{tab}_gallery", elem_classes="candidates")
    else:
        with gr.Column(elem_classes="show"):
            gallery = gr.Gallery(label="Results", show_label=False, format="png", object_fit="contain", columns=2,
                                 height="auto", preview=True, buttons=["download", "fullscreen"], interactive=False,
                                 elem_id=f"{tab}_gallery", elem_classes="gallery")
            gr.HTML(f"<p>{NOTHING_YET[tab]}</p>", js_on_load=None, apply_default_css=False,
                    elem_id=f"{tab}_nothing_yet", elem_classes="nothing-yet")
            stage = draw_stage(tab)
    with gr.Column(elem_classes="area-more", min_width=260):
        with gr.Row(elem_classes="tight send-row"):
            send_buttons = {target: gr.Button(f"Send to {target}", size="sm", interactive=False, min_width=80,
                                              elem_id=f"{tab}_send_to_{target}") for target in TARGETS}
            explain(send_buttons["inpaint"], TO_INPAINT)
        with gr.Row(elem_classes="tight save-row"):
            save = download.draw(tab)
        infotext = explain(
            gr.Textbox(label="Parameters", lines=2, max_lines=12, interactive=False, buttons=["copy"],
                       elem_id=f"{tab}_infotext", elem_classes="infotext"),
            "How the picture was made. Copy it to make the picture again.")
        inside = steps.build(tab)
    follow = gr.Button("", visible="hidden", elem_id=f"{tab}_follow")
    return Results(queue, tab, window, follow, gr.State([]), gr.State(0), last_seed, *buttons, stage, gallery, infotext,
                   send_buttons, save, inside, root_path)
