"""Kinds of files that are no checkpoints: each is told by its names, and what it is good for is said of it."""

from __future__ import annotations

from modules.networks.families.family import Kind, all_names, no_name, some_name

NETWORK = r"lora_(up|down)\.weight$|\.lora_[AB]\.|\.hada_w1_a$|\.lokr_w[12]|\.lora\.(up|down)\.weight$"
DIFFUSERS = r"^((unet|vae|text_encoder|first_stage_model)\.)?((encoder|decoder)\.)?(down|up|mid)_blocks?\."
CONTROL = r"^(control_model\.|zero_convs\.|input_hint_block\.|controlnet_|lllite_unet_)"
NOT_LOADED = "This program cannot use it."

OTHERS = (
    Kind(label="a LoRA file, not a checkpoint", signs=(some_name(NETWORK),),
         use="Put it into models/Lora and name it in a prompt: <lora:{stem}:1>."),
    Kind(label="a Flux checkpoint", signs=(some_name(r"(^|\.)double_blocks\.\d"), no_name(NETWORK)), use=NOT_LOADED),
    Kind(label="a Z-Image checkpoint", signs=(some_name(r"(^|\.)(cap_embedder|noise_refiner)\.\d"), no_name(NETWORK)),
         use=NOT_LOADED),
    Kind(label="a ControlNet file, not a checkpoint", signs=(some_name(CONTROL),),
         use="Put it into models/ControlNet."),
    Kind(label="a T2I-Adapter file, not a checkpoint",
         signs=(some_name(r"^(adapter\.)?body\.\d+\.(block1|resnets\.\d+\.block1)\."),),
         use="Put it into models/ControlNet."),
    Kind(label="an IP-Adapter file, not a checkpoint", signs=(some_name(r"^(image_proj|ip_adapter)\."),),
         use="Put it into models/ControlNet; a unit's preprocessor ip-adapter-auto uses it."),
    Kind(label="an image encoder (CLIP vision), not a checkpoint",
         signs=(some_name(r"^vision_model\.embeddings\."),), use="Put it into models/clip_vision for IP-Adapters."),
    Kind(label="a textual inversion embedding, not a checkpoint",
         signs=(some_name(r"^(emb_params|string_to_param|clip_[gl]$)"),),
         use="Put it into embeddings; its name is a word of prompts: {stem}."),
    Kind(label="an upscaler, not a checkpoint",
         signs=(some_name(r"^(params(_ema)?\.)?(model\.1\.sub\.0\.RDB1|body\.0\.rdb1|RRDB_trunk\.0|layers\.0\.residual_group)"
                          r"\."),),
         use="Put it into models/ESRGAN; Extras, hires fix and SD upscale offer it."),
    Kind(label="a face restoration model, not a checkpoint",
         signs=(some_name(r"^(params(_ema)?\.)?stylegan_decoder\."),),
         use="Put it into models/GFPGAN; Advanced and Extras offer it."),
    Kind(label="a text encoder (CLIP ViT-L), not a checkpoint",
         signs=(all_names(r"^(text_model|text_projection|logit_scale)\b"),),
         use="Put it into models/text_encoder; checkpoints that lack theirs use it."),
    Kind(label="a text encoder (OpenCLIP), not a checkpoint",
         signs=(some_name(r"^transformer\.resblocks\.\d"),),
         use="Put it into models/text_encoder; checkpoints that lack theirs use it."),
    Kind(label="a text encoder (T5), not a checkpoint",
         signs=(some_name(r"^encoder\.block\.0\.layer\.0\.SelfAttention\."),),
         use="Put it into models/text_encoder with T5's tokenizer.json beside it; Stable Diffusion 3 uses it."),
    Kind(label="a part of a model in diffusers' own layout",
         signs=(some_name(DIFFUSERS), no_name(NETWORK), no_name(CONTROL)), use=NOT_LOADED),
)

VAE_FILE = Kind(
    label="a VAE file",
    signs=(some_name(r"^(first_stage_model\.)?(encoder\.down|decoder\.up|encoder\.conv_in|decoder\.conv_in)\b"),
           no_name(r"^model\.diffusion_model\.|" + DIFFUSERS)),
    use="Put it into models/VAE and choose it under VAE.")
