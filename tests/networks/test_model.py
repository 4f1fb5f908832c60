"""The loaded model: noise, pictures, odd sizes and previews; a few recorded pictures of WebUI, latent for latent."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from networks.loading import level, load, said, with_vae
from torch import Tensor

from modules.networks.model import DiffusionModel
from modules.networks.unet import Upsample
from modules.sampling.conditioning import Conditioning, TextOptions, stack
from modules.sampling.levels import stable_diffusion
from modules.text.prompt_schedule import schedule


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def context(model: DiffusionModel, text: str = "a dog") -> Conditioning:
    return said(model, text)


def test_alphas_are_stable_diffusions() -> None:
    alphas = stable_diffusion().alphas_cumprod
    beta = np.linspace(0.00085**0.5, 0.0120**0.5, 1000) ** 2
    np.testing.assert_allclose(alphas.numpy(), np.cumprod(1 - beta), rtol=1e-6)
    sigmas = ((1 - alphas) / alphas).sqrt()
    assert (round(float(sigmas[0]), 4), round(float(sigmas[-1]), 4)) == (0.0292, 14.6146)


def test_a_batch_is_its_rows(sd_model: DiffusionModel) -> None:
    x, t, texts = random(3, 4, 8, 8), level(500.5), ("a dog", "a cat", "")
    together = sd_model.predict(x, t, said(sd_model, *texts))
    assert together.dtype == torch.float32
    for i in range(3):
        alone = sd_model.predict(x[i : i + 1], t, said(sd_model, texts[i]))
        torch.testing.assert_close(alone[0], together[i], atol=1e-4, rtol=1e-4)


def test_nine_channels_in_four_out(sd_inpainting: DiffusionModel) -> None:
    assert sd_inpainting.inputs.channels == 5
    eps = sd_inpainting.predict(random(1, 9, 8, 8), level(10.0), context(sd_inpainting))
    assert eps.shape == (1, 4, 8, 8)


def test_half_precision_gives_nearly_the_same(tiny: Path, sd_model: DiffusionModel) -> None:
    half = load(tiny, dtype=torch.bfloat16)
    x, t, image = random(1, 4, 8, 8), level(10.0), random(1, 3, 16, 16).clamp(-1, 1)
    results = [
        (model.predict(x, t, context(model)), model.encode_image(image), model.decode_latent(x))
        for model in (half, sd_model)
    ]
    for ours, exact in zip(*results, strict=True):
        assert ours.dtype == torch.float32
        assert (ours - exact).abs().max() < 0.1 * exact.abs().max()


@pytest.mark.parametrize("size", [(8, 8), (9, 12), (13, 9), (4, 3), (5, 17)])
def test_every_size_goes_through(sd_model: DiffusionModel, size: tuple[int, int]) -> None:
    eps = sd_model.predict(random(1, 4, *size), level(300.0), context(sd_model))
    assert eps.shape == (1, 4, *size)
    assert eps.isfinite().all()


def test_sizes_that_divide_are_diffusers_own(sd_model: DiffusionModel) -> None:
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    theirs = UNet2DConditionModel.from_config(sd_model.unet.config).eval()
    theirs.load_state_dict(sd_model.unet.state_dict())
    x, words = random(2, 4, 16, 8), said(sd_model, "a dog", "a dog")
    for t in (7.0, 801.0):
        with torch.no_grad():
            expected = theirs(x, torch.full((2,), t), words.tokens).sample
        torch.testing.assert_close(sd_model.predict(x, level(t), words), expected)


def test_upsampling_resizes_after_the_convolution() -> None:
    conv = torch.nn.Conv2d(2, 2, 3, padding=1)
    x = random(1, 2, 3, 4)
    doubled = conv(x.repeat_interleave(2, 2).repeat_interleave(2, 3))
    torch.testing.assert_close(Upsample(conv)(x), doubled)
    assert torch.equal(Upsample(conv)(x, (6, 8)), doubled)
    # nearest, from 6 x 8 to 5 x 7: row floor(i * 6 / 5), column floor(j * 8 / 7)
    rows, columns = [i * 6 // 5 for i in range(5)], [j * 8 // 7 for j in range(7)]
    assert torch.equal(Upsample(conv)(x, (5, 7)), doubled[:, :, rows][:, :, :, columns])


def test_pictures_to_latents_and_back(sd_model: DiffusionModel) -> None:
    image = random(2, 3, 24, 40).clamp(-1, 1)
    latent = sd_model.encode_image(image)
    assert latent.shape == (2, 4, 3, 5)
    posterior = sd_model.vae.encode(image).latent_dist
    torch.testing.assert_close(latent, posterior.mean * 0.18215, atol=1e-5, rtol=1e-4)
    picture = sd_model.decode_latent(latent)
    assert picture.shape == image.shape
    torch.testing.assert_close(picture, sd_model.vae.decode(latent / 0.18215).sample, atol=1e-4, rtol=1e-4)


def test_memory_order_does_not_matter(sd_model: DiffusionModel) -> None:
    image = random(1, 3, 16, 16).clamp(-1, 1)
    assert torch.equal(sd_model.encode_image(image), sd_model.encode_image(image.to(memory_format=torch.channels_last)))


class Overflowing(torch.nn.Module):
    """An autoencoder that gives NaN in half precision."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1, dtype=torch.bfloat16))

    def decode(self, latent: Tensor, return_dict: bool) -> tuple[Tensor]:
        image = F.interpolate(latent[:, :3] * self.weight, scale_factor=8)
        return (image if latent.dtype == torch.float32 else image * float("nan"),)


