"""IP-Adapters against diffusers' own, over random weights: whole runs, regions, and files that do not fit."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from generation.test_control import control_file
from golden.runner import Bench
from golden.tiny import checkpoint, kind_of, tiny_bench
from networks.test_control_pipelines import SD1, WITHOUT_TEXT, XL, benches, picture
from networks.test_pipelines import COMMON, SIZE, assert_same, euler, noise, ours, spoken
from networks.theirs import unet_of, vae_of
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

from modules.errors import CheckpointError, InvalidInput
from modules.networks.control.ip_adapter import ImagePrompt, IPAdapter
from modules.networks.control.layers import AtCall
from modules.networks.control.loading import Base, load_control
from modules.networks.image_encoder import as_clip_reads
from modules.networks.unet import ask_unet
from modules.request import ControlMode, ControlUnit, Inpaint, Txt2Img
from modules.sampling.conditioning import Conditioning

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

PIPELINES = {SD1: diffusers.StableDiffusionPipeline, XL: diffusers.StableDiffusionXLPipeline}
SEEN, POOLED, SIDE = 64, 48, 28
"""Channels of the image encoder, of its vector, and the side of the square that it reads."""
TOKENS, INNER = 8, 32


def image_encoder() -> CLIPVisionModelWithProjection:
    torch.manual_seed(11)
    return CLIPVisionModelWithProjection(CLIPVisionConfig(
        hidden_size=SEEN, intermediate_size=96, num_hidden_layers=3, num_attention_heads=1, image_size=SIDE,
        patch_size=14, projection_dim=POOLED, hidden_act="quick_gelu")).eval()


def adapter(kind: str, unet: diffusers.UNet2DConditionModel) -> dict[str, dict[str, Tensor]]:
    """Random weights in the layout of the published files."""
    torch.manual_seed(12)
    context = unet.config.cross_attention_dim

    def matrix(rows: int, columns: int) -> Tensor:
        return torch.randn(rows, columns) * columns**-0.5

    def norm(name: str, width: int) -> dict[str, Tensor]:
        return {f"{name}.weight": 1 + 0.1 * torch.randn(width), f"{name}.bias": 0.1 * torch.randn(width)}

    def linear(name: str, rows: int, columns: int) -> dict[str, Tensor]:
        return {f"{name}.weight": matrix(rows, columns), f"{name}.bias": 0.1 * torch.randn(rows)}

    layers: dict[str, Tensor] = {}
    crossing = [name for name in unet.attn_processors if name.endswith("attn2.processor")]
    for number, name in enumerate(crossing):
        width = unet.get_submodule(name.removesuffix(".processor")).inner_dim
        layers |= {f"{2 * number + 1}.to_{which}_ip.weight": matrix(width, context) for which in "kv"}
    if kind == "plain":
        made = linear("proj", 4 * context, POOLED) | norm("norm", context)
    elif kind == "full":
        made = linear("proj.0", SEEN, SEEN) | linear("proj.2", context, SEEN) | norm("proj.3", context)
    else:
        made = {"latents": torch.randn(1, TOKENS, INNER)} | linear("proj_in", INNER, SEEN) | linear(
            "proj_out", context, INNER) | norm("norm_out", context)
        for number in range(4):  # diffusers knows four layers only
            start = f"layers.{number}"
            made |= norm(f"{start}.0.norm1", INNER) | norm(f"{start}.0.norm2", INNER) | norm(f"{start}.1.0", INNER)
            made |= {f"{start}.0.to_q.weight": matrix(128, INNER), f"{start}.0.to_kv.weight": matrix(256, INNER),
                     f"{start}.0.to_out.weight": matrix(INNER, 128), f"{start}.1.1.weight": matrix(4 * INNER, INNER),
                     f"{start}.1.3.weight": matrix(INNER, 4 * INNER)}
    return {"image_proj": made, "ip_adapter": layers}


def flat(tensors: dict[str, dict[str, Tensor]]) -> dict[str, Tensor]:
    return {f"{name}.{key}": value for name, part in tensors.items() for key, value in part.items()}


def files(folder: Path, tensors: dict[str, dict[str, Tensor]], *, pickled: bool = False) -> None:
    """An adapter and the encoder that it reads, where a bench looks for them."""
    encoder = folder / "data" / "models" / "clip_vision"
    encoder.mkdir(parents=True, exist_ok=True)
    if pickled:
        torch.save(tensors, folder / "ip-adapter.bin")
        image_encoder().save_pretrained(encoder / "small")
    else:
        save_file(flat(tensors), folder / "ip-adapter.safetensors")
        save_file(image_encoder().state_dict(), encoder / "small.safetensors")


UNIT = ControlUnit(module="ip-adapter-auto", model="ip-adapter", image=picture(1), weight=0.7)


def theirs_of(name: str, tensors: dict[str, dict[str, Tensor]], pictures: list[Image.Image]) -> Tensor:
    """The latent that diffusers' pipeline ends on."""
    model = tiny_bench(kind_of(name)).model(name)
    told: dict[str, Any] = dict(WITHOUT_TEXT)
    pooled = 0
    if name == XL:
        told |= {"text_encoder_2": None, "tokenizer_2": None}
        pooled = model.parts["clip_g"].text_projection.shape[1]
    else:
        told |= {"safety_checker": None, "requires_safety_checker": False}
    read = CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    made = PIPELINES[name](vae=vae_of(name, model), unet=unet_of(name, model, told=6 if name == XL else 0),
                           scheduler=euler("epsilon"), feature_extractor=read, image_encoder=image_encoder(), **told)
    made.set_progress_bar_config(disable=True)
    made.load_ip_adapter(tensors, subfolder="", weight_name="")
    made.set_ip_adapter_scale(UNIT.weight)
    latent: Tensor = made(**spoken(model, pooled), **COMMON, width=SIZE[0], height=SIZE[1], latents=noise(model),
                          ip_adapter_image=[pictures])[0]
    return latent


