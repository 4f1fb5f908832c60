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
from typing import Union

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


# --- what comes before the weights ---------------------------------------------------------------------------------

_COMMENT_LINE = re.compile(r"(?:^|\n)#[^\n]*(?:\n|$)")
_COMMENT_END = re.compile(r"#[^\n]*(?:\n|$)")
_TAG = re.compile(r"<\w+:[^>]+>")
_AND = re.compile(r"\bAND\b")
_AND_WEIGHT = re.compile(r"[-+]?(?:\d+\.?|\d*\.\d+)")


def strip_comments(text: str) -> str:
    """Without `# ...` to the end of the line; the line break stays (WebUI: `processing_scripts/comments.py`)."""
    return _COMMENT_END.sub("\n", _COMMENT_LINE.sub("\n", text))


def extra_networks(text: str) -> tuple[str, list[str]]:
    """The text without its `<lora:name:1>` tags, known or not, and the tags (WebUI: `extra_networks.parse_prompt`)."""
    end = text.rfind(">") + 1  # the pattern looks far ahead for a ">", so it must not look where there is none
    tags = [match[0] for match in _TAG.finditer(text, 0, end)]
    return _TAG.sub("", text[:end]) + text[end:], tags


def split_and(text: str) -> list[tuple[str, float]]:
    """The prompts between `AND`s and their weights, `a dog :1.2 AND a cat`; a single prompt can have one as well.

    (WebUI: `prompt_parser.get_multicond_prompt_list`.)
    """
    return [_and_weight(part) for part in _AND.split(text)]


def _and_weight(text: str) -> tuple[str, float]:
    before, colon, number = text.rpartition(":")
    if colon and _AND_WEIGHT.fullmatch(number.strip()):
        return before.rstrip(), float(number)
    return text.rstrip(), 1.0


# --- schedules -----------------------------------------------------------------------------------------------------

_TOKEN = re.compile(r"\\.|[()\[\]:|]|[^\\()\[\]:|]+|\\\Z|\\\n")
_WHEN = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*")
_CLOSING = {")": "(", "]": "["}


def schedule(text: str, steps: int, *, hires_steps: int | None = None, old: bool = False) -> list[tuple[int, str]]:
    """What the prompt says when: (last step, text) in rising order, the last one for `steps`. Steps count from 1.

    `[a:b:0.5]` becomes b after half of the steps, `[a:b:3]` after step 3; `[b:3]` adds, `[a::3]` takes away; `[a|b]`
    alternates at each step; they nest. A bracket that is none of these is text. A "|" or a backslash that has no
    meaning where it stands makes the whole prompt literal. (WebUI: `get_learned_conditioning_prompt_schedules`, a lark
    grammar; this is a parser by hand for the same language.)

    Args:
        text: one prompt, without AND.
        steps: of the first pass.
        hires_steps: of the second pass, when the schedule is for that one: there, fractions count from 1.0 (`[a:b:1.5]`
            changes half-way) and whole numbers go on after the first pass.
        old: before WebUI 1.6 a number below 1 was a fraction and any other a step, and passes were not told apart.
    """
    tree = _parse_schedule(text)
    clock = _Clock(steps if hires_steps is None or old else hires_steps, None if hires_steps is None else steps, old)
    if tree is None:
        return [(clock.steps, text)]
    ends = {clock.steps}
    for node in _walk(tree):
        if isinstance(node, _Change) and clock.at(node.when) >= 1:
            ends.add(clock.at(node.when))
        elif isinstance(node, _Alternation):
            ends.update(range(1, clock.steps + 1))
    return [(end, _text_at(tree, end, clock)) for end in sorted(ends)]


Node = Union[str, "_Change", "_Alternation", "Nodes"]
Nodes = list[Node]  # nested, not flattened: copying a bracket into each one around it would take quadratic time


@dataclass
class _Change:
    """`[before:after:when]`."""

    before: Nodes
    after: Nodes
    when: str


