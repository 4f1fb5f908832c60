"""The routes of ControlNet's extension: its lists, the map of a picture, and txt2img and img2img of old clients."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from PIL import Image
from pydantic import BaseModel, Field, model_validator
from starlette.concurrency import run_in_threadpool

from modules.annotate import registry
from modules.annotate.hint import shown
from modules.annotate.preprocessor import Pixels, Preprocessor, Values
from modules.annotate.skeleton import as_openpose
from modules.annotate.source import mask_pixels, picture_of, rgb_pixels
from modules.api import pictures
from modules.api.asking import client_of
from modules.api.body import Body, Number
from modules.api.generation import Answer, generate
from modules.api.loose import WHOLE, LooseStr
from modules.api.schema import Img2ImgBody, Txt2ImgBody
from modules.api.waiting import finished
from modules.engine.engine import Engine
from modules.errors import InvalidInput
from modules.jobs.job import Job
from modules.jobs.queue import JobQueue
from modules.request import ControlMode, ControlResize
from modules.settings import Settings

VERSION = 3
"""Of the extension's API. Clients send units to txt2img and img2img themselves from version 2 on."""
MODES, FITS = tuple(ControlMode), tuple(ControlResize)
"""Old clients send numbers."""


class DetectBody(Body):
    """POST /controlnet/detect. `controlnet_images` is another name of the pictures."""

    controlnet_module: LooseStr = "none"
    controlnet_input_images: Annotated[list[str], Field(max_length=100)] = Field([])
    controlnet_images: Annotated[list[str], Field(max_length=100)] = Field([])
    controlnet_processor_res: Annotated[int, WHOLE] = -1
    controlnet_threshold_a: Number = -1
    controlnet_threshold_b: Number = -1
    controlnet_masks: Annotated[list[str], Field(max_length=100)] = Field([])
    low_vram: bool = False


class Detected(BaseModel):
    """The maps in base64, at the preprocessor's resolution. `poses` are there where the maps show people: OpenPose's
    JSON of each picture."""

    images: list[str]
    info: str = "Success"
    poses: list[dict[str, Any]] | None = None


class OldTxt2ImgBody(Txt2ImgBody):
    """POST /controlnet/txt2img: txt2img's body, with units in `controlnet_units`, or one unit in fields that begin with
    `controlnet_`."""

    @model_validator(mode="before")
    @classmethod
    def _with_units(cls, data: Any) -> Any:
        return with_units(data)


class OldImg2ImgBody(Img2ImgBody):
    """POST /controlnet/img2img: img2img's body, likewise."""

    @model_validator(mode="before")
    @classmethod
    def _with_units(cls, data: Any) -> Any:
        return with_units(data)


def router(engine: Engine, queue: JobQueue, settings: Settings) -> APIRouter:
    """The endpoints."""
    api = APIRouter(prefix="/controlnet")
    max_pixels = settings.max_image_mp * 10**6

    @api.get("/version")
    def version() -> dict[str, int]:
        return {"version": VERSION}

    @api.get("/settings")
    def unit_settings() -> dict[str, int]:
        return {"control_net_unit_count": engine.options.control_net_unit_count}

    @api.get("/model_list")
    def model_list(update: bool = True) -> dict[str, list[str]]:
        return {"model_list": engine.control_files.titles(refresh=update)}

    @api.get("/module_list")
    def module_list(alias_names: bool = False) -> dict[str, Any]:
        items = {item.title if alias_names else item.name: item for item in registry.preprocessors()}
        return {"module_list": list(items), "module_detail": {name: _detail(item) for name, item in items.items()}}

    @api.get("/control_types")
    def control_types() -> dict[str, Any]:
        models = engine.control_files.titles()
        return {"control_types": {name: registry.control_type(name, models) for name in registry.TYPES}}

    @api.post("/detect", response_model=Detected, response_model_exclude_unset=True)
    async def detect(body: DetectBody, request: Request) -> dict[str, Any]:
        item = _module(body)
        sources = await run_in_threadpool(_sources, body, item, max_pixels)
        resolution, a, b = item.inside(body.controlnet_processor_res, body.controlnet_threshold_a,
                                       body.controlnet_threshold_b)
        values = Values(int(resolution), a, b)
        made: list[str] = []
        poses: list[dict[str, Any]] = []

        def compute(job: Job | None = None) -> None:
            for source in sources:
                if job:
                    job.check()
                control_map, people = engine.annotators.map_and_people(item, source, values)
                made.append(_encoded(control_map))
                if people is not None:
                    poses.append(as_openpose(people))

        if item.network:  # in the worker, like all that needs the device
            await finished(queue.submit_work(compute, nbytes=sum(source.nbytes for source in sources),
                                             origin=client_of(request, settings).origin))
        else:
            await run_in_threadpool(compute)
        return {"images": made, "info": "Success", **({"poses": poses} if poses else {})}

    @api.post("/txt2img", response_model=Answer)
    async def txt2img(body: OldTxt2ImgBody, request: Request) -> JSONResponse:
        return await generate(body, engine, queue, settings, client_of(request, settings).origin)

    @api.post("/img2img", response_model=Answer)
    async def img2img(body: OldImg2ImgBody, request: Request) -> JSONResponse:
        return await generate(body, engine, queue, settings, client_of(request, settings).origin)

    return api


