"""v1/steps: what happened at each step of a job that was asked to record them. Ours.

A recording's name is random: it stands in the answer of the job (`step_recordings`), and is good while the job is kept.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from starlette.responses import FileResponse, Response

from modules.engine import step_pictures
from modules.engine.engine import Engine
from modules.errors import NotFound
from modules.gallery.steps import SHOWN, Steps
from modules.jobs.queue import JobQueue

KEEP = {"cache-control": "private, max-age=3600"}


def recording(queue: JobQueue, name: str, field: str | None = None) -> Path:
    """The recorded steps of that name. Raises NotFound, with the request's `field` that has the name."""
    path = queue.recordings.find(name) if queue.recordings else None
    if path is None:
        raise NotFound("There is no such recording, or not any more.", field=field)
    return path


def router(engine: Engine, queue: JobQueue) -> APIRouter:
    """The endpoints."""
    api = APIRouter(prefix="/v1/steps")

    def find(name: str) -> Steps:
        return Steps(recording(queue, name))

    @api.get("/{name}")
    def about(name: str) -> dict[str, Any]:
        return find(name).about

    @api.get("/{name}/file")
    def file(name: str) -> FileResponse:
        return FileResponse(find(name).path, media_type="application/octet-stream", filename="steps.safetensors")

    @api.get("/{name}/cell")
    def cell(name: str, x: int, y: int, image: int = 0) -> dict[str, list[list[float]]]:
        return find(name).cell(x, y, image)

    @api.get("/{name}/animation.webp")
    def animation(name: str, shown: str = "x0", image: int = 0) -> Response:
        return Response(find(name).animation(shown, image), media_type="image/webp", headers=KEEP)

    @api.get("/{name}/strip.png")
    def strip(name: str, shown: str = "", image: int = 0) -> Response:
        steps = find(name)
        rows = shown.split(",") if shown else [one for one in SHOWN if one in steps.about["shown"]]
        return _png(steps.strip(rows, image))

    @api.get("/{name}/{call}/{shown}.png")
    def picture(name: str, call: int, shown: str, image: int = 0, minus: str = "", decoded: bool = False) -> Response:
        if decoded:
            return _png(step_pictures.decoded(engine, find(name), call, shown, image))
        if minus:
            return _png(find(name).difference(find(minus), call, shown, image))
        return _png(find(name).picture(call, shown, image))

    return api


def _png(picture: Any) -> Response:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return Response(buffer.getvalue(), media_type="image/png", headers=KEEP)
