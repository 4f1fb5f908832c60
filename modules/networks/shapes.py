"""What a network is made of, read from its tensors' names and shapes. No YAML, no hub, no torch."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from modules.errors import CheckpointError

Shapes = Mapping[str, tuple[int, ...]]

TEXT_HEAD_CHANNELS = 64  # of CLIP ViT-L as of OpenCLIP's ViT-H and ViT-bigG
VOCABULARY = 49408
POSITIONS = 77
VAE_LEVELS = 4  # three halvings: a latent cell is 8 x 8 pixels


@dataclass(frozen=True)
class Header:
    """What is known of a file before its tensors are read: its name for sentences, the tensors' shapes by name, and the
    metadata, which says what shapes cannot (`unet_heads` or `unet_head_channels`, `unet_norm_groups`,
    `vae_norm_groups`, `text_heads`, and what the network predicts). What a YAML file beside the file says is part of
    the metadata. `values` gives the numbers of one small tensor."""

    name: str
    shapes: Shapes
    metadata: Mapping[str, str]
    values: Callable[[str], Sequence[float]] = lambda key: ()

    def renamed(self, rename: Callable[[str], str]) -> Header:
        """The same with the tensors under other names."""
        return replace(self, shapes={rename(key): shape for key, shape in self.shapes.items()})

    def has(self, prefix: str) -> bool:
        """Whether some tensor's name begins so."""
        return any(key.startswith(prefix) for key in self.shapes)


@dataclass(frozen=True)
class UNetShape:
    """What the UNet is made of. Tuples run from the finest level to the coarsest.

    The middle block has the `heads` and `transformer_layers` of the coarsest level. `linear`: the transformers' outer
    projections are linear layers, not convolutions. `context_channels` are 0 where nothing attends to the words.
    `vector_channels` of a pooled vector are added to the time's embedding; 0 means that there is none.
    """

    in_channels: int
    channels: tuple[int, ...]
    attention: tuple[bool, ...]
    blocks: int
    transformer_layers: tuple[int, ...]
    context_channels: int
    heads: tuple[int, ...]
    norm_groups: int
    linear: bool = False
    vector_channels: int = 0


@dataclass(frozen=True)
class VaeShape:
    """What the autoencoder is made of. `blocks` is the encoder's number a level; the decoder has one more. `quant`:
    a 1 x 1 convolution is behind the encoder, and one before the decoder."""

    channels: tuple[int, ...]
    blocks: int
    norm_groups: int
    latent_channels: int = 4
    quant: bool = True


@dataclass(frozen=True)
class TextShape:
    """What a CLIP text encoder is made of.

    `quick_gelu`: OpenAI's encoders compute x * sigmoid(1.702 x) where OpenCLIP's compute the GELU. `pooled_channels`
    has the vector that sums up the text; 0 means that none is wanted. A matrix makes it, or if `projected` a linear
    layer.
    """

    layers: int
    channels: int
    mlp_channels: int
    vocabulary: int
    positions: int
    heads: int
    quick_gelu: bool = True
    pooled_channels: int = 0
    projected: bool = False


def unet_shape(header: Header, prefix: str, *, heads: int = 0, head_channels: int = 0) -> UNetShape:
    """The UNet under `prefix`, in Stable Diffusion's original key layout (ldm).

    Its attention has `heads` heads on every level, or heads of `head_channels` channels, unless the metadata say
    otherwise: shapes do not tell.

    Raises CheckpointError: a tensor is missing or of another rank, or the levels differ in depth.
    """
    in_channels = shape_of(header, prefix + "input_blocks.0.0.weight")[1]
    downsamplers = _numbers(header, re.escape(prefix) + r"input_blocks\.(\d+)\.0\.op\.")
    last = count(header, re.escape(prefix) + r"input_blocks\.(\d+)\.")
    levels = len(downsamplers) + 1
    if (last - levels) % levels:
        raise CheckpointError(f"{header.name} has a UNet whose levels differ in depth; this program cannot load it.")
    blocks = (last - levels) // levels
    first = [1 + level * (blocks + 1) for level in range(levels)]
    channels = tuple(shape_of(header, f"{prefix}input_blocks.{i}.0.in_layers.2.weight")[0] for i in first)
    attention = tuple(f"{prefix}input_blocks.{i}.1.norm.weight" in header.shapes for i in first)
    middle = prefix + "middle_block.1."
    reads_words = header.has(middle + "transformer_blocks.")  # the smallest control networks do not
    context = shape_of(header, middle + "transformer_blocks.0.attn2.to_k.weight", (2,))[1] if reads_words else 0
    linear = len(shape_of(header, middle + "proj_in.weight", (2, 4))) == 2
    groups = _whole_number(header, "unet_norm_groups", 32)
    _require_divides(header, groups, channels, "unet_norm_groups")
    attended = [width for width, has in zip(channels, attention, strict=True) if has]
    depths = tuple(_transformer_layers(header, f"{prefix}input_blocks.{i}.1." if has else middle)
                   for i, has in zip(first, attention, strict=True))
    vector = prefix + "label_emb.0.0.weight"
    return UNetShape(in_channels, channels, attention, blocks, depths, context,
                     _unet_heads(header, channels, [*attended, channels[-1]], heads, head_channels), groups, linear,
                     shape_of(header, vector, (2,))[1] if vector in header.shapes else 0)


