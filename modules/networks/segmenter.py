"""Masks by clicks and boxes with Segment Anything, by transformers' models: SAM (Kirillov et al. 2023), SAM 2 (Ravi et
al. 2024).

The pictures are prepared here: transformers' processor of SAM 2 needs torchvision.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from modules.errors import CheckpointError
from modules.imaging.click_mask import Box, Click, checked

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's channels, which the networks were trained with."""
STRETCHED = "sam2", "sam2_video"
"""Networks that see a picture stretched to a square; the others see it in its proportions in a corner."""


class Segmenter:
    """A network of a folder in transformers' layout. Only one thread at a time may use it."""

    def __init__(self, folder: Path, device: str) -> None:
        """Raises CheckpointError. No code of the folder runs, and pickles are not read."""
        from transformers import AutoConfig, Sam2Model, SamModel

        try:
            config = cast(Any, AutoConfig).from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            kinds: dict[str, Any] = {"sam": SamModel, **dict.fromkeys(STRETCHED, Sam2Model)}
            self._network: Any = kinds[config.model_type].from_pretrained(
                folder, local_files_only=True, use_safetensors=True, dtype=torch.float32).to(device).eval()
        except Exception as error:  # a foreign folder makes transformers raise nearly anything
            raise CheckpointError(f"{folder.name} in models/sam is no Segment Anything network that can be used: "
                                  f"{(str(error).splitlines() or [''])[0][:200]}") from error
        self.stretches = config.model_type in STRETCHED
        self.side = int(self._network.config.prompt_encoder_config.image_size)
        self._device = device

    @torch.inference_mode()
    def seen(self, picture: Image.Image) -> Seen:
        """The picture as the network sees it, which takes seconds; each click after that takes a moment."""
        pixels, scale = self.prepared(picture.convert("RGB"))
        return Seen(self, self._network.get_image_embeddings(pixels.to(self._device)), scale, picture.size)

    def prepared(self, picture: Image.Image) -> tuple[Tensor, tuple[float, float]]:
        """((1, 3, side, side) of what the network reads, (x, y) scales of places)."""
        width, height = picture.size
        factor = self.side / max(width, height)
        size = (self.side, self.side) if self.stretches else (int(width * factor + 0.5), int(height * factor + 0.5))
        size = max(size[0], 1), max(size[1], 1)
        pixels = torch.from_numpy(np.array(picture.resize(size, Image.Resampling.BILINEAR))).float() / 255
        normal = ((pixels - torch.tensor(MEAN)) / torch.tensor(STD)).permute(2, 0, 1)[None]
        padded = F.pad(normal, (0, self.side - size[0], 0, self.side - size[1]))
        return padded, (size[0] / width, size[1] / height)

    @torch.inference_mode()
    def mask(self, embeddings: Any, places: Tensor, meant: Tensor, box: Tensor | None = None,
             candidate: int | None = None) -> Tensor:
        """The logits (h, w) of a mask for `places` (N, 2) and `box` (4,), both in pixels of the network's input, and
        `meant` (N,), 1 or 0. One place alone is ambiguous: of three candidates the surest is taken. `candidate` takes
        the smallest (0) to the largest (2) of the three instead."""
        points = {} if not len(places) else {"input_points": places[None, None].to(self._device),
                                             "input_labels": meant[None, None].to(self._device)}
        boxes = {} if box is None else {"input_boxes": box[None, None].to(self._device)}
        several = candidate is not None or (box is None and len(places) == 1)
        answer = self._network(image_embeddings=embeddings, multimask_output=several, **points, **boxes)
        masks = cast(Tensor, answer.pred_masks[0, 0])
        if candidate is not None:
            return masks[(masks > 0).sum(dim=(1, 2)).argsort(stable=True)[candidate]]
        return masks[answer.iou_scores[0, 0].argmax()]


class Seen:
    """One picture in the eyes of a `Segmenter`."""

    def __init__(self, segmenter: Segmenter, embeddings: Any, scale: tuple[float, float],
                 size: tuple[int, int]) -> None:
        self._segmenter, self._embeddings, self._scale, self._size = segmenter, embeddings, scale, size

    def by_clicks(self, clicks: Sequence[Click], box: Box | None = None, candidate: int | None = None) -> Image.Image:
        """An L mask of the picture's size, 0 or 255: what the clicks and the box mean. `candidate` is the smallest (0)
        to the largest (2) of the network's three, None the surest. Raises InvalidInput."""
        checked(clicks, box, self._size)
        places = torch.tensor([(one.x * self._scale[0], one.y * self._scale[1]) for one in clicks])
        meant = torch.tensor([int(one.meant) for one in clicks])
        corners = None if box is None else torch.tensor(box, dtype=torch.float32) * torch.tensor(self._scale * 2)
        logits = self._segmenter.mask(self._embeddings, places, meant, corners, candidate)[None, None].float()
        (width, height), side = self._size, self._segmenter.side
        if not self._segmenter.stretches:
            large = F.interpolate(logits, (side, side), mode="bilinear", align_corners=False)
            logits = large[..., : max(round(height * self._scale[1]), 1), : max(round(width * self._scale[0]), 1)]
        full = F.interpolate(logits, (height, width), mode="bilinear", align_corners=False)
        return Image.fromarray(((full[0, 0] > 0).cpu().numpy() * 255).astype(np.uint8))
