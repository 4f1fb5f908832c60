"""Loading, against diffusers' own conversion of the same file, and what an incomplete file gets."""

from __future__ import annotations

import gc
import os
import socket
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from networks.loading import load, said
from safetensors.torch import load_file, save_file
from torch import Tensor

from modules.errors import CheckpointError
from modules.networks.model import DiffusionModel
from modules.weights.catalog import VaeFile

Tensors = dict[str, Tensor]
Change = Callable[[Tensors], Tensors]
Changed = Callable[..., Path]

UNET, VAE, TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model.transformer.text_model."


def parameters(model: DiffusionModel) -> Tensors:
    parts = {"unet": model.unet, "vae": model.vae, "text": model.text.clip}
    return {f"{part}.{key}": value for part, module in parts.items() for key, value in module.state_dict().items()}


def assert_same(one: DiffusionModel, other: DiffusionModel) -> None:
    left, right = parameters(one), parameters(other)
    assert left.keys() == right.keys()
    assert all(torch.equal(left[key], right[key]) for key in left)


@pytest.mark.parametrize("fixture", ["tiny", "tiny_inpainting"])
def test_weights_are_where_diffusers_puts_them(request: pytest.FixtureRequest, fixture: str) -> None:
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint

    path: Path = request.getfixturevalue(fixture)
    model = load(path)
    for module, convert in ((model.unet, convert_ldm_unet_checkpoint), (model.vae, convert_ldm_vae_checkpoint)):
        theirs: Tensors = convert(load_file(path), config=dict(module.config))  # type: ignore[call-overload]
        ours = module.state_dict()
        assert ours.keys() == theirs.keys()
        for key, value in theirs.items():
            assert torch.equal(ours[key], value.float().reshape(ours[key].shape)), key


def test_everything_is_in_place_and_still(sd_model: DiffusionModel) -> None:
    assert (sd_model.name, sd_model.inputs.name) == ("tiny-sd15", "plain")
    for module in (sd_model.unet, sd_model.vae, sd_model.text.clip):
        assert not module.training
        for tensor in (*module.parameters(), *module.buffers()):
            assert not tensor.is_meta
            assert not tensor.requires_grad
            assert tensor.dtype in (torch.float32, torch.int64)


