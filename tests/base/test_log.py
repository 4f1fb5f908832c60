"""The log cannot be forged by what clients send."""

from __future__ import annotations

import logging
import sys

from modules.base.log import OneLine

FORMAT = "%(levelname)s %(name)s: %(message)s"


def lines(message: str, *, error: BaseException | None = None) -> list[str]:
    info = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("jobs", logging.ERROR, __file__, 1, "Job %s failed", (message,), info)
    return OneLine(FORMAT).format(record).splitlines()


def test_a_line_break_in_a_name_begins_no_line() -> None:
    assert lines("a\nERROR root: forged\r\x1b[31m\u2028x") == [
        r"ERROR jobs: Job a\nERROR root: forged\r\x1b[31m\u2028x failed"]
    assert lines("Köln 油画") == ["ERROR jobs: Job Köln 油画 failed"]


def test_the_lines_of_a_traceback_look_like_no_message() -> None:
    try:
        raise ValueError("first\nERROR root: forged")
    except ValueError:
        found = lines("x", error=sys.exc_info()[1])
    assert len(found) > 3
    assert all(line.startswith("    ") for line in found[1:])
