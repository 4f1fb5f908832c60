"""What is remembered between runs: `config.json`, WebUI's file with its names, and what other programs put there.

Options that this program does not know are kept as they are, so that the file can go back and forth.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modules.base.files import write_whole
from modules.errors import InvalidInput

log = logging.getLogger(__name__)

MOST_BYTES = 2**20


class Config:
    """The entries of one file. A file that cannot be read is put aside as `config.json.broken`, with a warning."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._values = self._read()

    def values(self) -> dict[str, Any]:
        """All entries by name."""
        with self._lock:
            return dict(self._values)

    def update(self, changes: Mapping[str, Any]) -> None:
        """Remembers `changes`; where the disk refuses, until the program ends.

        Raises InvalidInput, remembering nothing, when they are no JSON or make the file larger than `MOST_BYTES`.
        """
        with self._lock:
            values = {**self._values, **changes}
            try:
                text = json.dumps(values, indent=4, ensure_ascii=False, allow_nan=False)
                content = text.encode()
            except (TypeError, ValueError, RecursionError) as error:
                raise InvalidInput("The options hold a value that JSON does not know.") from error
            if len(content) > MOST_BYTES:
                raise InvalidInput("These are more options than can be remembered.")
            if values != self._values:
                self._values = values
                self._write(content)

    def _read(self) -> dict[str, Any]:
        try:
            values = json.loads(self._file.read_text("utf-8"))
            if not isinstance(values, dict):
                raise ValueError("it holds no object")
            return values
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            aside = self._file.with_name(f"{self._file.name}.broken")
            log.warning("%s cannot be read (%s); it is kept as %s, and the options are as they were at first.",
                        self._file, error, aside.name)
            with contextlib.suppress(OSError):
                os.replace(self._file, aside)
            return {}

    def _write(self, content: bytes) -> None:
        """The whole file or the old one, whatever happens meanwhile."""
        try:
            write_whole(self._file, content)
        except OSError as error:
            log.warning("%s cannot be written: %s.", self._file, error.strerror or error)
