"""How near things are in a picture, told by a DPT network (Ranftl et al. 2021): what depth checkpoints are shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from modules.errors import CheckpointError, InvalidInput

SIDE, CELL = 384, 32
"""The side in pixels that the network is trained on, and what its pictures' sides are multiples of."""

DepthOf = Callable[[Tensor], Tensor]
"""A picture (1, 3, H, W) as DPT reads it, see `as_dpt_reads` -> how near its things are, (1, h, w) or (1, 1, h, w)."""


class DepthNetwork:
    """The first DPT network in some folders: a folder of transformers' layout, with config.json and a safetensors file.
    It is read when it is first asked, and stays on the CPU."""

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        self._folders = tuple(folders)
        self._loaded: tuple[Path, DepthOf] | None = None

    def __call__(self, picture: Tensor) -> Tensor:
        """A DepthOf. Raises InvalidInput where there is no network, CheckpointError where it cannot be used."""
        folder = self._find()
        if self._loaded is None or self._loaded[0] != folder:
            self._loaded = folder, _read(folder)
        return self._loaded[1](picture)

    def _find(self) -> Path:
        found = sorted(config.parent for folder in self._folders for config in folder.glob("*/config.json"))
        if not found:
            where = self._folders[0] if self._folders else "models/depth"
            raise InvalidInput("A depth checkpoint has to be told how near things are: give a depth picture, or put "
                               f"the folder of a DPT network (config.json and model.safetensors) into {where}.",
                               field="depth_map")
        return found[0]


def _read(folder: Path) -> DepthOf:
    from transformers import DPTForDepthEstimation

    try:
        network = cast(Any, DPTForDepthEstimation).from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=torch.float32).eval()
    except Exception as error:  # a foreign folder makes transformers raise nearly anything
        raise CheckpointError(f"{folder.name} in models/depth is no DPT network that can be used: "
                              f"{str(error).splitlines()[0][:200]}") from error

    @torch.no_grad()
    def depth(picture: Tensor) -> Tensor:
        return cast(Tensor, network(picture.cpu()).predicted_depth)

    return depth


def as_dpt_reads(image: Tensor) -> Tensor:
    """image (1, 3, H, W) in [-1, 1], its values kept, resized so that the side which is nearer to it becomes `SIDE` and
    both are multiples of `CELL` (MiDaS, as WebUI calls it)."""
    height, width = image.shape[2:]
    by_width, by_height = SIDE / width, SIDE / height
    scale = by_width if abs(1 - by_width) < abs(1 - by_height) else by_height
    size = [max(round(side * scale / CELL) * CELL, CELL) for side in (height, width)]
    return F.interpolate(image.float(), size=size, mode="bicubic", align_corners=False)


def depth_map(network: DepthOf, image: Tensor) -> Tensor:
    """image (1, 3, H, W) in [-1, 1] -> how near its things are, (1, 1, h, w) in the network's own size and scale."""
    found = network(as_dpt_reads(image))
    return found if found.ndim == 4 else found[:, None]
