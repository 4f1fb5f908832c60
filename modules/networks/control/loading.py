"""From a file to a control network: which kind it is, told by names and shapes, and what of it the base UNet lends."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from modules.errors import CheckpointError
from modules.networks import ldm_keys
from modules.networks.control.adapter import Adapter, AdapterShape
from modules.networks.control.controlnet import ControlNet
from modules.networks.control.ip_adapter import IPAdapter
from modules.networks.control.ip_loading import ip_adapter_part, is_ip_adapter
from modules.networks.control.keys import (
    adapter_key,
    blocks_of,
    control_key,
    original_adapter_key,
    original_control_key,
)
from modules.networks.control.layers import blocks_of as attention_blocks
from modules.networks.control.lllite import LLLite, fits, is_lllite, lllite_part
from modules.networks.control.union import union_shape
from modules.networks.families.family import Part
from modules.networks.loader import header_of, load_part, renamed
from modules.networks.patches.patched import plain_weight
from modules.networks.shapes import Header, UNetShape, unet_shape
from modules.weights.tensors import TensorFile, read_tensors

SHARED = ("time_embed.", "label_emb.", "input_blocks.", "middle_block.")
"""How the names of the tensors begin that a ControlNet has from the UNet."""
MARKS = ("difference", "lora_controlnet")
"""Tensors whose presence says that the file holds differences to the UNet's weights, or low-rank ones."""
TRAINING_ONLY = ("logit_scale", "model_ema.")


class WrongFamily(CheckpointError):
    """The network is for another UNet than the one that it should steer."""


ControlModule = ControlNet | Adapter | IPAdapter | LLLite


