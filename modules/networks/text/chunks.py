"""Cuts a weighted prompt into chunks of 75 tokens, as long as what CLIP reads at once. Pure Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from modules.errors import InvalidInput
from modules.networks.text.clip_tokenizer import COMMA, END, START, Encode, load_tokenizer
from modules.networks.text.words import NO_WORDS, Embedding, Words
from modules.text.prompt import BREAK, parse_attention

Parts = Sequence[tuple[str, float]]
"""Texts and weights, as `prompt.parse_attention` gives them."""

LENGTH = 75  # tokens in a chunk, without the start and end tokens that go round it
FILLER = 0  # what stands for a vector of an embedding
COUNTER_BACKTRACK = 20  # the counter in the page does not know a request's own setting


@dataclass
class Chunk:
    """Tokens and their weights, at most 75 each. `embeddings` are those whose vectors take the tokens' place, each from
    the token of that index on; the tokens there are `FILLER`."""

    tokens: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    embeddings: list[tuple[int, Embedding]] = field(default_factory=list)

    def padded(self, pad: int = END) -> tuple[list[int], list[float]]:
        """77 tokens and weights: start, the tokens, end, and `pad` until there are enough."""
        missing = LENGTH - len(self.tokens)
        tokens = [START, *self.tokens, END, *[pad] * missing]
        return tokens, [1.0, *self.weights, *[1.0] * (missing + 1)]


def chunk(parts: Parts, encode: Encode, comma_backtrack: int, words: Words = NO_WORDS) -> list[Chunk]:
    """Chunks of a prompt, at least one.

    Args:
        parts: text and weight, as `prompt.parse_attention` gives them; each part is tokenised by itself.
        encode: the tokenizer.
        comma_backtrack: when a chunk is full, what follows its last comma moves to the next chunk, if that comma is at
            most so many tokens back; 0 cuts anywhere. (WebUI: `sd_hijack_clip.tokenize_line`.)
        words: the embeddings that the prompt may name. The vectors of one are never divided.

    Raises InvalidInput for an embedding of more vectors than a chunk has room for.
    """
    chunks = _cut(parts, encode, comma_backtrack, words)
    if len(chunks) > 1 and not chunks[-1].tokens:
        chunks.pop()  # a BREAK at the end opens no chunk
    return chunks


def old_chunk(text: str, encode: Encode, bracket_weights: Mapping[int, float]) -> Chunk:
    """One chunk as WebUI's first emphasis made it: brackets change the weight of all that follows, `:1.2` is text.

    What goes beyond 75 tokens is cut off (WebUI: `sd_hijack_clip_old`).
    """
    made, weight = Chunk(), 1.0
    for token in encode(text):
        if token in bracket_weights:
            weight *= bracket_weights[token]
        elif len(made.tokens) < LENGTH:
            made.tokens.append(token)
            made.weights.append(weight)
    return made


def count(parts: Parts, encode: Encode, comma_backtrack: int, words: Words = NO_WORDS) -> int:
    """Tokens of a prompt as WebUI counts them: a chunk that another one or a BREAK follows counts as full."""
    chunks = _cut(parts, encode, comma_backtrack, words)
    return LENGTH * (len(chunks) - 1) + len(chunks[-1].tokens)


def token_count(text: str, words: Words = NO_WORDS) -> tuple[int, int]:
    """(tokens, the same rounded up to whole chunks of 75, at least one) of a text without schedules; needs no model.
    An embedding counts as many tokens as it has vectors."""
    tokens = count(parse_attention(text), load_tokenizer(), COUNTER_BACKTRACK, words)
    return tokens, LENGTH * max(1, -(-tokens // LENGTH))


def _cut(parts: Parts, encode: Encode, comma_backtrack: int, words: Words) -> list[Chunk]:
    chunks = [Chunk()]
    last_comma: int | None = None  # its index in the chunk that is being filled
    for text, weight in parts:
        if (text, weight) == BREAK:
            chunks.append(Chunk())
            last_comma = None
            continue
        tokens = encode(text)
        position = 0
        while position < len(tokens):
            token, current = tokens[position], chunks[-1]
            if len(current.tokens) == LENGTH:
                chunks.append(Chunk())
                if token != COMMA and last_comma is not None and LENGTH - last_comma <= comma_backtrack:
                    _move_tail(current, chunks[-1], last_comma + 1)
                current, last_comma = chunks[-1], None
            if token == COMMA:
                last_comma = len(current.tokens)
            found = words.at(tokens, position)
            if found is None:
                current.tokens.append(token)
                current.weights.append(weight)
                position += 1
                continue
            embedding, length = found
            if embedding.count > LENGTH:
                raise InvalidInput(f"The embedding {embedding.name} has {embedding.count} vectors, and CLIP reads "
                                   f"{LENGTH} at a time.", field="prompt")
            if len(current.tokens) + embedding.count > LENGTH:
                chunks.append(Chunk())
                current, last_comma = chunks[-1], None
            current.embeddings.append((len(current.tokens), embedding))
            current.tokens += [FILLER] * embedding.count
            current.weights += [weight] * embedding.count
            position += length
    return chunks


def _move_tail(full: Chunk, fresh: Chunk, start: int) -> None:
    fresh.tokens[:], fresh.weights[:] = full.tokens[start:], full.weights[start:]
    fresh.embeddings[:] = [(place - start, one) for place, one in full.embeddings if place >= start]
    full.embeddings[:] = [(place, one) for place, one in full.embeddings if place < start]
    del full.tokens[start:], full.weights[start:]
