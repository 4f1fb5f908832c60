"""A word with vectors of its own that can be trained: textual inversion (Gal et al. 2022)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from modules.errors import InvalidInput
from modules.networks.model import DiffusionModel
from modules.networks.patches.lora import UNET
from modules.networks.text.clip_tokenizer import load_tokenizer
from modules.networks.text.words import Embedding


class InventedWord(nn.Module):
    """The vectors that a model's text encoders read in the place of the word `name`."""

    def __init__(self, model: DiffusionModel, name: str, count: int, initial: str) -> None:
        """`count` vectors for each encoder, which begin as those of the tokens of `initial`, over and over. Raises
        InvalidInput without such words."""
        super().__init__()
        tokens = load_tokenizer()(initial)
        if not tokens:
            raise InvalidInput("Name the words whose meaning the embedding begins with.", field="initial")
        (first, *_) = [part for part in model.layers.prefixes if part != UNET]
        self._model, self._name = [model], name  # in a list, or its weights would be this module's
        self._encoders = list(model.text.widths)
        numbers = torch.tensor([tokens[at % len(tokens)] for at in range(count)], device=model.device)
        self.vectors = nn.ParameterList(
            nn.Parameter(cast(Any, model.parts[encoder or first]).embeddings.token_embedding(numbers).detach().float())
            for encoder in self._encoders)

    @contextmanager
    def attached(self) -> Iterator[None]:
        """While this lasts prompts may name the word."""
        (model,) = self._model
        try:
            model.text.take_words([Embedding(self._name, dict(zip(self._encoders, self.vectors, strict=True)))])
            model.clear_caches()
            yield
        finally:
            model.text.take_words(model.patches.embeddings)
            model.clear_caches()

    def tensors(self) -> dict[str, Tensor]:
        """The vectors as a file holds them, on the CPU: `emb_params`, or those of each encoder by its name."""
        return {encoder or "emb_params": vectors.detach().cpu().clone()
                for encoder, vectors in zip(self._encoders, self.vectors, strict=True)}
