"""Pictures as the network learns them: their latents, computed once, and their words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from modules.networks.model import DiffusionModel
from modules.sampling.conditioning import Conditioning, SizeIds, TextOptions
from modules.training.config import EMBEDDING, TrainingConfig
from modules.training.dataset import Example, Size, bucket, cropped, cut, open_mask, open_picture

STEP = 64
"""Sides of pictures are multiples of that many pixels, or of less where the pictures are small."""


@dataclass(frozen=True)
class Learned:
    """A picture: its latent (C, h, w), what of it counts (1, h, w) or None for all, and the sizes that SDXL is told.

    `pixels` (1, 3, H, W) in [-1, 1] are there for networks that read a picture.
    """

    example: Example
    latent: Tensor
    mask: Tensor | None
    sizes: SizeIds
    pixels: Tensor | None


def side_step(cell: int, levels: int, side: int) -> int:
    """Of what the sides of pictures of about side * side pixels are multiples. `cell`: pixels of a latent's cell;
    `levels` of the UNet."""
    return min(STEP, max(cell << (levels - 1), side // 8))


def read_pictures(model: DiffusionModel, config: TrainingConfig, found: Sequence[Example], side: int,
                  stage: Callable[[str], None]) -> list[Learned]:
    """All pictures, mirrored ones too if wanted. Raises InvalidInput, and what `stage` raises."""
    step = side_step(model.latent.cell, len(model.unet.down_blocks), side)  # type: ignore[arg-type]
    made: list[Learned] = []
    for number, example in enumerate(found, start=1):
        stage(f"Reading picture {number} of {len(found)}")
        whole = open_picture(example.path)
        image = cropped(whole, example)
        size = bucket(image.size, side, step)
        part = cut(image, size)
        pixels = torch.from_numpy(np.asarray(part.image, np.float32)).permute(2, 0, 1)[None] / 127.5 - 1
        mask = _mask(example, whole.size, size, model.latent.cells(size))
        for turned in range(1 + config.flip):
            seen, counts = (pixels, mask) if not turned else (pixels.flip(-1), None if mask is None else mask.flip(-1))
            latent = model.encode_image(seen.to(model.device))[0]
            made.append(Learned(example, latent, None if counts is None else counts.to(latent),
                                SizeIds(part.original, part.crop, size),
                                None if model.inputs.name == "plain" else seen))
    model.autoencoder.clear_caches()
    return made


def _mask(example: Example, whole: Size, size: Size, cells: Size) -> Tensor | None:
    """What counts of the picture, which has the size `whole` before it is cropped: (1, h, w)."""
    if example.mask is None:
        return None
    part = cut(cropped(open_mask(example.mask, whole), example), size).image
    grey = torch.from_numpy(np.asarray(part, np.float32))[None, None] / 255
    return F.adaptive_avg_pool2d(grey, cells[::-1])[0]


def by_size(pictures: Sequence[Learned]) -> list[list[Learned]]:
    """Those of one size together: a batch is of one size."""
    groups: dict[torch.Size, list[Learned]] = {}
    for one in pictures:
        groups.setdefault(one.latent.shape, []).append(one)
    return list(groups.values())


def shares(pictures: Sequence[Learned]) -> dict[Example, float]:
    """How often each picture is drawn: by its repeats, and regularisation as often as all others together."""
    new, regular = (sum(one.example.repeats for one in pictures if one.example.regular == is_regular)
                    for is_regular in (False, True))
    return {one.example: one.example.repeats * (new / regular if one.example.regular else 1.0) for one in pictures}


def words_learn(config: TrainingConfig) -> bool:
    """Whether the meaning of words is learned."""
    return config.kind == EMBEDDING or config.text_rate > 0


def words_stay(config: TrainingConfig) -> bool:
    """Whether neither words nor their meaning change, so that they are read once."""
    return not words_learn(config) and not config.shuffle and not config.tag_dropout


class Words:
    """The words of pictures as the network reads them. A caption means what it says: brackets in it are no weights.
    `learn` and `stay` are `words_learn` and `words_stay`."""

    def __init__(self, model: DiffusionModel, config: TrainingConfig) -> None:
        self._model, self._config = model, config
        self._how = TextOptions(clip_skip=config.clip_skip, emphasis="None")
        self.learn, self.stay = words_learn(config), words_stay(config)
        self._kept: dict[tuple[str, SizeIds], Conditioning] = {}

    def of(self, picture: Learned, chance: torch.Generator) -> Conditioning:
        """What is said of the picture this time."""
        config = self._config
        if float(torch.rand((), generator=chance)) < config.dropout:
            return self.read("", picture.sizes)
        if not config.shuffle and not config.tag_dropout:
            return self.read(picture.example.caption, picture.sizes)
        return self.read(spoken(picture.example, config.shuffle, config.tag_dropout, chance), picture.sizes)

    def read(self, text: str, sizes: SizeIds) -> Conditioning:
        """One row. Gradients are recorded where the meaning of words is learned."""
        key = text, sizes
        if key in self._kept:
            return self._kept[key]
        how = TextOptions(self._how.clip_skip, self._how.emphasis, sizes=sizes)
        with torch.set_grad_enabled(self.learn and torch.is_grad_enabled()):
            (row,) = self._model.read_prompts([text], how).rows()
        if self.stay:
            self._kept[key] = row
        return row


def spoken(example: Example, shuffle: bool, tag_dropout: float, chance: torch.Generator) -> str:
    """A caption with its parts between commas in another order, some left out. The trigger word stays in front."""
    tags = [tag for part in example.text.split(",") if (tag := part.strip())]
    if shuffle:
        tags = [tags[at] for at in torch.randperm(len(tags), generator=chance)]
    stay = torch.rand(len(tags), generator=chance) >= tag_dropout
    return ", ".join([example.trigger] * bool(example.trigger) +
                     [tag for tag, stays in zip(tags, stay, strict=True) if bool(stays)])
