"""Makes text safe for UTF-8."""

from __future__ import annotations


def without_surrogates(text: str) -> str:
    """`text` with a question mark for each unpaired surrogate, which UTF-8 cannot encode."""
    return text.encode("utf-8", "replace").decode("utf-8")
