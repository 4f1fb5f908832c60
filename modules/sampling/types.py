"""The shapes that the sampling floor agrees on. Values, callables and protocols only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from modules.sampling.conditioning import Conditioning, TextOptions
from modules.sampling.latent import Latent
from modules.sampling.levels import Level, Levels, Prediction, PredictionType

Box = tuple[int, int, int, int]
"""Cells of a latent: left, top, right, bottom, the last two not included."""


Predict = Callable[[Tensor, Level, Conditioning], Tensor]
"""What `SDModel.predict` does."""


@dataclass(frozen=True)
class Call:
    """What one call of the network is for: `rows` says of each row of x which image of the batch it belongs to, and
    whether it is told the prompt (else the negative prompt). `step` of `steps` is the last step that was reported, 0
    before the first."""

    step: int
    steps: int
    rows: tuple[tuple[int, bool], ...]

    @property
    def share(self) -> float:
        """The share of the steps that are done."""
        return self.step / self.steps

    @property
    def unguided(self) -> list[int]:
        """The rows that are told the negative prompt."""
        return [number for number, (_, guided) in enumerate(self.rows) if not guided]


RowPredict = Callable[[Tensor, Level, Conditioning, Call], Tensor]
"""`Predict`, told what the call is for."""


class DeepCache(Protocol):
    """Deep features of a model that are used again at the next step; see `networks.deepcache`."""

    def step(self, whole: bool) -> Predict:
        """Return the predict function of one step. With `whole` it runs the whole network and stores the deep features;
        otherwise it uses those of the step before."""


class Window(Protocol):
    """A model on a part of the picture, with the rest recorded; see `networks.window`."""

    @property
    def box(self) -> Box:
        """The part."""

    def recording(self) -> AbstractContextManager[Any]:
        """While this lasts, one call of `SDModel.predict` for the whole picture is recorded in what this yields."""

    def inside(self, before: Any, after: Any, share: float) -> AbstractContextManager[None]:
        """While this lasts, `SDModel.predict` takes x (B, C, h', w'), the cells in `box`, and answers for these.

        What lies outside is interpolated: `share` 0 gives the record `before`, 1 the record `after`.
        """

    def close(self) -> None:
        """Gives back what it holds beside the model."""


class Inputs(Protocol):
    """What a network reads beside x. `networks.inputs` has them."""

    @property
    def name(self) -> str:
        """The word for it: "plain", "inpaint", "edit" or "depth"."""

    @property
    def channels(self) -> int:
        """How many channels that is."""

    @property
    def needs_picture(self) -> bool:
        """Whether it is made of a picture, which there has to be."""

    @property
    def noted_in_txt2img(self) -> bool:
        """Whether the parameters text of txt2img has the mask weight of an inpainting checkpoint."""

    def beside(self, model: SDModel, pixels: Tensor, hole: Tensor, weight: float,
               depth: Tensor | None = None) -> Tensor | None:
        """The channels (B, channels, h, w) for pixels (B, 3, H, W) in [-1, 1] with a hole (1, 1, H, W) in [0, 1], None
        for no channels. `weight`, 0 to 1, says how far the hole is hidden. `depth` (1, 1, H, W) in [0, 1], bright is
        near, is the depth of the pixels where it is known. Raises InvalidInput."""


class SDModel(Protocol):
    """What the engine needs of a model. `networks.model` has the real one, `tests/fakes.py` one with a known answer."""

    @property
    def name(self) -> str:
        """The checkpoint's name, for the parameters text."""

    @property
    def latent(self) -> Latent:
        """What its latents are."""

    @property
    def inputs(self) -> Inputs:
        """What its network reads beside x."""

    @property
    def device(self) -> torch.device:
        """Where latents are wanted."""

    @property
    def levels(self) -> Levels:
        """The noise levels that it was trained on."""

    @property
    def prediction(self) -> PredictionType:
        """What `predict` answers with."""

    def predict_as(self, choice: str) -> None:
        """From now on `prediction` is "eps" or "v"; or what the checkpoint tells ("Automatic"). A flow stays one."""

    @property
    def dtype(self) -> torch.dtype:
        """The type in which the denoiser computes."""

    @property
    def unet(self) -> Any:
        """The denoiser's module."""

    @property
    def part_bytes(self) -> Mapping[int, int]:
        """Bytes that the weights of each part take. Models that share a part have its number too."""

    @property
    def patches(self) -> Any:
        """What was put on last."""

    def put_on(self, patches: Any) -> Sequence[str]:
        """From now on the model computes with the networks in `patches` (`networks.patches.patches.Patches`) and no
        others; what is in force already costs nothing. Returns a sentence for each that does not fit."""

    def reads(self, embedding: Any) -> bool:
        """Whether prompts may name an embedding (`networks.text.words.Embedding`): its vectors fit."""

    def embeddings_in(self, texts: Sequence[str], how: TextOptions) -> list[str]:
        """The embeddings that the texts name, as the parameters text shows them, in the order of encoding."""

    def encode_prompts(self, texts: Sequence[str], how: TextOptions) -> list[Conditioning]:
        """The texts of one prompt's schedule encoded."""

    def predict(self, x: Tensor, level: Level, cond: Conditioning) -> Tensor:
        """The network's answer; `prediction` says what it means. x (B, C, h, w), the channels of `inputs` among them,
        cond of B rows -> (B, latent channels, h, w)."""

    def compiles(self, size: tuple[int, int]) -> bool:
        """Whether `predict` makes a program first, for minutes, when it meets a latent of `size` (width, height)."""

    def window(self, box: Box, size: tuple[int, int]) -> Window | None:
        """A part of a latent of `size` (width, height) that holds `box`; None if the network has no window for it."""

    def deep_cache(self) -> DeepCache | None:
        """`predict` in whole and in shallow passes, for one run; None if the network has no deep levels to skip."""

    def depth_of(self, image: Tensor) -> Tensor:
        """image (1, 3, H, W) in [-1, 1] -> how near its things are, (1, 1, h, w) of any size and scale. Raises
        InvalidInput where there is no network for it."""

    def encode_image(self, image: Tensor) -> Tensor:
        """image (B, 3, 8h, 8w) in [-1, 1] -> latent (B, 4, h, w) of about unit variance."""

    def decode_latent(self, latent: Tensor) -> Tensor:
        """latent (B, 4, h, w) -> image (B, 3, 8h, 8w), about [-1, 1], not clamped."""

    def clear_caches(self) -> None:
        """Lets go of contexts and latents that it keeps for the next request, because it changes."""

    def tiled(self) -> AbstractContextManager[None]:
        """While this lasts opposite edges of a picture are neighbours, so that pictures can be laid side by side."""

    def preview(self, latent: Tensor) -> Tensor:
        """A cheap picture of one latent: (4, h, w) -> (3, h, w) in [0, 1]."""


