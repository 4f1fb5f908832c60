"""Networks that enlarge pictures (ESRGAN and its kin), recognised and built by spandrel from a file of weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from modules.errors import CheckpointError
from modules.imaging import tensors
from modules.imaging.upscale import Network
from modules.weights.tensors import read_tensors


def load_network(path: Path, device: torch.device) -> Network:
    """The network in `path`, in half precision on a GPU where it bears that.

    Raises CheckpointError: unreadable, unsafe, no network that enlarges RGB pictures, or spandrel cannot be imported.
    """
    try:
        import spandrel
    except Exception as error:  # a torchvision made for another torch raises RuntimeError
        raise CheckpointError(f"{path.name} needs the library spandrel and a torchvision made for this torch, which "
                              f"could not be imported: {error}.") from error
    try:
        model = spandrel.ModelLoader().load_from_state_dict(_tensors(path))
    except spandrel.UnsupportedModelError as error:
        raise CheckpointError(f"{path.name} is no upscaler that is known here.") from error
    if not isinstance(model, spandrel.ImageModelDescriptor) or model.input_channels != 3 or model.output_channels != 3:
        raise CheckpointError(f"{path.name} does not turn an RGB picture into a larger one.")
    half = device.type == "cuda" and model.supports_half
    model.to(device, torch.float16 if half else torch.float32).eval()
    return lambda image: _enlarged(model, image)


def _enlarged(model: Any, image: Image.Image) -> Image.Image:
    with torch.inference_mode():
        pixels = (tensors.to_tensor([image]) + 1) / 2  # (1, 3, h, w) in [0, 1]
        larger = model(pixels.to(model.device, model.dtype))  # (1, 3, h * scale, w * scale)
        return tensors.to_image(larger[0].float().cpu().clamp(0, 1) * 2 - 1)


def _tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of the file in float32, out of the wrappings that trainers put around them."""
    with read_tensors(path) as file:
        state = {}
        for key, shape in file.shapes.items():
            state[key] = torch.empty(shape, dtype=torch.float32)
            file.read(key, state[key])
    return state
