"""Networks for meanings with tiny random weights, as folders."""

from __future__ import annotations

from pathlib import Path

import torch
from grounders import TEXT, TOWER, clip_tokenizer

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "castle", "old", "fortress", "red", "dog", "by", "the",
         "lake", "boat"]


def write_sentences(folder: Path) -> Path:
    from transformers import BertConfig, BertModel, BertTokenizerFast

    torch.manual_seed(0)
    BertModel(BertConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
                         vocab_size=len(WORDS), max_position_embeddings=32)).save_pretrained(folder)
    BertTokenizerFast(vocab={word: number for number, word in enumerate(WORDS)}).save_pretrained(folder)
    return folder


def write_clip(folder: Path) -> Path:
    from transformers import CLIPConfig, CLIPModel, CLIPProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    torch.manual_seed(0)
    CLIPModel(CLIPConfig(text_config=TEXT, vision_config={**TOWER, "image_size": 32, "patch_size": 8},
                         projection_dim=24)).save_pretrained(folder)
    CLIPProcessor(CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
                  clip_tokenizer(folder)).save_pretrained(folder)
    return folder
