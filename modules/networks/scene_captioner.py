"""Sentences about pictures of a small drawn world, by a network that answers a few questions: which thing, which
colour, where. `training/judge.py` makes the file of the included checkpoint's world."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from modules.errors import CheckpointError
from modules.networks.captioner import Caption
from modules.weights.tensors import TensorFile, read_tensors

QUESTIONS = ("object", "colour", "second", "second colour", "background", "size", "position", "time", "style")
GROUPS = 8
"""Of each norm."""

Phrases = Mapping[str, Sequence[str]]
"""For each question how its answers are said, empty for what needs no word; "uncoloured" has things whose colour is not
said."""


class SceneNetwork(nn.Module):
    """A picture (B, 3, side, side) in -1..1 -> for each question the scores of its answers (B, answers)."""

    def __init__(self, widths: Sequence[int], hidden: int, side: int, answers: Mapping[str, int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for given, width in zip((3, *widths[:-2]), widths[:-1], strict=True):
            layers += [nn.Conv2d(given, width, 3, 2, 1), nn.GroupNorm(GROUPS, width), nn.SiLU()]
        cells = side >> len(widths)
        self.body = nn.Sequential(*layers, nn.Conv2d(widths[-2], widths[-1], 3, 2, 1), nn.SiLU(), nn.Flatten(),
                                  nn.Linear(widths[-1] * cells * cells, hidden), nn.SiLU())
        self.heads = nn.ModuleDict({name: nn.Linear(hidden, count) for name, count in answers.items()})
        self.side = side

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        seen = self.body(x)
        return {name: head(seen) for name, head in self.heads.items()}


def load_scene_captioner(path: Path) -> Caption:
    """The captioner in a safetensors file with "phrases" in its metadata. Raises CheckpointError."""
    with read_tensors(path) as file:
        try:
            phrases = _phrases(file)
            network = _network(file, {name: len(phrases[name]) for name in QUESTIONS})
            network.load_state_dict({key: file.tensor(key, torch.float32) for key in file.shapes})
        except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{path.name} in models/captioners is no captioner that can be used.") from error
    network.eval()

    @torch.inference_mode()
    def caption(picture: Image.Image, check: Callable[[], None]) -> str:
        check()
        pixels = torch.from_numpy(np.asarray(picture.convert("RGB"), np.float32)).permute(2, 0, 1)[None] / 127.5 - 1
        scores = network(F.interpolate(pixels, (network.side, network.side), mode="area"))
        return sentence({name: int(scores[name].argmax()) for name in QUESTIONS}, phrases)

    return caption


def sentence(answers: Mapping[str, int], phrases: Phrases) -> str:
    """The answers, by number, as a prompt would say them."""
    said = {name: phrases[name][answer] for name, answer in answers.items()}

    def thing(size: str, colour: str, name: str) -> str:
        return _with_article(_joined(size, "" if name in phrases["uncoloured"] else colour, name))

    text = thing(said["size"], said["colour"], said["object"])
    if said["second"]:
        text = f"{text} on the left and {thing('', said['second colour'], said['second'])} on the right"
    text = _joined(text, said["position"], said["background"], said["time"])
    return f"{_with_article(said['style'])} of {text}" if said["style"] else text


def _with_article(text: str) -> str:
    return f"{'an' if text[:1] in tuple('aeiou') and not text.startswith('uni') else 'a'} {text}"


def _joined(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _phrases(file: TensorFile) -> Phrases:
    """Raises ValueError, LookupError or AttributeError for metadata that are not phrases."""
    found = json.loads(file.metadata["phrases"])
    return {name: [str(phrase)[:200] for phrase in found[name]] for name in (*QUESTIONS, "uncoloured")}


def _network(file: TensorFile, answers: Mapping[str, int]) -> SceneNetwork:
    """The network whose tensors have the shapes of the file's. Raises LookupError or ValueError."""
    convolutions = sorted((int(key.split(".")[1]), shape[0]) for key, shape in file.shapes.items()
                          if key.startswith("body.") and len(shape) == 4)
    widths = [width for _, width in convolutions]
    (hidden, inputs), *_ = (shape for key, shape in file.shapes.items() if key.startswith("body.") and len(shape) == 2)
    side = math.isqrt(inputs // widths[-1]) << len(widths)
    if side > 1024:
        raise ValueError("no picture is as large")
    return SceneNetwork(widths, hidden, side, answers)
