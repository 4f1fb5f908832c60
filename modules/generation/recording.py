"""A run's steps as a file: all latents and answers in float32, and small pictures of them.

The file is a `.safetensors` with tensors (n, B, C, h, w), n calls of the network: `x`, `guided`, `uncond`, `x0`, and of
the mask's blend `original`, `current`, `result`; `paint` (1, 1, h, w); pictures (n, B, h, w, 3), uint8, named
`picture.` and what they show. Its metadata hold JSON under "steps": the run, the fingerprint of its request (see
`generation.replay`) and, for each call, its level and step.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from modules.base.files import temporary_name
from modules.hooks.steps import Call, Run
from modules.sampling.levels import Prediction

log = logging.getLogger(__name__)

MOST_BYTES = 512 * 2**20
"""Of one recording. Calls after that are left out."""


class Recording:
    """Collects the calls of one run, and writes them when it is closed. `warning` says why they are not all there."""

    def __init__(self, path: Path, run: Run, fingerprint: str = "") -> None:
        self._path, self._run, self._fingerprint = path, run, fingerprint
        self._calls: list[dict[str, Any]] = []
        self._about: dict[str, Any] = {}
        self._tensors: dict[str, list[Tensor]] = defaultdict(list)
        self._bytes = 0
        self.warning = ""

    def __call__(self, call: Call) -> None:
        """Take one call. This is a `hooks.steps.Watch`."""
        if self.warning:
            return
        level, blend = call.level, call.blend
        kept: dict[str, Tensor] = {"x": call.x, "guided": _whole(call.guided, call), "x0": call.x0}
        if call.uncond is not None:
            kept["uncond"] = _whole(call.uncond, call)
        if blend:
            kept |= {"original": blend.original.expand_as(call.x), "current": blend.current, "result": blend.result}
        kept = {name: one.cpu() for name, one in kept.items()} | _pictures(call)
        self._bytes += sum(one.nbytes for one in kept.values())
        if self._bytes > MOST_BYTES:
            self.warning = f"Only the first {len(self._calls)} calls were recorded: more would not fit."
            return
        for name, one in kept.items():
            self._tensors[name].append(one)
        self._about = {"checkpoint": call.model.name, "prediction": call.model.prediction.name,
                       "cell": call.model.latent.cell}
        self._calls.append({"number": call.number, "step": call.step, "t": level.t, "signal": level.signal,
                            "noise": level.noise, "checkpoint": call.model.name,
                            "where": blend.where if blend else "", "window": call.window,
                            "control": call.control})

    def close(self) -> None:
        """Write the file, if there is anything to write. A full disk makes a warning."""
        if not self._calls:
            return
        run = self._run
        about = {"sampler": run.sampler, "scale": run.scale, "soft": run.soft, "second": run.second,
                 "request": self._fingerprint, **self._about, "calls": self._calls}
        whole = len(self._calls)
        tensors = {name: torch.stack(each).contiguous() for name, each in self._tensors.items() if len(each) == whole}
        if run.paint is not None:
            tensors["paint"] = run.paint.float().cpu().contiguous()
        temporary = temporary_name(self._path)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            save_file(tensors, temporary, {"steps": json.dumps(about)})
            os.replace(temporary, self._path)
        except Exception as error:  # safetensors raises its own error where the disk is full
            log.warning("The steps were not recorded: %s", error)
            self.warning = "The steps could not be written to the disk, so there is no recording."
            with contextlib.suppress(OSError):
                temporary.unlink()


def _whole(answer: Tensor, call: Call) -> Tensor:
    """An answer in the size of the latent; zero outside of a window."""
    if call.window is None:
        return answer
    left, top, right, bottom = call.window
    whole = torch.zeros_like(call.x)
    whole[:, :, top:bottom, left:right] = answer
    return whole


def _pictures(call: Call) -> dict[str, Tensor]:
    """What a person looks at, by name, each (B, h, w, 3): the model's rough pictures, and what guidance changes in the
    guess of the finished picture, about a grey."""
    shown = {"x": call.x, "x0": call.x0, "eps": call.eps}
    if call.blend:
        shown |= {"original": call.blend.original.expand_as(call.x), "current": call.blend.current,
                  "result": call.blend.result}
    drawn = {name: _drawn(call, latent) for name, latent in shown.items()}
    if call.uncond is not None:
        plain = _read(call, _whole(call.uncond, call)).x0
        guided = _read(call, _whole(call.guided, call)).x0
        drawn["guidance"] = (0.5 + _drawn(call, guided) - _drawn(call, plain)).clamp(0, 1)
    return {f"picture.{name}": one.mul(255).round().to(torch.uint8) for name, one in drawn.items()}


def _read(call: Call, answer: Tensor) -> Prediction:
    return call.model.prediction.both(call.x, answer, call.level)


def _drawn(call: Call, latent: Tensor) -> Tensor:
    """Latents (B, C, h, w) -> (B, h, w, 3) in [0, 1], on the CPU."""
    return torch.stack([call.model.preview(one).float().cpu().clamp(0, 1).permute(1, 2, 0) for one in latent])
