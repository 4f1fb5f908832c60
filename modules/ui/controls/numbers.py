"""Number controls whose values are refused where they are used, and not while they are being typed.

Gradio's refuse a value that is outside their range before any handler of ours is asked: typing 256 brought an error at
"2", in words that do not say which control is meant, and an emptied slider failed without a word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from modules.errors import InvalidInput
from modules.ui.page.component import WithoutStub


class Slider(gr.Slider, metaclass=WithoutStub):
    """Gradio's; its value in Python is None where its field is empty or holds a number outside its range."""

    def preprocess(self, payload: float | None) -> float | None:  # type: ignore[override]
        return payload if _fits(self, payload) else None


class Number(gr.Number, metaclass=WithoutStub):
    """Gradio's; its value in Python is what stands in its field, rounded to its precision. It may be empty: None."""

    def preprocess(self, payload: float | None) -> float | int | None:
        return payload if payload is None else self.round_to_precision(payload, self.precision)


def by_name(widgets: Mapping[str, Any], arguments: Sequence[Any]) -> dict[str, Any]:
    """An event's arguments, which came in the order of `widgets`, under their names. Raises as `check`."""
    named = dict(zip(widgets, arguments, strict=True))
    check(widgets, named)
    return named


def check(widgets: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Raises InvalidInput with the label of the first of `widgets` whose value, by the same name, it does not allow."""
    for name, widget in widgets.items():
        if not isinstance(widget, Slider | Number) or (isinstance(widget, Number) and values[name] is None):
            continue
        if not _fits(widget, values[name]):
            low, high = limits(widget)
            raise InvalidInput(f"{widget.label} must be a number between {low} and {high}.", field=name)


def limits(widget: Slider | Number) -> tuple[float, float]:
    """(smallest, largest) value; ours all have both."""
    assert widget.minimum is not None
    assert widget.maximum is not None
    return widget.minimum, widget.maximum


def _fits(widget: Slider | Number, value: Any) -> bool:
    low, high = limits(widget)
    return isinstance(value, int | float) and low <= value <= high