@dataclass(frozen=True)
class Base:
    """What a control network has to know of the UNet that it steers: `head_channels` of its attention, its channels of
    context and of the pooled vector, and the network itself."""

    unet: nn.Module

    @property
    def config(self) -> Any:
        """The network's numbers."""
        return cast(Any, self.unet).config

    @property
    def head_channels(self) -> int:
        """Channels of one attention head on the coarsest level."""
        heads = self.config.attention_head_dim  # diffusers' name for the number of heads
        heads = heads if isinstance(heads, int) else heads[-1]
        return int(self.config.block_out_channels[-1] // heads)

    @property
    def context_channels(self) -> int:
        """Channels of what it reads of the words."""
        return int(self.config.cross_attention_dim)

    @property
    def vector_channels(self) -> int:
        """Channels of the pooled vector; 0 where there is none."""
        return int(self.config.projection_class_embeddings_input_dim or 0)

    @property
    def finest(self) -> int:
        """Channels of the finest level."""
        return int(self.config.block_out_channels[0])


def needs_base(path: Path) -> bool:
    """Whether the file lacks weights that only the UNet has. Raises CheckpointError."""
    with read_tensors(path) as file:
        return any(mark in file.shapes for mark in MARKS)


def load_control(path: Path, base: Base, *, device: torch.device, dtype: torch.dtype,
                 on_progress: Callable[[float], None] = lambda share: None) -> ControlModule:
    """The control network in `path`, for the UNet of `base`.

    Raises WrongFamily, and CheckpointError: the file is damaged, unsafe, of no kind that is known, or incomplete.
    """
    with read_tensors(path) as file:
        network: ControlModule
        if is_ip_adapter(file.shapes):
            part, shape = ip_adapter_part(header_of(file))
            widths = tuple(block.module.attn2.inner_dim for block in attention_blocks(base.unet))
            if (shape.widths, shape.context_channels) != (widths, base.context_channels):
                raise _misfit(file.name)
            network = cast(IPAdapter, load_part(file, part, shape, device=device, dtype=dtype,
                                                on_progress=on_progress))
        elif is_lllite(file.shapes):
            part, parts = lllite_part(header_of(file))
            if not fits(parts, base.unet):
                raise _misfit(file.name)
            network = cast(LLLite, load_part(file, part, parts, device=device, dtype=dtype, on_progress=on_progress,
                                             packs=False))
        elif _is_adapter(file):
            file, adapter = _adapter(file)
            _check_family(file, base, adapter.is_xl, adapter.channels[0])
            part = Part("adapter", "T2I-Adapter", "", lambda header: adapter, Adapter, adapter_key)
            network = cast(Adapter, load_part(file, part, adapter, device=device, dtype=dtype, on_progress=on_progress))
        else:
            file = _control_file(file, base)
            steered, union = _control_shape(header_of(file), base), union_shape(header_of(file))
            part = Part("control network", "ControlNet", "", lambda header: steered,
                        lambda shape: ControlNet(shape, union), control_key)
            network = cast(ControlNet, load_part(file, part, steered, device=device, dtype=dtype,
                                                 on_progress=on_progress))
        return network


def _control_shape(header: Header, base: Base) -> UNetShape:
    """Raises CheckpointError where it is no ControlNet or does not fit the UNet."""
    if not header.has("input_hint_block.") or not header.has("zero_convs."):
        raise CheckpointError(f"{header.name} is no control network that is known here.")
    is_xl = header.has("label_emb.")
    shape = unet_shape(header, "", heads=0 if is_xl else 8, head_channels=base.head_channels if is_xl else 0)
    if is_xl == bool(base.vector_channels) and not shape.context_channels:
        shape = replace(shape, context_channels=base.context_channels)
    if (shape.context_channels, shape.vector_channels, shape.channels[0]) != (
            base.context_channels, base.vector_channels, base.finest):
        raise _misfit(header.name)
    return shape


def _check_family(file: TensorFile, base: Base, is_xl: bool, finest: int) -> None:
    if is_xl != bool(base.vector_channels) or finest != base.finest:
        raise _misfit(file.name)


def _misfit(name: str) -> WrongFamily:
    return WrongFamily(f"{name} is for another family of checkpoints than the one in use.")


# ControlNets

def _control_file(file: TensorFile, base: Base) -> TensorFile:
    """`file` under the original names, with the base UNet's weights in it where it holds differences."""
    marks = {mark for mark in MARKS if mark in file.shapes}
    blocks = blocks_of(file.shapes)
    file = _without(file, lambda key: key in MARKS or key.startswith(TRAINING_ONLY))
    file = renamed(file, lambda key: original_control_key(key, blocks))
    if "lora_controlnet" in marks:
        return _with_low_rank(file, base)
    return _with_base(file, base) if "difference" in marks else file


def _without(file: TensorFile, left_out: Callable[[str], bool]) -> TensorFile:
    kept = [key for key in file.shapes if not left_out(key)]
    return replace(file, shapes={key: file.shapes[key] for key in kept},
                   dtypes={key: file.dtypes[key] for key in kept})


def base_tensors(base: Base) -> Mapping[str, Callable[[], Tensor]]:
    """The UNet's weights that a ControlNet has a copy of, by their original names."""
    unet, config = base.unet, base.config
    shape = UNetShape(config.in_channels, tuple(config.block_out_channels), (), config.layers_per_block, (), 0, (), 32)
    parameters: dict[str, Callable[[], Tensor]] = {}
    for path, module in unet.named_modules():
        for name in ("weight", "bias"):
            if getattr(module, name, None) is not None:
                parameters[f"{path}.{name}"] = _tensor_of(module, name)
    names: dict[str, str] = {}
    for parameter in parameters:
        original = original_control_key(parameter, config.layers_per_block)
        if original.startswith(SHARED) and ldm_keys.unet_key(original, shape) == parameter:
            names[original] = parameter
    return {original: parameters[parameter] for original, parameter in names.items()}


def _tensor_of(module: nn.Module, name: str) -> Callable[[], Tensor]:
    return lambda: plain_weight(module) if name == "weight" else cast(Tensor, getattr(module, name)).detach()


def _with_base(file: TensorFile, base: Base) -> TensorFile:
    """`file`, whose tensors are differences to the equally named ones of the UNet."""
    lent = base_tensors(base)

    def read(key: str, into: Tensor) -> None:
        file.read(key, into)
        if key in lent:
            into += lent[key]().reshape(into.shape).to(into)

    return replace(file, read=read)


def _with_low_rank(file: TensorFile, base: Base) -> TensorFile:
    """`file`, whose weights are products of two matrices that are added to the UNet's, which also lends what is not in
    the file (Stability AI's control-LoRA)."""
    lent = base_tensors(base)
    plain = {key: shape for key, shape in file.shapes.items() if not re.search(r"\.(up|down)$", key)}
    pairs = {key.removesuffix("up") + "weight" for key in file.shapes if key.endswith(".up")}
    shapes = {key: tuple(tensor().shape) for key, tensor in lent.items()} | plain
    alone = [key for key in pairs if key not in lent]
    for key in alone:
        up, down = (file.shapes[key.removesuffix("weight") + half] for half in ("up", "down"))
        shapes[key] = (up[0], *down[1:])

    def read(key: str, into: Tensor) -> None:
        if key in plain:
            file.read(key, into)
            return
        values = lent[key]().reshape(into.shape).float() if key in lent else torch.zeros(into.shape)
        if key in pairs:
            up, down = (_read(file, key.removesuffix("weight") + half) for half in ("up", "down"))
            values = values + (up.flatten(1) @ down.flatten(1)).reshape(into.shape).to(values.device)
        into.copy_(values)

    dtypes = {key: file.dtypes.get(key, torch.float32) for key in shapes}
    return replace(file, shapes=shapes, dtypes=dtypes, read=read)


def _read(file: TensorFile, key: str) -> Tensor:
    values = torch.empty(file.shapes[key])
    file.read(key, values)
    return values


# T2I-Adapters

def _is_adapter(file: TensorFile) -> bool:
    return any(re.match(r"(adapter\.)?body\.\d+\.", key) for key in file.shapes)


def _adapter(file: TensorFile) -> tuple[TensorFile, AdapterShape]:
    """`file` under the original names, and what the adapter is made of. Raises CheckpointError."""
    foreign = any(key.startswith("adapter.") for key in file.shapes)
    light = "conv_in.weight" not in file.shapes and "adapter.conv_in.weight" not in file.shapes
    blocks = len({match[1] for key in file.shapes if (match := re.match(r"adapter\.body\.0\.resnets\.(\d+)", key))})
    if foreign:
        file = renamed(file, lambda key: original_adapter_key(key, blocks, light=light))
    shapes = file.shapes
    try:
        numbers = {int(match[1]) for key in shapes if (match := re.match(r"body\.(\d+)\.", key))}
        if light:
            blocks = len({match[1] for key in shapes if (match := re.match(r"body\.0\.body\.(\d+)\.", key))})
            given = shapes["body.0.in_conv.weight"][1]
            inner = tuple(shapes[f"body.{level}.in_conv.weight"][0] for level in range(len(numbers)))
            channels = tuple(shapes[f"body.{level}.out_conv.weight"][0] for level in range(len(numbers)))
            kernel = 3
        else:
            blocks, inner = len(numbers) // 4, ()
            given = shapes["conv_in.weight"][1]
            channels = tuple(shapes[f"body.{level * blocks}.block1.weight"][0] for level in range(4))
            kernel = shapes["body.0.block2.weight"][2]
    except (KeyError, IndexError) as error:
        raise CheckpointError(f"{file.name} is incomplete: it lacks tensors of a T2I-Adapter.") from error
    unshuffle = 16 if given % 256 == 0 else 8
    inputs = given // unshuffle**2
    if inputs not in (1, 3) or len(channels) != 4 or not blocks:
        raise CheckpointError(f"{file.name} is no T2I-Adapter that is known here.")
    return file, AdapterShape(
        inputs, unshuffle, channels, blocks, kernel, light, inner, (2,) if unshuffle == 16 else (1, 2, 3),
        tuple(number for number in numbers if f"body.{number}.skep.weight" in shapes),
        tuple(number for number in numbers if f"body.{number}.down_opt.op.weight" in shapes))
