"""Kinds of files that are known and cannot be loaded as a checkpoint: each has a sentence instead."""

from __future__ import annotations

from modules.networks.families.family import Kind, some_name

OTHERS = (
    Kind(label="a LoRA file, not a checkpoint",
         signs=(some_name(r"lora_(up|down)\.weight$|\.lora_[AB]\.|\.hada_w1_a$|\.lokr_w[12]"),)),
    Kind(label="a Flux checkpoint", signs=(some_name(r"(^|\.)double_blocks\.\d"),)),
    Kind(label="a ControlNet file, not a checkpoint",
         signs=(some_name(r"^(control_model\.|zero_convs\.|input_hint_block\.|controlnet_)"),)),
    Kind(label="a textual inversion embedding, not a checkpoint",
         signs=(some_name(r"^(emb_params|string_to_param|clip_[gl]$)"),)),
    Kind(label="a part of a model in diffusers' own layout",
         signs=(some_name(r"^((unet|vae|text_encoder|first_stage_model)\.)?((encoder|decoder)\.)?(down|up|mid)_blocks?\."),)),
)
