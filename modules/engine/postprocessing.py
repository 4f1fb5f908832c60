"""Postprocessing of finished pictures: enlarging, cropping and face restoration, as in WebUI's Extras tab.

Names, order and arithmetic are WebUI's.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from modules.engine.models import compute_device
from modules.errors import InvalidInput
from modules.imaging import included
from modules.imaging.faces import FaceRestorers
from modules.imaging.network_files import Network
from modules.imaging.remove import Removers
from modules.imaging.subject import Subjects
from modules.imaging.upscale import Size, Upscalers, target_size
from modules.request.job_context import JobContext
from modules.settings import Settings
from modules.text import image_metadata, infotext

POSTPROCESSING = "postprocessing"
"""The name of the PNG text chunk that lists the postprocessing."""


@dataclass(frozen=True, kw_only=True)
class Extras:
    """A request for postprocessing.

    If `size` is None, the picture is enlarged by `factor` (above 0, at most 16). Otherwise it is enlarged until it
    covers `size`, (width, height) in pixels, and `crop` cuts it to exactly that. `visibility` is the share of the
    second upscaler's picture, 0 to 1. `faces` are pairs of a face restoration model and its visibility, 0 to 1, applied
    one after the other. `cut_out` makes everything transparent but the subject, at last. Raises InvalidInput for values
    out of range.
    """

    upscaler: str = "None"
    factor: float = 2.0
    size: Size | None = None
    crop: bool = True
    second_upscaler: str = "None"
    visibility: float = 0.0
    faces: tuple[tuple[str, float], ...] = ()
    cut_out: bool = False

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
        """The factor by which a picture of `size` is enlarged."""
        return self.factor if self.size is None else max(self.size[0] / size[0], self.size[1] / size[1])


@dataclass(frozen=True)
class Processed:
    """A processed picture. `text` is the content of the PNG text chunk `POSTPROCESSING`; `parameters` is the parameters
    text of the source picture."""

    image: Image.Image
    text: str
    parameters: str


@dataclass(frozen=True)
class Tools:
    """The models that postprocessing uses."""

    upscalers: Upscalers
    restorers: FaceRestorers
    removers: Removers = dataclasses.field(default_factory=Removers)
    subjects: Subjects = dataclasses.field(default_factory=Subjects)

    def check(self, request: Extras) -> None:
        """Raise InvalidInput if an upscaler or a face restoration model of `request` does not exist."""
        self.upscalers.check(request.upscaler, "upscaler_1")
        self.upscalers.check(request.second_upscaler, "upscaler_2")
        for name, _ in request.faces:
            self.restorers.full_name(name)


def load_tools(settings: Settings) -> Tools:
    """The networks for pictures in the models folder. Their files are read when they are first used."""
    def upscaler(path: Path) -> Network:
        from modules.networks.pixel_networks import load_upscaler

        return load_upscaler(path, compute_device(settings))

    def face_restorer(path: Path) -> Network:
        from modules.networks.pixel_networks import load_face_restorer

        return load_face_restorer(path, compute_device(settings))

    def inpainter(path: Path) -> Network:
        from modules.networks.pixel_networks import load_inpainter

        return load_inpainter(path, compute_device(settings))

    return Tools(Upscalers(settings.folders("upscalers"), upscaler),
                 FaceRestorers(settings.folders("face restorers"), face_restorer),
                 Removers(settings.folders("inpainters"), inpainter), Subjects(settings.folders("subject networks")))


def process(image: Image.Image, request: Extras, tools: Tools, job: JobContext, *, max_pixels: int) -> Processed:
    """Enlarge `image` (RGB or RGBA), then restore its faces (WebUI's order), then cut its subject out.

    Raises InvalidInput, also if the result would have more than `max_pixels`; CheckpointError; Stopped.
    """
    _check_size(request, image, max_pixels)
    parameters = image_metadata.read(image)
    done: dict[str, object] = {}
    if request.upscaler != "None":
        image = _enlarged(image, request, tools.upscalers, job, done)
    for name, visibility in request.faces:
        image = _with_faces(image, name, visibility, tools.restorers, job)
        done[f"{name} visibility"] = round(visibility, 3)
    if request.cut_out:
        job.stage("Cutting the subject out")
        job.check()
        image = tools.subjects.cut_out(image)
        done["Postprocess cut out"] = (tools.subjects.file or included.SUBJECTS).stem
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
    """`image` enlarged by the first upscaler and blended with the second's picture. Adds the text's keys to `done`."""
    def enlarged(name: str) -> Image.Image:
        job.stage(f"Enlarging with {name}")
        job.check()
        enlarge = upscalers.find(name, lambda done, total: job.step(done, total, lambda: image))
        return _cut(enlarge(image, request.factor_for(image.size)), request)

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
    """`image` blended with its face-restored copy by `visibility`. The alpha channel is kept."""
    job.stage(f"Restoring faces with {name}")
    job.check()
    colours = image.convert("RGB")
    result = Image.blend(colours, restorers.find(name)(colours), visibility)
    if image.mode == "RGBA":
        result.putalpha(image.getchannel("A"))
    return result


def _cut(image: Image.Image, request: Extras) -> Image.Image:
    """`image` centred on a black picture of the requested size, if it is to be cropped."""
    if request.size is None or not request.crop:
        return image
    whole = Image.new("RGB", request.size)
    whole.paste(image, (request.size[0] // 2 - image.width // 2, request.size[1] // 2 - image.height // 2))
    return whole
