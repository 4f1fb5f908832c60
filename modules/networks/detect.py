"""What kind of network a checkpoint holds, read from its tensors' names and shapes. No YAML, no hub, no torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from modules.errors import CheckpointError

Shapes = Mapping[str, tuple[int, ...]]

UNET = "model.diffusion_model."
VAE = "first_stage_model."
TEXT = "cond_stage_model.transformer."

TEXT_HEAD_CHANNELS = 64  # CLIP ViT-L: 768 channels, 12 heads
VOCABULARY = 49408
POSITIONS = 77
VAE_LEVELS = 4  # three halvings: a latent cell is 8 x 8 pixels

_FAMILIES: tuple[tuple[str, str], ...] = (
    # (a pattern that some key matches, what the file then looks like); the first match wins
    (r"lora_(up|down)\.weight$|\.lora_[AB]\.|\.hada_w1_a$|\.lokr_w[12]", "a LoRA file, not a checkpoint"),
    (r"^(conditioner\.embedders\.|model\.diffusion_model\.label_emb\.)", "an SDXL checkpoint"),
    (r"(^|\.)double_blocks\.\d", "a Flux checkpoint"),
    (r"(^|\.)joint_blocks\.\d", "a Stable Diffusion 3 checkpoint"),
    (r"^cond_stage_model\.model\.", "a Stable Diffusion 2.x checkpoint"),
    (r"^(control_model\.|zero_convs\.|input_hint_block\.|controlnet_)", "a ControlNet file, not a checkpoint"),
    (r"^(emb_params|string_to_param|clip_[gl]$)", "a textual inversion embedding, not a checkpoint"),
    (
        r"^((unet|vae|text_encoder|first_stage_model)\.)?((encoder|decoder)\.)?(down|up|mid)_blocks?\.",
        "a part of a model in diffusers' own layout",
    ),
)


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


@dataclass(frozen=True)
class TextShape:
    """What the CLIP text encoder is made of."""

    layers: int
    channels: int
    mlp_channels: int
    vocabulary: int
    positions: int
    heads: int


@dataclass(frozen=True)
class Architecture:
    """The three networks of a Stable Diffusion 1.x checkpoint."""

    unet: UNetShape
    vae: VaeShape
    text: TextShape


def detect(shapes: Shapes, metadata: Mapping[str, str], name: str) -> Architecture:
    """Infers the architecture of a checkpoint in Stable Diffusion's original key layout.

    Args:
        shapes: tensor names and shapes; the text encoder's names as `with_text_model` writes them.
        metadata: the file's own; `unet_heads`, `unet_norm_groups`, `vae_norm_groups` and `text_heads` are looked at,
            because shapes cannot tell them.
        name: the file's name, for the sentence.

    Raises:
        CheckpointError: it is something else, or parts are missing.
    """
    _refuse_other_families(shapes, name)
    unet, text = _unet(shapes, metadata, name), _text(shapes, metadata, name)
    if text.channels != unet.context_channels:
        raise CheckpointError(
            f"{name} does not fit together: its text encoder gives {text.channels} channels and its UNet reads "
            f"{unet.context_channels}."
        )
    return Architecture(unet, detect_vae(shapes, metadata, name), text)


def detect_vae(shapes: Shapes, metadata: Mapping[str, str], name: str) -> VaeShape:
    """The autoencoder under `first_stage_model.`.

    Raises:
        CheckpointError: there is none, or it does not shrink pictures by 8.
    """
    encoder = VAE + "encoder."
    levels = _count(shapes, re.escape(encoder) + r"down\.(\d+)\.", name)
    if levels == 0 or VAE + "decoder.conv_in.weight" not in shapes:
        raise CheckpointError(f"{name} holds no autoencoder (VAE) in Stable Diffusion's layout.")
    if levels != VAE_LEVELS:
        raise CheckpointError(
            f"{name} has an autoencoder with {levels} levels; Stable Diffusion 1.x has {VAE_LEVELS}."
        )
    if _shape(shapes, VAE + "decoder.conv_in.weight", name)[1] != 4:
        raise CheckpointError(f"{name} has an autoencoder that is not Stable Diffusion 1.x's (latents of 4 channels).")
    channels = tuple(_shape(shapes, f"{encoder}down.{i}.block.0.conv1.weight", name)[0] for i in range(levels))
    blocks = _count(shapes, re.escape(encoder) + r"down\.0\.block\.(\d+)\.", name)
    groups = _whole_number(metadata, "vae_norm_groups", 32, name)
    _require_divides(groups, channels, "vae_norm_groups", name)
    return VaeShape(channels, blocks, groups)


def with_text_model(key: str) -> str:
    """The text encoder's names with `text_model.` in them: files from before transformers 4.0 lack it."""
    rest = key.removeprefix(TEXT)
    if rest != key and rest.startswith(("embeddings.", "encoder.", "final_layer_norm.")):
        return f"{TEXT}text_model.{rest}"
    return key


def with_vae_prefix(key: str) -> str:
    """Names of a file that holds only an autoencoder, as they are called inside a checkpoint."""
    return VAE + key if key.startswith(("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")) else key


def refuse_other_vaes(shapes: Shapes, name: str) -> None:
    """Raises `CheckpointError` for a VAE file in diffusers' layout, a LoRA and so on."""
    for pattern, what in _FAMILIES:
        if _any(shapes, pattern):
            raise CheckpointError(f"{name} is {what}; this program loads VAE files in Stable Diffusion 1.x's layout.")


