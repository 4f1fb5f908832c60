"""remove: what the mask paints over goes, filled from its surroundings. Ours; WebUI has no such endpoint."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from modules.api import pictures
from modules.api.asking import client_of
from modules.api.body import Body, Integer
from modules.api.extras import WasInterrupted
from modules.api.loose import TEXT, LooseDict, LooseStr
from modules.api.waiting import finished
from modules.engine.engine import Engine
from modules.gallery.formats import Format
from modules.jobs.job import Job, Origin
from modules.jobs.queue import JobQueue
from modules.request import Inpaint
from modules.request.options import Options
from modules.settings import Settings


class RemoveBody(Body):
    """POST /sdapi/v1/remove. `mask` has the size of `image`; what is not black in it goes. `seed` makes another
    attempt. `model` is a choice of the option `remove_model`. `photograph_format` is img2img's."""

    image: str = ""
    mask: str = ""
    seed: Integer = -1
    model: LooseStr = ""
    photograph_format: Annotated[str, Field(pattern="^(png|tiff|webp|jpeg|original)?$")] = ""
    override_settings: LooseDict = Field({})
    send_images: bool = True
    save_images: bool = False
    force_task_id: Annotated[str, Field(max_length=200), TEXT] | None = None

    def request(self, options: Options, max_pixels: int) -> Inpaint:
        """What is asked for, its pictures still packed. Raises UserError naming the field."""
        image, mask = (pictures.open_picture(text, field, max_pixels)
                       for text, field in ((self.image, "image"), (self.mask, "mask")))
        options = options.replaced(self.override_settings | ({"remove_model": self.model} if self.model else {}))
        return Inpaint(init_images=(image,), mask=mask, seed=self.seed, options=options)


class Removed(BaseModel):
    """The answer: one picture in base64, what made it, and the seed."""

    images: list[str]
    info: str
    seed: int
    warnings: list[str] = []


def router(engine: Engine, queue: JobQueue, settings: Settings) -> APIRouter:
    """The endpoint."""
    api = APIRouter(prefix="/sdapi/v1")

    @api.post("/remove", response_model=Removed)
    async def remove(body: RemoveBody, request: Request) -> dict[str, Any]:
        job = await run_in_threadpool(submit, body, engine, queue, settings, client_of(request, settings).origin)
        return await run_in_threadpool(answer, body, await finished(job), engine)

    return api


def submit(body: RemoveBody, engine: Engine, queue: JobQueue, settings: Settings, origin: Origin) -> Job:
    """The job of what `body` asks for. Raises UserError."""
    request = body.request(engine.options, settings.max_image_mp * 10**6)
    engine.removers.full_name(request.options.remove_model)
    return queue.submit(request, job_id=body.force_task_id, save=body.save_images,
                        unpack=partial(pictures.unpacked_request, keep_photographs=bool(body.photograph_format)),
                        remove=True, origin=origin)


def answer(body: RemoveBody, job: Job, engine: Engine) -> dict[str, Any]:
    """The fields of `Removed`. Raises WasInterrupted."""
    if job.result is None:
        raise WasInterrupted("The picture was not finished, because somebody interrupted it.")
    (made,) = job.result.images
    form = Format.of(engine.config.values()).named(body.photograph_format, made.photograph)
    images = [pictures.encode(made.image, made.infotext, form=form, photograph=made.photograph)]
    return {"images": images if body.send_images else [], "info": made.infotext, "seed": made.seed,
            "warnings": job.result.warnings}
