"""The tiny checkpoints that WebUI was recorded with, built once for the test files that want them."""

from __future__ import annotations

import hashlib
import tempfile
from functools import cache
from pathlib import Path

from golden.runner import Bench
from make_tiny import make_tiny

TINY = {
    "tiny-sd15": ("tiny-sd15", 0, "3afea94600c2bea0425424abf1f828b68520122329fcf2089759948f11e0592f"),
    "tiny-sd15-inpainting": (
        "tiny-sd15-inpainting", 0, "fcc08fa429a75d62412407ce67e8795eff70b11e56d439b6e173ef06b9c1378c"),
    "tiny-sd15-b": ("tiny-sd15", 0xBEEF, "02fe230a0bbfc65550bc5800b2f87ebcab8d4b8c5d78c556086b77b0c74c912d"),
}
"""name: (shapes, salt, sha256 of the file that WebUI had)."""


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory()


def checkpoint(name: str) -> Path:
    """The file of that name; the same bytes that WebUI was given, or the assertion fails."""
    shapes, salt, sha256 = TINY[name]
    path = Path(_folder().name) / "checkpoints" / f"{name}.safetensors"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        make_tiny(shapes, path, salt)
        assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    return path


@cache
def tiny_bench() -> Bench:
    """An engine over all of them."""
    folder = {checkpoint(name).parent for name in TINY}.pop()
    return Bench(folder, folder.parent / "data")
