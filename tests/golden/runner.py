"""Runs recorded cases in-process, by way of the same bodies that the HTTP API reads, and compares what comes out.

A case is a request to WebUI and what WebUI made of it: pictures, the latents before decoding, and the timestep and the
number of rows of every call of the UNet.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from modules.api.schema import Img2ImgBody, Txt2ImgBody
from modules.engine.engine import Engine
from modules.engine.models import FileLoader, LoadModel
from modules.request import Txt2Img
from modules.request.job_context import JobContext, NullJob
from modules.request.options import Options
from modules.request.result import Result
from modules.sampling.conditioning import Conditioning
from modules.sampling.levels import Level
from modules.settings import Settings

LEVELS = 2
"""Largest difference of a pixel's value that is let pass; recordings with another attention kernel differ by 1."""

SHARE = 0.04
"""Largest share of values that may differ at all."""

LOOSE_LEVELS, LOOSE_SHARE = 12, 0.35
"""The same for a picture that passed through 8 bits on its way and was sampled again."""

LATENT = 1e-3
"""Largest difference of a latent's value, in units of the recorded latent's standard deviation."""

LOOSE_LATENT = 6e-3
"""The same where rounding is amplified: an 8-bit picture between two passes, or steps chosen by an error estimate."""


@dataclass(frozen=True)
class Case:
    """One recorded case; file names in `data` are relative to `folder`."""

    folder: Path
    data: dict[str, Any]

    @property
    def id(self) -> str:
        return str(self.data["id"])

    @property
    def group(self) -> str:
        return str(self.data["group"])

    @property
    def latent_tolerance(self) -> float:
        request = self.data["request"]
        pixels_between = request.get("enable_hr") and not str(request.get("hr_upscaler")).startswith("Latent")
        pixels_between = pixels_between or "script_name" in request
        return LOOSE_LATENT if pixels_between or request["sampler_name"] == "DPM adaptive" else LATENT

    @property
    def pixel_tolerance(self) -> tuple[int, float]:
        """(largest difference, share of values that may differ at all)."""
        return (LOOSE_LEVELS, LOOSE_SHARE) if "loopback" in self.id else (LEVELS, SHARE)

    def request(self) -> Txt2Img:
        """What the HTTP API would make of the recorded body. 1.10.1's recordings ask for its DDIM loop."""
        body = dict(self.data["request"])
        loop = {"ddim_loop": "webui-1.10"} if self.data["recorded_with"].startswith("WebUI v1.10") else {}
        body["override_settings"] = loop | body["override_settings"]
        if self.data["endpoint"] == "txt2img":
            return Txt2ImgBody.model_validate(body).request(Options(), max_pixels=10**6)
        body["init_images"] = [self._base64(name) for name in body["init_images"]]
        if "mask" in body:
            body["mask"] = self._base64(body["mask"])
        return Img2ImgBody.model_validate(body).request(Options(), max_pixels=10**6)

    def pictures(self) -> list[Image.Image]:
        """What WebUI returned."""
        return [Image.open(self.folder / name).convert("RGB") for name in self.data["outputs"]]

    def latents(self) -> np.ndarray:
        """What WebUI decoded, (N, 4, h, w); with hires fix that of the second pass."""
        blocks = [np.load(self.folder / name) for name in self.data["latents"]]
        blocks = [block.reshape(-1, *block.shape[-3:]) for block in blocks]
        return np.concatenate([block for block in blocks if block.shape[1:] == blocks[-1].shape[1:]])

    def unet_calls(self) -> list[tuple[float, int]]:
        """(t, rows) of every call of WebUI's UNet. Those of Stable Diffusion 3 were recorded by sigma."""
        scale = 1000 if self.group == "sd3" else 1
        return [(t * scale, rows) for t, rows in self.data["unet_calls"]]

    def _base64(self, name: str) -> str:
        return base64.b64encode((self.folder / "inputs" / name).read_bytes()).decode()


def read_cases(folder: Path, pattern: str = "cases*.jsonl") -> list[Case]:
    """The cases of all files of that pattern in `folder`."""
    lines = (line for path in sorted(folder.glob(pattern)) for line in path.read_text("utf-8").splitlines())
    return [Case(folder, json.loads(line)) for line in lines]


@dataclass
class Recording:
    """A model that notes what it is asked to predict and to decode."""

    model: Any
    calls: list[tuple[float, int]] = field(default_factory=list)
    decoded: list[Tensor] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def predict(self, x: Tensor, level: Level, cond: Conditioning) -> Tensor:
        self.calls.append((level.t, len(x)))
        return self.model.predict(x, level, cond)

    def decode_latent(self, latent: Tensor) -> Tensor:
        self.decoded.extend(latent.clone())
        return self.model.decode_latent(latent)


