"""Vectors of texts and pictures that are near each other when they mean the same: sentence embeddings (Reimers and
Gurevych 2019; means of a BERT's tokens, such as all-MiniLM-L6-v2), and CLIP (Radford et al. 2021).

On the CPU: the networks are small, and the accelerator is the checkpoints'.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from modules.errors import CheckpointError

CLIP = "clip"
SENTENCES = "bert", "distilbert", "mpnet", "roberta", "xlm-roberta"
"""The kinds of networks whose tokens are averaged."""
LONGEST = 256
"""Tokens of a text, as all-MiniLM-L6-v2 has it; the rest is cut off."""

Vectors = NDArray[np.float32]


class Embedder:
    """A network of a folder in transformers' layout. `sees` says that it knows pictures too; its vectors have `size`
    numbers. Only one thread at a time may use it."""

    def __init__(self, folder: Path) -> None:
        """Raises CheckpointError. No code of the folder runs, and pickles are not read."""
        from transformers import AutoConfig, AutoModel, AutoProcessor, AutoTokenizer

        local = {"local_files_only": True, "trust_remote_code": False}
        try:
            kind = cast(Any, AutoConfig).from_pretrained(folder, **local).model_type
            if kind not in (CLIP, *SENTENCES):
                raise ValueError(f"{kind} networks are not read here")
            self.sees = kind == CLIP
            self._network: Any = cast(Any, AutoModel).from_pretrained(
                folder, use_safetensors=True, dtype=torch.float32, **local).eval()
            reader: Any = cast(Any, AutoProcessor if self.sees else AutoTokenizer).from_pretrained(folder, **local)
        except Exception as error:  # a foreign folder makes transformers raise nearly anything
            raise CheckpointError(f"{folder.name} in models/embedders is no network for meanings that can be used: "
                                  f"{(str(error).splitlines() or [''])[0][:200]}") from error
        self._tokenizer = reader.tokenizer if self.sees else reader
        self._pictures = reader.image_processor if self.sees else None
        room = self._network.config.text_config if self.sees else self._network.config
        self.size = int(self._network.config.projection_dim if self.sees else self._network.config.hidden_size)
        self._longest = min(LONGEST, int(room.max_position_embeddings))

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> Vectors:
        """The vectors (N, D) of texts, each of length 1."""
        inputs = self._tokenizer(list(texts), padding=True, truncation=True, max_length=self._longest,
                                 return_tensors="pt")
        if self.sees:
            return _of_length_1(self._network.get_text_features(**inputs).pooler_output)
        counted = inputs["attention_mask"][..., None].float()
        tokens = self._network(**inputs).last_hidden_state
        return _of_length_1((tokens * counted).sum(dim=1) / counted.sum(dim=1))

    @torch.inference_mode()
    def pictures(self, pictures: Sequence[Image.Image]) -> Vectors:
        """The vectors (N, D) of RGB pictures, each of length 1; of a network that `sees`."""
        assert self._pictures is not None
        inputs = self._pictures(images=list(pictures), return_tensors="pt")
        return _of_length_1(self._network.get_image_features(**inputs).pooler_output)


def _of_length_1(vectors: Tensor) -> Vectors:
    return cast(Vectors, torch.nn.functional.normalize(vectors.float(), dim=-1).numpy())
