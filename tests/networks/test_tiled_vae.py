"""The autoencoder strip by strip gives what it gives in one piece, with as many strips as there can be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from networks.loading import load, with_vae
from torch import Tensor

from modules.networks import tiled_vae
from modules.networks.model import DiffusionModel


@pytest.fixture(autouse=True)
def many_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiled_vae, "STRIP", 64)


@pytest.fixture(params=[0, 2**27], ids=["computed anew", "kept"])
def _small(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiled_vae, "SMALL", request.param)


@pytest.fixture(params=["zeros", "circular"])
def model(request: pytest.FixtureRequest, sd_model: DiffusionModel) -> Iterator[DiffusionModel]:
    with sd_model.tiled() if request.param == "circular" else nullcontext():
        yield sd_model


def smooth(height: int, width: int) -> Tensor:
    """A picture (1, 3, height, width) of slow waves in [-1, 1], brighter towards its bottom, where strips differ."""
    y, x = torch.linspace(0, 3, height)[:, None], torch.linspace(0, 4, width)[None]
    return torch.stack([torch.sin(x + y) * y / 3, torch.cos(x - y) * 0.5 + y / 6, torch.sin(y * x)])[None] * 0.9


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize("size", [(64, 40), (88, 72), (8, 24), (136, 16)])
def test_strips_make_no_difference(model: DiffusionModel, size: tuple[int, int]) -> None:
    image = smooth(*size)
    with torch.no_grad():
        latent = model.vae.encode(image).latent_dist.mean
        torch.testing.assert_close(tiled_vae.encode(model.vae, image), latent, rtol=0, atol=1e-4)
        picture = model.vae.decode(latent).sample
        in_strips = tiled_vae.decode(model.vae, latent)
    assert in_strips.shape == picture.shape
    assert float((in_strips - picture).abs().max()) * 127.5 < 0.05  # grey levels


def test_strips_are_let_go(sd_model: DiffusionModel) -> None:
    """Once the lower ones are being computed, what the upper ones came from is gone; but the first stays."""
    source = tiled_vae.kept([torch.randn(1, 4, 8, 16) for _ in range(10)])
    with torch.no_grad():
        x = tiled_vae.convolved(source, torch.nn.Conv2d(4, 4, 3, padding=1))
    seen = []

    def rows(a: int, b: int) -> Tensor:
        seen.append([part is not None for part in source.source._parts])
        return x.rows(a, b)

    tiled_vae.keep(tiled_vae.LazyTensor(4, 80, 16, rows, x.source))
    assert seen[0] == [True] * 10
    assert seen[-1] == [True] + [False] * 7 + [True] * 2
    assert source.source._parts == []


@pytest.mark.parametrize(("choice", "free", "in_strips"), [
    ("on", 10**12, True), ("off", 0, False), ("auto", 10**12, False), ("auto", 10**5, True)])
def test_strips_when_memory_is_short(sd_model: DiffusionModel, monkeypatch: pytest.MonkeyPatch, choice: str, free: int,
                                     in_strips: bool) -> None:
    model = with_vae(sd_model, sd_model.vae, sd_model.dtype, choice)
    monkeypatch.setattr("modules.networks.vae.free_memory", lambda device: free)
    called = []
    for name in ("encode", "decode"):
        monkeypatch.setattr(tiled_vae, name, lambda vae, x, name=name: called.append(name) or x)
    latent = torch.randn(1, 4, 2, 2)
    model.decode_latent(latent)
    model.encode_image(torch.zeros(1, 3, 16, 16))
    assert called == (["decode", "encode"] if in_strips else [])


def test_half_precision_goes_on_in_float32_in_strips(tiny: Path) -> None:
    """What overflows in half precision is decoded again, and right."""
    half = load(tiny, dtype=torch.float16, tiled_vae="on")
    exact = load(tiny, tiled_vae="off")
    for model in (half, exact):
        model.vae.decoder.conv_in.weight.mul_(1e4)
    latent = torch.full((1, 4, 2, 3), 100.0)
    assert tiled_vae.decode(half.vae, latent.half()).isnan().all()
    torch.testing.assert_close(half.decode_latent(latent), exact.decode_latent(latent), rtol=1e-3, atol=1e-3)
    assert {p.dtype for p in half.vae.parameters()} == {torch.float32}
