"""What is done to finished pictures: enlarged by a factor or to a size, by one upscaler or a mixture of two; cut; and
their faces restored.

Names, order and arithmetic are those of WebUI's Extras tab.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from PIL import Image

from modules.errors import InvalidInput
from modules.imaging.faces import FaceRestorers
from modules.imaging.upscale import Size, Upscalers, target_size
from modules.request.job_context import JobContext
from modules.text import image_metadata, infotext

POSTPROCESSING = "postprocessing"
"""The PNG text chunk that says what was done."""


@dataclass(frozen=True, kw_only=True)
class Extras:
    """What to do with a picture. `size` None enlarges by `factor`, otherwise the picture covers that (width, height)
    and `crop` cuts it to that. `visibility` of the second upscaler lies between 0 and 1; so does that of each of the
    `faces`, which are models that restore them, one after the other."""

    upscaler: str = "None"
    factor: float = 2.0
    size: Size | None = None
    crop: bool = True
    second_upscaler: str = "None"
    visibility: float = 0.0
    faces: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        if not math.isfinite(self.factor) or not 0 < self.factor <= 16:
            raise InvalidInput(f"upscaling_resize must be above 0 and at most 16, not {self.factor}.",
                               field="upscaling_resize")
        if self.size is not None and min(self.size) < 1:
            raise InvalidInput("The size to enlarge to must be at least 1 x 1.", field="upscaling_resize_w")
        if not 0 <= self.visibility <= 1:
            raise InvalidInput("extras_upscaler_2_visibility must be between 0 and 1, not "
                               f"{self.visibility}.", field="extras_upscaler_2_visibility")
        for name, visibility in self.faces:
            if not 0 <= visibility <= 1:
                raise InvalidInput(f"The visibility of {name} must be between 0 and 1, not {visibility}.",
                                   field=f"{name.lower()}_visibility")

    def factor_for(self, size: Size) -> float:
        """How much larger a picture of `size` becomes."""
        return self.factor if self.size is None else max(self.size[0] / size[0], self.size[1] / size[1])


@dataclass(frozen=True)
class Processed:
    """A picture, what was done to it in the words of the PNG's text chunk, and its source's own parameters text."""

    image: Image.Image
    text: str
    parameters: str


@dataclass(frozen=True)
class Tools:
    """What pictures are made larger and faces restored with."""

    upscalers: Upscalers
    restorers: FaceRestorers

    def check(self, request: Extras) -> None:
        """Raises InvalidInput for an upscaler, or a model that restores faces, that is not here."""
        self.upscalers.check(request.upscaler, "upscaler_1")
        self.upscalers.check(request.second_upscaler, "upscaler_2")
        for name, _ in request.faces:
            self.restorers.full_name(name)


def process(image: Image.Image, request: Extras, tools: Tools, job: JobContext, *, max_pixels: int) -> Processed:
    """One picture (RGB or RGBA) enlarged to `max_pixels` at most, then its faces restored (WebUI's order).

    Raises InvalidInput, CheckpointError, Stopped.
    """
    _check_size(request, image, max_pixels)
    parameters = image_metadata.read(image)
    done: dict[str, object] = {}
    if request.upscaler != "None":
        image = _enlarged(image, request, tools.upscalers, job, done)
    for name, visibility in request.faces:
        image = _with_faces(image, name, visibility, tools.restorers, job)
        done[f"{name} visibility"] = round(visibility, 3)
    return Processed(image, ", ".join(f"{name}: {infotext.quote(value)}" for name, value in done.items()), parameters)


def _check_size(request: Extras, image: Image.Image, max_pixels: int) -> None:
    if request.upscaler == "None":
        return
    width, height = target_size(image.size, request.factor_for(image.size))
    if width * height > max_pixels:
        raise InvalidInput(f"The result would have {width} x {height} pixels; at most {max_pixels} are made here "
                           "(--max-image-mp).", field="upscaling_resize")


def _enlarged(image: Image.Image, request: Extras, upscalers: Upscalers, job: JobContext,
              done: dict[str, object]) -> Image.Image:
    """By the first upscaler, and the second's picture mixed in. Adds to `done` what was done."""
    def enlarged(name: str) -> Image.Image:
        job.stage(f"Enlarging with {name}")
        job.check()
        upscale = upscalers.find(name, lambda done, total: job.step(done, total, lambda: image))
        return _cut(upscale(image, request.factor_for(image.size)), request)

    result = enlarged(request.upscaler)
    if request.size is None:
        done["Postprocess upscale by"] = float(request.factor)
    else:
        done["Postprocess upscale to"] = wanted = f"{request.size[0]}x{request.size[1]}"
        if request.crop:
            done["Postprocess crop to"] = wanted
    done["Postprocess upscaler"] = request.upscaler
    if request.second_upscaler != "None" and request.visibility > 0:
        second = enlarged(request.second_upscaler).convert(result.mode)
        result = Image.blend(result, second, request.visibility)
        done["Postprocess upscaler 2"] = request.second_upscaler
    return result


def _with_faces(image: Image.Image, name: str, visibility: float, restorers: FaceRestorers,
                job: JobContext) -> Image.Image:
    """The faces restored, as far as the `visibility` says; what is transparent stays so."""
    job.stage(f"Restoring faces with {name}")
    job.check()
    colours = image.convert("RGB")
    result = Image.blend(colours, restorers.find(name)(colours), visibility)
    if image.mode == "RGBA":
        result.putalpha(image.getchannel("A"))
    return result


def _cut(image: Image.Image, request: Extras) -> Image.Image:
    """`image` in the middle of a black picture of the wanted size, when it is to be cut."""
    if request.size is None or not request.crop:
        return image
    whole = Image.new("RGB", request.size)
    whole.paste(image, (request.size[0] // 2 - image.width // 2, request.size[1] // 2 - image.height // 2))
    return whole