def _refuse_other_families(shapes: Shapes, name: str) -> None:
    wanted = "this program loads Stable Diffusion 1.x checkpoints in one file"
    for pattern, what in _FAMILIES:
        if _any(shapes, pattern):
            raise CheckpointError(f"{name} is {what}; {wanted}.")
    has_unet, has_vae, has_text = (_any(shapes, "^" + re.escape(prefix)) for prefix in (UNET, VAE, TEXT))
    if has_unet and has_vae and has_text:
        return
    if has_unet:
        missing = " and no ".join(
            part for part, there in (("autoencoder (VAE)", has_vae), ("text encoder", has_text)) if not there
        )
        raise CheckpointError(f"{name} has no {missing} in it; {wanted}.")
    if has_vae or _any(shapes, r"^(encoder|decoder)\.(down|up|mid)\."):
        raise CheckpointError(f"{name} is a VAE file; choose it in the VAE dropdown, not as a checkpoint.")
    raise CheckpointError(f"{name} does not look like a Stable Diffusion checkpoint; {wanted}.")


def _unet(shapes: Shapes, metadata: Mapping[str, str], name: str) -> UNetShape:
    in_channels = _shape(shapes, UNET + "input_blocks.0.0.weight", name)[1]
    if in_channels not in (4, 9):
        raise CheckpointError(
            f"{name} has a UNet with {in_channels} input channels; this program knows 4 (ordinary) and 9 (inpainting)."
        )
    downsamplers = _numbers(shapes, re.escape(UNET) + r"input_blocks\.(\d+)\.0\.op\.")
    last = _count(shapes, re.escape(UNET) + r"input_blocks\.(\d+)\.", name)
    levels = len(downsamplers) + 1
    if (last - levels) % levels:
        raise CheckpointError(f"{name} has a UNet whose levels differ in depth; this program cannot load it.")
    blocks = (last - levels) // levels
    first = [1 + level * (blocks + 1) for level in range(levels)]
    channels = tuple(_shape(shapes, f"{UNET}input_blocks.{i}.0.in_layers.2.weight", name)[0] for i in first)
    attention = tuple(f"{UNET}input_blocks.{i}.1.norm.weight" in shapes for i in first)
    middle = UNET + "middle_block.1."
    context = _shape(shapes, middle + "transformer_blocks.0.attn2.to_k.weight", name, (2,))[1]
    if len(_shape(shapes, middle + "proj_in.weight", name, (2, 4))) != 4:
        raise CheckpointError(f"{name} has a UNet of Stable Diffusion 2.x; this program loads Stable Diffusion 1.x.")
    heads = _whole_number(metadata, "unet_heads", 8, name)
    groups = _whole_number(metadata, "unet_norm_groups", 32, name)
    _require_divides(groups, channels, "unet_norm_groups", name)
    attended = [width for width, has in zip(channels, attention, strict=True) if has]
    _require_divides(heads, [*attended, channels[-1]], "unet_heads", name)
    layers = _count(shapes, re.escape(middle) + r"transformer_blocks\.(\d+)\.", name)
    return UNetShape(in_channels, channels, attention, blocks, layers, context, heads, groups)


def _text(shapes: Shapes, metadata: Mapping[str, str], name: str) -> TextShape:
    model = TEXT + "text_model."
    vocabulary, channels = _shape(shapes, model + "embeddings.token_embedding.weight", name, (2,))
    positions = _shape(shapes, model + "embeddings.position_embedding.weight", name, (2,))[0]
    if vocabulary < VOCABULARY or positions < POSITIONS:
        raise CheckpointError(f"{name} has a text encoder that does not read CLIP's {VOCABULARY} tokens, 77 at a time.")
    mlp = _shape(shapes, model + "encoder.layers.0.mlp.fc1.weight", name, (2,))[0]
    layers = _count(shapes, re.escape(model) + r"encoder\.layers\.(\d+)\.", name)
    heads = _whole_number(metadata, "text_heads", max(1, channels // TEXT_HEAD_CHANNELS), name)
    _require_divides(heads, [channels], "text_heads", name)
    return TextShape(layers, channels, mlp, vocabulary, positions, heads)


def _shape(shapes: Shapes, key: str, name: str, ranks: tuple[int, ...] = (4,)) -> tuple[int, ...]:
    """The shape of a weight: of rank 4 for a convolution, 2 for a linear layer or a table."""
    if key not in shapes:
        raise CheckpointError(f"{name} is incomplete: the tensor {key} is missing.")
    if len(shapes[key]) not in ranks or 0 in shapes[key]:
        raise CheckpointError(f"{name} is damaged: the tensor {key} has the shape {list(shapes[key])}.")
    return shapes[key]


def _any(keys: Iterable[str], pattern: str) -> bool:
    search = re.compile(pattern).search
    return any(search(key) for key in keys)


def _numbers(shapes: Shapes, pattern: str) -> set[int]:
    found = re.compile(pattern).match
    return {int(match[1]) for key in shapes if (match := found(key))}


def _count(shapes: Shapes, pattern: str, name: str) -> int:
    """How many blocks the pattern's number counts, 0, 1, 2 ...; gaps would make us build blocks that are not there."""
    numbers = _numbers(shapes, pattern)
    if numbers != set(range(len(numbers))):
        raise CheckpointError(f"{name} is incomplete: its blocks are not numbered 0, 1, 2 and so on.")
    return len(numbers)


def _whole_number(metadata: Mapping[str, str], key: str, default: int, name: str) -> int:
    text = metadata.get(key)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,4}", text) or int(text) == 0:
        raise CheckpointError(f'{name} says {key} = "{text[:40]}" in its metadata; that should be a whole number.')
    return int(text)


def _require_divides(divisor: int, widths: Iterable[int], key: str, name: str) -> None:
    for width in widths:
        if width % divisor:
            raise CheckpointError(
                f"{name} has a layer of {width} channels, which {key} = {divisor} does not divide; "
                f"the file's metadata can say another {key}."
            )
