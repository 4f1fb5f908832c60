"""Networks that work on pixels, recognised and built by spandrel from a file of weights: those that enlarge pictures
(ESRGAN and its kin), those that restore faces (GFPGAN, RestoreFormer), and those that fill holes (LaMa, MAT)."""

from __future__ import annotations

import contextlib
import importlib
import math
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageOps
from torch import Tensor

from modules.base.optional import install_line
from modules.errors import CheckpointError
from modules.imaging import tensors
from modules.imaging.network_files import Network
from modules.weights.tensors import check_room, read_tensors

FACES, INPAINTING = "FaceSR", "Inpainting"
"""What spandrel calls the purposes of networks for faces and of those that fill holes."""


def load_upscaler(path: Path, device: str) -> Network:
    """The network in `path` that enlarges pictures, in half precision on a GPU where it bears that.

    Raises CheckpointError: unreadable, unsafe, no network that enlarges RGB pictures, or spandrel cannot be imported.
    """
    model = _for_pictures(path)
    if model.purpose == FACES:
        raise CheckpointError(f"{path.name} restores faces and enlarges nothing: its place is models/GFPGAN.")
    half = device.startswith("cuda") and model.supports_half
    model.to(device, torch.float16 if half else torch.float32).eval()
    return lambda image: _enlarged(model, image)


def load_face_restorer(path: Path, device: str) -> Network:
    """The network in `path` that restores a face in a picture of 512 x 512, in single precision.

    Raises CheckpointError: unreadable, unsafe, no network that restores faces, or spandrel cannot be imported.
    """
    model = _for_pictures(path)
    if model.purpose != FACES:
        raise CheckpointError(f"{path.name} does not restore faces.")
    model.to(device, torch.float32).eval()
    return lambda image: _restored(model, image)


def load_inpainter(path: Path, device: str) -> Network:
    """The network in `path` that fills the transparent part of an RGBA picture and returns RGB, in single precision.

    Raises CheckpointError: unreadable, unsafe, no network that fills holes, or spandrel cannot be imported.
    """
    model = _built(path)
    if model.purpose != INPAINTING or model.input_channels != 3 or model.output_channels != 3:
        raise CheckpointError(f"{path.name} does not fill holes in pictures.")
    model.to(device, torch.float32).eval()
    return lambda image: _filled(model, image)


def _for_pictures(path: Path) -> Any:
    """The network in `path`, which turns an RGB picture into another. Raises CheckpointError."""
    model = _built(path)
    if model.purpose == INPAINTING or model.input_channels != 3 or model.output_channels != 3:
        raise CheckpointError(f"{path.name} does not turn an RGB picture into another.")
    return model


def _built(path: Path) -> Any:
    try:
        import spandrel
    except Exception as error:  # a torchvision made for another torch raises RuntimeError
        raise CheckpointError(f"{path.name} needs the library spandrel and a torchvision made for this torch, which "
                              f"could not be imported: {error}. {install_line()} installs them.") from error
    with contextlib.suppress(ImportError):  # it knows MAT, whose licence keeps it out of spandrel
        importlib.import_module("spandrel_extra_arches").install(ignore_duplicates=True)
    weights = tensors_of(path)
    try:
        model = spandrel.ModelLoader().load_from_state_dict(weights)
    except spandrel.UnsupportedModelError as error:
        raise CheckpointError(f"{path.name} is no network that is known here.") from error
    except Exception as error:  # what its many recipes raise is up to the shapes of the weights
        raise CheckpointError(f"{path.name} does not have the weights of the network that it seems to be.") from error
    return model


def _enlarged(model: Any, image: Image.Image) -> Image.Image:
    with torch.inference_mode():
        pixels = (tensors.to_tensor([image]) + 1) / 2  # (1, 3, h, w) in [0, 1]
        larger = model(pixels.to(model.device, model.dtype))  # (1, 3, h * scale, w * scale)
        return tensors.to_image(larger[0].float().cpu().clamp(0, 1) * 2 - 1)


def _restored(model: Any, image: Image.Image) -> Image.Image:
    """Past spandrel's own call, which gives GFPGAN pixels in [0, 1], and lets it draw noise that no seed sets."""
    with torch.inference_mode():
        pixels = tensors.to_tensor([image]).to(model.device)  # (1, 3, 512, 512) in [-1, 1]
        better, *_ = model.model(pixels, return_rgb=False, randomize_noise=False)  # the same
        return tensors.to_image(better[0].float().cpu())


def _filled(model: Any, image: Image.Image) -> Image.Image:
    with torch.inference_mode():
        pixels = (tensors.to_tensor([image.convert("RGB")]) + 1) / 2  # (1, 3, h, w) in [0, 1]
        hole = tensors.pixel_mask(ImageOps.invert(image.getchannel("A")), hard=True)  # (1, 1, h, w), 0 or 1
        filled = model(pixels.to(model.device), hole.to(model.device))  # (1, 3, h, w) in [0, 1]
        return tensors.to_image(filled[0].float().cpu().clamp(0, 1) * 2 - 1)


def tensors_of(path: Path) -> dict[str, Tensor]:
    """All tensors of the file in float32, out of the wrappings that trainers put around them."""
    with read_tensors(path) as file:
        check_room(path.name, "cpu", sum(4 * math.prod(shape) for shape in file.shapes.values()))
        return {key: file.tensor(key, torch.float32) for key in file.shapes}
