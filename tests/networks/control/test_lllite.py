"""ControlNet-LLLite against its formula, written out over the layers of diffusers' UNet."""

from __future__ import annotations

import dataclasses
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden.runner import Bench
from golden.tiny import checkpoint, kind_of, tiny_bench
from networks.test_control_pipelines import SD1, XL, benches, picture, run
from networks.test_pipelines import SIZE, assert_same, ours
from networks.theirs import unet_of
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from modules.errors import CheckpointError
from modules.networks.control.loading import Base, load_control
from modules.request import ControlUnit, Txt2Img

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

TOLD, INNER = 8, 6
"""Channels of the encoded picture, and between the layers."""
READ = ("attn1.to_q", "attn1.to_k", "attn1.to_v", "attn2.to_q")


@cache
def unet() -> diffusers.UNet2DConditionModel:
    return unet_of(XL, tiny_bench(kind_of(XL)).model(XL), told=6)


def digest(values: Tensor) -> str:
    return hashlib.sha256(values.detach().float().numpy().tobytes()).hexdigest()


@cache
def named() -> dict[str, nn.Module]:
    """diffusers' projections by the names that files have for them: those with equal weights in the checkpoint."""
    root = "model.diffusion_model."
    stored = {digest(values): key.removeprefix(root).removesuffix(".weight")
              for key, values in load_file(checkpoint(XL)).items()
              if key.startswith(root) and key.endswith(tuple(f"{name}.weight" for name in READ))}
    found = {}
    for path, layer in unet().named_modules():
        if path.endswith(READ):
            original = stored[digest(layer.weight)]
            found["lllite_unet_" + original.replace(".", "_")] = layer
    return found


