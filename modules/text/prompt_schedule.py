"""Prompts that change from step to step: `[from:to:when]` and `[a|b]`. Standard library only; any text parses.

Parsing takes linear time and no recursion, because prompts come from strangers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Union

_TOKEN = re.compile(r"\\.|[()\[\]:|]|[^\\()\[\]:|]+|\\\Z|\\\n")
_WHEN = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*")
_CLOSING = {")": "(", "]": "["}


def schedule(text: str, steps: int, *, hires_steps: int | None = None, old: bool = False) -> list[tuple[int, str]]:
    """The texts of a prompt over the steps: (last step, text) in ascending order. Steps count from 1.

    `[a:b:0.5]` changes from a to b after half of the steps, `[a:b:3]` after step 3. `[b:3]` adds b, `[a::3]` removes a.
    `[a|b]` alternates at each step. They may be nested. Any other bracket is text. A "|" or a backslash without a
    meaning at its place makes the whole prompt literal. (WebUI: `get_learned_conditioning_prompt_schedules`, a lark
    grammar; this is a hand-written parser for the same language.)

    Args:
        text: one prompt, without AND.
        steps: the steps of the first pass.
        hires_steps: the steps of the second pass, if the schedule is for that pass. There, fractions count from 1.0
            (`[a:b:1.5]` changes half-way), and integers continue after the first pass.
        old: as before WebUI 1.6: a number below 1 is a fraction, any other is a step, and both passes are alike.
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
    """An open bracket with its parts so far, which are separated by ":" or "|"."""

    bracket: str
    parts: list[Nodes] = field(default_factory=lambda: [[]])
    separators: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Clock:
    """Converts the number in `[a:b:number]` to a step."""

    steps: int
    first_pass: int | None
    old: bool

    def at(self, when: str) -> int:
        """The last step with the text before the change, at most `steps`. Below 1 if the change is before the first
        step."""
        value = float(when)
        if self.old:
            value = value * self.steps if value < 1 else value
        elif "." in when:
            value = (value - (0.0 if self.first_pass is None else 1.0)) * self.steps
        else:
            value -= self.first_pass or 0
        return int(max(-1.0, min(value, float(self.steps))))


def _parse_schedule(text: str) -> Nodes | None:
    """Parse the prompt into texts and nodes. None if the whole prompt is literal."""
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
    """The nodes of a bracket that `token` closes. None if they do not form a valid bracket."""
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
    """Turn all open brackets into text. Returns False if one contains a "|", which cannot be text."""
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
    """Yield all changes and alternations, in no particular order."""
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
