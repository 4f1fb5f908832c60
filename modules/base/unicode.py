"""Text that every file and every answer can hold."""

from __future__ import annotations


def without_surrogates(text: str) -> str:
    """`text` with a question mark for each half character (a lone surrogate): UTF-8 has no bytes for those."""
    return text.encode("utf-8", "replace").decode("utf-8")
