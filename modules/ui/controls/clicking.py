"""What makes masks by clicks for the inpaint canvas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from modules.base.files import file_version
from modules.engine.engine import Engine
from modules.errors import InvalidInput
from modules.imaging.click_mask import Click
from modules.jobs.job import Job
from modules.jobs.queue import JobQueue
from modules.ui.canvas.canvas import Clicker


def clicker(engine: Engine, queue: JobQueue) -> Clicker:
    """A network waits for its turn in the queue, since it needs the device; GrabCut answers at once."""
    def mask(path: Path, opened: Callable[[], Image.Image], clicks: Sequence[Click]) -> Image.Image:
        key = path, file_version(path)
        if not engine.clicking.is_network:
            return engine.clicking.mask(key, opened, clicks)
        made: list[Image.Image] = []

        def work(job: Job) -> None:
            job.stage("Looking at the picture")
            made.append(engine.clicking.mask(key, opened, clicks))

        job = queue.submit_work(work)
        job.wait()
        if job.error is not None:
            raise job.error
        if not made:
            raise InvalidInput("No mask was made: it was interrupted.")
        return made[0]

    return mask
