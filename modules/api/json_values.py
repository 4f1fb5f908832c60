"""Values of JSON bodies that no answer can hold: Python's reader takes NaN, Infinity and halves of characters."""

from __future__ import annotations

import math
from typing import Any

from modules.base.unicode import without_surrogates


def check_answerable(value: Any, where: str = "") -> None:
    """Raises ValueError for NaN, infinity and half a surrogate pair, naming the place; `where` is that of `value`."""
    if isinstance(value, str) and not value.isascii() and without_surrogates(value) != value:
        raise ValueError(f"{without_surrogates(where)}: it holds half a character (a lone surrogate)")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{without_surrogates(where)}: {value} is no number that JSON knows")
    items = enumerate(value) if isinstance(value, list) else value.items() if isinstance(value, dict) else ()
    for name, item in items:
        place = f"{where}.{name}" if where else str(name)
        check_answerable(name, place)
        check_answerable(item, place)
