"""Making pictures over HTTP: txt2img, img2img, progress, interrupt and skip."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Collection, Mapping, Sequence
from itertools import takewhile
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from modules.api import pictures
from modules.api.asking import client_of
from modules.api.detail import detail_warnings
from modules.api.gate import refusal
from modules.api.schema import Img2ImgBody, ProgressBody, Txt2ImgBody, as_webui_means
from modules.api.scripts import ALWAYS_ON
from modules.api.steps import recording
from modules.api.waiting import finished
from modules.engine.engine import Engine, check_going_on
from modules.engine.limits import check_count, check_limits
from modules.engine.wildcards import EVERYWHERE
from modules.errors import NotFound, UserError
from modules.gallery.formats import Format
from modules.imaging.jpeg import preview_jpeg
from modules.jobs.job import Job, Origin
from modules.jobs.queue import JobQueue
from modules.request import Inpaint, Txt2Img
from modules.request.result import Result
from modules.settings import Settings
from modules.text import infotext
from modules.text.styles import load_styles

log = logging.getLogger(__name__)

LEAST_PROGRESS = 0.01
"""What a job that has just begun reports: clients take 0 for "nothing is running"."""


MODELS = {"sd_model_checkpoint": "checkpoint", "sd_vae": "VAE"}
"""Options that name files."""


class Answer(BaseModel):
    """What txt2img and img2img answer. `info` is JSON once more; `warnings` is ours, and so is `step_recordings`, names
    for /v1/steps."""

    images: list[str]
    parameters: dict[str, Any]
    info: str
    warnings: list[str] = []
    step_recordings: list[str] = []


def router(engine: Engine, queue: JobQueue, settings: Settings) -> APIRouter:
    """The endpoints that make pictures or say how far they are."""
    api = APIRouter()

    @api.post("/sdapi/v1/txt2img", response_model=Answer)
    async def txt2img(body: Txt2ImgBody, request: Request) -> JSONResponse:
        return await generate(body, engine, queue, settings, client_of(request, settings).origin)

    @api.post("/sdapi/v1/img2img", response_model=Answer)
    async def img2img(body: Img2ImgBody, request: Request) -> JSONResponse:
        return await generate(body, engine, queue, settings, client_of(request, settings).origin)

    @api.get("/sdapi/v1/progress")
    def progress(request: Request, skip_current_image: bool = False, id_task: str = "") -> dict[str, Any]:
        job = _job(queue, id_task) if id_task else client_of(request, settings).first(queue)
        return describe_progress(job, with_picture=not skip_current_image)

    @api.get("/v1/workers")
    def workers() -> list[dict[str, Any]]:
        return engine.workers()

    @api.get("/internal/ping")
    def ping() -> dict[str, Any]:
        return {}

    @api.post("/internal/progress")
    def internal_progress(body: ProgressBody) -> dict[str, Any]:
        return task_progress(queue.get(body.id_task), body)

    @api.post("/sdapi/v1/interrupt")
    async def interrupt(request: Request) -> dict[str, Any]:
        client_of(request, settings).interrupt(queue)
        return {}

    @api.post("/sdapi/v1/skip")
    async def skip(request: Request) -> None:
        client_of(request, settings).skip(queue)

    return api


async def generate(body: Txt2ImgBody, engine: Engine, queue: JobQueue, settings: Settings,
                   origin: Origin) -> JSONResponse:
    """The answer to what `body` asks for, when its job is over. Raises UserError."""
    job, warnings = await run_in_threadpool(submit, body, engine, queue, settings, origin)
    try:
        await finished(job)
    except UserError as error:
        if error.status != 507 or not job.result:
            raise
        # The picture is not on the disk: who asked for it shall have it at least.
        made = await run_in_threadpool(answer, body, job, engine, warnings)
        return JSONResponse({**refusal(error), **made}, error.status)
    if not body.override_settings_restore_afterwards and job.request is not None:
        here = {name: value for name, value in as_webui_means(body.override_settings).items()
                if name not in MODELS or getattr(job.request.options, name) == value}
        await run_in_threadpool(engine.set_options, here)
    made = await run_in_threadpool(answer, body, job, engine, warnings)
    for warning in made["warnings"]:
        log.warning("Job %s: %s", job.id, warning)
    return JSONResponse(made)


def submit(body: Txt2ImgBody, engine: Engine, queue: JobQueue, settings: Settings,
           origin: Origin) -> tuple[Job, list[str]]:
    """The job of what `body` asks for, and a sentence for each thing that something else stands in for. Raises
    UserError."""
    if isinstance(body, Img2ImgBody):
        check_count(len(body.init_images), settings)  # before they are unpacked
    request = body.request(engine.options, max_pixels=settings.max_image_mp * 10**6,
                           styles=load_styles(settings.styles_file), samplers=engine.samplers)
    request, warnings = with_what_is_here(request, engine)
    if body.go_on_from:
        request = dataclasses.replace(request, replayed=recording(queue, body.go_on_from, "go_on_from"))
    check_limits(request, settings)
    pictures.check_pixels(request, settings.max_image_mp * 10**6)
    if request.script:
        engine.bound_script(request, request.script)
    engine.extensions.bound(request)
    engine.control.check(request)
    engine.check_detail(request)
    check_going_on(request)
    engine.files_of(request.options)
    words = body.mask_words if isinstance(body, Img2ImgBody) else ""
    if words:
        engine.grounding.check(words)

    def unpack(packed: Txt2Img) -> Txt2Img:
        whole = pictures.unpacked_request(packed, keep_photographs=bool(photograph_format(body)))
        return engine.grounding.masked(whole, words) if words else whole

    return queue.submit(request, job_id=body.force_task_id, save=body.save_images, unpack=unpack,
                        origin=origin), warnings


def with_what_is_here(request: Txt2Img, engine: Engine) -> tuple[Txt2Img, list[str]]:
    """`request` with the checkpoint and the VAE in use where it names others that are not here, and a sentence for each
    thing that something else stands in for. (WebUI goes on so; POST /options refuses them.)
    """
    warnings = []
    for name, what in MODELS.items():
        asked, in_use = getattr(request.options, name), getattr(engine.options, name)
        try:
            engine.files_of(engine.options.replaced({name: asked}))
        except NotFound as error:
            if asked == in_use:
                raise
            warnings.append(f"{error.message} The {what} in use was taken.")
            request = dataclasses.replace(request, options=request.options.replaced({name: in_use}))
    return request, warnings


def answer(body: Txt2ImgBody, job: Job, engine: Engine, before: Sequence[str]) -> dict[str, Any]:
    """The answer to a finished job, as plain JSON; `before` are warnings from before it."""
    result, request = job.result, job.request
    assert request is not None
    images: list[str] = []
    form = Format.of(engine.config.values())
    if result is not None and body.send_images:
        for made in result.images:
            asked = form.named(photograph_format(body), made.photograph)
            images += [pictures.encode(made.image, made.infotext, form=asked, photograph=made.photograph),
                       *(pictures.encode(picture, made.infotext, form=form) for picture in made.extras)]
        images += [pictures.encode(picture) for picture in result.maps]
    known = (*ALWAYS_ON, *(one.title.lower() for one in engine.extensions.controls(request.tab).values()))
    warnings = [*before, *(result.warnings if result else ()), *size_warning(request), *script_warnings(body, known),
                *detail_warnings(body.alwayson_scripts)]
    return {"images": images, "parameters": body.echo(), "warnings": warnings,
            "info": json.dumps(describe(job, request, result, engine) | {"styles": body.styles}),
            **({"step_recordings": job.recorded} if request.record_steps else {})}


def photograph_format(body: Txt2ImgBody) -> str:
    """The format in which the photograph is to come back; empty for WebUI's answer."""
    return body.photograph_format if isinstance(body, Img2ImgBody) else ""


