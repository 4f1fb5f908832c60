"""Sample pictures of a model that learns: DDIM with fixed seeds, so that rows of them can be compared."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from modules.networks.model import DiffusionModel
from modules.sampling.conditioning import Conditioning, SizeIds, TextOptions, stack
from modules.sampling.levels import TRAINED, Level, Prediction
from modules.sampling.solvers.ddim import sample_ddim, steps_down

STEPS = 20


@torch.no_grad()
def draw_samples(model: DiffusionModel, prompts: Sequence[str], *, size: int, scale: float, clip_skip: int,
                 seed: int) -> list[Image.Image]:
    """A picture of size * size pixels for each prompt, of the seed seed + its place. Raises InvalidInput."""
    size = -(-size // model.latent.cell) * model.latent.cell
    how = TextOptions(clip_skip=clip_skip, sizes=SizeIds((size, size), (0, 0), (size, size)))
    beside = model.inputs.beside(model, torch.zeros(1, 3, size, size), torch.ones(1, 1, size, size), 1.0)
    empty = model.read_prompts([""], how).rows()
    made = []
    for number, prompt in enumerate(prompts):
        told = stack([*empty, *model.read_prompts([prompt], how).rows()])
        latent = _sampled(model, told, beside, size, scale, torch.Generator().manual_seed(seed + number))
        pixels = ((model.decode_latent(latent)[0].float().clamp(-1, 1) + 1) * 127.5).round().byte()
        made.append(Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy()))
    return made


def _sampled(model: DiffusionModel, told: Conditioning, beside: Tensor | None, size: int, scale: float,
             chance: torch.Generator) -> Tensor:
    """A latent (1, C, h, w). `told`: no words, and the prompt's. `beside` (1, C', h, w): what the network reads beside
    it."""
    def predict(x: Tensor, level: Level) -> Prediction:
        seen = x if beside is None else torch.cat([x, beside], dim=1)
        plain, asked = model.predict(seen.expand(2, -1, -1, -1), level, told).chunk(2)
        return model.prediction.both(x, plain + scale * (asked - plain), level)

    width, height = model.latent.cells((size, size))
    x = torch.randn((1, model.latent.channels, height, width), generator=chance).to(model.device)
    steps = steps_down(range(1, TRAINED, TRAINED // STEPS), model.levels, classic=True)
    return sample_ddim(predict, x, steps, noise=lambda: x, on_step=lambda step, x0: None)
