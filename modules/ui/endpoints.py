"""Named endpoints of the page for programs that use gradio_client. What has more fields is in the HTTP API."""

from __future__ import annotations

from typing import Any

from gradio.events import api

from modules.engine.engine import Engine
from modules.engine.limits import check_limits
from modules.imaging.jpeg import preview_jpeg
from modules.jobs.queue import JobQueue
from modules.request import Txt2Img
from modules.settings import Settings
from modules.ui.page.messages import told


def add(engine: Engine, queue: JobQueue, settings: Settings) -> None:
    """Puts them into the page that is being built: /txt2img, /progress and /interrupt."""

    @told
    def txt2img(prompt: str, negative_prompt: str = "", width: int = 512, height: int = 512, steps: int = 20,
                cfg_scale: float = 7.0, seed: int = -1, sampler: str = "Euler a") -> dict[str, Any]:
        """A picture, saved among the others: the paths of its files, and the text that makes it again."""
        request = Txt2Img(prompt=prompt, negative_prompt=negative_prompt, width=int(width), height=int(height),
                          steps=int(steps), cfg_scale=cfg_scale, seed=int(seed), sampler=sampler,
                          options=engine.options)
        check_limits(request, settings)
        job = queue.submit(request, save=True)
        job.wait()
        if job.error is not None:
            raise job.error
        made = job.result.images if job.result else ()
        return {"files": [str(one.path) for one in made], "infotexts": [one.infotext for one in made],
                "seeds": [one.seed for one in made]}

    def progress() -> dict[str, Any]:
        """How far the running job is, 0 to 1, what it does, and a preview as a JPEG in base64."""
        job = queue.current
        preview = job.preview() if job else None
        return {"progress": job.progress if job else 0.0, "stage": job.stage_text if job else "",
                "preview": preview_jpeg(preview) if preview else None}

    def interrupt() -> bool:
        """Stops the running job; whether there was one."""
        return queue.interrupt()

    api(txt2img, api_name="txt2img", concurrency_limit=None)
    api(progress, api_name="progress", concurrency_limit=None, queue=False)
    api(interrupt, api_name="interrupt", concurrency_limit=None, queue=False)
