"""ControlNets and T2I-Adapters against diffusers' own, over random weights."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from networks.loading import level
from safetensors.torch import save_file
from torch import Tensor, nn

from modules.errors import CheckpointError
from modules.networks.control.keys import original_control_key
from modules.networks.control.loading import Base, base_tensors, load_control
from modules.networks.control.network import ControlNetwork, added
from modules.networks.shapes import UNetShape
from modules.networks.unet import ask_unet, build_unet
from modules.sampling.conditioning import Conditioning

CPU = torch.device("cpu")
SHAPE = UNetShape(4, (32, 64), (True, True), 2, (1, 1), 48, (8, 8), 32)
XL = UNetShape(4, (32, 64, 96), (False, True, True), 2, (1, 1, 2), 48, (1, 2, 3), 32, linear=True, vector_channels=80)
NUMBERS: dict[str, Any] = {"layers_per_block": 2, "cross_attention_dim": 48, "norm_num_groups": 32}


def rows(shape: UNetShape) -> Conditioning:
    return Conditioning(torch.randn(2, 77, 48), torch.randn(2, 80) if shape is XL else None)


def unet_of(shape: UNetShape) -> nn.Module:
    torch.manual_seed(1)
    return build_unet(shape).eval().requires_grad_(False)


def numbers(shape: UNetShape) -> dict[str, Any]:
    down = ["CrossAttnDownBlock2D" if has else "DownBlock2D" for has in shape.attention]
    more: dict[str, Any] = {"use_linear_projection": True, "class_embed_type": "projection",
                            "projection_class_embeddings_input_dim": 80} if shape is XL else {}
    return {**NUMBERS, **more, "block_out_channels": shape.channels, "down_block_types": tuple(down),
            "transformer_layers_per_block": shape.transformer_layers, "attention_head_dim": shape.heads}


def control_of(shape: UNetShape) -> diffusers.ControlNetModel:
    """diffusers' network with random weights; its own zero convolutions would answer nothing."""
    torch.manual_seed(2)
    network = diffusers.ControlNetModel(**numbers(shape), conditioning_embedding_out_channels=(16, 32, 96, 256)).eval()
    for name, parameter in network.named_parameters():
        if name.startswith("controlnet_"):
            nn.init.normal_(parameter, std=0.2)
    return network.requires_grad_(False)


def written(path: Path, tensors: dict[str, Tensor]) -> Path:
    save_file({key: value.clone().contiguous() for key, value in tensors.items()}, path)
    return path


def loaded(path: Path, unet: nn.Module) -> ControlNetwork:
    return ControlNetwork(path.stem, load_control(path, Base(unet), device=CPU, dtype=torch.float32), CPU,
                          torch.float32)


