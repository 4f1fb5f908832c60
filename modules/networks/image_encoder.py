"""What CLIP sees in a picture (Radford et al. 2021): the image encoder that IP-Adapters read.

Its file has transformers' layout: the weights in one file or in shards, alone or in a folder with `config.json`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from modules.annotate.preprocessor import Pixels
from modules.base.files import file_version
from modules.errors import CheckpointError, InvalidInput
from modules.networks.families.family import Part
from modules.networks.loader import header_of, load_part
from modules.networks.packing import weight_bytes
from modules.networks.shapes import Header, count, shape_of
from modules.weights.catalog import files_below
from modules.weights.diffusers_folder import INDEX, read_weights

SUFFIXES = (".safetensors", INDEX, ".bin", ".pth", ".pt")
CONFIG = "config.json"
MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of red, green and blue in the pictures that CLIP was trained on."""
HEAD_CHANNELS, WIDE_HEADS, LARGE = 64, 16, 1024
"""OpenAI's encoders (up to ViT-L, `LARGE` channels) have heads of 64 channels, OpenCLIP's wider ones 16 heads."""
NAMES = {1024: "CLIP ViT-L", 1280: "CLIP ViT-H", 1664: "CLIP ViT-bigG"}
"""What the encoders are called, by their channels."""


@dataclass(frozen=True)
class VisionShape:
    """What an image encoder is made of. `side` of the square picture that it reads and `patch` of its squares, in
    pixels; `pooled_channels` of the vector that sums the picture up."""

    layers: int
    channels: int
    mlp_channels: int
    heads: int
    side: int
    patch: int
    pooled_channels: int
    activation: str


@dataclass(frozen=True)
class Wanted:
    """What an encoder has to give: `channels` of each of its tokens, or, if `pooled`, of the vector that sums the
    picture up. `width`, if it is not 0, is that of the encoder's own channels."""

    channels: int
    pooled: bool
    width: int = 0

    def fits(self, shape: VisionShape) -> bool:
        """Whether an encoder of this shape gives it."""
        given = shape.pooled_channels if self.pooled else shape.channels
        return given == self.channels and self.width in (0, shape.channels)


@dataclass(frozen=True)
class EncoderFile:
    """A file with an image encoder."""

    path: Path
    shape: VisionShape

    @property
    def key(self) -> Hashable:
        """Equal for equal files."""
        return self.path, file_version(self.path)

    def read(self, device: torch.device, dtype: torch.dtype,
             on_progress: Callable[[float], None] = lambda share: None) -> ImageEncoder:
        """The encoder. Raises CheckpointError."""
        with read_weights(self.path) as file:
            part = Part("image encoder", "CLIP's image encoder", "", lambda header: self.shape, _built, _key)
            network = load_part(file, part, self.shape, device=device, dtype=dtype, on_progress=on_progress,
                                packs=False)  # transformers asks for the type of a convolution's weight
        embeddings = cast(Any, network).vision_model.embeddings
        embeddings.position_ids = torch.arange(embeddings.position_ids.shape[-1], device=device)[None]
        return ImageEncoder(network, self.shape.side, device, dtype)


class ImageEncoder:
    """An encoder that computes on `device` in `dtype` and answers in float32. It reads squares of `side` pixels."""

    def __init__(self, network: nn.Module, side: int, device: torch.device, dtype: torch.dtype) -> None:
        self._network, self._side, self._device, self._dtype = network, side, device, dtype
        self.nbytes = weight_bytes(network)

    @torch.no_grad()
    def see(self, picture: Pixels | None, *, pooled: bool) -> Tensor:
        """A picture (H, W, 3), or None for one of the mean colour -> what sums it up, (1, C), or the answers of the
        last layer but one, (1, tokens, C)."""
        x = torch.zeros(1, 3, self._side, self._side) if picture is None else as_clip_reads(picture, self._side)
        found = cast(Any, self._network)(x.to(self._device, self._dtype), output_hidden_states=True)
        return cast(Tensor, found.image_embeds if pooled else found.hidden_states[-2]).float()