def with_units(data: Any) -> Any:
    """An old client's body as txt2img and img2img have it: all its units are switched on."""
    if not isinstance(data, dict):
        return data
    units = data.get("controlnet_units")
    if not isinstance(units, list):
        fields = {name.removeprefix("controlnet_"): value for name, value in data.items()
                  if name.startswith("controlnet_") and name != "controlnet_units"}
        units = [_first_of_lists(fields)] if fields else []
    scripts = data.get("alwayson_scripts")
    scripts = {name: value for name, value in scripts.items() if name.lower() != "controlnet"} if isinstance(
        scripts, dict) else {}
    return data | {"alwayson_scripts": {**scripts, "controlnet": {"args": [_as_of_today(unit) for unit in units]}}}


def _first_of_lists(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of the only unit: its pictures come in lists of one."""
    return {name: value[0] if isinstance(value, list) and value else None if value == [] else value
            for name, value in fields.items()}


def _as_of_today(unit: Any) -> Any:
    if not isinstance(unit, dict):
        return unit
    unit = {"enabled": True} | unit
    guessed = unit.pop("guessmode", unit.pop("guess_mode", None))
    if guessed and "control_mode" not in unit:
        unit["control_mode"] = ControlMode.CONTROL.value
    for name, words in (("control_mode", MODES), ("resize_mode", FITS)):
        number = unit.get(name)
        if isinstance(number, int) and not isinstance(number, bool) and 0 <= number < len(words):
            unit[name] = words[number].value
    return unit


def _detail(item: Preprocessor) -> dict[str, Any]:
    return {"model_free": item.model_free,
            "sliders": [{"name": slider.label, "value": slider.value, "min": slider.low, "max": slider.high,
                         "step": slider.step} for slider in item.sliders]}


def _module(body: DetectBody) -> Preprocessor:
    """The preprocessor that is asked for. Raises InvalidInput, in the extension's words where it has some."""
    try:
        item = registry.find(body.controlnet_module)
    except InvalidInput as error:
        raise InvalidInput("Module not available", field="controlnet_module") from error
    if item.encoder is not None:
        raise InvalidInput("Module not supported", field="controlnet_module")
    if not body.controlnet_input_images and not body.controlnet_images:
        raise InvalidInput("No image selected", field="controlnet_input_images")
    count = len(body.controlnet_input_images or body.controlnet_images)
    if item.takes_mask and len(body.controlnet_masks) != count:
        raise InvalidInput(f"Preprocessor {item.name} requires `controlnet_masks` param.", field="controlnet_masks")
    return item


def _sources(body: DetectBody, item: Preprocessor, max_pixels: int) -> list[Pixels]:
    def decoded(texts: list[str], field: str) -> list[Image.Image]:
        packed = [pictures.open_picture(text, field, max_pixels) for text in texts]
        if sum(image.width * image.height for image in packed) > 2 * max_pixels:
            raise InvalidInput(f"The pictures of one request have more than {2 * max_pixels} pixels together (twice "
                               "--max-image-mp).", field=field)
        return [pictures.unpacked(image, field) for image in packed]

    images = decoded(body.controlnet_input_images or body.controlnet_images, "controlnet_input_images")
    if not item.takes_mask:
        return [rgb_pixels(image) for image in images]
    return [picture_of(rgb_pixels(image), mask_pixels(mask), takes_mask=True)
            for image, mask in zip(images, decoded(body.controlnet_masks, "controlnet_masks"), strict=True)]


def _encoded(control_map: Pixels) -> str:
    return pictures.encode(Image.fromarray(shown(control_map)))
