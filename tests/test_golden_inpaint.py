"""DDIM inpainting, both loops, against a reference that is written here once more from the papers and nothing else.

The pictures are drawn here and the checkpoint is a tiny one of random weights. The reference shares the networks
(`predict`, `encode_image`) with the program, and neither its loop nor its masks, noise, schedule or seeds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from golden.runner import LATENT, LEVELS
from golden.tiny import tiny_bench
from PIL import Image, ImageDraw
from torch import Tensor

from modules.imaging.fill import fill
from modules.request import Inpaint, MaskedContent
from modules.request.options import Options
from modules.sampling.conditioning import TextOptions, stack
from modules.sampling.levels import Level

WIDTH, HEIGHT = 96, 64
PROMPT, NEGATIVE, SCALE = "a red house by the sea", "blurry", 7.0


def picture() -> Image.Image:
    """A colour gradient with a disc and a bar."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    image = Image.fromarray(np.stack([x * 255 // WIDTH, y * 255 // HEIGHT, (x + y) * 255 // 160], -1).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    draw.ellipse((50, 10, 80, 40), fill=(240, 220, 40))
    draw.rectangle((8, 44, 60, 54), fill=(20, 40, 160))
    return image


def mask() -> Image.Image:
    image = Image.new("L", (WIDTH, HEIGHT))
    ImageDraw.Draw(image).ellipse((30, 10, 75, 52), fill=255)
    return image


def request(**changes: Any) -> Inpaint:
    options = Options().replaced({"sd_model_checkpoint": "tiny-sd15", **changes.pop("options", {})})
    return Inpaint(**{
        "prompt": PROMPT, "negative_prompt": NEGATIVE, "cfg_scale": SCALE, "steps": 8, "seed": 99, "width": WIDTH,
        "height": HEIGHT, "init_images": (picture(),), "mask": mask(), "mask_blur_x": 0, "mask_blur_y": 0,
        "options": options} | changes)


