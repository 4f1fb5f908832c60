"""The compiled network gives what the network gives. Compiling takes a minute even for a tiny one, so TorchInductor
itself is at work with GOLDEN=all only; else what reads the network for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from networks.loading import level, load

from modules.networks import loader
from modules.networks.compiled import CompiledUNet
from modules.networks.model import DiffusionModel
from modules.networks.shapes import UNetShape
from modules.networks.unet import build_unet
from modules.sampling.conditioning import Conditioning
from modules.sampling.levels import Level

ATOL = 5e-5
"""For noise of unit variance: another order of summing in float32."""
SMALL = UNetShape(in_channels=4, channels=(16,), attention=(False,), blocks=1, transformer_layers=(1,),
                  context_channels=8, heads=(1,), norm_groups=8)


def asking(width: int, height: int, channels: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x, t and context for the two halves of a guided step."""
    random = torch.Generator().manual_seed(width)
    return (torch.randn(2, 4, height, width, generator=random), torch.tensor([700, 700]),
            torch.randn(2, 77, channels, generator=random))


def as_told(asked: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, Level, Conditioning]:
    """The same as a model takes it."""
    x, t, tokens = asked
    return x, level(float(t[0])), Conditioning(tokens)


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """What could not be compiled once is not tried again in this process, unless that is forgotten."""
    yield
    cast(Any, torch)._dynamo.reset()


FROZEN: list[bool] = []
"""Whether weights were constants when a network was handed to the backend."""


def no_compiler(*_: Any) -> Any:
    FROZEN.append(cast(Any, torch)._inductor.config.freezing)
    raise FileNotFoundError("c++")


@torch.no_grad()
@pytest.mark.parametrize("backend", [no_compiler, *(["inductor"] if os.environ.get("GOLDEN") == "all" else [])])
def test_compiled_as_plain(tmp_path: Path, backend: Any) -> None:
    torch.manual_seed(1)
    unet = build_unet(SMALL).eval().requires_grad_(False)
    compiled = CompiledUNet(unet, torch.device("cpu"), tmp_path, backend)
    plain = unet(*asking(6, 4, 8), return_dict=False)[0]
    torch.testing.assert_close(compiled(*asking(6, 4, 8), return_dict=False)[0], plain, rtol=0, atol=ATOL)
    assert compiled.sizes == {(4, 6)}
    assert any(tmp_path.rglob("*.so")) == (backend == "inductor")
    if backend == "inductor":
        assert cast(Any, torch)._dynamo.utils.counters["inductor"]["mkldnn_conv_weight_pack_matcher_count"]
    else:
        assert FROZEN
        assert all(FROZEN)


def test_a_model_steps_compiled_and_works_on_parts_as_ever(tiny: Path, sd_model: DiffusionModel, tmp_path: Path,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, ...]] = []

    class Watched(CompiledUNet):
        def __call__(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> tuple[torch.Tensor]:
            calls.append(tuple(x.shape))
            return super().__call__(x, *args, **kwargs)

    monkeypatch.setattr(loader, "CompiledUNet", partial(Watched, backend="eager"))
    model = load(tiny, compile_in=tmp_path)
    asked = as_told(asking(16, 8, 64))
    plain = sd_model.predict(*asked)
    assert model.compiles((16, 8))
    torch.testing.assert_close(model.predict(*asked), plain, rtol=0, atol=ATOL)
    assert not model.compiles((16, 8))
    assert model.compiles((8, 16))

    window = model.window((4, 0, 12, 8), (16, 8))
    assert window is not None
    x, *told = asked
    with window.recording() as memory:
        torch.testing.assert_close(model.predict(*asked), plain, rtol=0, atol=ATOL)
    left, top, right, bottom = window.box
    with window.inside(memory, memory, 0.0):
        part = model.predict(x[:, :, top:bottom, left:right], *told)
    torch.testing.assert_close(part, plain[:, :, top:bottom, left:right], rtol=0, atol=ATOL)
    window.close()
    cache = model.deep_cache()
    assert cache is not None
    torch.testing.assert_close(cache.step(True)(*asked), plain, rtol=0, atol=ATOL)
    assert calls == [(2, 4, 8, 16)]
    torch.testing.assert_close(model.predict(*asked), plain, rtol=0, atol=ATOL)


def test_a_patched_network_runs_as_it_is(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs hold the layers' own computation; what an extension sets as a layer's `forward` counts all the same."""
    monkeypatch.setattr(loader, "CompiledUNet", partial(CompiledUNet, backend="eager"))
    model = load(tiny, compile_in=tmp_path)
    asked = as_told(asking(8, 8, 64))
    plain = model.predict(*asked)
    layer = model.unet.get_submodule("conv_out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(vars(layer), "forward", lambda x, forward=layer.forward: forward(x) * 3)
        torch.testing.assert_close(model.predict(*asked), plain * 3, rtol=0, atol=ATOL * 3)
    torch.testing.assert_close(model.predict(*asked), plain, rtol=0, atol=ATOL)
