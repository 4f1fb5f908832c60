"""Networks for words with tiny random weights, as folders."""

from __future__ import annotations

import json
from pathlib import Path

import torch

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "a", "the", "dog", "bench", "tree", "red"]


def clip_tokenizer(folder: Path):  # type: ignore[no-untyped-def]
    """A tokenizer of CLIP's kind that knows letters and no merges."""
    from transformers import CLIPTokenizerFast

    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    vocabulary = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(vocabulary)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizerFast.from_pretrained(folder, model_max_length=16, pad_token="<|endoftext|>")


TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
TEXT = {**TOWER, "vocab_size": 54, "bos_token_id": 52, "eos_token_id": 53, "pad_token_id": 53,
        "max_position_embeddings": 16}


def write_owlv2(folder: Path) -> Path:
    from transformers import Owlv2Config, Owlv2ForObjectDetection, Owlv2Processor
    from transformers.models.owlv2.image_processing_pil_owlv2 import Owlv2ImageProcessorPil

    torch.manual_seed(0)
    network = Owlv2ForObjectDetection(Owlv2Config(text_config=TEXT, projection_dim=32, vision_config={
        **TOWER, "image_size": 64, "patch_size": 8}))
    network.box_head.dense2.weight.data *= 0.01  # so that each box is near its place
    network.save_pretrained(folder)
    Owlv2Processor(Owlv2ImageProcessorPil(size={"height": 64, "width": 64}), clip_tokenizer(folder)).save_pretrained(
        folder)
    return folder


def write_clipseg(folder: Path) -> Path:
    from transformers import CLIPSegConfig, CLIPSegForImageSegmentation, CLIPSegProcessor
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    torch.manual_seed(0)
    network = CLIPSegForImageSegmentation(CLIPSegConfig(
        text_config=TEXT, vision_config={**TOWER, "image_size": 64, "patch_size": 8}, projection_dim=32,
        reduce_dim=16, extract_layers=[0, 1], decoder_num_attention_heads=2, decoder_intermediate_size=32))
    for name, parameter in network.named_parameters():
        if name.startswith("decoder.") and parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)  # so that the words matter
    network.save_pretrained(folder)
    CLIPSegProcessor(ViTImageProcessorPil(size={"height": 64, "width": 64}), clip_tokenizer(folder)).save_pretrained(
        folder)
    return folder


def write_dino(folder: Path) -> Path:
    from transformers import (
        BertConfig,
        BertTokenizerFast,
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        GroundingDinoProcessor,
        SwinConfig,
    )
    from transformers.models.grounding_dino.image_processing_pil_grounding_dino import GroundingDinoImageProcessorPil

    torch.manual_seed(0)
    backbone = SwinConfig(image_size=64, patch_size=4, embed_dim=16, depths=[1, 1, 1, 1], num_heads=[2, 2, 2, 2],
                          window_size=4, out_features=["stage2", "stage3", "stage4"])
    text = BertConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
                      vocab_size=len(WORDS), max_position_embeddings=64)
    network = GroundingDinoForObjectDetection(GroundingDinoConfig(
        backbone_config=backbone, text_config=text, d_model=32, encoder_layers=1, decoder_layers=2,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=64, decoder_ffn_dim=64, num_queries=20,
        max_text_len=32))
    network.save_pretrained(folder)
    tokenizer = BertTokenizerFast(vocab={word: number for number, word in enumerate(WORDS)})
    GroundingDinoProcessor(GroundingDinoImageProcessorPil(size={"shortest_edge": 96, "longest_edge": 160}),
                           tokenizer).save_pretrained(folder)
    return folder
