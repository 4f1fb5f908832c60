"""Stable Diffusion 2.x: OpenCLIP's text encoder, and UNets that predict eps or v."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from modules.networks import ldm_keys
from modules.networks.families.family import Family, Part, float32, no_name, some_name
from modules.networks.families.ldm import (
    UNET,
    fits,
    inputs_of,
    linear_projections,
    openclip_alone,
    predicts,
    spread,
    unet_part,
    vae_part,
)
from modules.networks.inputs import DEPTH, INPAINT, PLAIN
from modules.networks.shapes import Header, openclip_shape
from modules.networks.text.clip import Reading, TextEncoder, build_clip
from modules.networks.text.clip_tokenizer import load_tokenizer
from modules.networks.unet import ask_unet
from modules.sampling.latent import Latent
from modules.sampling.levels import EPSILON, V_PREDICTION, PredictionType, stable_diffusion
from modules.sampling.types import Inputs

TEXT = "cond_stage_model.model."
TEXT_NETWORKS = ("lora_te_text_model", "lycoris_te_text_model", "text_encoder_text_model",
                 "base_model_model_text_model")
LATENT = Latent(channels=4, cell=8, scale=0.18215)
INPUTS: dict[int, Inputs] = {4: PLAIN, 5: DEPTH, 9: INPAINT}

TELLING = UNET + "output_blocks.11.1.transformer_blocks.0.norm1.bias"
"""The tensor whose values spread by more than `V_SPREAD` in the checkpoints that predict v (as ComfyUI guesses)."""
V_SPREAD = 0.09


def _guess(header: Header) -> PredictionType:
    plain = header.shapes[UNET + "input_blocks.0.0.weight"][1] == 4  # the others of this family all predict eps
    return V_PREDICTION if plain and spread(header.values(TELLING)) > V_SPREAD else EPSILON


def _text(parts: Mapping[str, nn.Module], device: torch.device) -> TextEncoder:
    return TextEncoder(parts["text"], load_tokenizer(), device, Reading(layer=lambda how: 2, pad=0))


SD2 = Family(
    name="sd2",
    label="a Stable Diffusion 2.x checkpoint",
    signs=(some_name(r"^(cond_stage_model\.model|model\.diffusion_model)\."),
           no_name(r"^model\.diffusion_model\.(label_emb|joint_blocks)\.|^cond_stage_model\.transformer\.|^conditioner\."),
           lambda header: header.has(TEXT) or linear_projections(header)),
    parts=(
        unet_part(INPUTS, head_channels=64),
        vae_part(LATENT),
        Part("text", "text encoder", TEXT, lambda header: openclip_shape(header, TEXT, pooled=False), build_clip,
             ldm_keys.openclip_key, float32, TEXT_NETWORKS, openclip_alone(TEXT)),
    ),
    check=fits("text"),
    text=_text,
    ask=ask_unet,
    latent=LATENT,
    levels=lambda header: stable_diffusion(),
    prediction=lambda header: predicts(header, _guess),
    inputs=inputs_of(INPUTS),
    size=lambda prediction: 768 if prediction is V_PREDICTION else 512,
)
