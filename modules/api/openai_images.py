"""OpenAI's images endpoints, for programs that speak those: /v1/images/generations and /v1/images/edits, /v1/models.

The names are OpenAI's; WebUI's `negative_prompt`, `seed`, `steps`, `cfg_scale`, `sampler_name` and
`denoising_strength` are taken too. The pictures wait in the same queue as all others.
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Request
from PIL import Image
from pydantic import Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile

from modules.api import pictures
from modules.api.asking import client_of
from modules.api.body import Body, Integer, Number, Text, first_problem
from modules.api.generation import submit
from modules.api.loose import WHOLE, LooseStr
from modules.api.schema import Img2ImgBody, Txt2ImgBody
from modules.api.waiting import finished
from modules.engine.engine import Engine
from modules.errors import InvalidInput
from modules.gallery.formats import Format
from modules.jobs.job import Job, Origin
from modules.jobs.queue import JobQueue
from modules.request import MaskedContent, ResizeMode
from modules.settings import Settings

DEFAULT_SIZE = (512, 512)
"""What "auto" means where there is no picture to start from."""

OURS = ("negative_prompt", "seed", "steps", "cfg_scale", "sampler_name", "denoising_strength")
"""Fields of WebUI's that go through as they are."""

FORMS = {"png": "png", "jpeg": "jpg", "webp": "webp"}


class GenerationBody(Body):
    """POST /v1/images/generations, and the text fields of /v1/images/edits. What is not named here is ignored."""

    prompt: Text
    model: LooseStr | None = None
    n: Annotated[int, Field(ge=1, le=100), WHOLE] = 1
    size: Annotated[str, Field(max_length=20)] = "auto"
    response_format: Annotated[str, Field(pattern="^(b64_json|url)$")] = "b64_json"
    output_format: Annotated[str, Field(pattern="^(png|jpeg|webp)$")] = "png"
    output_compression: Annotated[int, Field(ge=0, le=100), WHOLE] = 100
    stream: bool = False
    negative_prompt: Text | None = None
    seed: Integer | None = None
    steps: Integer = 20
    cfg_scale: Number | None = None
    sampler_name: LooseStr | None = None
    denoising_strength: Number | None = None

    def common(self, usual: tuple[int, int]) -> dict[str, Any]:
        """Fields of WebUI's body. `usual` is the size that "auto" means."""
        if self.stream:
            raise InvalidInput("Answers are not streamed here; POST /v1/jobs tells of each step.", field="stream")
        width, height = self.pixels(usual)
        given = {name: getattr(self, name) for name in OURS if getattr(self, name) is not None}
        return {"prompt": self.prompt, "n_iter": self.n, "width": width, "height": height, **given}

    def pixels(self, usual: tuple[int, int]) -> tuple[int, int]:
        """(width, height). Raises InvalidInput."""
        if self.size == "auto":
            return usual
        found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", self.size)
        if not found:
            raise InvalidInput(f"size is written like 512x512, not {self.size!r}.", field="size")
        return int(found[1]), int(found[2])

    @property
    def form(self) -> Format:
        """What the pictures are sent as."""
        return Format.of({"samples_format": FORMS[self.output_format], "jpeg_quality": max(self.output_compression, 1)})


