"""CLIP's byte-pair tokenizer, from the vocabulary in `tokenizer/`, with the cleaning that WebUI's tokenizer does."""

from __future__ import annotations

import functools
import html
import json
import math
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from modules.base.unicode import without_surrogates

Encode = Callable[[str], list[int]]
"""Text without markup to token ids, no start or end token added."""

START = 49406
END = 49407  # also the padding of OpenAI's encoders; OpenCLIP's pad with 0
COMMA = 267

_DATA = Path(__file__).parent / "tokenizer"
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_SPECIAL = ("<|startoftext|>", "<|endoftext|>")

_QUOTES = {0x02BC: "'"} | dict.fromkeys(range(0x2018, 0x201C), "'") | dict.fromkeys(range(0x201C, 0x2020), '"')
_WIDTHS = {code: unicodedata.normalize("NFKC", chr(code)) for code in (0x3000, *range(0xFF01, 0xFFF0))}
_LIGATURES = {code: unicodedata.normalize("NFKC", chr(code)) for code in (0x132, 0x133, 0x149, *range(0xFB00, 0xFB07))}
_CONTROLS: dict[int, str | None] = dict.fromkeys(
    (*range(0x09), 0x0B, *range(0x0E, 0x20), 0x7F, *range(0x206A, 0x2070), 0xFEFF, *range(0xFFF9, 0xFFFD))
)
_REPLACED = str.maketrans(_QUOTES | _WIDTHS | _LIGATURES | _CONTROLS)
_TERMINAL_COLOUR = re.compile("\x1b\\[((?:\\d|;)*)([a-zA-Z])")


def clean(text: str) -> str:
    """Curly quotes, full-width characters, ligatures, HTML entities and control characters made plain.

    WebUI's tokenizer (transformers' slow CLIP tokenizer) sends text through ftfy; these are ftfy's rules that people's
    prompts meet, so a full-width comma is a comma. Its repair of wrongly decoded text is left out.
    """
    if text.isascii() and text.isprintable() and "&" not in text:
        return text
    if "<" not in text:
        text = html.unescape(text)
    text = _TERMINAL_COLOUR.sub("", text).translate(_REPLACED)
    return unicodedata.normalize("NFC", text)


@functools.cache
def bracket_weights() -> Mapping[int, float]:
    """What each token with brackets in it multiplies the weight of all later ones by, in WebUI's first emphasis."""
    factors = {"(": 1.1, ")": 1 / 1.1, "[": 1 / 1.1, "]": 1.1}
    vocabulary: dict[str, int] = json.loads((_DATA / "vocab.json").read_text(encoding="utf-8"))
    weights = {token: math.prod(factors.get(letter, 1.0) for letter in text) for text, token in vocabulary.items()}
    return {token: weight for token, weight in weights.items() if weight != 1.0}


@functools.cache
def _tokenizer() -> Tokenizer:
    """The vocabulary, read once (0.2 s)."""
    tokenizer = Tokenizer(
        models.BPE.from_file(
            str(_DATA / "vocab.json"),
            str(_DATA / "merges.txt"),
            unk_token=_SPECIAL[1],
            continuing_subword_prefix="",
            end_of_word_suffix="</w>",
        )
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(_SPECIAL))
    return tokenizer


def load_tokenizer() -> Encode:
    """The tokenizer as a function."""
    tokenizer = _tokenizer()

    def encode(text: str) -> list[int]:
        # Scripts cut emoji in two.
        return list(tokenizer.encode(without_surrogates(clean(text).lower()), add_special_tokens=False).ids)

    return encode


def spell(tokens: Sequence[int]) -> str:
    """What tokens say, as CLIP sees it: lower case, a space after each word and sign."""
    text: str = _tokenizer().decode(list(tokens), skip_special_tokens=False)
    return text.replace("</w>", " ").rstrip()
