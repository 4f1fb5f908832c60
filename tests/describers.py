"""A captioner and a tagger with tiny weights, as files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from onnx_files import Output, write_onnx

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "a", "red", "dog", "cat", "house", "tree", "sits",
         "on", "under", "the"]
LIST = """tag_id,name,category,count
1,general,9,10
2,explicit,9,10
3,long_hair,0,5
4,"rem_(re:zero)",4,5
5,^_^,0,5
"""


def write_blip(folder: Path, seed: int = 0) -> Path:
    """A BLIP captioner in transformers' layout."""
    from transformers import (
        BertTokenizerFast,
        BlipConfig,
        BlipForConditionalGeneration,
        BlipProcessor,
    )
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    torch.manual_seed(seed)
    common = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    text = {**common, "vocab_size": len(WORDS), "encoder_hidden_size": 32, "bos_token_id": 5, "eos_token_id": 3,
            "sep_token_id": 3, "pad_token_id": 0, "max_position_embeddings": 64}
    network = BlipForConditionalGeneration(BlipConfig(text_config=text, vision_config={
        **common, "image_size": 32, "patch_size": 8}))
    for parameter in network.text_decoder.parameters():
        parameter.data *= 4  # so that the words depend on the picture
    tokenizer = BertTokenizerFast(vocab={word: number for number, word in enumerate(WORDS)}, bos_token="[DEC]")
    network.save_pretrained(folder)
    BlipProcessor(BlipImageProcessorPil(size={"height": 32, "width": 32}), tokenizer).save_pretrained(folder)
    return folder


def write_tagger(folder: Path, name: str = "wd14", weights: np.ndarray | None = None,
                 shares: tuple[float, ...] = (0.8, 0.1, 0.6, 0.9, 0.2)) -> Path:
    folder = folder / name
    write_onnx(folder / "model.onnx", {"predictions": Output.of([shares], weights)}, shape=(1, 40, 40, 3),
               channels_last=True)
    (folder / "selected_tags.csv").write_text(LIST)
    return folder
