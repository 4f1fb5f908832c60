"""`config.json`: options that are remembered between runs, in WebUI's file format with WebUI's names.

Entries that this program does not know are kept, so that WebUI can use the same file.
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
    """The entries of one file. A file that cannot be read is renamed to `config.json.broken`, with a warning."""

    def __init__(self, file: Path) -> None:
        self._file: Path | None = file
        self._lock = threading.Lock()
        self._values = self._read(file)

    def values(self) -> dict[str, Any]:
        """All entries by name."""
        with self._lock:
            return dict(self._values)

    def hold(self, values: Mapping[str, Any]) -> None:
        """From now on hold `values`, which another process keeps, and write nothing."""
        with self._lock:
            self._file, self._values = None, dict(values)

    def update(self, changes: Mapping[str, Any]) -> None:
        """Store `changes`. If the file cannot be written, they hold until the program ends.

        Raises InvalidInput, storing nothing, if they are not valid JSON or make the file larger than `MOST_BYTES`.
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
                if self._file:
                    self._write(self._file, content)

    def _read(self, file: Path) -> dict[str, Any]:
        try:
            values = json.loads(file.read_text("utf-8"))
            if not isinstance(values, dict):
                raise ValueError("it holds no object")
            return values
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            aside = file.with_name(f"{file.name}.broken")
            log.warning("%s cannot be read (%s); it is kept as %s, and the options are as they were at first.",
                        file, error, aside.name)
            with contextlib.suppress(OSError):
                os.replace(file, aside)
            return {}

    def _write(self, file: Path, content: bytes) -> None:
        """Replace the file atomically: after a crash it has the old or the new content."""
        try:
            write_whole(file, content)
        except OSError as error:
            log.warning("%s cannot be written: %s.", file, error.strerror or error)
