"""A model that needs no weights and has an analytic answer, and an engine around it.

The pictures of `FakeModel` are Gaussian: each latent value is drawn from N(mean, std^2), so the noise that a perfect
network would predict has a closed form, and what any sampler must converge to is known. Words move the mean.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from modules.engine.engine import Engine
from modules.networks.inputs import INPAINT, PLAIN
from modules.request.job_context import NullJob
from modules.sampling.conditioning import Conditioning, TextOptions
from modules.sampling.latent import Latent
from modules.sampling.levels import EPSILON, FLOW, V_PREDICTION, Level, Levels, PredictionType, stable_diffusion
from modules.sampling.types import Box, Inputs, Predict
from modules.settings import Settings

ASTRONAUT = Path(__file__).parent / "data" / "astronaut.jpg"
"""A photograph of a face, 512x512: NASA's Eileen Collins, public domain (scikit-image has it too)."""

CHANNELS = 8
"""Channels of the context; the first four hold how far the words move each latent channel's mean."""

# R, G, B and luma: four channels from three, so that the way back is exact.
TO_LATENT = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.299, 0.587, 0.114]], dtype=torch.float64)
TO_IMAGE = torch.linalg.pinv(TO_LATENT)


PLAINLY = TextOptions()


@dataclass
class FakeWindow:
    """A part of a FakeModel's picture. Each latent cell answers for itself, so the rest need not be recorded."""

    box: Box

    def recording(self) -> AbstractContextManager[None]:
        return nullcontext()

    def inside(self, before: None, after: None, share: float) -> AbstractContextManager[None]:
        return nullcontext()

    def close(self) -> None: ...


@dataclass
class FakeDeepCache:
    """A FakeModel that has no depth. `steps` lists which ones were to be whole."""

    model: FakeModel
    steps: list[bool] = field(default_factory=list)

    def step(self, whole: bool) -> Predict:
        self.steps.append(whole)
        return self.model.predict


