"""The answers of a recorded run, given again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import safe_open
from torch import Tensor

from modules.errors import InvalidInput
from modules.request import Txt2Img
from modules.request.fields import declared
from modules.request.going_on import OWN
from modules.request.options import Options

NOT_THE_RUN = (*OWN, "n_iter", "seed", "subseed", "record_steps")
"""Fields that are not written into a fingerprint. The seeds are, as numbers of the batch at hand."""
ANOTHER = "The recording is of another run, so this one cannot go on from it."


class Replay:
    """The recording in `path`, for a run with this `fingerprint`. Its answers have the same bits as when they were
    computed. `calls` is how many of them can be given again: none where Small masks computed a part only, since what
    is computed later needs what earlier calls leave in the network. Raises InvalidInput for a recording of another run.
    """

    def __init__(self, path: Path, fingerprint: str) -> None:
        try:
            file: Any = safe_open(path, "pt")
            about = json.loads(file.metadata()["steps"])
            self._pairs = "uncond" in file.keys()  # noqa: SIM118
        except Exception as error:  # safetensors has errors of its own
            raise InvalidInput("This recording is no longer there.", field="replayed") from error
        if about.get("request") != fingerprint:
            raise InvalidInput(ANOTHER, field="replayed")
        self._file = file  # open until the end: a new recording may take the place of an old one
        whole = all(call["window"] is None and call["number"] == n for n, call in enumerate(about["calls"]))
        self.calls = len(about["calls"]) if whole else 0

    def answers(self, call: int, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """(guided answer, unconditional answer) to x (B, C, h, w) in that call. Raises InvalidInput if it was asked
        about another x."""
        def read(name: str) -> Tensor:
            tensor: Tensor = self._file.get_slice(name)[call]
            return tensor.to(x)

        if not torch.equal(read("x"), x):
            raise InvalidInput(ANOTHER, field="replayed")
        return read("guided"), read("uncond") if self._pairs else None


def fingerprint(request: Txt2Img, seeds: tuple[int, ...], subseeds: tuple[int, ...], model: str) -> str:
    """Says which run a batch of `request` with these seeds is, on the checkpoint called `model`: equal for equal
    answers of the network to an equal x."""
    fields = [(item.name, _plain(getattr(request, item.name))) for item in declared(type(request))
              if item.name not in NOT_THE_RUN]
    fields += [(item.name, getattr(request.options, item.name)) for item in declared(Options) if item.text]
    others = [_plain(getattr(request, name, None)) for name in ("control_units", "always_on", "init_images",
                                                                "depth_map", "mask")]
    return hashlib.sha256(repr((fields, others, seeds, subseeds, model)).encode("utf-8", "replace")).hexdigest()


def _plain(value: Any) -> Any:
    """`value` as it may be written down: a picture by the SHA-256 of its pixels."""
    if isinstance(value, Image.Image):
        return value.mode, value.size, hashlib.sha256(value.tobytes()).hexdigest()
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return tuple((item.name, _plain(getattr(value, item.name))) for item in dataclasses.fields(value))
    return value