FirstNoise = Callable[[SDModel, Tensor, Tensor], Tensor]
"""(model, latent to start from (B, C, h, w), random noise of that shape) -> the noise to begin with instead."""

Answer = Callable[[Tensor, Level], Tensor]
"""(x (B, C, h, w), its level) -> the guided network's answer, of x's shape; `SDModel.prediction` says what it means."""

Predictor = Callable[[Tensor, Level], Prediction]
"""The same as a Prediction: what samplers over timesteps ask."""

PredictorOfBoth = Callable[[Tensor, Level], tuple[Prediction, Prediction]]
"""The same as (guided, unconditional)."""

Denoiser = Callable[[Tensor, float], Tensor]
"""(x (B, C, h, w), sigma) -> x0: what samplers over sigmas ask."""

DrawNoise = Callable[[], Tensor]
"""Standard normal noise of x's shape, a new block at each call."""

BrownianNoise = Callable[[float, float], Tensor]
"""(sigma, sigma_next) -> the normalised Brownian increment between two noise levels, of x's shape."""

OnStep = Callable[[int, Tensor], None]
"""(step, x0): step is 0-based; x0 is the present guess of the clean latent, the first of the step. Samplers that ask
twice a step call this in between, as WebUI's. May raise `errors.Stopped`."""