@dataclass
class FakeModel:
    """An SDModel in closed form. `calls` lists (t, rows) of every `predict`."""

    name: str = "fake"
    in_channels: int = 4
    mean: float = 0.2
    std: float = 0.5
    shift: float = 0.5
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    levels: Levels = field(default_factory=stable_diffusion)
    prediction: PredictionType = EPSILON
    calls: list[tuple[float, int]] = field(default_factory=list)
    encoded: list[str] = field(default_factory=list)
    part_bytes: dict[int, int] = field(default_factory=lambda: {0: 1000})
    latent: Latent = field(default_factory=Latent)
    pooled: bool = False
    patches: Any = None

    @property
    def inputs(self) -> Inputs:
        """What `in_channels` says."""
        return INPAINT if self.in_channels == 9 else PLAIN

    def predict_as(self, choice: str) -> None:
        """It answers as it does."""

    def put_on(self, patches: Any) -> tuple[str, ...]:
        """It has no layers."""
        self.patches = patches
        return ()

    def reads(self, embedding: Any) -> bool:
        """None."""
        return False

    def embeddings_in(self, texts: Sequence[str], how: TextOptions) -> list[str]:
        """It knows none."""
        return []

    def encode_prompts(self, texts: Sequence[str], how: TextOptions = PLAINLY) -> list[Conditioning]:
        """Tokens (77, CHANNELS): each text's hash as values in [-shift, shift]; zero for an empty text. With `pooled`
        their first token is the vector too."""
        self.encoded += texts
        words = [self._words(text, how).expand(77, CHANNELS) for text in texts]
        return [Conditioning(tokens, tokens[0] if self.pooled else None) for tokens in words]

    def _words(self, text: str, how: TextOptions) -> Tensor:
        if not text:
            return torch.zeros(CHANNELS)
        digest = hashlib.sha256(f"{text}|{how.clip_skip}|{how.emphasis}".encode()).digest()
        return (torch.tensor(list(digest[:CHANNELS])) / 127.5 - 1) * self.shift

    def predict(self, x: Tensor, level: Level, cond: Conditioning) -> Tensor:
        """What a perfect network answers to x = signal * x0 + noise * eps with x0 ~ N(mean + words, std^2).

        x0 is the posterior mean (Bayes' rule for two Gaussians); eps, v and the flow's velocity follow from it. The
        level is looked up by its t, which may be fractional, as a network would.
        """
        assert x.shape[1] == self.in_channels
        assert len(x) == len(cond.tokens)
        assert (cond.vector is not None) == self.pooled
        self.calls.append((level.t, len(x)))
        signal, noise = self._level(level.t)
        words = cond.tokens[:, 0] if cond.vector is None else cond.vector
        mean = self.mean + words[:, :4, None, None].to(x)
        x = x[:, :4]
        spread = signal**2 * self.std**2 + noise**2
        eps = noise * (x - signal * mean) / spread
        if self.prediction is EPSILON:
            return eps
        x0 = mean + signal * self.std**2 * (x - signal * mean) / spread
        return signal * eps - noise * x0 if self.prediction is V_PREDICTION else eps - x0

    def _level(self, t: float) -> tuple[float, float]:
        """(signal, noise) at the timestep t: log(sigma) is linear between trained ones."""
        if self.prediction is FLOW:
            return 1 - t / 1000, t / 1000
        sigma = self.levels.sigmas
        low, high = (min(max(int(edge), 0), 999) for edge in (math.floor(t), math.ceil(t)))
        log_sigma = math.log(sigma[low]) + (t - math.floor(t)) * (math.log(sigma[high]) - math.log(sigma[low]))
        signal = 1 / math.sqrt(1 + math.exp(2 * log_sigma))
        return signal, signal * math.exp(log_sigma)

    def compiles(self, size: tuple[int, int]) -> bool:
        return False

    def window(self, box: Box, size: tuple[int, int]) -> FakeWindow:
        """The box as it is."""
        return FakeWindow(box)

    def deep_cache(self) -> FakeDeepCache:
        """It has no depth."""
        return FakeDeepCache(self)

    def clear_caches(self) -> None:
        """It keeps nothing."""

    def encode_image(self, image: Tensor) -> Tensor:
        """Average over 8 x 8 pixels; R, G, B and luma."""
        small = torch.nn.functional.avg_pool2d(image.double(), 8)
        return torch.einsum("lc,bchw->blhw", TO_LATENT, small).to(image)

    def decode_latent(self, latent: Tensor) -> Tensor:
        """The inverse of `encode_image` for pictures of 8 x 8 blocks."""
        small = torch.einsum("cl,blhw->bchw", TO_IMAGE, latent.double())
        return torch.nn.functional.interpolate(small, scale_factor=8).to(latent)

    def tiled(self) -> AbstractContextManager[None]:
        """Nothing to wrap round: each latent cell answers for itself."""
        return nullcontext()

    def preview(self, latent: Tensor) -> Tensor:
        """The latent as a picture in [0, 1], one pixel for 8 x 8."""
        return (torch.einsum("cl,lhw->chw", TO_IMAGE, latent.double()) / 2 + 0.5).clamp(0, 1).float()


class Recorded(NullJob):
    """A job that keeps recordings in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.files = folder, list[Path]()

    def recording(self) -> Path:
        self.files.append(self.folder / f"{len(self.files)}.safetensors")
        return self.files[-1]


def write_checkpoint(directory: Path, name: str) -> Path:
    """A file that the catalog lists. Its content is its name, so that hashes differ; nothing ever loads it."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}.safetensors"
    path.write_bytes(name.encode())
    return path


def fake_engine(settings: Settings, make_model: Callable[[str], Any] = FakeModel) -> Engine:
    """The real engine over `make_model(checkpoint name)` instead of weights."""
    return Engine(settings, load_file=lambda checkpoint, *_: make_model(checkpoint.name))
