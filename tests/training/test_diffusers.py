"""The committed checkpoint in diffusers, through its own converters and a config that we pass: the same picture."""

import sys
from pathlib import Path

import pytest
import torch

diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "training"))

from diffusers.loaders.single_file_utils import (  # noqa: E402
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
)
from evaluate import GUIDANCE, Checkpoint  # noqa: E402
from model import Sizes  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from sample import ddim  # noqa: E402

CHECKPOINT = ROOT / "models/Stable-diffusion/emoji-mini.safetensors"
MERGES = ROOT / "modules/networks/text/tokenizer/merges.txt"
TEXT = "cond_stage_model.transformer."


def diffusers_pipeline(sizes: Sizes) -> object:
    weights = {k: v.float() for k, v in load_file(CHECKPOINT).items()}
    unet = diffusers.UNet2DConditionModel(
        sample_size=16, layers_per_block=sizes.unet_blocks, block_out_channels=sizes.unet_channels,
        down_block_types=["CrossAttnDownBlock2D" if a else "DownBlock2D" for a in sizes.unet_attention],
        up_block_types=["CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(sizes.unet_attention)],
        cross_attention_dim=sizes.text_width, attention_head_dim=sizes.unet_heads, norm_num_groups=sizes.unet_groups)
    unet.load_state_dict(convert_ldm_unet_checkpoint(dict(weights), dict(unet.config)))
    levels = len(sizes.vae_channels)
    vae = diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels, up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=sizes.vae_channels, layers_per_block=sizes.vae_blocks, norm_num_groups=sizes.vae_groups,
        sample_size=128)
    vae.load_state_dict(convert_ldm_vae_checkpoint(dict(weights), dict(vae.config)))
    text = transformers.CLIPTextModel(transformers.CLIPTextConfig(
        vocab_size=sizes.vocabulary, hidden_size=sizes.text_width, intermediate_size=4 * sizes.text_width,
        num_hidden_layers=sizes.text_layers, num_attention_heads=sizes.text_heads, projection_dim=sizes.text_width,
        hidden_act="quick_gelu"))
    words = {k[len(TEXT):]: v for k, v in weights.items() if k.startswith(TEXT)}
    if not set(words) & set(text.state_dict()):  # newer transformers leave "text_model." out
        words = {k.removeprefix("text_model."): v for k, v in words.items()}
    text.load_state_dict(words, strict=False)
    scheduler = diffusers.DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
                                        clip_sample=False, set_alpha_to_one=False, steps_offset=1)
    pipeline = diffusers.StableDiffusionPipeline(
        vae=vae.eval(), text_encoder=text.eval(), tokenizer=None, unet=unet.eval(), scheduler=scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@torch.no_grad()
def test_diffusers_draws_the_same_picture() -> None:
    ours = Checkpoint(CHECKPOINT, MERGES)
    sizes = ours.sizes
    pipeline = diffusers_pipeline(sizes)
    prompts = ["a red apple on a blue background", "a big yellow star in the night sky", ""]
    tokens = torch.tensor([ours.tokenizer(p) for p in prompts])
    theirs = pipeline.text_encoder(tokens).last_hidden_state
    told, empty = theirs[:2], theirs[2:].expand(2, -1, -1)
    assert (ours.words(prompts) - theirs).abs().max() < 1e-4
    noise = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    expected = pipeline(prompt_embeds=told, negative_prompt_embeds=empty, latents=noise.clone(), height=128, width=128,
                        num_inference_steps=20, guidance_scale=GUIDANCE, output_type="pt").images
    made = (ours.vae.decode(ddim(ours.unet, noise, told, empty, 20, GUIDANCE)).clamp(-1, 1) + 1) / 2
    assert ((made * 255).round() - (expected * 255).round()).abs().max() <= 1