def describe(job: Job, request: Txt2Img, result: Result | None, engine: Engine) -> dict[str, Any]:
    """Return WebUI's `info`: what was made, under its names."""
    made = result.images if result else ()
    request = result.request if result else request
    options = request.options
    texts = [one.infotext for one in made]
    each = [infotext.parse(text) for text in texts]
    read = each[0] if each else {}
    return {
        "prompt": request.prompt, "all_prompts": _prompts(each, "Prompt", request),
        "negative_prompt": request.negative_prompt,
        "all_negative_prompts": _prompts(each, "Negative prompt", request),
        "seed": made[0].seed if made else request.seed, "all_seeds": [one.seed for one in made],
        "subseed": made[0].subseed if made else request.subseed, "all_subseeds": [one.subseed for one in made],
        "subseed_strength": request.subseed_strength, "width": request.width, "height": request.height,
        "sampler_name": request.sampler, "cfg_scale": request.cfg_scale, "steps": request.steps,
        "batch_size": request.batch_size, "restore_faces": options.face_restoration,
        "face_restoration_model": options.face_restoration_model if options.face_restoration else None,
        "sd_model_name": read.get("Model"), "sd_model_hash": read.get("Model hash"),
        "sd_vae_name": read.get("VAE"), "sd_vae_hash": read.get("VAE hash"),
        "seed_resize_from_w": request.seed_resize_from_w or -1, "seed_resize_from_h": request.seed_resize_from_h or -1,
        "denoising_strength": request.denoising_strength,
        "extra_generation_params": dict(infotext.generation_params(request, engine.sampler_of(request))),
        "index_of_first_image": len(list(takewhile(lambda one: one.grid, made))), "infotexts": texts,
        "job_timestamp": timestamp(job), "clip_skip": options.CLIP_stop_at_last_layers,
        "is_using_inpainting_conditioning": "Conditional mask weight" in read, "version": infotext.VERSION}


