"""Writing a file whole, or not at all."""

from __future__ import annotations

from pathlib import Path

from modules.base.files import write_whole
from modules.gallery.saving import CannotSave


def write(path: Path, content: bytes) -> None:
    """`content` whole at `path`, or nothing. Raises CannotSave."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
    except OSError as error:
        raise CannotSave(f"{path} cannot be written: {error.strerror or error}.") from error