@pytest.mark.parametrize("kind", ["plain", "plus", "full"])
@pytest.mark.parametrize("name", [SD1, XL])
def test_a_run_is_diffusers(name: str, kind: str, tmp_path: Path) -> None:
    model = tiny_bench(kind_of(name)).model(name)
    tensors = adapter(kind, unet_of(name, model, told=6 if name == XL else 0))
    files(tmp_path, tensors, pickled=kind == "plus")
    pictures = [picture(1), picture(2)] if kind != "full" else [picture(1)]
    unit = dataclasses.replace(UNIT, further_images=tuple(pictures[1:]), control_mode=ControlMode.CONTROL)
    latents = ours(name, benches(name, tmp_path), control_units=(unit,))
    assert_same(theirs_of(name, tensors, pictures), latents)
    assert float((latents - ours(name)).std()) > 0.1 * float(latents.std())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    files(folder, adapter("plain", unet_of(SD1, tiny_bench(kind_of(SD1)).model(SD1))))
    return folder


@pytest.fixture(scope="module")
def bench(folder: Path) -> Bench:
    return benches(SD1, folder)


def latent(bench: Bench, *units: ControlUnit, **changes: Any) -> Tensor:
    return ours(SD1, bench, control_units=units, **changes)


def test_weight_0_is_no_unit_and_no_map_is_shown(bench: Bench) -> None:
    assert torch.equal(latent(bench, dataclasses.replace(UNIT, weight=0.0)), latent(bench))
    request = Txt2Img(sampler="Euler", steps=1, width=64, height=64, control_units=(UNIT,), seed=1,
                      options=bench.engine.options.replaced({"sd_model_checkpoint": SD1}))
    result = bench.make(request)[0]
    assert not result.maps
    assert "Module: ip-adapter-auto, Model: ip-adapter, Weight: 0.7" in result.images[0].infotext


def test_it_works_from_its_start_to_its_end(bench: Bench) -> None:
    late = dataclasses.replace(UNIT, guidance_start=0.95)  # the step lags by one: the last call sees 0.8
    assert torch.equal(latent(bench, late), latent(bench))
    halves = [dataclasses.replace(UNIT, guidance_end=0.45), dataclasses.replace(UNIT, guidance_start=0.46)]
    assert torch.equal(latent(bench, *halves), latent(bench, UNIT))


def test_a_region_of_white_is_everywhere_and_one_of_black_nowhere(bench: Bench) -> None:
    white, black = (dataclasses.replace(UNIT, effective_region_mask=Image.new("RGB", (16, 8), colour))
                    for colour in ("white", "black"))
    assert_same(latent(bench, white), latent(bench, UNIT))
    assert_same(latent(bench, black), latent(bench))


def test_a_region_is_diffusers_mask(folder: Path, bench: Bench) -> None:
    """At one call, where the mask's edges lie on cells of all levels."""
    model = bench.model(SD1)
    unet = unet_of(SD1, model)
    tensors = adapter("plain", unet)
    unet._load_ip_adapter_weights([tensors])
    mask = torch.zeros(1, 1, 64, 128)
    mask[..., 64:] = 1
    x, cond = torch.randn(2, 4, 8, 16), torch.randn(2, 77, unet.config.cross_attention_dim)
    seen = torch.randn(2, 1, POOLED)
    theirs = unet(x, 500.0, cond, added_cond_kwargs={"image_embeds": [seen]}, return_dict=False,
                  cross_attention_kwargs={"ip_adapter_masks": [mask]})[0]
    network = load_control(folder / "ip-adapter.safetensors", Base(model.unet), device=torch.device("cpu"),
                           dtype=torch.float32)
    assert isinstance(network, IPAdapter)
    prompt = ImagePrompt(network, model.unet, torch.cat([network.tokens(one) for one in seen]))
    with torch.no_grad(), prompt.around(AtCall(2, (16, 8), [0], [1.0] * prompt.answers, mask)):
        found = ask_unet(model.unet, x, torch.full((2,), 500.0), Conditioning(cond))
    assert_same(theirs.detach(), found)


