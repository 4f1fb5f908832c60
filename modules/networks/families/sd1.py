"""Stable Diffusion 1.x, and its inpainting checkpoints of nine channels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from modules.errors import CheckpointError
from modules.networks import ldm_keys
from modules.networks.families.family import Family, Part, some_name
from modules.networks.inputs import INPAINT, PLAIN
from modules.networks.shapes import Header, UNetShape, VaeShape, clip_shape, unet_shape, vae_shape
from modules.networks.text.clip import TextEncoder, build_clip
from modules.networks.text.clip_tokenizer import load_tokenizer
from modules.networks.unet import ask_unet, build_unet
from modules.networks.vae import build_vae
from modules.sampling.latent import Latent
from modules.sampling.levels import EPSILON, stable_diffusion
from modules.sampling.types import Inputs

UNET = "model.diffusion_model."
VAE = "first_stage_model."
TEXT = "cond_stage_model.transformer.text_model."
LATENT = Latent(channels=4, cell=8, scale=0.18215)
INPUTS: dict[int, Inputs] = {4: PLAIN, 9: INPAINT}


def _unet(header: Header) -> UNetShape:
    shape = unet_shape(header, UNET)
    if shape.in_channels not in INPUTS:
        raise CheckpointError(f"{header.name} has a UNet with {shape.in_channels} input channels; this program knows 4 "
                              "(ordinary) and 9 (inpainting).")
    return shape


def _vae(header: Header) -> VaeShape:
    shape = vae_shape(header, VAE)
    if shape.latent_channels != LATENT.channels:
        raise CheckpointError(f"{header.name} has an autoencoder that is not Stable Diffusion 1.x's (latents of 4 "
                              "channels).")
    return shape


def _with_text_model(key: str) -> str:
    """The text encoder's names with `text_model.` in them: files from before transformers 4.0 lack it."""
    old = TEXT.removesuffix("text_model.")
    rest = key.removeprefix(old)
    return TEXT + rest if rest != key and rest.startswith(("embeddings.", "encoder.", "final_layer_norm.")) else key


def _check(shapes: Mapping[str, Any], header: Header) -> None:
    gives, reads = shapes["text"].channels, shapes["unet"].context_channels
    if gives != reads:
        raise CheckpointError(f"{header.name} does not fit together: its text encoder gives {gives} channels and its "
                              f"UNet reads {reads}.")


def _text(parts: Mapping[str, nn.Module], device: torch.device) -> TextEncoder:
    return TextEncoder(parts["text"], load_tokenizer(), device)


def _inputs(shape: UNetShape) -> Inputs:
    return INPUTS[shape.in_channels]


SD1 = Family(
    name="sd1",
    label="a Stable Diffusion 1.x checkpoint",
    signs=(some_name("^" + UNET.replace(".", r"\.")),),
    parts=(
        Part("unet", "UNet", UNET, _unet, build_unet, ldm_keys.unet_key),
        Part("vae", "autoencoder (VAE)", VAE, _vae, build_vae, ldm_keys.vae_key),
        Part("text", "text encoder", TEXT, lambda header: clip_shape(header, TEXT), build_clip, ldm_keys.clip_key,
             full_precision=True),  # it is small, it runs once a prompt, and its rounding reaches each step
    ),
    rename=_with_text_model,
    check=_check,
    text=_text,
    ask=ask_unet,
    latent=LATENT,
    levels=lambda header: stable_diffusion(),
    prediction=lambda header: EPSILON,
    inputs=_inputs,
)
