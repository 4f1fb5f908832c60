"""Unions of ControlNets against diffusers' own, over random weights, and how the kind of a map is told."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import diffusers
import pytest
import torch
from networks.control.test_networks import HINT, XL, X, assert_same, loaded, numbers, original, rows, unet_of, written
from networks.loading import level
from PIL import Image
from torch import nn

from modules.annotate.registry import TYPES
from modules.errors import CheckpointError, InvalidInput
from modules.generation.control import kinds_of_maps
from modules.networks.control.union import kind_of
from modules.request import ControlUnit


def union_of(kinds: int) -> diffusers.ControlNetUnionModel:
    """diffusers' network with random weights; its own zero convolutions would answer nothing."""
    torch.manual_seed(2)
    network = diffusers.ControlNetUnionModel(
        **numbers(XL), conditioning_embedding_out_channels=(16, 32, 96, 256), addition_time_embed_dim=256,
        num_control_type=kinds, num_trans_channel=32, num_proj_channel=32, num_trans_layer=2).eval()
    for name, parameter in network.named_parameters():
        if name.startswith(("controlnet_", "spatial_ch_projs")):
            nn.init.normal_(parameter, std=0.2)
    return network.requires_grad_(False)


@pytest.mark.parametrize("kinds", [6, 8])
@pytest.mark.parametrize("layout", ["diffusers", "original"])
def test_a_union_answers_as_diffusers(kinds: int, layout: str, tmp_path: Path) -> None:
    theirs, cond = union_of(kinds), rows(XL)
    tensors = theirs.state_dict() if layout == "diffusers" else original(theirs.state_dict())
    network = loaded(written(tmp_path / "u.safetensors", tensors), unet_of(XL))
    assert network.kinds == kinds
    for kind in (1, kinds - 1):
        one_hot = torch.zeros(2, kinds)
        one_hot[:, kind] = 1
        down, middle = theirs(X, torch.full((2,), 500.0), cond.tokens, [HINT.expand(2, -1, -1, -1)], one_hot, [kind],
                              class_labels=cond.vector, return_dict=False)
        assert_same(network.ask(X, level(500), cond, [HINT], [kind]), (*down, middle))


def test_several_maps_are_read_as_by_diffusers(tmp_path: Path) -> None:
    theirs, cond = union_of(6), rows(XL)
    network = loaded(written(tmp_path / "u.safetensors", theirs.state_dict()), unet_of(XL))
    hints, kinds = [HINT, torch.rand(HINT.shape), torch.rand(HINT.shape)], [1, 0, 4]
    there = torch.zeros(2, 6)
    there[:, kinds] = 1
    down, middle = theirs(X, torch.full((2,), 500.0), cond.tokens, [one.expand(2, -1, -1, -1) for one in hints], there,
                          kinds, class_labels=cond.vector, return_dict=False)
    assert_same(network.ask(X, level(500), cond, hints, kinds), (*down, middle))


def test_an_incomplete_union_is_refused(tmp_path: Path) -> None:
    tensors = union_of(6).state_dict()
    del tensors["transformer_layes.1.mlp.c_proj.bias"]
    with pytest.raises(CheckpointError, match="incomplete"):
        loaded(written(tmp_path / "u.safetensors", tensors), unet_of(XL))


def test_a_kind_is_told_by_the_control_type_or_by_the_preprocessor(tmp_path: Path) -> None:
    network = loaded(written(tmp_path / "u.safetensors", union_of(6).state_dict()), unet_of(XL))
    told = {"none": "Depth", "canny": "", "scribble_xdog": "", "depth": "Unknown", "lineart": "", "normal_map": ""}
    kinds = [kinds_of_maps(ControlUnit(module=module, control_type=name), network) for module, name in told.items()]
    assert kinds == [[1], [3], [2], [1], [3], [4]]
    assert kinds_of_maps(ControlUnit(module="canny", control_type="Depth"), network) == [1]
    with pytest.raises(InvalidInput, match="choose a Control Type"):
        kinds_of_maps(ControlUnit(), network)
    with pytest.raises(InvalidInput, match="does not know maps"):
        kinds_of_maps(ControlUnit(module="tile_resample"), network)


def test_the_kinds_of_several_maps_are_named(tmp_path: Path) -> None:
    network = loaded(written(tmp_path / "u.safetensors", union_of(6).state_dict()), unet_of(XL))
    maps = Image.new("RGB", (8, 8)), Image.new("RGB", (8, 8))
    unit = ControlUnit(image=maps[0], further_images=maps, control_type="Depth, OpenPose,NormalMap")
    assert kinds_of_maps(unit, network) == [1, 0, 4]
    with pytest.raises(InvalidInput, match="A unit with 3 maps names the Control Type of each"):
        kinds_of_maps(dataclasses.replace(unit, control_type="Depth"), network)


def test_names_of_control_types_are_the_pages_and_the_extensions() -> None:
    assert {name for name in TYPES if kind_of(name) is not None} == set(TYPES) - {
        "All", "IP-Adapter", "Recolor", "Reference", "Shuffle", "T2I-Adapter"}
    assert [kind_of(name) for name in ("Soft Edge", "Hard Edge", "Normal Map", "Unknown")] == [2, 3, 4, None]
