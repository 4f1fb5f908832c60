"""extra-single-image and extra-batch-images: finished pictures made larger, and faces restored."""

from __future__ import annotations

import dataclasses
import html
import logging
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from modules.api import pictures
from modules.api.asking import client_of
from modules.api.body import Body, Integer, Number
from modules.api.loose import WHOLE, LooseStr
from modules.api.waiting import finished
from modules.engine import postprocessing
from modules.engine.engine import Engine
from modules.engine.postprocessing import POSTPROCESSING, Extras, Tools
from modules.errors import InvalidInput, UserError
from modules.gallery.formats import Format
from modules.jobs.job import Job, Origin
from modules.jobs.queue import JobQueue
from modules.settings import Settings

log = logging.getLogger(__name__)

MOST_PICTURES = 100


class WasInterrupted(UserError):
    """Somebody stopped it, and half a picture is of no use."""

    status = 409


class ExtrasBody(Body):
    """What both endpoints take."""

    resize_mode: Annotated[int, Field(ge=0, le=1), WHOLE] = 0
    show_extras_results: bool = True
    gfpgan_visibility: Number = 0
    codeformer_visibility: Number = 0
    codeformer_weight: Number = 0
    upscaling_resize: Number = 2
    upscaling_resize_w: Integer = 512
    upscaling_resize_h: Integer = 512
    upscaling_crop: bool = True
    upscaler_1: LooseStr = "None"
    upscaler_2: LooseStr = "None"
    extras_upscaler_2_visibility: Number = 0
    upscale_first: bool = False
    cut_out_subject: bool = False

    def extras(self) -> Extras:
        """What is to be done. Raises InvalidInput naming the field."""
        size = (self.upscaling_resize_w, self.upscaling_resize_h) if self.resize_mode == 1 else None
        return Extras(upscaler=self.upscaler_1 or "None", factor=self.upscaling_resize, size=size,
                      crop=self.upscaling_crop, second_upscaler=self.upscaler_2 or "None",
                      visibility=self.extras_upscaler_2_visibility,
                      faces=tuple((name, visibility) for name, visibility in (
                          ("GFPGAN", self.gfpgan_visibility), ("CodeFormer", self.codeformer_visibility))
                          if visibility), cut_out=self.cut_out_subject)


class SingleBody(ExtrasBody):
    """POST /sdapi/v1/extra-single-image."""

    image: str = ""


class FileBody(Body):
    """One picture of a batch; its name goes unused, because nothing is written."""

    data: str
    name: str = ""


class BatchBody(ExtrasBody):
    """POST /sdapi/v1/extra-batch-images."""

    imageList: list[FileBody] = Field(max_length=MOST_PICTURES)


def with_what_is_here(request: Extras, tools: Tools) -> tuple[Extras, list[str]]:
    """`request` without the restorers of faces that are not here, and a sentence for each thing that is not done as
    asked."""
    faces, warnings = [], []
    for name, visibility in request.faces:
        try:
            tools.restorers.full_name(name)
            faces.append((name, visibility))
        except InvalidInput as error:
            warnings.append(error.message)
    stand_ins = (tools.upscalers.stand_in(name) for name in (request.upscaler, request.second_upscaler))
    warnings += [sentence for sentence in stand_ins if sentence]
    return dataclasses.replace(request, faces=tuple(faces)), warnings


def router(engine: Engine, queue: JobQueue, settings: Settings) -> APIRouter:
    """The two endpoints. The queue's worker does the work, for upscalers may need the device."""
    api = APIRouter(prefix="/sdapi/v1")
    limit = settings.max_image_mp * 10**6

    async def processed(request: Extras, texts: Mapping[str, str],
                        origin: Origin) -> tuple[list[str], dict[str, Any]]:
        """Pictures as base64, by the names of their fields, to pictures as base64, one at a time in memory; and what
        was done, as HTML. What is not here is left out or done by something else, with a warning, as in WebUI."""
        request, warnings = await run_in_threadpool(with_what_is_here, request, engine.tools)
        await run_in_threadpool(engine.tools.check, request)
        done: list[str] = []
        words = ""
        form = Format() if request.cut_out else Format.of(engine.config.values())  # a PNG can be transparent

        def work(job: Job) -> None:
            nonlocal words
            for number, (field, text) in enumerate(texts.items()):
                job.batches(number, len(texts))
                image = pictures.decode(text, field, limit)
                made = postprocessing.process(image, request, engine.tools, job, max_pixels=limit)
                done.append(pictures.encode(made.image, made.parameters, {POSTPROCESSING: made.text},
                                            form))
                words = made.text

        await finished(queue.submit_work(work, nbytes=sum(map(len, texts.values())), origin=origin))
        if len(done) < len(texts):
            raise WasInterrupted("The pictures were not finished, because somebody interrupted it.")
        for warning in warnings:
            log.warning("Extras: %s", warning)
        return done, {"html_info": f"<p>{html.escape(words)}</p>", "warnings": warnings}

    @api.post("/extra-single-image")
    async def extra_single_image(body: SingleBody, request: Request) -> dict[str, Any]:
        (image,), told = await processed(body.extras(), {"image": body.image}, client_of(request, settings).origin)
        return {**told, "image": image}

    @api.post("/extra-batch-images")
    async def extra_batch_images(body: BatchBody, request: Request) -> dict[str, Any]:
        texts = {f"imageList.{number}.data": file.data for number, file in enumerate(body.imageList)}
        images, told = await processed(body.extras(), texts, client_of(request, settings).origin)
        return {**told, "images": images}

    return api