def _unet_heads(header: Header, channels: Sequence[int], attended: Sequence[int], heads: int,
                head_channels: int) -> tuple[int, ...]:
    """The number of heads on each level. Those of `attended` channels have to divide."""
    if "unet_head_channels" in header.metadata or (head_channels and "unet_heads" not in header.metadata):
        head_channels = _whole_number(header, "unet_head_channels", head_channels)
        _require_divides(header, head_channels, attended, "unet_head_channels")
        return tuple(max(1, width // head_channels) for width in channels)
    heads = _whole_number(header, "unet_heads", heads)
    _require_divides(header, heads, attended, "unet_heads")
    return (heads,) * len(channels)


def _transformer_layers(header: Header, where: str) -> int:
    return count(header, re.escape(where) + r"transformer_blocks\.(\d+)\.")


def vae_shape(header: Header, prefix: str) -> VaeShape:
    """The autoencoder under `prefix`, in ldm's layout.

    Raises CheckpointError: there is none, or it does not shrink pictures by 8.
    """
    encoder = prefix + "encoder."
    levels = count(header, re.escape(encoder) + r"down\.(\d+)\.")
    if levels == 0 or prefix + "decoder.conv_in.weight" not in header.shapes:
        raise CheckpointError(f"{header.name} holds no autoencoder (VAE) in Stable Diffusion's layout.")
    if levels != VAE_LEVELS:
        raise CheckpointError(
            f"{header.name} has an autoencoder with {levels} levels; Stable Diffusion's has {VAE_LEVELS}.")
    latent_channels = shape_of(header, prefix + "decoder.conv_in.weight")[1]
    channels = tuple(shape_of(header, f"{encoder}down.{i}.block.0.conv1.weight")[0] for i in range(levels))
    blocks = count(header, re.escape(encoder) + r"down\.0\.block\.(\d+)\.")
    groups = _whole_number(header, "vae_norm_groups", 32)
    _require_divides(header, groups, channels, "vae_norm_groups")
    return VaeShape(channels, blocks, groups, latent_channels, prefix + "quant_conv.weight" in header.shapes)


def clip_shape(header: Header, prefix: str, *, projection: str = "") -> TextShape:
    """The CLIP text encoder under `prefix`, in transformers' layout. `projection` is the tensor of the layer that makes
    its pooled vector; with one it is OpenCLIP's. Raises CheckpointError."""
    numbers = _text_numbers(
        header, prefix + "embeddings.token_embedding.weight", prefix + "embeddings.position_embedding.weight",
        prefix + "encoder.layers.0.mlp.fc1.weight", re.escape(prefix) + r"encoder\.layers\.(\d+)\.")
    if not projection:
        return TextShape(*numbers)
    return TextShape(*numbers, quick_gelu=False, pooled_channels=shape_of(header, projection, (2,))[0], projected=True)


def openclip_shape(header: Header, prefix: str, *, pooled: bool) -> TextShape:
    """The text encoder under `prefix`, in OpenCLIP's layout; `pooled` if its pooled vector is wanted. Raises
    CheckpointError."""
    numbers = _text_numbers(
        header, prefix + "token_embedding.weight", prefix + "positional_embedding",
        prefix + "transformer.resblocks.0.mlp.c_fc.weight", re.escape(prefix) + r"transformer\.resblocks\.(\d+)\.")
    return TextShape(*numbers, quick_gelu=False,
                     pooled_channels=shape_of(header, prefix + "text_projection", (2,))[1] if pooled else 0)


def _text_numbers(header: Header, tokens: str, places: str, mlp: str,
                  layer: str) -> tuple[int, int, int, int, int, int]:
    """The numbers of a `TextShape`, from the names of three tensors and the pattern of the layers' names."""
    vocabulary, channels = shape_of(header, tokens, (2,))
    positions = shape_of(header, places, (2,))[0]
    if vocabulary < VOCABULARY or positions < POSITIONS:
        raise CheckpointError(
            f"{header.name} has a text encoder that does not read CLIP's {VOCABULARY} tokens, 77 at a time.")
    heads = _whole_number(header, "text_heads", max(1, channels // TEXT_HEAD_CHANNELS))
    _require_divides(header, heads, [channels], "text_heads")
    return count(header, layer), channels, shape_of(header, mlp, (2,))[0], vocabulary, positions, heads


def shape_of(header: Header, key: str, ranks: tuple[int, ...] = (4,)) -> tuple[int, ...]:
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


def count(header: Header, pattern: str) -> int:
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
