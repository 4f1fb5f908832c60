"""Live painting: with the switch on, the canvas shows after each stroke what Generate would make.

A script (`live_view/view.js`) presses a hidden button whenever the canvas has published something new. The window's
job before it is interrupted then, by its own id: the newest mask wins. Such a job gives way to all others, and nothing
of it is saved or kept.
"""

from __future__ import annotations

import asyncio
import html
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component
from PIL import Image, ImageChops

from modules.errors import UserError
from modules.imaging.jpeg import preview_jpeg
from modules.jobs.job import Job, Origin
from modules.jobs.queue import JobQueue
from modules.request import Inpaint, Txt2Img
from modules.ui.controls.request_panel import Panel, lock_seed
from modules.ui.page.component import assets
from modules.ui.page.events import AT_ONCE
from modules.ui.page.help import explain

_asset = assets(Path(__file__).parent / "live_view")
LOOK_SECONDS = 0.25
"""How often it is looked whether the window is still there and has not asked again."""
MOST_WINDOWS = 1000
"""Of which it is remembered what they asked for last."""


@dataclass(frozen=True)
class Asked:
    """What a window has asked for last: the time there in milliseconds, and the job while it is not over."""

    time: int
    job: Job | None = None


class Live:
    """The switch and the place for what it brings. `draw` draws them, `connect` connects them once the tab is there."""

    def __init__(self, queue: JobQueue, tab: str) -> None:
        self._queue, self._tab = queue, tab
        self._asked: dict[str, Asked] = {}
        self._lock = threading.Lock()

    def draw(self) -> None:
        """Draw the switch here."""
        with gr.Row(elem_classes="tight live-row"):
            self._switch = explain(
                gr.Checkbox(False, label="Live painting", elem_id=f"{self._tab}_live", min_width=200, scale=0),
                "Shows after each stroke what Generate would make, with the same seed. Use it with few steps. Nothing "
                "is saved before Generate, and other jobs come first.")
            self._view = gr.HTML("", js_on_load=_asset("view.js") % self._tab, apply_default_css=False,
                                 elem_id=f"{self._tab}_live_view", elem_classes="live-view")
        self._refresh = gr.Button("", visible="hidden", elem_id=f"{self._tab}_live_refresh")

    def connect(self, panel: Panel, last_seed: gr.State, make_request: Callable[..., Txt2Img],
                inputs: list[Component], window: gr.Textbox) -> None:
        """Connect them. `make_request` and `inputs` are those of Generate."""
        self._make_request = make_request
        seed = panel.widgets["seed"]
        # The seed stays what it is: with a random one each stroke would change everything.
        self._switch.change(lambda on, held, last: lock_seed(True, held, last)["value"] if on else held,
                            [self._switch, seed, last_seed], seed, **AT_ONCE)
        self._switch.change(self._switched, [window, self._switch], self._view, **AT_ONCE,
                            js="(_, on) => [inpaintPage.windowId, on]")
        self._refresh.click(self.refresh, [window, *inputs], self._view, trigger_mode="multiple", **AT_ONCE,
                            js="(_, ...values) => [`${inpaintPage.windowId} ${Date.now()}`, ...values]")

    async def refresh(self, client: gr.Request, asking: str, *arguments: Any) -> Any:
        """Carry out the request that the window's widgets make. `asking` is its id and the time there. Returns what
        `_view` shows; nothing if the window asks again before that, or is closed."""
        window, _, time = asking.rpartition(" ")
        mine = Asked(int(time) if time.isdecimal() else 0)
        if not self._begin(window, mine):
            return gr.skip()
        try:
            request = await asyncio.to_thread(lambda: painted(self._make_request(*arguments)))
            if request is None:
                return ""
            job = self._submit(window, mine, request)
            while job and (not job.over or (job.displaced and not self._generates(window))):
                if job.over:  # the others are done with
                    job = self._submit(window, mine, request)
                    continue
                await asyncio.wait({asyncio.wrap_future(job.finished)}, timeout=LOOK_SECONDS)
                is_gone = client.request is not None and await client.request.is_disconnected()
                if is_gone or not self._is_newest(window, mine.time):
                    return gr.skip()
        except UserError as error:
            return words(error.message)
        finally:
            self._end(window, mine.time)
        if job is None:
            return gr.skip()
        if job.error:
            return words(job.error.message)
        if job.state != "done" or job.result is None or not job.result.images:
            return ""
        return await asyncio.to_thread(picture, request, job.result.images[0].image)

    def _submit(self, window: str, mine: Asked, request: Txt2Img) -> Job | None:
        """The job of `request`; None if the window has asked for something else meanwhile."""
        with self._lock:
            asked = self._asked.get(window)
            if asked is None or asked.time != mine.time:
                return None
            job = self._queue.submit(request, save=False, gives_way=True,
                                     origin=Origin(window[:64], name="Live painting"))
            self._asked[window] = Asked(mine.time, job)
            return job

    def _begin(self, window: str, mine: Asked) -> bool:
        """Make `mine` what the window has asked for last, and interrupt the job before it. False if it is not the
        last."""
        with self._lock:
            before = self._asked.pop(window, None)
            if before and before.time > mine.time:
                self._asked[window] = before
                return False
            self._asked[window] = mine
            for old in list(self._asked)[:-MOST_WINDOWS]:
                del self._asked[old]
        if before and before.job:
            self._queue.interrupt(before.job.id)
        return True

    def _end(self, window: str, time: int) -> None:
        """Forget the window's job, unless it is of a later stroke. It is interrupted if nobody waited for its end."""
        with self._lock:
            asked = self._asked.get(window)
            if asked is None or asked.time != time:
                return
            self._asked[window] = Asked(time)
        if asked.job:
            self._queue.interrupt(asked.job.id)

    def _is_newest(self, window: str, time: int) -> bool:
        with self._lock:
            return window in self._asked and self._asked[window].time == time

    def _generates(self, window: str) -> bool:
        """Whether the window waits for a picture of Generate: then the strokes have come to an end."""
        return any(not job.over for job in self._queue.of(window, self._tab))

    def _switched(self, window: str, on: bool) -> Any:
        """What the view shows when the switch is pressed. Off stops the window's job."""
        if on:
            return gr.skip()
        with self._lock:
            asked = self._asked.pop(window, None)
        if asked and asked.job:
            self._queue.interrupt(asked.job.id)
        return ""


def painted(request: Txt2Img) -> Txt2Img | None:
    """The request of Generate as a single picture of 8 bits, without script and record. None if nothing is painted."""
    assert isinstance(request, Inpaint)
    if request.mask.getbbox() is None:
        return None
    return replace(request, seed=max(request.seed, 0), batch_size=1, n_iter=1, script=None, record_steps=False,
                   photographs=())


def words(sentence: str) -> str:
    """A sentence for the view, as HTML."""
    return f'<p role="status">{html.escape(sentence)}</p>'


def picture(request: Txt2Img, made: Image.Image) -> str:
    """What of `made` differs from the picture it began with, as HTML with the place where it belongs. Empty if nothing
    does."""
    assert isinstance(request, Inpaint)
    before, after = (one.convert("RGB") for one in (request.init_images[0], made))
    box: tuple[int, int, int, int] | None = (0, 0, *before.size)
    if before.size == after.size:
        box = ImageChops.difference(before, after).getbbox()
        if box is None:
            return ""
        after = after.crop(box)
    place = ",".join(map(str, box or ()))
    return f'<img alt="" data-box="{place}" src="data:image/jpeg;base64,{preview_jpeg(after)}">'