def _prompts(each: Sequence[Mapping[str, Any]], key: str, request: Txt2Img) -> list[str]:
    """The "Prompt" or "Negative prompt" of each picture's text. A script and wildcards make them of others than the
    request's."""
    asked = request.prompt if key == "Prompt" else request.negative_prompt
    others = request.script or request.options.wildcards == EVERYWHERE
    return [read[key] if others and "Steps" in read else asked for read in each]


def size_warning(request: Txt2Img) -> list[str]:
    """Says so when the mask's size is not the picture's."""
    if not isinstance(request, Inpaint) or request.mask.size == request.init_images[0].size:
        return []
    mask, image = pictures.turned_size(request.mask), pictures.turned_size(request.init_images[0])
    return [] if mask == image else [f"The mask ({mask[0]}x{mask[1]}) was resized to fit the picture "
                                     f"({image[0]}x{image[1]})."]


def script_warnings(body: Txt2ImgBody, known: Collection[str]) -> list[str]:
    """Names the always-on scripts that were asked for and are not here; programs name some that are switched off."""
    return [f"There is no always-on script called {name!r}: it was left out." for name in body.alwayson_scripts
            if name.lower() not in known]


def timestamp(job: Job) -> str:
    """When the job came, as WebUI writes it."""
    return job.created.strftime("%Y%m%d%H%M%S")


def _job(queue: JobQueue, id_task: str) -> Job:
    """The job of that id. Raises NotFound."""
    job = queue.get(id_task)
    if job is None:
        raise NotFound(f"There is no job called {id_task!r}.", field="id_task")
    return job


def describe_progress(job: Job | None, *, with_picture: bool) -> dict[str, Any]:
    """WebUI's progress of a job, or of an idle server."""
    active = job is not None and not job.over
    preview = job.preview() if job is not None and active and with_picture else None
    state = {"skipped": bool(job and job.skipped), "interrupted": bool(active and job and job.interrupted),
             "stopping_generation": False, "job": job.id if job and active else "",
             "job_count": job.batch_count if job and active else 0, "job_timestamp": timestamp(job) if job else "0",
             "job_no": job.batch if job and active else 0, "sampling_step": job.sampling_step if job and active else 0,
             "sampling_steps": job.sampling_steps if job and active else 0}
    return {"progress": max(job.progress, LEAST_PROGRESS) if job and active else 0.0,
            "eta_relative": (job.eta or 0.0) if job else 0.0, "state": state,
            "current_image": pictures.encode(preview) if preview else None,
            "textinfo": job.stage_text if job else None, "current_task": job.id if job and active else None}


def task_progress(job: Job | None, asked: ProgressBody) -> dict[str, Any]:
    """What WebUI's page asks for by task id. The preview comes only when it is newer than the one the asker has."""
    running = job is not None and job.state == "running"
    queued = job is not None and job.state == "queued"
    newest = job.preview_version if job else -1
    preview = job.preview() if job and running and asked.live_preview and newest != asked.id_live_preview else None
    return {"active": running, "queued": queued, "completed": job is None or job.over,
            "progress": job.progress if job and running else None, "eta": job.eta if job else None,
            "live_preview": f"data:image/jpeg;base64,{preview_jpeg(preview)}" if preview else None,
            "id_live_preview": newest if preview else asked.id_live_preview,
            "textinfo": (f"In queue: {job.position}" if queued else job.stage_text) if job else None}
