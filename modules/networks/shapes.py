"""What a network is made of, read from its tensors' names and shapes. No YAML, no hub, no torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from modules.errors import CheckpointError

Shapes = Mapping[str, tuple[int, ...]]

TEXT_HEAD_CHANNELS = 64  # CLIP ViT-L: 768 channels, 12 heads
VOCABULARY = 49408
POSITIONS = 77
VAE_LEVELS = 4  # three halvings: a latent cell is 8 x 8 pixels


@dataclass(frozen=True)
class Header:
    """What is known of a file before its tensors are read: its name for sentences, the tensors' shapes by name, and the
    metadata, which says what shapes cannot (`unet_heads`, `unet_norm_groups`, `vae_norm_groups`, `text_heads`)."""

    name: str
    shapes: Shapes
    metadata: Mapping[str, str]

    def has(self, prefix: str) -> bool:
        """Whether some tensor's name begins so."""
        return any(key.startswith(prefix) for key in self.shapes)


@dataclass(frozen=True)
class UNetShape:
    """What the UNet is made of. Tuples run from the finest level to the coarsest."""

    in_channels: int
    channels: tuple[int, ...]
    attention: tuple[bool, ...]
    blocks: int
    transformer_layers: int
    context_channels: int
    heads: int
    norm_groups: int


@dataclass(frozen=True)
class VaeShape:
    """What the autoencoder is made of. `blocks` is the encoder's number a level; the decoder has one more."""

    channels: tuple[int, ...]
    blocks: int
    norm_groups: int
    latent_channels: int = 4


@dataclass(frozen=True)
class TextShape:
    """What the CLIP text encoder is made of."""

    layers: int
    channels: int
    mlp_channels: int
    vocabulary: int
    positions: int
    heads: int


def unet_shape(header: Header, prefix: str) -> UNetShape:
    """The UNet under `prefix`, in Stable Diffusion's original key layout (ldm).

    Raises CheckpointError: a tensor is missing or of another rank, or the levels differ in depth.
    """
    in_channels = _shape(header, prefix + "input_blocks.0.0.weight")[1]
    downsamplers = _numbers(header, re.escape(prefix) + r"input_blocks\.(\d+)\.0\.op\.")
    last = _count(header, re.escape(prefix) + r"input_blocks\.(\d+)\.")
    levels = len(downsamplers) + 1
    if (last - levels) % levels:
        raise CheckpointError(f"{header.name} has a UNet whose levels differ in depth; this program cannot load it.")
    blocks = (last - levels) // levels
    first = [1 + level * (blocks + 1) for level in range(levels)]
    channels = tuple(_shape(header, f"{prefix}input_blocks.{i}.0.in_layers.2.weight")[0] for i in first)
    attention = tuple(f"{prefix}input_blocks.{i}.1.norm.weight" in header.shapes for i in first)
    middle = prefix + "middle_block.1."
    context = _shape(header, middle + "transformer_blocks.0.attn2.to_k.weight", (2,))[1]
    if len(_shape(header, middle + "proj_in.weight", (2, 4))) != 4:
        raise CheckpointError(f"{header.name} has a UNet of Stable Diffusion 2.x; this program loads Stable Diffusion "
                              "1.x.")
    heads = _whole_number(header, "unet_heads", 8)
    groups = _whole_number(header, "unet_norm_groups", 32)
    _require_divides(header, groups, channels, "unet_norm_groups")
    attended = [width for width, has in zip(channels, attention, strict=True) if has]
    _require_divides(header, heads, [*attended, channels[-1]], "unet_heads")
    layers = _count(header, re.escape(middle) + r"transformer_blocks\.(\d+)\.")
    return UNetShape(in_channels, channels, attention, blocks, layers, context, heads, groups)


def vae_shape(header: Header, prefix: str) -> VaeShape:
    """The autoencoder under `prefix`, in ldm's layout.

    Raises CheckpointError: there is none, or it does not shrink pictures by 8.
    """
    encoder = prefix + "encoder."
    levels = _count(header, re.escape(encoder) + r"down\.(\d+)\.")
    if levels == 0 or prefix + "decoder.conv_in.weight" not in header.shapes:
        raise CheckpointError(f"{header.name} holds no autoencoder (VAE) in Stable Diffusion's layout.")
    if levels != VAE_LEVELS:
        raise CheckpointError(
            f"{header.name} has an autoencoder with {levels} levels; Stable Diffusion 1.x has {VAE_LEVELS}.")
    latent_channels = _shape(header, prefix + "decoder.conv_in.weight")[1]
    channels = tuple(_shape(header, f"{encoder}down.{i}.block.0.conv1.weight")[0] for i in range(levels))
    blocks = _count(header, re.escape(encoder) + r"down\.0\.block\.(\d+)\.")
    groups = _whole_number(header, "vae_norm_groups", 32)
    _require_divides(header, groups, channels, "vae_norm_groups")
    return VaeShape(channels, blocks, groups, latent_channels)


def clip_shape(header: Header, prefix: str) -> TextShape:
    """The CLIP text encoder under `prefix`, in transformers' layout. Raises CheckpointError."""
    vocabulary, channels = _shape(header, prefix + "embeddings.token_embedding.weight", (2,))
    positions = _shape(header, prefix + "embeddings.position_embedding.weight", (2,))[0]
    if vocabulary < VOCABULARY or positions < POSITIONS:
        raise CheckpointError(
            f"{header.name} has a text encoder that does not read CLIP's {VOCABULARY} tokens, 77 at a time.")
    mlp = _shape(header, prefix + "encoder.layers.0.mlp.fc1.weight", (2,))[0]
    layers = _count(header, re.escape(prefix) + r"encoder\.layers\.(\d+)\.")
    heads = _whole_number(header, "text_heads", max(1, channels // TEXT_HEAD_CHANNELS))
    _require_divides(header, heads, [channels], "text_heads")
    return TextShape(layers, channels, mlp, vocabulary, positions, heads)


def _shape(header: Header, key: str, ranks: tuple[int, ...] = (4,)) -> tuple[int, ...]:
    """The shape of a weight: of rank 4 for a convolution, 2 for a linear layer or a table."""
    if key not in header.shapes:
        raise CheckpointError(f"{header.name} is incomplete: the tensor {key} is missing.")
    shape = header.shapes[key]
    if len(shape) not in ranks or 0 in shape:
        raise CheckpointError(f"{header.name} is damaged: the tensor {key} has the shape {list(shape)}.")
    return shape


def _numbers(header: Header, pattern: str) -> set[int]:
    found = re.compile(pattern).match
    return {int(match[1]) for key in header.shapes if (match := found(key))}


def _count(header: Header, pattern: str) -> int:
    """How many blocks the pattern's number counts, 0, 1, 2 ...; gaps would make us build blocks that are not there."""
    numbers = _numbers(header, pattern)
    if numbers != set(range(len(numbers))):
        raise CheckpointError(f"{header.name} is incomplete: its blocks are not numbered 0, 1, 2 and so on.")
    return len(numbers)


def _whole_number(header: Header, key: str, default: int) -> int:
    text = header.metadata.get(key)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,4}", text) or int(text) == 0:
        raise CheckpointError(
            f'{header.name} says {key} = "{text[:40]}" in its metadata; that should be a whole number.')
    return int(text)


def _require_divides(header: Header, divisor: int, widths: Iterable[int], key: str) -> None:
    for width in widths:
        if width % divisor:
            raise CheckpointError(
                f"{header.name} has a layer of {width} channels, which {key} = {divisor} does not divide; "
                f"the file's metadata can say another {key}.")