@dataclass
class _Alternation:
    """`[a|b|c]`."""

    choices: list[Nodes]


@dataclass
class _Frame:
    """A bracket that is open: its parts so far, divided at each ":" or "|"."""

    bracket: str
    parts: list[Nodes] = field(default_factory=lambda: [[]])
    separators: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Clock:
    """Turns the number of a `[a:b:number]` into a step."""

    steps: int
    first_pass: int | None
    old: bool

    def at(self, when: str) -> int:
        """The last step of the old text, at most `steps`; below 1 when the change is over before the first step."""
        value = float(when)
        if self.old:
            value = value * self.steps if value < 1 else value
        elif "." in when:
            value = (value - (0.0 if self.first_pass is None else 1.0)) * self.steps
        else:
            value -= self.first_pass or 0
        return int(max(-1.0, min(value, float(self.steps))))


def _parse_schedule(text: str) -> Nodes | None:
    """The prompt as text and nodes; None if all of it is literal."""
    root: Nodes = []
    open_frames: list[_Frame] = []
    for match in _TOKEN.finditer(text):
        token = match[0]
        here = open_frames[-1].parts[-1] if open_frames else root
        if token in ("(", "["):
            open_frames.append(_Frame(token))
        elif token in (")", "]"):
            nodes = _close(open_frames[-1], token) if open_frames else None
            if nodes is not None:
                open_frames.pop()
                (open_frames[-1].parts[-1] if open_frames else root).append(nodes)
            elif not _spill(open_frames, root):
                return None
            else:
                root.append(token)
        elif token in (":", "|") and open_frames:
            open_frames[-1].separators.append(token)
            open_frames[-1].parts.append([])
        elif token == "|" or token in ("\\", "\\\n"):
            return None
        else:
            here.append(token)
    return root if _spill(open_frames, root) else None


def _close(frame: _Frame, token: str) -> Nodes | None:
    """What a bracket comes to when `token` closes it; None if it is no valid bracket."""
    if frame.bracket != _CLOSING[token]:
        return None
    kinds = set(frame.separators)
    if not kinds or (token == ")" and frame.separators == [":"]):
        return [frame.bracket, *_joined(frame), token]
    if token == ")":
        return None
    if kinds == {"|"}:
        return [_Alternation(frame.parts)]
    last = frame.parts[-1]
    number = _WHEN.fullmatch("".join(node if isinstance(node, str) else "?" for node in last))
    if kinds == {":"} and len(frame.parts) <= 3 and number:
        before = frame.parts[0] if len(frame.parts) == 3 else []
        return [_Change(before, frame.parts[-2], number[1])]
    return None


def _spill(frames: list[_Frame], root: Nodes) -> bool:
    """Makes text of all open brackets; False if there is a "|" in one, which is none then."""
    for frame in frames:
        if "|" in frame.separators:
            return False
        root += [frame.bracket, *_joined(frame)]
    frames.clear()
    return True


def _joined(frame: _Frame) -> Iterator[Node]:
    yield frame.parts[0]
    for separator, part in zip(frame.separators, frame.parts[1:], strict=True):
        yield separator
        yield part


def _walk(tree: Nodes) -> Iterator[_Change | _Alternation]:
    """All changes and alternations, in no particular order."""
    stack: Nodes = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, list):
            stack += node
        elif isinstance(node, _Change):
            yield node
            stack += [node.before, node.after]
        elif isinstance(node, _Alternation):
            yield node
            stack += node.choices


def _text_at(tree: Nodes, step: int, clock: _Clock) -> str:
    pieces: list[str] = []
    stack: Nodes = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, str):
            pieces.append(node)
        elif isinstance(node, _Change):
            stack.append(node.before if step <= clock.at(node.when) else node.after)
        elif isinstance(node, _Alternation):
            stack.append(node.choices[(step - 1) % len(node.choices)])
        else:
            stack.extend(reversed(node))
    return "".join(pieces)
