"""The prompt language: comments, <tags>, AND, and weights. Standard library only; any text parses.

WebUI applies them in this order: `strip_comments`, `extra_networks`, `split_and`, `prompt_schedule.schedule`,
`parse_attention`. All of them take linear time and use no recursion, because prompts come from strangers.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

BREAK = ("BREAK", -1.0)
"""The part with which `parse_attention` marks the end of a chunk."""

ROUND = 1.1
SQUARE = 1 / 1.1
MAX_DEPTH = 64  # weights of deeper brackets are ignored (1.1 ** 64 is already 445)

_ATTENTION = re.compile(
    r"""
    \\[()\[\]\\]                        # an escaped bracket or backslash
    | \\                                # a backslash without a bracket has no effect
    | : \s* (?P<weight> [+-]? [.\d]+ ) \s* \)
    | [()\[\]:]
    | [^\\()\[\]:]+
    """,
    re.VERBOSE,
)
_BREAK = re.compile(r"\bBREAK\b")


def parse_attention(text: str) -> list[tuple[str, float]]:
    r"""Split a prompt into parts with weights: `(x)` 1.1, `[x]` 1/1.1, `(x:1.2)` 1.2. Nested weights are multiplied.

    `\(` is a literal bracket. A bracket that is never closed extends to the end. A closing bracket without an opening
    one is text. `BREAK` gives the part `BREAK`. Adjacent parts of equal weight are joined. An empty text gives one
    empty part. (WebUI: `prompt_parser.parse_prompt_attention`.)
    """
    runs: list[tuple[str, float]] = []
    spans: list[_Span] = []  # in the order in which they are closed
    opened: dict[str, list[int]] = {"(": [], "[": []}
    for match in _ATTENTION.finditer(text):
        token, weight = match[0], _number(match["weight"])
        if token in opened:
            opened[token].append(len(runs))
        elif weight is not None and opened["("]:
            spans.append(_Span(opened["("].pop(), len(runs), weight))
        elif match["weight"] and opened["("]:  # (x:1.2.3) and (x:.): the weight is not a number
            runs.append((token[:-1], 1.0))
            spans.append(_Span(opened["("].pop(), len(runs), ROUND))
        elif token == ")" and opened["("]:
            spans.append(_Span(opened["("].pop(), len(runs), ROUND))
        elif token == "]" and opened["["]:
            spans.append(_Span(opened["["].pop(), len(runs), SQUARE))
        elif token.startswith("\\"):
            runs.append((token[1:], 1.0))
        else:
            runs.extend(_split_breaks(token))
    spans += [_Span(start, len(runs), ROUND) for start in opened["("]]
    spans += [_Span(start, len(runs), SQUARE) for start in opened["["]]
    return _merged(_weighted(runs, spans)) or [("", 1.0)]


@dataclass(frozen=True)
class _Span:
    """A closed pair of brackets. It multiplies the weights of the runs from `start` to `end` (exclusive)."""

    start: int
    end: int
    weight: float


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _split_breaks(text: str) -> Iterator[tuple[str, float]]:
    pieces = _BREAK.split(text)
    for i, piece in enumerate(pieces):
        if i > 0:
            yield BREAK
            piece = piece.lstrip()
        yield (piece.rstrip() if i < len(pieces) - 1 else piece), 1.0


def _weighted(runs: Sequence[tuple[str, float]], spans: Sequence[_Span]) -> Iterator[tuple[str, float]]:
    """Multiply the weight of each run by those of the spans around it, in the order of their closing, so that equal
    nestings are rounded equally."""
    starting, ending = defaultdict(list), defaultdict(list)
    for index, span in enumerate(spans):
        if span.start < span.end:
            starting[span.start].append(index)
            ending[span.end].append(index)
    active: list[int] = []
    for position, (text, weight) in enumerate(runs):
        for index in ending[position]:
            del active[bisect_left(active, index)]
        for index in starting[position]:
            insort(active, index)
        yield text, math.prod((spans[index].weight for index in active[:MAX_DEPTH]), start=weight)


def _merged(runs: Iterator[tuple[str, float]]) -> list[tuple[str, float]]:
    texts: list[list[str]] = []
    weights: list[float] = []
    for text, weight in runs:
        if weights and weights[-1] == weight:
            texts[-1].append(text)
        else:
            texts.append([text])
            weights.append(weight)
    return [("".join(pieces), weight) for pieces, weight in zip(texts, weights, strict=True)]


# --- comments, tags and AND ---------------------------------------------------------------------------------

_COMMENT_LINE = re.compile(r"(?:^|\n)#[^\n]*(?:\n|$)")
_COMMENT_END = re.compile(r"#[^\n]*(?:\n|$)")
_TAG = re.compile(r"<\w+:[^>]+>")
_AND = re.compile(r"\bAND\b")
_AND_WEIGHT = re.compile(r"[-+]?(?:\d+\.?|\d*\.\d+)")


def strip_comments(text: str) -> str:
    """Remove `# ...` up to the end of the line; the line break stays (WebUI: `processing_scripts/comments.py`)."""
    return _COMMENT_END.sub("\n", _COMMENT_LINE.sub("\n", text))


def extra_networks(text: str) -> tuple[str, list[str]]:
    """Return the text without tags such as `<lora:name:1>`, and the tags (WebUI: `extra_networks.parse_prompt`)."""
    end = text.rfind(">") + 1  # the pattern scans ahead for a ">": without one it would take quadratic time
    tags = [match[0] for match in _TAG.finditer(text, 0, end)]
    return _TAG.sub("", text[:end]) + text[end:], tags


def split_and(text: str) -> list[tuple[str, float]]:
    """The prompts between `AND`s with their weights: `a dog :1.2 AND a cat`. A single prompt may have a weight, too.

    (WebUI: `prompt_parser.get_multicond_prompt_list`.)
    """
    return [_and_weight(part) for part in _AND.split(text)]


def _and_weight(text: str) -> tuple[str, float]:
    before, colon, number = text.rpartition(":")
    if colon and _AND_WEIGHT.fullmatch(number.strip()):
        return before.rstrip(), float(number)
    return text.rstrip(), 1.0