class Bench:
    """An engine over a folder of checkpoints that keeps each of them loaded and records what its models do."""

    def __init__(self, checkpoints: Path, scratch: Path, load: LoadModel | None = None, **flags: Any) -> None:
        self._models: dict[str, Recording] = {}
        settings = Settings(data_dir=scratch, ckpt_dir=checkpoints, device="cpu", **flags)
        self.engine = Engine(settings, self._loader(load or FileLoader()))

    def make(self, request: Txt2Img, job: JobContext | None = None) -> tuple[Result, list[tuple[float, int]], Tensor]:
        """(result, the UNet's calls, the decoded latents (N, 4, h, w) or only those of the last size)."""
        for model in self._models.values():
            model.calls.clear()
            model.decoded.clear()
        with torch.inference_mode():
            result = self.engine.generate(request, job or NullJob())
        calls = [call for model in self._models.values() for call in model.calls]
        decoded = [latent for model in self._models.values() for latent in model.decoded]
        return result, calls, torch.stack([latent for latent in decoded if latent.shape == decoded[-1].shape])

    def model(self, name: str) -> Any:
        """The model of that checkpoint, with no record kept."""
        loaded = self.engine.load(Options().replaced({"sd_model_checkpoint": name}), NullJob())
        assert isinstance(loaded, Recording)
        return loaded.model

    def _loader(self, load: LoadModel) -> LoadModel:
        def load_once(checkpoint: Any, vae: Any, *others: Any) -> Any:
            if checkpoint.name not in self._models:
                self._models[checkpoint.name] = Recording(load(checkpoint, vae, *others))
            return self._models[checkpoint.name]

        return load_once


def pixel_difference(ours: Image.Image, theirs: Image.Image) -> tuple[int, float]:
    """(largest difference, share of values that differ at all) of two pictures of one size, theirs without its alpha.

    What is nearly transparent counts as little as it is seen: there a rounding shows as several levels.
    """
    assert ours.size == theirs.size
    difference = np.abs(np.asarray(ours.convert("RGB"), int) - np.asarray(theirs, int))
    if ours.mode == "RGBA":
        difference = np.ceil(difference * (np.asarray(ours.getchannel("A"))[:, :, None] / 255)).astype(int)
    return int(difference.max()), float((difference > 0).mean())


def check(case: Case, bench: Bench) -> None:
    """Asserts that our pictures, latents and UNet calls are WebUI's."""
    result, calls, latents = bench.make(case.request())
    made = [picture for image in result.images for picture in (image.image, *image.extras)]
    expected = case.latents()
    assert_same_calls(case, calls)
    ours = latents.numpy()[-len(expected):]
    assert ours.shape == expected.shape
    error = float(np.abs(ours - expected).max() / expected.std())
    assert error <= case.latent_tolerance, f"latent differs by {error:.2g} of its standard deviation"
    theirs = case.pictures()
    assert len(made) == len(theirs)
    for image, recorded in zip(made, theirs, strict=True):
        largest, share = pixel_difference(image, recorded)
        largest_allowed, share_allowed = case.pixel_tolerance
        assert largest <= largest_allowed, f"a value differs by {largest}"
        assert share <= share_allowed, f"{share:.1%} of the values differ"


def assert_same_calls(case: Case, calls: Iterable[tuple[float, int]]) -> None:
    """The network was asked at the same timesteps, with as many rows in all at each of them.

    How WebUI spreads the rows over calls when prompts have different lengths is its own affair, and at a CFG scale of 1
    it computes the unconditional rows for nothing; we don't. The img2img alternative test finds its noise at that
    scale.
    """
    if case.data["request"]["sampler_name"] == "DPM adaptive" or not case.unet_calls():
        return  # it chooses its steps by an error estimate, which magnifies rounding; or nothing was recorded
    ours, theirs = _rows_by_timestep(calls), _rows_by_timestep(case.unet_calls())
    assert [t for t, _ in ours] == pytest.approx([t for t, _ in theirs], abs=0.02, rel=1e-6)
    if case.data["request"]["cfg_scale"] != 1 and not case.id.startswith("scr-alt"):
        assert [rows for _, rows in ours] == [rows for _, rows in theirs]


def _rows_by_timestep(calls: Iterable[tuple[float, int]]) -> list[tuple[float, int]]:
    merged: list[tuple[float, int]] = []
    for t, rows in calls:
        if merged and abs(merged[-1][0] - t) < 0.02:
            merged[-1] = (merged[-1][0], merged[-1][1] + rows)
        else:
            merged.append((t, rows))
    return merged