def original(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {original_control_key(key, 2): value for key, value in tensors.items()}


def assert_same(ours: Iterable[Tensor], theirs: Iterable[Tensor]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        assert one.shape == other.shape
        assert float((one - other).abs().max()) <= 1e-3 * float(other.std())


X, HINT = torch.randn(2, 4, 8, 12, generator=torch.Generator().manual_seed(3)), torch.rand(1, 3, 64, 96)


@pytest.mark.parametrize("shape", [SHAPE, XL], ids=["sd1", "xl"])
@pytest.mark.parametrize("layout", ["diffusers", "original", "control_model"])
def test_a_control_net_answers_as_diffusers(shape: UNetShape, layout: str, tmp_path: Path) -> None:
    theirs, cond = control_of(shape), rows(shape)
    tensors = theirs.state_dict()
    if layout != "diffusers":
        prefix = "control_model." if layout == "control_model" else ""
        tensors = {prefix + key: value for key, value in original(tensors).items()}
    ours = loaded(written(tmp_path / "c.safetensors", tensors), unet_of(shape)).ask(X, level(500), cond, [HINT])
    down, middle = theirs(X, torch.full((2,), 500.0), cond.tokens, HINT.expand(2, -1, -1, -1), class_labels=cond.vector,
                          return_dict=False)
    assert_same(ours, (*down, middle))


def test_what_it_answers_is_added_inside_the_unet_as_in_diffusers(tmp_path: Path) -> None:
    unet, theirs, cond = unet_of(SHAPE), control_of(SHAPE), rows(SHAPE)
    network = loaded(written(tmp_path / "c.safetensors", theirs.state_dict()), unet)
    residuals = added([(network, network.ask(X, level(500), cond, [HINT]))])
    t = torch.full((2,), 500.0)
    ours = ask_unet(unet, X, t, Conditioning(cond.tokens, cond.vector, residuals))
    up = ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D")
    plain = diffusers.UNet2DConditionModel(**numbers(SHAPE), up_block_types=up)
    plain.load_state_dict(unet.state_dict())
    down, middle = theirs(X, t, cond.tokens, HINT.expand(2, -1, -1, -1), return_dict=False)
    expected = plain(X, t, cond.tokens, down_block_additional_residuals=down, mid_block_additional_residual=middle,
                     return_dict=False)[0]
    assert_same([ours], [expected])
    assert not torch.allclose(ours, ask_unet(unet, X, t, cond), atol=1e-2)


@pytest.mark.parametrize("kind", ["difference", "low-rank"])
def test_files_of_differences_borrow_the_unets_weights(kind: str, tmp_path: Path) -> None:
    unet, cond = unet_of(SHAPE), rows(SHAPE)
    tensors = original(control_of(SHAPE).state_dict())
    lent = {key: give() for key, give in base_tensors(Base(unet)).items()}
    assert len(lent) > 100
    assert lent.keys() <= tensors.keys()
    if kind == "difference":
        stored = {key: value - lent[key] if key in lent else value for key, value in tensors.items()}
        stored["difference"] = torch.zeros(())
    else:
        stored = {"lora_controlnet": torch.zeros(())}
        for key, value in tensors.items():
            if key not in lent or not key.endswith("attn1.to_q.weight"):
                stored |= {} if key in lent else {key: value}
                tensors[key] = lent.get(key, value)
                continue
            up, down = torch.randn(len(value), 3), torch.randn(3, value.shape[1])
            stored |= {key.replace("weight", "up"): up, key.replace("weight", "down"): down}
            tensors[key] = lent[key] + up @ down
        assert sum(key.endswith(".up") for key in stored) == 5
    ours = loaded(written(tmp_path / "stored.safetensors", stored), unet).ask(X, level(500), cond, [HINT])
    whole = loaded(written(tmp_path / "whole.safetensors", tensors), unet).ask(X, level(500), cond, [HINT])
    assert_same(ours, whole)


@pytest.mark.parametrize(("kind", "unshuffle", "channels"), [
    ("full_adapter", 8, 3), ("full_adapter", 8, 1), ("light_adapter", 8, 3), ("full_adapter_xl", 16, 3)])
@pytest.mark.parametrize("layout", ["diffusers", "original"])
def test_an_adapters_features_are_diffusers(kind: str, unshuffle: int, channels: int, layout: str,
                                            tmp_path: Path) -> None:
    torch.manual_seed(4)
    widths = (32, 64, 96) if kind == "light_adapter" else (32, 64, 96, 96)  # it has the last one twice by itself
    theirs = diffusers.T2IAdapter(channels, widths, 2, unshuffle, kind).eval().requires_grad_(False)
    tensors = dict(theirs.state_dict())
    if layout == "original":
        def rename(key: str) -> str:
            parts = key.removeprefix("adapter.").split(".")
            if parts[0] != "body":
                return ".".join(parts)
            if kind == "light_adapter":
                return ".".join("body" if part == "resnets" else part for part in parts)
            number = 2 * int(parts[1]) + (int(parts[3]) if parts[2] == "resnets" else 0)
            return ".".join(["body", str(number), *(parts[4:] if parts[2] == "resnets" else parts[2:])])

        tensors = {rename(key): value for key, value in tensors.items()}
    shape = XL if unshuffle == 16 else SHAPE
    network = loaded(written(tmp_path / "t2i.safetensors", tensors), unet_of(shape))
    hint = torch.rand(1, 3, 128, 192)
    x = torch.randn(2, 4, 16, 24)
    assert network.is_adapter
    assert_same(network.ask(x, level(500), rows(shape), [hint]), theirs(hint[:, :channels]))


def test_a_network_for_another_family_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "c.safetensors", control_of(XL).state_dict())
    with pytest.raises(CheckpointError, match="another family"):
        loaded(path, unet_of(SHAPE))


def test_an_incomplete_file_is_refused(tmp_path: Path) -> None:
    tensors = control_of(SHAPE).state_dict()
    del tensors["down_blocks.1.attentions.0.proj_out.bias"]
    with pytest.raises(CheckpointError, match="incomplete"):
        loaded(written(tmp_path / "c.safetensors", tensors), unet_of(SHAPE))
    with pytest.raises(CheckpointError, match="no control network"):
        loaded(written(tmp_path / "d.safetensors", {"a": torch.zeros(2)}), unet_of(SHAPE))