class ImageEncoders:
    """The files in some folders."""

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        self._folders = tuple(folders)

    def find(self, wanted: Wanted, reader: str) -> EncoderFile:
        """The first file that gives what `reader` wants. Raises InvalidInput."""
        shapes = []
        for path in self._paths():
            shape = _shape(path)
            if shape is not None and wanted.fits(shape):
                return EncoderFile(path, shape)
            shapes += [] if shape is None else [(path, shape)]
        where = self._folders[0] if self._folders else Path("models/clip_vision")
        called = NAMES.get(wanted.width, "CLIP")
        if not shapes:
            raise InvalidInput(f"{reader} reads {wanted.channels} channels of {called}: put the image encoder (CLIP "
                               f"vision) into {where}.", field="model")
        there = ", ".join(f"{path.name} ({shape.pooled_channels if wanted.pooled else shape.channels})"
                          for path, shape in shapes)
        raise InvalidInput(f"{reader} reads {wanted.channels} channels of {called}, and no image encoder in {where} "
                           f"gives them: {there}.", field="model")

    def _paths(self) -> list[Path]:
        return sorted((path for path, _ in files_below(self._folders, SUFFIXES)),
                      key=lambda path: (not path.name.endswith(SUFFIXES[:2]), str(path).lower()))


def as_clip_reads(picture: Pixels, side: int) -> Tensor:
    """The middle square of a picture (H, W, 3), its shorter side resized to `side` -> (1, 3, side, side), of about unit
    variance."""
    height, width = picture.shape[:2]
    size = side * width // min(height, width), side * height // min(height, width)
    image = Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC)
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    x = np.asarray(image.crop((left, top, left + side, top + side)), np.float32) / 255
    normed = (x - np.array(MEAN, np.float32)) / np.array(DEVIATION, np.float32)
    return torch.from_numpy(np.ascontiguousarray(normed.transpose(2, 0, 1)))[None]


def _shape(path: Path) -> VisionShape | None:
    """What the encoder in a file is made of. None where it is no such file, or a damaged one."""
    try:
        with read_weights(path) as file:
            return _shape_of(header_of(file), _config(path.with_name(CONFIG)))
    except (CheckpointError, OSError):
        return None


def _shape_of(header: Header, config: dict[str, Any]) -> VisionShape:
    """Raises CheckpointError."""
    root = "vision_model.embeddings."
    channels, _, patch = shape_of(header, root + "patch_embedding.weight", (4,))[:3]
    positions = shape_of(header, root + "position_embedding.weight", (2,))[0]
    heads, activation = config.get("num_attention_heads"), config.get("hidden_act")
    return VisionShape(
        layers=count(header, r"vision_model\.encoder\.layers\.(\d+)\."), channels=channels,
        mlp_channels=shape_of(header, "vision_model.encoder.layers.0.mlp.fc1.weight", (2,))[0],
        heads=heads if isinstance(heads, int) and heads > 0 and channels % heads == 0 else
        WIDE_HEADS if channels > LARGE else max(channels // HEAD_CHANNELS, 1),
        side=round((positions - 1) ** 0.5) * patch, patch=patch,
        pooled_channels=shape_of(header, "visual_projection.weight", (2,))[0],
        activation=activation if activation in ("gelu", "quick_gelu") else
        "gelu" if channels > LARGE else "quick_gelu")


def _config(path: Path) -> dict[str, Any]:
    """What `config.json` says of the image encoder; nothing where it says nothing."""
    try:
        found = json.loads(path.read_bytes()) if path.is_file() else {}
    except (OSError, ValueError, RecursionError):
        return {}
    found = found.get("vision_config", found) if isinstance(found, dict) else {}
    return found if isinstance(found, dict) else {}


def _built(shape: VisionShape) -> nn.Module:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    return cast(nn.Module, CLIPVisionModelWithProjection(CLIPVisionConfig(
        hidden_size=shape.channels, intermediate_size=shape.mlp_channels, num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads, image_size=shape.side, patch_size=shape.patch,
        projection_dim=shape.pooled_channels, hidden_act=shape.activation)))


def _key(key: str, shape: VisionShape) -> str | None:
    """The parameter of a tensor. None for the position numbers, which are computed, and for CLIP's text encoder."""
    needed = key.startswith(("vision_model.", "visual_projection.")) and not key.endswith("position_ids")
    return key if needed else None