def paint_of(image: Image.Image) -> Tensor:
    """The latent mask: bicubic to an eighth, then hard."""
    small = image.resize((WIDTH // 8, HEIGHT // 8), Image.Resampling.BICUBIC)
    return torch.from_numpy((np.asarray(small) / 255 > 0.5).astype(np.float32))


def reference(seed: int, *, strength: float, loop: str, fresh: bool = False, eta: float = 0.0, multiplier: float = 1.0,
              content: MaskedContent = MaskedContent.ORIGINAL, original: Image.Image | None = None) -> Tensor:
    """The latent of one picture of 8 steps: WebUI's classic loop, or that of 1.10, one picture at a time."""
    model = tiny_bench().model("tiny-sd15")
    words = [stack(model.encode_prompts([text], TextOptions()))
             for text in (NEGATIVE, PROMPT)]
    betas = np.linspace(0.00085**0.5, 0.0120**0.5, 1000, dtype=np.float64) ** 2
    alphas = np.cumprod(1 - betas)
    generator = torch.Generator().manual_seed(seed)
    draw = lambda: torch.randn(4, HEIGHT // 8, WIDTH // 8, generator=generator)  # noqa: E731

    pixels = np.asarray(original or picture(), np.float32).transpose(2, 0, 1) / 127.5 - 1
    clean = model.encode_image(torch.from_numpy(np.ascontiguousarray(pixels))[None])[0]
    paint, noise = paint_of(mask()), draw()
    hole = {MaskedContent.LATENT_NOISE: noise, MaskedContent.LATENT_NOTHING: 0 * noise}.get(content, clean)
    clean = (1 - paint) * clean + paint * hole
    noise = noise * multiplier

    grid = list(range(1, 1000, 1000 // 8))
    begin = int(min(strength, 0.999) * 8)
    x = alphas[grid[begin]] ** 0.5 * clean + (1 - alphas[grid[begin]]) ** 0.5 * noise
    for i in reversed(range(0 if loop == "classic" else 1, begin)):
        a, b = alphas[grid[i]], alphas[grid[i - 1] if i else 0]
        if loop == "classic":
            level_noise = draw() if fresh else noise
            x = (1 - paint) * (a**0.5 * clean + (1 - a) ** 0.5 * level_noise) + paint * x
        seen = x if loop == "classic" else (1 - paint) * clean + paint * x
        e_u, e_c = (model.predict(seen[None], Level(grid[i], 0.5, 0.5), context)[0] for context in words)
        e = e_u + SCALE * (e_c - e_u)
        s = eta * ((1 - b) / (1 - a) * (1 - a / b)) ** 0.5
        x = b**0.5 * (x - (1 - a) ** 0.5 * e) / a**0.5 + (1 - b - s**2) ** 0.5 * e
        x = x + s * draw() if s else x
    return (1 - paint) * clean + paint * x


CASES = {
    "classic": ({}, {}, {}),
    "classic, all of it": ({"denoising_strength": 1.0}, {}, {"strength": 1.0}),
    "classic, a little": ({"denoising_strength": 0.3}, {}, {"strength": 0.3}),
    "classic, no call": ({"denoising_strength": 0.05}, {}, {"strength": 0.05}),
    "classic, eta": ({"eta": 0.7}, {}, {"eta": 0.7}),
    "classic, eta as an option": ({}, {"eta_ddim": 0.4}, {"eta": 0.4}),
    "classic, multiplier": ({"initial_noise_multiplier": 0.8}, {}, {"multiplier": 0.8}),
    "classic, fresh": ({}, {"mask_noise": "fresh"}, {"fresh": True}),
    "classic, fresh, eta": ({"eta": 1.0}, {"mask_noise": "fresh"}, {"fresh": True, "eta": 1.0}),
    "1.10": ({}, {"ddim_loop": "webui-1.10"}, {"loop": "webui-1.10"}),
    "1.10, all of it": ({"denoising_strength": 1.0}, {"ddim_loop": "webui-1.10"},
                        {"loop": "webui-1.10", "strength": 1.0}),
    "1.10, eta": ({"eta": 0.5}, {"ddim_loop": "webui-1.10"}, {"loop": "webui-1.10", "eta": 0.5}),
}


@pytest.mark.parametrize(("fields", "options", "expected"), CASES.values(), ids=CASES)
def test_the_latent_is_the_references(fields: dict[str, Any], options: dict[str, Any],
                                      expected: dict[str, Any]) -> None:
    result, _, latents = tiny_bench().make(request(**fields, options=options))
    with torch.inference_mode():
        wanted = reference(99, **{"strength": 0.75, "loop": "classic"} | expected)
    assert float((latents[0] - wanted).abs().max() / wanted.std()) <= LATENT
    check_pasted(result.images[0].image)


def check_pasted(image: Image.Image) -> None:
    """Outside the hard mask the input's bytes, inside something else."""
    ours, original, hole = np.asarray(image), np.asarray(picture()), np.asarray(mask()) > 0
    assert (ours[~hole] == original[~hole]).all()
    assert np.abs(ours[hole].astype(int) - original[hole]).mean() > LEVELS


@pytest.mark.parametrize("content", [MaskedContent.LATENT_NOISE, MaskedContent.LATENT_NOTHING])
@pytest.mark.parametrize("loop", ["classic", "webui-1.10"])
def test_the_latent_contents_begin_from_noise_or_nothing(content: MaskedContent, loop: str) -> None:
    _, _, latents = tiny_bench().make(request(masked_content=content, options={"ddim_loop": loop}))
    with torch.inference_mode():
        wanted = reference(99, strength=0.75, loop=loop, content=content, original=fill(picture(), mask()))
    assert float((latents[0] - wanted).abs().max() / wanted.std()) <= LATENT


def test_a_batch_is_its_single_pictures() -> None:
    result, _, latents = tiny_bench().make(request(batch_size=2, n_iter=2, eta=0.5, options={"mask_noise": "fresh"}))
    assert [image.seed for image in result.images] == [99, 100, 101, 102]
    for k in (0, 1, 2, 3):
        with torch.inference_mode():
            wanted = reference(99 + k, strength=0.75, loop="classic", fresh=True, eta=0.5)
        assert float((latents[k] - wanted).abs().max() / wanted.std()) <= LATENT
