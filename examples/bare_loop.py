"""How an ordinary checkpoint inpaints, with nothing around it: DDIM with the mask blend, over tensors.

`python -m examples.bare_loop photo.png mask.png "a red apple" out.png`. The program's own loop is spread over
`modules/sampling` and makes the same picture (tests/test_examples.py compares them).
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from modules.networks.loader import load_model
from modules.sampling.conditioning import TextOptions, stack
from modules.sampling.levels import Level
from modules.sampling.types import SDModel
from modules.settings import Settings
from modules.weights.catalog import Catalog


def inpaint(model: SDModel, photo: Tensor, paint: Tensor, prompt: str, *, seed: int, steps: int = 20,
            strength: float = 0.75, scale: float = 7.0) -> Tensor:
    """photo (1, 3, 8h, 8w) in [-1, 1]; paint (1, 1, h, w), 1 where the picture is made anew -> a picture like photo."""
    told = stack(model.encode_prompts(["", prompt], TextOptions()))
    alpha_bar = [float(one) for one in model.levels.alphas_cumprod]
    original, keep = model.encode_image(photo), 1 - paint
    noise = torch.randn(original.shape, generator=torch.Generator().manual_seed(seed))

    def noised(clean: Tensor, t: int) -> Tensor:
        return alpha_bar[t] ** 0.5 * clean + (1 - alpha_bar[t]) ** 0.5 * noise

    times = list(range(1, 1000, 1000 // steps))
    begin = int(strength * steps)
    x = noised(original, times[begin])
    for t, below in zip(times[:begin][::-1], [0, *times[: begin - 1]][::-1], strict=True):
        x = keep * noised(original, t) + paint * x
        level = Level(t, alpha_bar[t] ** 0.5, (1 - alpha_bar[t]) ** 0.5)
        plain, asked = model.predict(x.expand(2, -1, -1, -1), level, told).chunk(2)
        eps = plain + scale * (asked - plain)
        x0 = (x - level.noise * eps) / level.signal
        x = alpha_bar[below] ** 0.5 * x0 + (1 - alpha_bar[below]) ** 0.5 * eps
    return model.decode_latent(keep * original + paint * x)


def main() -> None:
    photo, mask, prompt, out = sys.argv[1:5]
    (checkpoint, *_) = Catalog(Settings().checkpoint_dirs, (), None).checkpoints()
    model = load_model(checkpoint, device=torch.device("cpu"), dtype=torch.float32)
    picture = Image.open(photo).convert("RGB").resize((128, 128))
    cells = Image.open(mask).convert("L").resize((16, 16))
    paint = torch.from_numpy(np.array(cells)).round().float()[None, None] / 255
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None] / 127.5 - 1
    made = inpaint(model, pixels, paint, prompt, seed=1)
    Image.fromarray(((made[0].clamp(-1, 1) + 1) * 127.5).permute(1, 2, 0).byte().numpy()).save(out)


if __name__ == "__main__":
    main()