def network() -> dict[str, Tensor]:
    """Random weights: coarse levels have three convolutions, the finer one two, as in the published files."""
    layers = named()
    torch.manual_seed(21)
    tensors: dict[str, Tensor] = {}
    for name, layer in layers.items():
        channels = layer.in_features
        deep = name.startswith(("lllite_unet_input_blocks_7", "lllite_unet_input_blocks_8", "lllite_unet_middle",
                                "lllite_unet_output_blocks_0", "lllite_unet_output_blocks_1",
                                "lllite_unet_output_blocks_2"))
        sides = [(3, TOLD // 2, 4), *([(TOLD // 2, TOLD // 2, 4), (TOLD // 2, TOLD, 2)] if deep else [
            (TOLD // 2, TOLD, 4)])]
        parts = {f"conditioning1.{2 * n}": (width, given, side, side) for n, (given, width, side) in enumerate(sides)}
        parts |= {"down.0": (INNER, channels), "mid.0": (INNER, INNER + TOLD), "up.0": (channels, INNER)}
        for part, shape in parts.items():
            tensors[f"{name}.{part}.weight"] = torch.randn(shape) / np.prod(shape[1:]) ** 0.5
            tensors[f"{name}.{part}.bias"] = 0.1 * torch.randn(shape[0])
    return tensors


def read_more(tensors: dict[str, Tensor], image: Image.Image, weight: float) -> None:
    """From now on diffusers' projections read x + weight * up(mid([picture, down(x)]))."""
    pixels = torch.from_numpy(np.asarray(image, np.float32)).permute(2, 0, 1)[None] / 127.5 - 1

    def hook(name: str) -> Any:
        def linear(part: str, x: Tensor) -> Tensor:
            return x @ tensors[f"{name}.{part}.weight"].T + tensors[f"{name}.{part}.bias"]

        def before(layer: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            x, told, number = args[0], pixels, 0
            while f"{name}.conditioning1.{number}.weight" in tensors:
                kernel = tensors[f"{name}.conditioning1.{number}.weight"]
                told = F.conv2d(told.relu() if number else told, kernel, tensors[f"{name}.conditioning1.{number}.bias"],
                                stride=kernel.shape[-1])
                number += 2
            told = told.flatten(2).permute(0, 2, 1).repeat(len(x), 1, 1)
            hidden = linear("mid.0", torch.cat([told, linear("down.0", x).relu()], dim=-1)).relu()
            return (x + weight * linear("up.0", hidden), *args[1:])

        return before

    for name, layer in named().items():
        layer.register_forward_pre_hook(hook(name))


UNIT = ControlUnit(model="kohya", image=picture(1), weight=0.8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lllite")
    save_file(network(), folder / "kohya.safetensors")
    return folder


@pytest.fixture(scope="module")
def bench(folder: Path) -> Bench:
    return benches(XL, folder)


def latent(bench: Bench, *units: ControlUnit, **changes: Any) -> Tensor:
    return ours(XL, bench, control_units=units, **changes)


def test_a_run_is_the_formula_in_diffusers_pipeline(bench: Bench) -> None:
    model = tiny_bench(kind_of(XL)).model(XL)
    assert len(named()) > 20
    read_more(network(), picture(1), UNIT.weight)
    try:
        theirs = run(diffusers.StableDiffusionXLPipeline, XL, model, unet(), asked={})
    finally:
        for layer in named().values():
            layer._forward_pre_hooks.clear()
    found = latent(bench, UNIT)
    assert_same(theirs, found)
    assert float((found - latent(bench)).std()) > 0.1 * float(found.std())


def test_weight_0_is_no_unit_and_its_map_is_shown(bench: Bench) -> None:
    assert torch.equal(latent(bench, dataclasses.replace(UNIT, weight=0.0)), latent(bench))


def test_it_works_from_its_start_to_its_end(bench: Bench) -> None:
    late = dataclasses.replace(UNIT, guidance_start=0.95)  # the step lags by one: the last call sees 0.8
    assert torch.equal(latent(bench, late), latent(bench))
    halves = [dataclasses.replace(UNIT, guidance_end=0.45), dataclasses.replace(UNIT, guidance_start=0.46)]
    assert torch.equal(latent(bench, *halves), latent(bench, UNIT))


def test_a_region_of_black_is_nowhere_and_one_of_white_everywhere(bench: Bench) -> None:
    black, white = (dataclasses.replace(UNIT, effective_region_mask=Image.new("RGB", SIZE, colour))
                    for colour in ("black", "white"))
    assert_same(latent(bench, black), latent(bench))
    assert_same(latent(bench, white), latent(bench, UNIT))


def test_sizes_that_do_not_halve_are_followed_too(bench: Bench) -> None:
    """A latent of 13 x 9 cells has 7 x 5 and 4 x 3 on its next levels, and the file's networks see 6 x 4 and 3 x 2."""
    options = bench.engine.options.replaced({"sd_model_checkpoint": XL})
    request = Txt2Img(sampler="Euler", steps=2, width=104, height=72, control_units=(UNIT,), seed=1, options=options)
    found = bench.make(request)[2]
    assert bool(torch.isfinite(found).all())
    assert not torch.equal(found, bench.make(dataclasses.replace(request, control_units=()))[2])


def test_a_refiner_of_another_family_goes_on_without_it(bench: Bench) -> None:
    options = bench.engine.options.replaced({"sd_model_checkpoint": XL})
    request = Txt2Img(sampler="Euler", steps=4, width=64, height=64, seed=1, options=options, control_units=(UNIT,),
                      refiner_checkpoint="tiny-sdxl-refiner", refiner_switch_at=0.5, n_iter=2)
    result, _, latents = bench.make(request)
    assert result.warnings == ("tiny-sdxl-refiner went on without kohya, which is for another family of checkpoints.",)
    assert not torch.equal(latents, bench.make(dataclasses.replace(request, control_units=()))[2])


@pytest.mark.parametrize(("name", "shape", "says"), [
    ("up.0.bias", None, "incomplete"), ("down.0.weight", (INNER, 999), "another family"),
    ("conditioning1.0.weight", (4, 3, 4), "damaged"), ("more.0.weight", (3, 3), "does not belong")])
def test_a_file_that_does_not_fit_is_refused(bench: Bench, tmp_path: Path, name: str, shape: tuple[int, ...] | None,
                                             says: str) -> None:
    tensors = network()
    key = f"{next(iter(named()))}.{name}"
    if shape is None:
        del tensors[key]
    else:
        tensors[key] = torch.zeros(shape)
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=says):
        load_control(tmp_path / "a.safetensors", Base(bench.model(XL).unet), device=torch.device("cpu"),
                     dtype=torch.float32)


def test_it_is_for_stable_diffusion_xl(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="another family"):
        ours(SD1, benches(SD1, folder), control_units=(UNIT,))
