"""The queue panel: all jobs that run or wait, for every window, with their progress. Jobs can be cancelled and moved.

Who may see and manage what stands in `modules.jobs.client`; of jobs that a window may not see it shows the places.

A script in the page (`queue_view/`) draws the panel and calls the functions of `answers`. Each question names the
window by its secret id.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from modules.imaging.jpeg import preview_jpeg
from modules.jobs.client import Client
from modules.jobs.job import Job
from modules.jobs.queue import JobQueue
from modules.request import Img2Img
from modules.settings import Settings
from modules.ui.page.component import assets
from modules.ui.page.messages import answered

_asset = assets(Path(__file__).parent / "queue_view")
TABS = ("txt2img", "img2img", "inpaint")
THUMBNAIL = 96
"""The longest side of a thumbnail, in pixels."""
NAME_LENGTH = 200


Workers = Callable[[], list[dict[str, Any]]]
"""What there is to say of each worker; see `Engine.workers`."""


def build(queue: JobQueue, settings: Settings, workers: Workers = list) -> gr.HTML:
    """Draw the button of the panel here, with the number of jobs on it."""
    return gr.HTML(html_template=_asset("view.html"), css_template=_asset("style.css"), js_on_load=_asset("view.js"),
                   apply_default_css=False, server_functions=answers(queue, settings, workers), elem_id="queue",
                   elem_classes="queue-panel")


def answers(queue: JobQueue, settings: Settings, workers: Workers = list) -> list[Callable[..., dict[str, Any]]]:
    """The functions that the panel's script calls."""
    thumbnails: dict[str, str] = {}

    def look(question: Mapping[str, Any], *, all_seen: bool) -> dict[str, Any]:
        """All jobs, the running ones first, and for each tab how the window's jobs stand."""
        window = _window(question)
        jobs = [*queue.running(), *queue.pending()]
        if question.get("open"):
            _draw(jobs, thumbnails)
        return {"jobs": [described(job, window, thumbnails, all_seen=all_seen) for job in jobs],
                "workers": workers() if all_seen else [],
                "tabs": {tab: _standing(queue.of(window, tab)) for tab in TABS}}

    def act(question: Mapping[str, Any], *, all_seen: bool) -> dict[str, Any]:
        """Cancel a job, or move it by some places, if the window may do that. Returns what `look` does."""
        job = queue.get(str(question.get("id")))
        if job is not None and (all_seen or _is_own(job, _window(question))):
            places = question.get("places")
            if places in (-1, 1):
                queue.move(job.id, places)
            else:
                queue.interrupt(job.id)
        return look(question, all_seen=all_seen)

    def queue_look(question: Any, request: gr.Request) -> dict[str, Any]:
        return answered(lambda asked: look(asked, all_seen=client_of(request, settings).sees_all))(question)

    def queue_act(question: Any, request: gr.Request) -> dict[str, Any]:
        return answered(lambda asked: act(asked, all_seen=client_of(request, settings).sees_all))(question)

    return [queue_look, queue_act]


def client_of(request: gr.Request, settings: Settings) -> Client:
    """The client whose browser or program asks."""
    return Client.of(getattr(request.client, "host", ""), has_password=bool(settings.passwords))


def described(job: Job, window: str, thumbnails: Mapping[str, str], *, all_seen: bool) -> dict[str, Any]:
    """One job for the panel. Of a job that the window may not see, only its place."""
    mine = _is_own(job, window)
    place = {"position": job.position, "mine": mine, "seen": mine or all_seen}
    if not place["seen"]:
        return place
    whose = "mine" if mine else "window" if job.origin.window else "program"
    return place | {"id": job.id, "name": job.name[:NAME_LENGTH], "titled": bool(job.origin.name), "whose": whose,
                    "tab": job.origin.tab or (job.request.tab if job.request else ""), "progress": job.progress,
                    "stage": job.stage_text, "step": job.sampling_step, "steps": job.sampling_steps,
                    "thumbnail": thumbnails.get(job.id, "")}


def _standing(jobs: list[Job]) -> dict[str, Any]:
    last = max((job for job in jobs if job.over), key=lambda job: job.created, default=None)
    return {"left": sum(not job.over for job in jobs), "last": last.id if last else "",
            "state": last.state if last else ""}


def _draw(jobs: list[Job], thumbnails: dict[str, str]) -> None:
    """Bring `thumbnails` up to date: previews of what runs, and of what waits the picture that it starts from."""
    for job in jobs:
        picture = job.preview() if job.position == 0 else None
        if picture is not None or job.id not in thumbnails:
            thumbnails[job.id] = _thumbnail(picture or _start(job))
    for old in thumbnails.keys() - {job.id for job in jobs}:
        thumbnails.pop(old, None)  # another window's question may have taken it out


def _start(job: Job) -> Image.Image | None:
    """The picture that a job starts from. Packed pictures stay packed: a copy of the file is opened."""
    if not isinstance(job.request, Img2Img):
        return None
    picture = job.request.init_images[0]
    packed = getattr(picture, "fp", None)
    return Image.open(io.BytesIO(packed.getvalue())) if isinstance(packed, io.BytesIO) else picture


def _thumbnail(picture: Image.Image | None) -> str:
    """Empty for a picture that is cut off: its job says so when it starts."""
    if picture is None:
        return ""
    try:
        small = picture.copy()
    except (OSError, ValueError, SyntaxError):
        return ""
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    return f"data:image/jpeg;base64,{preview_jpeg(small.convert('RGB'))}"


def _is_own(job: Job, window: str) -> bool:
    return bool(window) and job.origin.window == window


def _window(question: Mapping[str, Any]) -> str:
    return str(question.get("window", ""))[:64]
