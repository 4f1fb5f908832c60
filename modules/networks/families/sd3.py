"""Stable Diffusion 3 and 3.5 (Esser et al. 2024): a flow, a transformer instead of a UNet, latents of 16 channels, and
up to three text encoders. The third, T5, is large; without it and its tokenizer its tokens are zeros, as in WebUI."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modules.errors import CheckpointError
from modules.networks import ldm_keys
from modules.networks.families.family import Family, Part, float32, some_name
from modules.networks.families.ldm import UNET, vae_part
from modules.networks.inputs import PLAIN
from modules.networks.mmdit import MMDiTShape, ask_mmdit, build_mmdit, mmdit_key, mmdit_shape
from modules.networks.shapes import Header, TextShape, clip_shape
from modules.networks.text.clip import Reading, TextEncoder, build_clip, emphasised
from modules.networks.text.clip_tokenizer import load_tokenizer
from modules.networks.text.t5 import T5Encoder, build_t5, in_bfloat16, t5_key, t5_shape, take_tokenizer, tokenizer_of
from modules.networks.text.words import Embedding
from modules.sampling.conditioning import Conditioning, TextOptions
from modules.sampling.latent import Latent
from modules.sampling.levels import FLOW, Flow

LATENT = Latent(channels=16, cell=8, scale=1.5305, shift=0.0609, multiple=16)
SHIFT = 3.0
CLIP_L, CLIP_G = "text_encoders.clip_l.transformer.", "text_encoders.clip_g.transformer."
T5 = "text_encoders.t5xxl.transformer."


def _unet(header: Header) -> MMDiTShape:
    shape = mmdit_shape(header, UNET)
    if shape.in_channels != LATENT.channels:
        raise CheckpointError(f"{header.name} has a transformer with {shape.in_channels} input channels; this program "
                              f"knows {LATENT.channels}.")
    return shape


def _clip(name: str, words: str, prefix: str, *, pooled: bool) -> Part:
    def shape(header: Header) -> TextShape:
        projection = prefix + "text_projection.weight" if pooled else ""
        return clip_shape(header, prefix + "text_model.", projection=projection)

    def key(name: str, shape: TextShape) -> str | None:
        if name == "text_projection.weight":
            return name if shape.pooled_channels else None
        return ldm_keys.clip_key(name.removeprefix("text_model."), shape)

    return Part(name, words, prefix, shape, build_clip, key, float32, NETWORKS[name],
                {own: prefix + own for own in ("text_model.", "text_projection.")})


NETWORKS = {
    "clip_l": ("lora_te1_text_model", "lora_te_text_model", "lycoris_te1_text_model", "text_encoder_text_model"),
    "clip_g": ("lora_te2_text_model", "lycoris_te2_text_model", "text_encoder_2_text_model"),
}


class ThreeEncoders:
    """CLIP's two encoders, whose channels lie side by side and are filled up with zeros to those of T5, and T5, whose
    tokens follow theirs. The pooled vectors of the two lie side by side."""

    def __init__(self, clips: Sequence[TextEncoder], channels: int, third: T5Encoder | None = None) -> None:
        """`channels` is what the transformer reads, and `third` T5 if it is there."""
        self._clips, self._channels, self._third = tuple(clips), channels, third

    @property
    def widths(self) -> dict[str, int]:
        """The length of the vectors that each CLIP encoder reads, by its name."""
        return {name: width for clip in self._clips for name, width in clip.widths.items()}

    def take_words(self, embeddings: Iterable[Embedding]) -> None:
        """From now on prompts may name these `embeddings`, those that have vectors for both CLIP encoders."""
        words = self._clips[0].words_of(one for one in embeddings if one.fits(self.widths))
        for clip in self._clips:
            clip.words = words

    def embeddings_in(self, texts: Sequence[str], how: TextOptions) -> list[Embedding]:
        """The embeddings that the texts name, once for each CLIP encoder."""
        return [one for clip in self._clips for one in clip.embeddings_in(texts, _cut_anywhere(how))]

    def encode(self, texts: Sequence[str], how: TextOptions) -> Conditioning:
        """Tokens (texts, 77 * chunks of CLIP and of T5, channels), the pooled vectors (texts, V) of the first chunk.
        Raises InvalidInput."""
        how = _cut_anywhere(how)
        chunks: list[Tensor] = []
        pooled: list[Tensor] = []
        for column in self._clips[0].columns(texts, how):
            answers = [clip.answer(column, how) for clip in self._clips]
            chunks.append(emphasised(torch.cat([z for z, _ in answers], dim=-1), column, how))
            pooled = pooled or [vector for _, vector in answers if vector is not None]
        words = torch.cat(chunks, dim=1)
        words = F.pad(words, (0, self._channels - words.shape[-1]))
        more = torch.zeros_like(words) if self._third is None else self._third.encode(texts, how)
        return Conditioning(torch.cat([words, more.to(words)], dim=1), torch.cat(pooled, dim=-1))


def _cut_anywhere(how: TextOptions) -> TextOptions:
    """Chunks of this family's prompts do not end at commas, as in WebUI."""
    return replace(how, comma_backtrack=0)


