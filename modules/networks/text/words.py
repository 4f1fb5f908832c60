"""Textual inversion: words of a prompt that stand for vectors of their own (Gal et al. 2022)."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Embedding:
    """A word, and the vectors (n, C) that take its place in each text encoder's input.

    `vectors` are by the encoder's name, "" for a model that has only one. `shown` follows the word in the parameters
    text: a hash, or the LoRA that brought it. `origin` tells one file's version from another. `details` are what else
    the file says.
    """

    name: str
    vectors: Mapping[str, Tensor]
    shown: str | None = None
    origin: Hashable = None
    details: Mapping[str, object] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """The number of vectors, which is the number of tokens that it counts for."""
        return len(next(iter(self.vectors.values())))

    def fits(self, widths: Mapping[str, int]) -> bool:
        """Whether a model whose encoders read vectors of those widths, by name, can use it."""
        return {name: vectors.shape[1] for name, vectors in self.vectors.items()} == dict(widths)


class Words:
    """The embeddings that prompts may name. They are found by their tokens, as in WebUI: in any case, and inside a
    longer word if that begins with the same tokens. The one of most tokens wins."""

    def __init__(self, embeddings: Iterable[Embedding] = (), encode: Callable[[str], list[int]] = lambda text: []
                 ) -> None:
        """`encode` is the tokenizer. Of two embeddings of one name the first counts."""
        by_name: dict[str, Embedding] = {}
        for embedding in embeddings:
            by_name.setdefault(embedding.name, embedding)
        self._by_first: dict[int, list[tuple[list[int], Embedding]]] = {}
        for embedding in by_name.values():
            ids = encode(embedding.name)
            if ids:
                self._by_first.setdefault(ids[0], []).append((ids, embedding))
        for found in self._by_first.values():
            found.sort(key=lambda entry: len(entry[0]), reverse=True)

    def at(self, tokens: Sequence[int], position: int) -> tuple[Embedding, int] | None:
        """The embedding that begins at that place, and how many tokens its name takes."""
        for ids, embedding in self._by_first.get(tokens[position], ()):
            if list(tokens[position : position + len(ids)]) == ids:
                return embedding, len(ids)
        return None


NO_WORDS = Words()
"""No embeddings at all."""
