"""Stable Diffusion XL (Podell et al. 2023): two text encoders, and sizes that the UNet is told beside the words. Its
refiner has the second encoder alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from modules.networks import ldm_keys
from modules.networks.families.family import Family, Part, Told, float32, no_float16, no_name, some_name
from modules.networks.families.ldm import fits, inputs_of, openclip_alone, predicts, unet_part, vae_part
from modules.networks.inputs import EDIT, PLAIN, Inpaint
from modules.networks.shapes import Header, clip_shape, openclip_shape
from modules.networks.text.clip import Reading, SideBySide, TextEncoder, build_clip
from modules.networks.text.clip_tokenizer import load_tokenizer
from modules.networks.unet import ask_unet
from modules.sampling.conditioning import Conditioning, SizeIds, TextOptions
from modules.sampling.latent import Latent
from modules.sampling.levels import ALIGN_YOUR_STEPS_SDXL, Levels, stable_diffusion, zero_terminal
from modules.sampling.types import Inputs

LATENT = Latent(channels=4, cell=8, scale=0.13025)
INPUTS: dict[int, Inputs] = {4: PLAIN, 8: EDIT, 9: Inpaint(noted_in_txt2img=False)}
CLIP_L = "conditioner.embedders.0.transformer.text_model."
CLIP_G, REFINERS_CLIP_G = "conditioner.embedders.1.model.", "conditioner.embedders.0.model."
WAVES = 256
"""Sines and cosines by which the UNet is told a number."""


def _levels(header: Header) -> Levels:
    levels = stable_diffusion(ALIGN_YOUR_STEPS_SDXL)
    return zero_terminal(levels) if "ztsnr" in header.shapes else levels


def _openclip(name: str, words: str, prefix: str) -> Part:
    return Part(name, words, prefix, lambda header: openclip_shape(header, prefix, pooled=True), build_clip,
                ldm_keys.openclip_key, float32,
                ("lora_te2_text_model", "lycoris_te2_text_model", "text_encoder_2_text_model"), openclip_alone(prefix))


def _reads_g(clip: nn.Module, device: torch.device) -> TextEncoder:
    return TextEncoder(clip, load_tokenizer(), device, Reading(lambda how: 2, normed=False, pad=0, name="clip_g"))


def _both(parts: Mapping[str, nn.Module], device: torch.device) -> SideBySide:
    reading = Reading(lambda how: how.clip_skip if how.clip_l_skip else 2, normed=False, name="clip_l")
    first = TextEncoder(parts["clip_l"], load_tokenizer(), device, reading)
    return SideBySide(first, _reads_g(parts["clip_g"], device))


def _numbers(sizes: SizeIds) -> tuple[float, ...]:
    return *sizes.original[::-1], *sizes.crop[::-1], *sizes.target[::-1]


def _refiners_numbers(sizes: SizeIds) -> tuple[float, ...]:
    return *sizes.original[::-1], *sizes.crop[::-1], sizes.aesthetic


def _told(numbers: Callable[[SizeIds], tuple[float, ...]]) -> Told:
    """Behind the pooled vector come `numbers`, as waves. An empty negative prompt is told as zeros, as in training."""
    def told(cond: Conditioning, texts: Sequence[str], how: TextOptions) -> Conditioning:
        tokens, pooled = cond.tokens, cond.vector
        assert pooled is not None
        if how.negative and not any(texts):
            tokens, pooled = torch.zeros_like(tokens), torch.zeros_like(pooled)
        sizes = waves(torch.tensor(numbers(how.sizes), device=tokens.device)).flatten()
        return Conditioning(tokens, torch.cat([pooled, sizes.expand(len(pooled), -1)], dim=1))

    return told


def waves(numbers: Tensor) -> Tensor:
    """Numbers (n,) as cosines and sines of falling frequency, (n, WAVES): the embedding of timesteps (Vaswani et al.
    2017, section 3.5)."""
    half = WAVES // 2
    frequencies = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32, device=numbers.device) / half)
    angles = numbers.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)


SDXL = Family(
    name="sdxl",
    label="a Stable Diffusion XL checkpoint",
    signs=(some_name(r"^model\.diffusion_model\.label_emb\.|^conditioner\.embedders\."),
           no_name(r"^conditioner\.embedders\.0\.model\.")),
    parts=(
        unet_part(INPUTS, head_channels=64),
        vae_part(LATENT, no_float16),
        Part("clip_l", "first text encoder (CLIP ViT-L)", CLIP_L, lambda header: clip_shape(header, CLIP_L), build_clip,
             ldm_keys.clip_key, float32,
             ("lora_te1_text_model", "lora_te_text_model", "lycoris_te1_text_model", "text_encoder_text_model"),
             {"text_model.": CLIP_L}),
        _openclip("clip_g", "second text encoder (OpenCLIP ViT-bigG)", CLIP_G),
    ),
    check=fits("clip_l", "clip_g", told=6 * WAVES),
    text=_both,
    told=_told(_numbers),
    ask=ask_unet,
    latent=LATENT,
    levels=_levels,
    prediction=predicts,
    inputs=inputs_of(INPUTS),
    size=lambda prediction: 1024,
)

SDXL_REFINER = Family(
    name="sdxl-refiner",
    label="a Stable Diffusion XL refiner",
    signs=(some_name(r"^conditioner\.embedders\.0\.model\."),),
    parts=(
        unet_part({4: PLAIN}, head_channels=64),
        vae_part(LATENT, no_float16),
        _openclip("clip_g", "text encoder (OpenCLIP ViT-bigG)", REFINERS_CLIP_G),
    ),
    check=fits("clip_g", told=5 * WAVES),
    text=lambda parts, device: _reads_g(parts["clip_g"], device),
    told=_told(_refiners_numbers),
    ask=ask_unet,
    latent=LATENT,
    levels=_levels,
    prediction=predicts,
    inputs=inputs_of(INPUTS),
    size=lambda prediction: 1024,
)
