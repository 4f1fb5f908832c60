"""The log: one message a line, whatever a client put into it."""

from __future__ import annotations

import logging
import re

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class OneLine(logging.Formatter):
    """Writes control characters of a message as escapes, so that a name with a line break in it forges no line.

    Tracebacks keep their lines; each is behind spaces.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The message in one line."""
        record.message = _CONTROL.sub(lambda found: ascii(found[0])[1:-1], record.message)
        return super().formatMessage(record)

    def formatException(self, ei: object) -> str:
        """The traceback, moved to the right."""
        return "\n".join(f"    {line}" for line in super().formatException(ei).splitlines())  # type: ignore[arg-type]


def to_console() -> None:
    """Sends the log of the whole program to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
