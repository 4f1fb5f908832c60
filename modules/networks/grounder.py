"""Where words are in a picture, by transformers' models: boxes by Grounding DINO (Liu et al. 2023), OWL-ViT and OWLv2
(Minderer et al. 2022, 2023), shares of each pixel by CLIPSeg (Lüddecke and Ecker 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from modules.errors import CheckpointError
from modules.imaging.detectors.find import Find, clipped
from modules.imaging.detectors.yolo import strongest

LEAST = {"grounding-dino": 0.3, "mm-grounding-dino": 0.3, "owlv2": 0.2, "owlvit": 0.1, "clipseg": 0.4}
"""The kinds of networks, and how sure each must be, as their authors show them."""
DINO = "grounding-dino", "mm-grounding-dino"
MOST_FINDS = 20
"""The surest boxes of a picture."""
LARGEST, FLATTEST = 1600, 4
"""Pixels of the longer side that a network is shown, which it makes smaller itself, and how often the shorter side goes
into it: what is flatter gets black below or beside it."""


class Grounder:
    """A network of a folder in transformers' layout. `draws` says that it tells the share of each pixel, and not boxes;
    `least` is how sure it must be. Only one thread at a time may use it."""

    def __init__(self, folder: Path, device: str) -> None:
        """Raises CheckpointError. No code of the folder runs, and pickles are not read."""
        from transformers import (
            AutoConfig,
            AutoProcessor,
            CLIPSegForImageSegmentation,
            GroundingDinoForObjectDetection,
            MMGroundingDinoForObjectDetection,
            Owlv2ForObjectDetection,
            OwlViTForObjectDetection,
        )

        kinds: dict[str, Any] = dict(zip(LEAST, (
            GroundingDinoForObjectDetection, MMGroundingDinoForObjectDetection, Owlv2ForObjectDetection,
            OwlViTForObjectDetection, CLIPSegForImageSegmentation), strict=True))
        try:
            config = cast(Any, AutoConfig).from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            self._kind: str = config.model_type
            self._network: Any = kinds[self._kind].from_pretrained(
                folder, local_files_only=True, use_safetensors=True, dtype=torch.float32).to(device).eval()
            self._processor: Any = cast(Any, AutoProcessor).from_pretrained(
                folder, local_files_only=True, trust_remote_code=False)
        except Exception as error:  # a foreign folder makes transformers raise nearly anything
            raise CheckpointError(f"{folder.name} in models/grounding is no network for words that can be used: "
                                  f"{(str(error).splitlines() or [''])[0][:200]}") from error
        self.draws, self.least = self._kind == "clipseg", LEAST[self._kind]
        self._device = device

    @torch.inference_mode()
    def boxes(self, picture: Image.Image, words: Sequence[str], least: float) -> list[Find]:
        """Where any of the `words` is in an RGB picture, the surest first: at most `MOST_FINDS` that are more than
        `least` sure, without those that nearly cover each other."""
        rgb, scale = _seen(picture)
        sizes = [(rgb.height, rgb.width)]
        if self._kind in DINO:
            text: Any = ". ".join(word.lower() for word in words) + "."
            inputs = self._processor(images=rgb, text=text, return_tensors="pt", truncation=True,
                                     max_length=self._network.config.max_text_len).to(self._device)
            answer = self._network(**inputs)
            (found,) = self._processor.post_process_grounded_object_detection(
                answer, inputs["input_ids"], threshold=least, text_threshold=least, target_sizes=sizes)
        else:
            inputs = self._processor(images=rgb, text=[list(words)], return_tensors="pt", truncation=True).to(
                self._device)
            answer = self._network(**inputs)
            (found,) = self._processor.post_process_grounded_object_detection(
                answer, threshold=least, target_sizes=sizes)
        corners, scores = (found[name].float().cpu().numpy() for name in ("boxes", "scores"))
        kept = strongest(corners, scores, np.zeros(len(scores), np.int64), least)[:MOST_FINDS]
        placed = ((clipped((left, top, right, bottom), picture.size), float(scores[k]))
                  for k in kept for left, top, right, bottom in ((corners[k] / scale).tolist(),))
        return [Find(box, score) for box, score in placed if box]

    @torch.inference_mode()
    def mask(self, picture: Image.Image, words: Sequence[str], least: float) -> Image.Image:
        """An L mask of the picture's size, 0 or 255: where it is more than `least` sure of any of the `words`."""
        rgb, scale = _seen(picture)
        inputs = self._processor(images=[rgb] * len(words), text=list(words), return_tensors="pt",
                                 padding=True, truncation=True).to(self._device)
        logits = self._network(**inputs).logits
        shown = max(round(picture.height * scale), 1), max(round(picture.width * scale), 1)
        surest = torch.full(rgb.size[::-1], -torch.inf, device=logits.device)
        for one in logits.reshape(len(words), 1, 1, *logits.shape[-2:]).float():
            full = F.interpolate(one, rgb.size[::-1], mode="bilinear", align_corners=False)
            surest = torch.maximum(surest, full[0, 0])
        surest = F.interpolate(surest[None, None, : shown[0], : shown[1]], picture.size[::-1], mode="bilinear",
                               align_corners=False)[0, 0]
        return Image.fromarray(((surest.sigmoid() > least).cpu().numpy() * 255).astype(np.uint8))


def _seen(picture: Image.Image) -> tuple[Image.Image, float]:
    """(the RGB picture that a network is shown, its scale)."""
    scale = min(LARGEST / max(picture.size), 1.0)
    size = max(round(picture.width * scale), 1), max(round(picture.height * scale), 1)
    rgb = picture.convert("RGB")
    rgb = rgb if size == rgb.size else rgb.resize(size, Image.Resampling.BILINEAR)
    least = -(-max(size) // FLATTEST)
    if min(size) >= least:
        return rgb, scale
    shown = Image.new("RGB", (max(size[0], least), max(size[1], least)))
    shown.paste(rgb)
    return shown, scale