def _text(parts: Mapping[str, nn.Module], device: torch.device) -> ThreeEncoders:
    encode = load_tokenizer()
    unet: Any = parts["unet"]
    return ThreeEncoders([
        TextEncoder(parts["clip_l"], encode, device, Reading(lambda how: 2, normed=False, pooled=True, name="clip_l")),
        TextEncoder(parts["clip_g"], encode, device, Reading(lambda how: 2, normed=False, pad=0, name="clip_g"))],
        unet.config.joint_attention_dim, T5Encoder(parts["t5"], device) if "t5" in parts else None)


def _check(shapes: Mapping[str, Any], header: Header) -> None:
    unet, first, second = (shapes[name] for name in ("unet", "clip_l", "clip_g"))
    vector, channels = first.channels + second.pooled_channels, first.channels + second.channels
    if vector != unet.vector_channels:
        raise CheckpointError(f"{header.name} does not fit together: its text encoders give {vector} pooled channels "
                              f"and its transformer reads {unet.vector_channels}.")
    if "t5" in shapes and shapes["t5"].channels != unet.context_channels:
        raise CheckpointError(f"{header.name} does not fit together: its T5 gives {shapes['t5'].channels} channels and "
                              f"its transformer reads {unet.context_channels}.")
    if channels > unet.context_channels:
        raise CheckpointError(f"{header.name} does not fit together: its text encoders give {channels} channels and "
                              f"its transformer reads at most {unet.context_channels}.")


SD3 = Family(
    name="sd3",
    label="a Stable Diffusion 3 checkpoint",
    signs=(some_name(r"^model\.diffusion_model\.joint_blocks\.\d"),),
    parts=(
        Part("unet", "transformer", UNET, _unet, build_mmdit, mmdit_key,
             network_names=("lora_unet", "lora_transformer", "lycoris_unet", "transformer", "diffusion_model"),
             alone={name: UNET + name for name in ("joint_blocks.", "x_embedder.", "t_embedder.", "y_embedder.",
                                                   "context_embedder.", "final_layer.", "pos_embed")}),
        vae_part(LATENT),
        _clip("clip_l", "first text encoder (CLIP ViT-L)", CLIP_L, pooled=False),
        _clip("clip_g", "second text encoder (OpenCLIP ViT-bigG)", CLIP_G, pooled=True),
        Part("t5", "third text encoder (T5)", T5, lambda header: t5_shape(header, T5), build_t5, t5_key, in_bfloat16,
             alone={name: T5 + name for name in ("encoder.", "shared.", "decoder.", "lm_head.")}, optional=True,
             complete=lambda path, folders: tokenizer_of(path, folders) is not None, settle=take_tokenizer),
    ),
    check=_check,
    text=_text,
    ask=ask_mmdit,
    latent=LATENT,
    levels=lambda header: Flow.shifted(SHIFT),
    prediction=lambda header: FLOW,
    inputs=lambda shape: PLAIN,
    size=lambda prediction: 1024,
)