def router(engine: Engine, queue: JobQueue, settings: Settings) -> APIRouter:
    """The three endpoints."""
    api = APIRouter(prefix="/v1")
    max_pixels = settings.max_image_mp * 10**6

    async def answered(asked: GenerationBody, body: Txt2ImgBody, origin: Origin) -> dict[str, Any]:
        model = _checkpoint(asked.model, engine)
        body.override_settings = {"sd_model_checkpoint": model} if model else {}
        job, _ = await run_in_threadpool(submit, body, engine, queue, settings, origin)
        return await run_in_threadpool(_answer, asked, await finished(job))

    @api.get("/models")
    def models() -> dict[str, Any]:
        return {"object": "list", "data": [{"id": file.name, "object": "model", "created": int(_time_of(file.path)),
                                            "owned_by": "local"} for file in engine.catalog.checkpoints()]}

    @api.post("/images/generations")
    async def generations(asked: GenerationBody, request: Request) -> dict[str, Any]:
        return await answered(asked, Txt2ImgBody(**asked.common(DEFAULT_SIZE)), client_of(request, settings).origin)

    @api.post("/images/edits", openapi_extra={"requestBody": {"required": True, "content": {
        "multipart/form-data": {"schema": {"type": "object", "required": ["image", "prompt"], "properties": {
            "image": {"type": "string", "format": "binary"}, "mask": {"type": "string", "format": "binary"},
            "prompt": {"type": "string"}, "n": {"type": "integer"}, "size": {"type": "string"}}}}}}})
    async def edits(request: Request) -> dict[str, Any]:
        if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
            raise InvalidInput("Pictures to edit are sent as multipart/form-data.", field="image")
        async with request.form() as form:
            asked = _text_fields(form)
            images = [await _upload(one, "image") for one in (*form.getlist("image"), *form.getlist("image[]"))]
            masks = [await _upload(one, "mask") for one in form.getlist("mask")]
        if len(images) != 1 or len(masks) > 1:
            raise InvalidInput("One image is edited at a time, with one mask at most.", field="image")
        body = await run_in_threadpool(edit_body, asked, images[0], masks[0] if masks else None, max_pixels)
        return await answered(asked, body, client_of(request, settings).origin)

    return api


def edit_body(asked: GenerationBody, image: str, mask: str | None, max_pixels: int) -> Img2ImgBody:
    """WebUI's body for an edit. Transparent means paint: in the mask or, without one, in the picture.

    A picture without anything transparent is changed everywhere. Raises InvalidInput.
    """
    picture = pictures.decode(image, "image", max_pixels)
    source = pictures.decode(mask, "mask", max_pixels) if mask else picture
    paint = None
    if "A" in source.getbands():
        paint = source.getchannel("A").point(lambda value: 255 if value < 128 else 0)
    if mask and (paint is None or paint.getextrema()[1] == 0):
        raise InvalidInput("The mask has no transparent part: transparent means paint.", field="mask")
    if paint is None or paint.getextrema()[1] == 0:
        return Img2ImgBody(**asked.common(picture.size), init_images=[image], resize_mode=ResizeMode.CROP_AND_RESIZE)
    usual = {"denoising_strength": 1.0, "inpainting_fill": MaskedContent.FILL}
    return Img2ImgBody(**(usual | asked.common(picture.size)), init_images=[_opaque(picture)],
                       mask=pictures.encode(paint), inpaint_full_res=False, resize_mode=ResizeMode.CROP_AND_RESIZE)


def _opaque(picture: Image.Image) -> str:
    """The picture's colours in base64, those of its transparent parts too."""
    return pictures.encode(picture.convert("RGB"))


def _text_fields(form: FormData) -> GenerationBody:
    values: Mapping[str, Any] = {name: value for name, value in form.items() if isinstance(value, str)}
    try:
        return GenerationBody.model_validate(values)
    except ValidationError as error:
        raise first_problem(error) from error


async def _upload(value: UploadFile | str, field: str) -> str:
    if isinstance(value, str):
        raise InvalidInput(f"{field} must be a file.", field=field)
    return base64.b64encode(await value.read()).decode("ascii")


def _checkpoint(model: str | None, engine: Engine) -> str | None:
    """The checkpoint of that name; None for OpenAI's own names, whose place the one in use takes."""
    there = {file.name.lower(): file.name for file in engine.catalog.checkpoints()}
    return there.get((model or "").lower())


def _answer(asked: GenerationBody, job: Job) -> dict[str, Any]:
    made = job.result.images if job.result else ()
    data = []
    for one in made:
        text = pictures.encode(one.image, one.infotext, form=asked.form)
        kind = asked.form.fitting(one.image).media_type
        data.append({"url": f"data:{kind};base64,{text}"} if asked.response_format == "url" else {"b64_json": text})
    return {"created": int(time.time()), "data": data, "output_format": asked.output_format,
            "size": f"{made[0].image.width}x{made[0].image.height}" if made else asked.size}


def _time_of(path: Any) -> float:
    try:
        return float(path.stat().st_mtime)
    except OSError:
        return 0.0
