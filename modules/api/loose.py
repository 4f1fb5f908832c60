"""Values of another JSON type than the field's, made to fit as pydantic 1 did, which WebUI's clients rely on."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import BeforeValidator


def _whole(value: Any) -> Any:
    """A fraction is cut off."""
    return int(value) if isinstance(value, float) and math.isfinite(value) else value


def _text(value: Any) -> Any:
    """A number is written out."""
    return str(value) if isinstance(value, (int, float)) else value


def _mapping(value: Any) -> Any:
    """An empty list is an empty object: PHP and Lua write both the same."""
    return {} if value == [] else value


WHOLE = BeforeValidator(_whole)
"""For an int. A Field with limits stands before it, otherwise the schema lacks the limits."""
TEXT = BeforeValidator(_text)
"""The same for a str."""
LooseStr = Annotated[str, TEXT]
LooseDict = Annotated[dict[str, Any], BeforeValidator(_mapping)]