def test_an_autoencoder_that_overflows_goes_on_in_float32(sd_model: DiffusionModel,
                                                          caplog: pytest.LogCaptureFixture) -> None:
    vae = Overflowing()
    model = with_vae(sd_model, vae, torch.bfloat16)
    latent = random(2, 4, 2, 2)
    expected = F.interpolate(latent[:, :3], scale_factor=8) / 0.18215
    for _ in range(2):
        torch.testing.assert_close(model.decode_latent(latent), expected)
    assert vae.weight.dtype == model.autoencoder.dtype == torch.float32
    assert caplog.messages == ["The autoencoder overflowed in torch.bfloat16 and computes in float32 from now on."]


def test_a_latent_of_nan_is_not_the_autoencoders_fault(sd_model: DiffusionModel) -> None:
    vae = Overflowing()
    model = with_vae(sd_model, vae, torch.bfloat16)
    assert model.decode_latent(torch.full((1, 4, 2, 2), float("nan"))).isnan().all()
    assert vae.weight.dtype == torch.bfloat16


def test_an_autoencoder_that_has_no_room_to_be_wide_stays_as_it_is(sd_model: DiffusionModel,
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    vae = Overflowing()

    def full() -> None:
        vae.weight.data = vae.weight.data.float()
        raise MemoryError

    monkeypatch.setattr(vae, "float", full)
    model = with_vae(sd_model, vae, torch.bfloat16)
    with pytest.raises(MemoryError):
        model.decode_latent(random(1, 4, 2, 2))
    assert vae.weight.dtype == torch.bfloat16


def test_nan_in_float32_is_handed_on(sd_model: DiffusionModel) -> None:
    assert sd_model.decode_latent(torch.full((1, 4, 2, 2), float("nan"))).isnan().all()


def test_previews_follow_the_picture(sd_model: DiffusionModel) -> None:
    preview = sd_model.preview(random(4, 6, 10))
    assert preview.shape == (3, 6, 10)
    assert 0 <= preview.min() <= preview.max() <= 1
    red, blue = (torch.tensor(c).view(1, 3, 1, 1).expand(1, 3, 64, 64) for c in ([0.9, 0.1, 0.1], [0.1, 0.1, 0.9]))
    latents = [sd_model.encode_image(image * 2 - 1)[0] for image in (red, blue)]
    one, other = (sd_model.preview(latent)[:, 2:-2, 2:-2].mean((1, 2)) for latent in latents)
    assert one[0] - one[2] > other[0] - other[2]  # a random autoencoder keeps little colour, but the right one


def test_who_watches_a_job_does_not_use_its_autoencoder_at_the_same_time(sd_model: DiffusionModel,
                                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    """The first preview encodes a picture; should an overflow widen the autoencoder at that moment, both would fail."""
    vae = cast(Any, sd_model.vae)
    model = with_vae(sd_model, vae, torch.float32)
    watcher = threading.Thread(target=model.preview, args=(random(4, 2, 2),))
    encode, decode = vae.encode, vae.decode
    encoding, at_the_same_time = threading.Event(), []

    def encode_and_tell(*arguments: Any) -> Any:
        encoding.set()
        return encode(*arguments)

    def decode_watched(*arguments: Any, **more: Any) -> Any:
        watcher.start()
        at_the_same_time.append(encoding.wait(0.3))
        return decode(*arguments, **more)

    monkeypatch.setattr(vae, "encode", encode_and_tell)
    monkeypatch.setattr(vae, "decode", decode_watched)
    model.decode_latent(random(1, 4, 2, 2))
    watcher.join(60)
    assert at_the_same_time == [False]
    assert encoding.is_set()


RECORDED = ("t2i-ddim-steps2", "t2i-ddim-steps3", "t2i-size-72x104-ddim", "t2i-prompt-ddim-edit")


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_pictures_of_webui(golden: Path, sd_model: DiffusionModel, name: str) -> None:
    """WebUI 1.10.1's DDIM in ten lines: timesteps from len - 1 down to 1, guidance on eps."""
    with (golden / "cases.jsonl").open() as lines:
        case = next(case for line in lines if (case := json.loads(line))["id"] == name)
    request = case["request"]
    sides = [scheduled(sd_model, request[key], request["steps"]) for key in ("negative_prompt", "prompt")]
    generator = torch.Generator().manual_seed(request["seed"])
    x = torch.randn(1, 4, request["height"] // 8, request["width"] // 8, generator=generator)
    grid, alphas = case["timesteps"][0], sd_model.levels.alphas_cumprod.double()
    for call, i in enumerate(range(len(grid) - 1, 0, -1)):
        words = stack([next(c for end, c in side if call <= end) for side in sides])
        uncond, cond = sd_model.predict(x.repeat(2, 1, 1, 1), level(grid[i]), words)
        eps = uncond + request["cfg_scale"] * (cond - uncond)
        a, previous = alphas[grid[i]], alphas[grid[i - 1]]
        x = (previous.sqrt() * (x - (1 - a).sqrt() * eps) / a.sqrt() + (1 - previous).sqrt() * eps).float()
    recorded = torch.from_numpy(np.load(golden / case["latents"][0])).reshape(x.shape)
    assert (x - recorded).abs().max() < 1e-3 * recorded.std()


def scheduled(model: DiffusionModel, text: str, steps: int) -> list[tuple[int, Conditioning]]:
    entries = schedule(text, steps)
    encoded = model.encode_prompts([part for _, part in entries], TextOptions())
    return [(end, one) for (end, _), one in zip(entries, encoded, strict=True)]


def test_tiling_puts_back_what_was_there(sd_model: DiffusionModel) -> None:
    """Also where an extension has set one convolution's padding itself."""
    convolution: Any = sd_model.unet.get_submodule("conv_in")
    x, t, words = random(1, 4, 16, 16), level(10.0), context(sd_model)
    plain = sd_model.predict(x, t, words)
    with sd_model.tiled():
        wrapped = sd_model.predict(x, t, words)
        moved = sd_model.predict(x.roll((8, 8), (2, 3)), t, words)
        torch.testing.assert_close(moved, wrapped.roll((8, 8), (2, 3)), rtol=1e-3, atol=1e-4)
    assert not torch.allclose(wrapped, plain, atol=1e-3)
    assert torch.equal(sd_model.predict(x, t, words), plain)
    convolution.padding_mode = "circular"
    with sd_model.tiled():
        pass
    assert convolution.padding_mode == "circular"
    convolution.padding_mode = "zeros"
