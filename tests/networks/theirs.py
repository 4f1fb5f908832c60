"""The tiny checkpoints as diffusers' and transformers' own networks, brought over by diffusers' own converters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.loaders import single_file_utils as converters
from golden.tiny import checkpoint, kind_of, tiny_bench
from safetensors.torch import load_file
from transformers import CLIPTextModel, CLIPTextModelWithProjection

TRAINED = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def unet_of(name: str, model: Any, *, told: int = 0) -> diffusers.UNet2DConditionModel:
    """diffusers' UNet with the file's weights; `told` numbers beside the pooled vector."""
    config = {key: value for key, value in model.unet.config.items() if not key.startswith("_")}
    if told:
        config |= {"class_embed_type": None, "addition_embed_type": "text_time", "addition_time_embed_dim": 256}
    unet = diffusers.UNet2DConditionModel.from_config(config)
    unet.load_state_dict(converters.convert_ldm_unet_checkpoint(load_file(checkpoint(name)), config))
    return unet.eval()


def vae_of(name: str, model: Any) -> diffusers.AutoencoderKL:
    vae = diffusers.AutoencoderKL.from_config(model.vae.config)
    vae.load_state_dict(converters.convert_ldm_vae_checkpoint(load_file(checkpoint(name)), dict(vae.config)))
    return vae.eval()


def transformer_of(name: str, model: Any) -> diffusers.SD3Transformer2DModel:
    transformer = diffusers.SD3Transformer2DModel.from_config(model.unet.config)
    transformer.load_state_dict(converters.convert_sd3_transformer_checkpoint_to_diffusers(load_file(checkpoint(name))))
    return transformer.eval()


def clip_of(name: str, model: Any, part: str, prefix: str, *, pooled: bool) -> torch.nn.Module:
    """A text encoder in transformers' layout in the file."""
    config = model.parts[part].config
    config.projection_dim = config.hidden_size
    clip = (CLIPTextModelWithProjection if pooled else CLIPTextModel)(config)
    weights = {key.removeprefix(prefix): value for key, value in load_file(checkpoint(name)).items()
               if key.startswith(prefix) and "position_ids" not in key}
    if pooled and "text_projection.weight" not in weights:
        weights["text_projection.weight"] = torch.eye(config.hidden_size)  # as diffusers' own reader of files
    return _filled(clip, weights)


def openclip_of(name: str, model: Any, part: str, prefix: str, *, pooled: bool, layers: int) -> torch.nn.Module:
    """A text encoder in OpenCLIP's layout in the file, with so many of its layers."""
    config = type(model.parts[part].config).from_dict(model.parts[part].config.to_dict())
    config.num_hidden_layers = layers
    if pooled:
        config.projection_dim = model.parts[part].text_projection.shape[1]
    clip = (CLIPTextModelWithProjection if pooled else CLIPTextModel)(config)
    weights = converters.convert_open_clip_checkpoint(clip, load_file(checkpoint(name)), prefix)
    return _filled(clip, weights)


def _filled(clip: Any, weights: dict[str, torch.Tensor]) -> torch.nn.Module:
    own = clip.state_dict()
    nested = any(key.startswith("text_model.") for key in own)
    weights = {key if nested else key.removeprefix("text_model."): value for key, value in weights.items()}
    clip.load_state_dict({key: weights[key] for key in own})
    return clip.eval()


def pipeline_of(name: str) -> diffusers.DiffusionPipeline:
    """diffusers' pipeline over a tiny checkpoint, without tokenizers."""
    model = tiny_bench(kind_of(name)).model(name)
    vae, nothing = vae_of(name, model), {"tokenizer": None, "tokenizer_2": None}
    predicts = "v_prediction" if name.endswith("-v") else "epsilon"
    scheduler = diffusers.EulerDiscreteScheduler(**TRAINED, prediction_type=predicts)
    if name == "tiny-sd3":
        root = "text_encoders."
        return diffusers.StableDiffusion3Pipeline(
            transformer=transformer_of(name, model), scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
            vae=vae, text_encoder=clip_of(name, model, "clip_l", root + "clip_l.transformer.", pooled=True),
            text_encoder_2=clip_of(name, model, "clip_g", root + "clip_g.transformer.", pooled=True), **nothing,
            text_encoder_3=None, tokenizer_3=None)
    if name == "tiny-sdxl-refiner":
        layers = model.parts["clip_g"].config.num_hidden_layers
        return diffusers.StableDiffusionXLImg2ImgPipeline(
            vae=vae, unet=unet_of(name, model, told=5), scheduler=scheduler, text_encoder=None, **nothing,
            text_encoder_2=openclip_of(name, model, "clip_g", "conditioner.embedders.0.model.", pooled=True,
                                       layers=layers), requires_aesthetics_score=True, add_watermarker=False)
    if name.startswith("tiny-sdxl"):
        layers, root = model.parts["clip_g"].config.num_hidden_layers, "conditioner.embedders."
        return diffusers.StableDiffusionXLPipeline(
            vae=vae, unet=unet_of(name, model, told=6), scheduler=scheduler, **nothing,
            text_encoder=clip_of(name, model, "clip_l", root + "0.transformer.", pooled=False),
            text_encoder_2=openclip_of(name, model, "clip_g", root + "1.model.", pooled=True, layers=layers),
            add_watermarker=False)
    if name.startswith("tiny-sd2"):
        layers = model.parts["text"].config.num_hidden_layers - 1  # diffusers' folders leave out the last
        text = openclip_of(name, model, "text", "cond_stage_model.model.", pooled=False, layers=layers)
    else:
        text = clip_of(name, model, "text", "cond_stage_model.transformer.", pooled=False)
    return diffusers.StableDiffusionPipeline(
        vae=vae, text_encoder=text, tokenizer=None, unet=unet_of(name, model), scheduler=scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False)


def folder_of(name: str, folder: Path, **how: Any) -> Path:
    """A tiny checkpoint as a folder in diffusers' layout; `how` it is saved."""
    pipeline_of(name).save_pretrained(folder, **how)
    return folder