def test_a_batch_is_its_pictures_one_by_one(bench: Bench) -> None:
    together = latent(bench, UNIT, batch_size=2)
    assert_same(latent(bench, UNIT), together[:1])


def test_each_block_has_its_weight_if_they_are_given(bench: Bench) -> None:
    same = dataclasses.replace(UNIT, weight=0.2, advanced_weighting=(UNIT.weight,) * 16)
    assert torch.equal(latent(bench, same), latent(bench, UNIT))
    one = dataclasses.replace(UNIT, advanced_weighting=(0.0,) * 6 + (0.7,) + (0.0,) * 9)
    assert not torch.equal(latent(bench, one), latent(bench))
    with pytest.raises(InvalidInput, match="has 13 numbers; ip-adapter takes 16"):
        latent(bench, dataclasses.replace(UNIT, advanced_weighting=(1.0,) * 13))


def test_in_inpainting_the_rest_stays(bench: Bench) -> None:
    mask = Image.new("L", SIZE)
    mask.paste(255, (32, 16, 80, 48))
    request = Inpaint(prompt="a", sampler="DDIM", steps=3, width=SIZE[0], height=SIZE[1], seed=3, mask=mask,
                      init_images=(picture(5),), mask_blur_x=0, mask_blur_y=0, only_masked=True, control_units=(UNIT,),
                      options=bench.engine.options.replaced({"sd_model_checkpoint": SD1}))
    made = [np.asarray(bench.make(one)[0].images[0].image) for one in (
        request, dataclasses.replace(request, control_units=()))]
    kept = np.asarray(mask) == 0
    assert np.array_equal(made[0][kept], np.asarray(picture(5))[kept])
    assert not np.array_equal(*made)


@pytest.mark.parametrize("size", [(28, 28), (61, 33), (20, 47), (300, 299)])
def test_a_picture_is_shown_to_clip_as_transformers_does(size: tuple[int, int]) -> None:
    image = picture(3).resize(size)
    read = CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    expected = read(image, return_tensors="pt").pixel_values
    assert torch.allclose(as_clip_reads(np.asarray(image), SIDE), expected, atol=1e-5)


@pytest.mark.parametrize(("changes", "says"), [
    ({"module": "ip-adapter_clip_h"}, r"48 channels of CLIP ViT-H, and no image encoder in .*: small.saf.* \(48\)"),
    ({"module": "canny"}, "ip-adapter is an IP-Adapter: choose the preprocessor ip-adapter-auto"),
    ({"model": "edges"}, "edges is no IP-Adapter: choose another preprocessor than ip-adapter-auto")])
def test_what_does_not_go_together_is_refused(bench: Bench, folder: Path, changes: dict[str, str], says: str) -> None:
    control_file(folder / "edges.safetensors")
    with pytest.raises(InvalidInput, match=says):
        latent(bench, dataclasses.replace(UNIT, **changes))


def test_without_the_encoder_a_sentence_says_where_it_goes(folder: Path, tmp_path: Path) -> None:
    alone = Bench(checkpoint(SD1).parent, tmp_path, controlnet_dir=folder)
    with pytest.raises(InvalidInput, match=r"put the image encoder \(CLIP vision\) into .*clip_vision"):
        latent(alone, UNIT)


@pytest.mark.parametrize(("name", "shape", "says"), [
    ("ip_adapter.0.to_q_lora.down.weight", (4, 4), "FaceID"),
    ("image_proj.perceiver_resampler.proj_in.weight", (4, 4), "FaceID"),
    ("ip_adapter.5.to_k_ip.weight", None, "incomplete"), ("image_proj.proj.bias", None, "incomplete"),
    ("ip_adapter.1.to_k_ip.weight", (32, 40), "another family"), ("ip_adapter.3.to_v_ip.weight", (1, 2), "shape"),
    ("ip_adapter.more", (1,), "does not belong")])
def test_a_file_that_is_not_one_is_refused(bench: Bench, tmp_path: Path, name: str, shape: tuple[int, ...] | None,
                                           says: str) -> None:
    unet = bench.model(SD1).unet
    tensors = flat(adapter("plain", unet_of(SD1, bench.model(SD1))))
    if shape is None:
        del tensors[name]
    else:
        tensors[name] = torch.zeros(shape)
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=says):
        load_control(tmp_path / "a.safetensors", Base(unet), device=torch.device("cpu"), dtype=torch.float32)


def test_a_checkpoint_without_a_unet_takes_no_units(folder: Path) -> None:
    with pytest.raises(InvalidInput, match="steer a UNet, and tiny-sd3 has none"):
        ours("tiny-sd3", benches("tiny-sd3", folder), control_units=(UNIT,))
