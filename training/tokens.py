"""CLIP's tokenizer: words to numbers, with the byte pair merges that open-clip-torch ships."""

from __future__ import annotations

import gzip
import re
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

START, END, LENGTH = 49406, 49407, 77
WORD = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[^\W\d_]+|\d|(?:[^\s\w]|_)+", re.IGNORECASE)


def _byte_letters() -> dict[int, str]:
    """A printable letter for each of the 256 bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {b: chr(b) for b in plain}
    for byte in range(256):
        if byte not in letters:
            letters[byte] = chr(256 + len(letters) - len(plain))
    return letters


class Tokenizer:
    def __init__(self, merges: Path) -> None:
        """merges: the list of pairs, with one line above it; plain text, or packed by gzip."""
        packed = merges.suffix == ".gz"
        content = gzip.decompress(merges.read_bytes()) if packed else merges.read_bytes()
        lines = content.decode().split("\n")[1: 49152 - 256 - 2 + 1]
        pairs = [tuple(line.split()) for line in lines]
        self.letters = _byte_letters()
        order = sorted(self.letters, key=lambda b: (ord(self.letters[b]) >= 256, ord(self.letters[b])))
        singles = [self.letters[b] for b in order]
        names = [*singles, *(s + "</w>" for s in singles), *("".join(p) for p in pairs)]
        self.numbers = {name: i for i, name in enumerate(names)}
        self.ranks = {pair: i for i, pair in enumerate(pairs)}
        self.word = lru_cache(maxsize=20000)(self._word)

    def _word(self, word: str) -> tuple[int, ...]:
        letters = [self.letters[b] for b in word.encode()]
        parts = [*letters[:-1], letters[-1] + "</w>"]
        while len(parts) > 1:
            ranked = [(self.ranks.get(pair, 1 << 30), pair) for pair in pairwise(parts)]
            rank, best = min(ranked)
            if rank == 1 << 30:
                break
            merged, i = [], 0
            while i < len(parts):
                if tuple(parts[i: i + 2]) == best:
                    merged.append(parts[i] + parts[i + 1])
                    i += 2
                else:
                    merged.append(parts[i])
                    i += 1
            parts = merged
        return tuple(self.numbers[part] for part in parts)

    def __call__(self, text: str) -> list[int]:
        """77 numbers: start, words, end; filled up with ends."""
        text = " ".join(text.lower().split())
        numbers = [n for word in WORD.findall(text) for n in self.word(word)][: LENGTH - 2]
        return [START, *numbers, *[END] * (LENGTH - 1 - len(numbers))]
