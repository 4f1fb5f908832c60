"""Stable Diffusion 1.x, its inpainting checkpoints of nine channels, and InstructPix2Pix of eight."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from modules.networks import ldm_keys
from modules.networks.families.family import Family, Part, float32, no_name, some_name
from modules.networks.families.ldm import fits, inputs_of, linear_projections, predicts, unet_part, vae_part
from modules.networks.inputs import EDIT, INPAINT, PLAIN
from modules.networks.shapes import clip_shape
from modules.networks.text.clip import TextEncoder, build_clip
from modules.networks.text.clip_tokenizer import load_tokenizer
from modules.networks.unet import ask_unet
from modules.sampling.latent import Latent
from modules.sampling.levels import stable_diffusion
from modules.sampling.types import Inputs

TEXT_ROOT = "cond_stage_model.transformer."
TEXT = "cond_stage_model.transformer.text_model."
TEXT_NETWORKS = ("lora_te_text_model", "lora_te1_text_model", "lycoris_te_text_model", "text_encoder_text_model",
                 "base_model_model_text_model")
LATENT = Latent(channels=4, cell=8, scale=0.18215)
INPUTS: dict[int, Inputs] = {4: PLAIN, 8: EDIT, 9: INPAINT}


def _with_text_model(key: str) -> str:
    """The text encoder's names with `text_model.` in them: files from before transformers 4.0 lack it."""
    old = TEXT.removesuffix("text_model.")
    rest = key.removeprefix(old)
    return TEXT + rest if rest != key and rest.startswith(("embeddings.", "encoder.", "final_layer_norm.")) else key


def _text(parts: Mapping[str, nn.Module], device: torch.device) -> TextEncoder:
    return TextEncoder(parts["text"], load_tokenizer(), device)


SD1 = Family(
    name="sd1",
    label="a Stable Diffusion 1.x checkpoint",
    signs=(some_name(r"^model\.diffusion_model\.(input|middle|output)_block"),
           no_name(r"^model\.diffusion_model\.label_emb\.|^cond_stage_model\.model\.|^conditioner\."),
           lambda header: header.has(TEXT_ROOT) or not linear_projections(header)),
    parts=(
        unet_part(INPUTS, heads=8),
        vae_part(LATENT),
        Part("text", "text encoder", TEXT, lambda header: clip_shape(header, TEXT), build_clip, ldm_keys.clip_key,
             float32, TEXT_NETWORKS, {"text_model.": TEXT}),  # float32: it is small, and its rounding reaches each step
    ),
    rename=_with_text_model,
    check=fits("text"),
    text=_text,
    ask=ask_unet,
    latent=LATENT,
    levels=lambda header: stable_diffusion(),
    prediction=predicts,
    inputs=inputs_of(INPUTS),
)