def test_progress_rises_to_one(tiny: Path) -> None:
    shares: list[float] = []
    load(tiny, on_progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_half_precision_leaves_the_text_encoder_alone(tiny: Path) -> None:
    model = load(tiny, dtype=torch.bfloat16)
    assert {p.dtype for p in model.unet.parameters()} == {p.dtype for p in model.vae.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in model.text.clip.parameters()} == {torch.float32}


def test_weights_do_not_hang_on_the_file(changed: Changed) -> None:
    path = changed(lambda tensors: {key: value.float() for key, value in tensors.items()})
    model = load(path)
    before = {key: value.clone() for key, value in parameters(model).items()}
    with path.open("r+b") as file:  # in place: what a map of the file would show
        file.seek(path.stat().st_size // 2)
        file.write(b"\x7f" * (path.stat().st_size // 2))
    assert all(torch.equal(before[key], value) for key, value in parameters(model).items())


def older_text_names(tensors: Tensors) -> Tensors:
    return {key.replace(TEXT, TEXT.replace("text_model.", "")): value for key, value in tensors.items()}


def with_training_left_overs(tensors: Tensors) -> Tensors:
    extra = {
        "model_ema.diffusion_modeltime_embed0weight": torch.ones(2),
        "model_ema.decay": torch.ones(()),
        "alphas_cumprod": torch.ones(1000),
        VAE + "loss.logvar": torch.zeros(()),
        "cond_stage_model.transformer.text_projection.weight": torch.ones(2, 2),
        "cond_stage_model.logit_scale": torch.ones(()),
    }
    return tensors | extra


def without_position_numbers(tensors: Tensors) -> Tensors:
    return {key: value for key, value in tensors.items() if not key.endswith("position_ids")}


def linear_vae_attention(tensors: Tensors) -> Tensors:
    return {k: v[:, :, 0, 0] if ".attn_1." in k and v.ndim == 4 else v for k, v in tensors.items()}


@pytest.mark.parametrize(
    "change", [older_text_names, with_training_left_overs, without_position_numbers, linear_vae_attention]
)
def test_what_occurs_in_the_wild(changed: Changed, sd_model: DiffusionModel, change: Change) -> None:
    assert_same(load(changed(change)), sd_model)


def test_a_ckpt_is_the_same_model(changed: Changed, sd_model: DiffusionModel) -> None:
    assert_same(load(changed(lambda tensors: tensors, "x.ckpt")), sd_model)


@pytest.mark.parametrize("key", [UNET + "out.2.bias", VAE + "decoder.norm_out.bias", TEXT + "final_layer_norm.bias"])
def test_a_missing_tensor_is_named(changed: Changed, key: str) -> None:
    path = changed(lambda tensors: {k: v for k, v in tensors.items() if k != key})
    with pytest.raises(CheckpointError, match=r"changed\.safetensors is incomplete: nothing in it is the .*bias"):
        load(path)


@pytest.mark.parametrize("key", [UNET + "input_blocks.1.0.extra.weight", UNET + "x", VAE + "decoder.up.0.y.weight"])
def test_a_tensor_too_many_is_named(changed: Changed, key: str) -> None:
    with pytest.raises(CheckpointError, match=f"does not belong there: {key}"):
        load(changed(lambda tensors: tensors | {key: torch.ones(2)}))


def test_a_tensor_of_another_shape_is_named(changed: Changed) -> None:
    key = UNET + "out.0.weight"
    with pytest.raises(CheckpointError, match=rf"wrong shape: {key} is \[31\] and should be \[32\]"):
        load(changed(lambda tensors: tensors | {key: torch.ones(31)}))


@pytest.mark.parametrize("prefix", ["", VAE])
@pytest.mark.parametrize("suffix", ["vae.safetensors", "vae.pt"])
def test_another_vae(
    tiny: Path, tiny_inpainting: Path, sd_inpainting: DiffusionModel, tmp_path: Path, prefix: str, suffix: str
) -> None:
    own = {k: v for k, v in load_file(tiny_inpainting).items() if k.startswith(VAE)}
    renamed = {prefix + key.removeprefix(VAE): value for key, value in own.items()} | {"loss.logvar": torch.ones(1)}
    path = tmp_path / f"other.{suffix}"
    if path.suffix == ".pt":
        torch.save({"state_dict": renamed}, path)
    else:
        save_file(renamed, path)
    model = load(tiny, vae=VaeFile(path, path.name))
    latent = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model.decode_latent(latent), sd_inpainting.decode_latent(latent))


def test_a_vae_that_is_none(tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"decoder.up_blocks.0.resnets.0.norm1.weight": torch.ones(1)}, path)
    with pytest.raises(CheckpointError, match="diffusers' own layout"):
        load(tiny, vae=VaeFile(path, path.name))
    save_file({"decoder.other.weight": torch.ones(1)}, path)
    with pytest.raises(CheckpointError, match="holds no autoencoder"):
        load(tiny, vae=VaeFile(path, path.name))


def test_nothing_asks_the_network(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def refuse(*args: Any, **kwargs: Any) -> None:
        asked.append(args)
        raise OSError("there is no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    model = load(tiny)
    said(model, "a dog")
    assert asked == []


def test_swaps_leave_memory_flat(tiny: Path, tiny_inpainting: Path) -> None:
    def swap(path: Path) -> list[weakref.ref[Any]]:
        model = load(path)
        model.preview(torch.zeros(4, 8, 8))
        return [weakref.ref(part) for part in (model, model.unet, model.vae, model.text)]

    for path in (tiny, tiny_inpainting) * 2:
        swap(path)
    gc.collect()
    before = resident_bytes()
    left = [swap(path) for path in (tiny, tiny_inpainting) * 4]
    gc.collect()
    assert all(reference() is None for parts in left for reference in parts)
    assert resident_bytes() - before < 100e6  # a quarter of the 60 MB kept at each of the eight swaps would show


def resident_bytes() -> int:
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("this system does not say how much memory a process has")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
