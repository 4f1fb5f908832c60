"""Named endpoints of the page for programs that use gradio_client. What has more fields is in the HTTP API."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import gradio as gr
from gradio.components.api_component import Api
from gradio_client.utils import python_type_to_json_schema  # type: ignore[import-untyped]
from PIL import Image

from modules.engine.engine import Engine
from modules.engine.limits import check_limits
from modules.errors import InvalidInput
from modules.imaging.jpeg import preview_jpeg
from modules.jobs.queue import JobQueue
from modules.request import MASKED_CONTENT, Img2Img, Inpaint, ResizeMode, Txt2Img
from modules.settings import Settings
from modules.ui.canvas.canvas import open_picture
from modules.ui.page.component import Image as Upload
from modules.ui.page.messages import told
from modules.ui.page.queue_panel import client_of


def add(engine: Engine, queue: JobQueue, settings: Settings) -> None:
    """Puts them into the page that is being built: /txt2img, /img2img, /inpaint, /progress and /interrupt."""

    def make(request: Txt2Img, asking: gr.Request) -> dict[str, Any]:
        check_limits(request, settings)
        job = queue.submit(request, save=True, origin=client_of(asking, settings).origin)
        job.wait()
        if job.error is not None:
            raise job.error
        made = job.result.images if job.result else ()
        return {"files": [str(one.path) for one in made], "infotexts": [one.infotext for one in made],
                "seeds": [one.seed for one in made], "warnings": list(job.result.warnings) if job.result else []}

    def opened(file: Path) -> Image.Image:
        return open_picture(file, settings.max_image_mp * 10**6)

    def txt2img(asking: gr.Request, prompt: str, negative_prompt: str = "", width: int = 512, height: int = 512,
                steps: int = 20, cfg_scale: float = 7.0, seed: int = -1, sampler: str = "Euler a") -> dict[str, Any]:
        """A picture, saved among the others: the paths of its files, and the text that makes it again."""
        return make(Txt2Img(
            prompt=prompt, negative_prompt=negative_prompt, width=width, height=height, steps=steps,
            cfg_scale=cfg_scale, seed=seed, sampler=sampler, options=engine.options), asking)

    def img2img(asking: gr.Request, image: Path, prompt: str = "", negative_prompt: str = "",
                denoising_strength: float = 0.75, width: int = 0, height: int = 0, steps: int = 20,
                cfg_scale: float = 7.0, seed: int = -1, sampler: str = "Euler a") -> dict[str, Any]:
        """A picture from `image`, answered as by /txt2img. Width or height 0 is the picture's own."""
        picture = opened(image)
        return make(Img2Img(
            prompt=prompt, negative_prompt=negative_prompt, **size(picture, width, height), steps=steps,
            cfg_scale=cfg_scale, seed=seed, sampler=sampler, denoising_strength=denoising_strength,
            init_images=(picture,), resize_mode=ResizeMode.CROP_AND_RESIZE, options=engine.options),
            asking)

    def inpaint(asking: gr.Request, image: Path, mask: Path, prompt: str = "", negative_prompt: str = "",
                denoising_strength: float = 0.75, width: int = 0, height: int = 0, steps: int = 20,
                cfg_scale: float = 7.0, seed: int = -1, sampler: str = "DDIM", mask_blur: int = 4,
                masked_content: str = "original", only_masked: bool = False,
                only_masked_padding: int = 32) -> dict[str, Any]:
        """`image` with the white part of `mask` made anew, answered as by /txt2img. `masked_content` is fill, original,
        latent noise or latent nothing."""
        if masked_content not in MASKED_CONTENT:
            raise InvalidInput(f"masked_content is one of {', '.join(MASKED_CONTENT)}.", field="masked_content")
        picture = opened(image)
        return make(Inpaint(
            prompt=prompt, negative_prompt=negative_prompt, **size(picture, width, height), steps=steps,
            cfg_scale=cfg_scale, seed=seed, sampler=sampler, denoising_strength=denoising_strength,
            init_images=(picture,), mask=opened(mask), mask_blur_x=mask_blur,
            mask_blur_y=mask_blur, masked_content=MASKED_CONTENT[masked_content], only_masked=only_masked,
            only_masked_padding=only_masked_padding, resize_mode=ResizeMode.CROP_AND_RESIZE,
            options=engine.options), asking)

    def progress(asking: gr.Request) -> dict[str, Any]:
        """How far the running job is, 0 to 1, what it does, and a preview as a JPEG in base64."""
        job = client_of(asking, settings).first(queue)
        preview = job.preview() if job else None
        return {"progress": job.progress if job else 0.0, "stage": job.stage_text if job else "",
                "preview": preview_jpeg(preview) if preview else None}

    def interrupt(asking: gr.Request) -> bool:
        """Stops the running job; whether there was one."""
        return client_of(asking, settings).interrupt(queue)

    for function in (txt2img, img2img, inpaint):
        endpoint(function)
    endpoint(progress, queue=False)
    endpoint(interrupt, queue=False)


def size(picture: Image.Image, width: int, height: int) -> dict[str, Any]:
    """Width and height of a request; 0 stands for the picture's own, cut to a multiple of 8."""
    return {"width": width or max(picture.width // 8 * 8, 8), "height": height or max(picture.height // 8 * 8, 8)}


def endpoint(function: Callable[..., Any], *, queue: bool = True) -> None:
    """Gives the page an endpoint of the function's name. A parameter that is a Path is a file that the client uploads;
    the others are what JSON knows. Gradio itself gives the first one, the request."""
    hints = get_type_hints(function)
    _, *parameters = inspect.signature(function).parameters.values()
    inputs = [Upload(label=one.name, visible=False) if hints[one.name] is Path else
              Api(one.default if one.default is not one.empty else None, python_type_to_json_schema(hints[one.name]))
              for one in parameters]

    @told
    @functools.wraps(function)
    def checked(asking: gr.Request, *values: Any) -> Any:
        return function(asking, *(fitting(value, one.name, hints[one.name])
                                  for value, one in zip(values, parameters, strict=True)))

    gr.Button(visible=False).click(
        checked, inputs, Api(None, python_type_to_json_schema(hints["return"])), api_name=function.__name__,
        concurrency_limit=None, queue=queue, show_progress="hidden")


def fitting(value: Any, name: str, kind: type) -> Any:
    """`value` as one of `kind`: str, int, float, bool, or the Path of a file. Raises InvalidInput."""
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, (int, float) if kind is float else kind) or (
            isinstance(value, bool) and kind is not bool):
        raise InvalidInput(f"{name} must be a {'file' if kind is Path else kind.__name__}.", field=name)
    return value
