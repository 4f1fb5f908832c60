"""Whole runs with control units against diffusers' own pipelines for ControlNets and adapters."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from golden.runner import Bench
from golden.tiny import checkpoint, kind_of, tiny_bench
from networks.test_pipelines import COMMON, SIZE, assert_same, euler, noise, ours, spoken
from networks.theirs import unet_of, vae_of
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from modules.request import ControlUnit

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

SD1, XL = "tiny-sd15", "tiny-sdxl"
PIPELINES = {SD1: (diffusers.StableDiffusionControlNetPipeline, diffusers.StableDiffusionAdapterPipeline),
             XL: (diffusers.StableDiffusionXLControlNetPipeline, diffusers.StableDiffusionXLAdapterPipeline)}
WITHOUT_TEXT: dict[str, Any] = {"text_encoder": None, "tokenizer": None}


def picture(seed: int) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (SIZE[1] // 8, SIZE[0] // 8, 3), np.uint8)
    return Image.fromarray(values).resize(SIZE, Image.Resampling.BICUBIC)


def unit(network: str, seed: int, weight: float) -> ControlUnit:
    return ControlUnit(model=network, image=picture(seed), weight=weight)


def benches(name: str, folder: Path) -> Bench:
    """An engine with the control networks of `folder`."""
    return Bench(checkpoint(name).parent, folder / "data", controlnet_dir=folder)


def written(network: nn.Module, path: Path) -> nn.Module:
    """`network` after its weights were written into a file."""
    save_file({key: value.clone() for key, value in network.state_dict().items()}, path)
    return network.eval()


def control_net(unet: nn.Module, seed: int) -> diffusers.ControlNetModel:
    """A copy of half of `unet`, with random weights where a new one has zeros."""
    torch.manual_seed(seed)
    network = diffusers.ControlNetModel.from_unet(unet)
    for name, parameter in network.named_parameters():
        if name.startswith("controlnet_"):
            nn.init.normal_(parameter, std=0.1)
    return network


def run(pipeline: type[Any], name: str, model: Any, unet: nn.Module, *, asked: dict[str, Any], **parts: Any) -> Tensor:
    """The latent that diffusers' pipeline ends on."""
    told, pooled = WITHOUT_TEXT, 0
    if name == XL:
        told = told | {"text_encoder_2": None, "tokenizer_2": None}
        pooled = model.parts["clip_g"].text_projection.shape[1]
    else:
        told = told | {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    made = pipeline(vae=vae_of(name, model), unet=unet, scheduler=euler("epsilon"), **told, **parts)
    made.set_progress_bar_config(disable=True)
    latent: Tensor = made(**spoken(model, pooled), **COMMON, **asked, width=SIZE[0], height=SIZE[1],
                          latents=noise(model))[0]
    return latent


@pytest.mark.parametrize(("name", "weights"), [(SD1, [0.8, 1.3]), (XL, [0.8])])
def test_control_nets(name: str, weights: list[float], tmp_path: Path) -> None:
    model = tiny_bench(kind_of(name)).model(name)
    unet = unet_of(name, model, told=6 if name == XL else 0)
    numbers = range(len(weights))
    networks = [written(control_net(unet, number), tmp_path / f"net{number}.safetensors") for number in numbers]
    theirs = run(PIPELINES[name][0], name, model, unet, controlnet=networks, asked={
        "image": [picture(number) for number in numbers], "controlnet_conditioning_scale": weights})
    units = tuple(unit(f"net{number}", number, weights[number]) for number in numbers)
    assert_same(theirs, ours(name, benches(name, tmp_path), control_units=units))


def test_a_union_with_two_maps(tmp_path: Path) -> None:
    model = tiny_bench(kind_of(XL)).model(XL)
    unet = unet_of(XL, model, told=6)
    torch.manual_seed(4)
    taken = inspect.signature(diffusers.ControlNetUnionModel).parameters
    width = unet.config.block_out_channels[0]
    network = diffusers.ControlNetUnionModel(
        **{key: value for key, value in unet.config.items() if key in taken and "conditioning" not in key},
        conditioning_embedding_out_channels=(16, 32, 96, 256), num_trans_channel=width, num_proj_channel=width)
    for name, parameter in network.named_parameters():
        if name.startswith(("controlnet_", "spatial_ch_projs", "task_embedding")):
            nn.init.normal_(parameter, std=0.2)
    written(network, tmp_path / "union.safetensors")
    theirs = run(diffusers.StableDiffusionXLControlNetUnionPipeline, XL, model, unet, controlnet=network, asked={
        "control_image": [picture(1), picture(2)], "control_mode": [1, 4], "controlnet_conditioning_scale": 1.0})
    both = ControlUnit(model="union", image=picture(1), further_images=(picture(2),), control_type="Depth,NormalMap")
    found = ours(XL, benches(XL, tmp_path), control_units=(both,))
    assert_same(theirs, found)
    one = ours(XL, benches(XL, tmp_path), control_units=(ControlUnit(model="union", image=picture(1),
                                                                     control_type="Depth"),))
    assert float((one - found).std()) > 0.01 * float(found.std())


@pytest.mark.parametrize("name", [SD1, XL])
def test_an_adapter(name: str, tmp_path: Path) -> None:
    model = tiny_bench(kind_of(name)).model(name)
    unet = unet_of(name, model, told=6 if name == XL else 0)
    torch.manual_seed(3)
    channels = list(unet.config.block_out_channels)
    if name == XL:
        channels += channels[-1:]
    network = written(diffusers.T2IAdapter(
        in_channels=3, channels=channels, num_res_blocks=2, downscale_factor=16 if name == XL else 8,
        adapter_type="full_adapter_xl" if name == XL else "full_adapter"), tmp_path / "adapter.safetensors")
    theirs = run(PIPELINES[name][1], name, model, unet, adapter=network, asked={
        "image": picture(1), "adapter_conditioning_scale": 0.8})
    assert_same(theirs, ours(name, benches(name, tmp_path), control_units=(unit("adapter", 1, 0.8),)))
