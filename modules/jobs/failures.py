"""Turns the exception that ended a job into a UserError: one sentence for the user."""

from __future__ import annotations

import logging

from modules.base.free_memory import is_out_of_memory
from modules.errors import OUR_FAULT, UserError

log = logging.getLogger(__name__)


class OutOfMemory(UserError):
    """There was not enough memory for the picture."""

    status = 503


class InternalError(UserError):
    """A bug in the program. The log has the traceback."""

    status = 500


def explained(error: BaseException, job_id: str) -> UserError:
    """Return `error` as a UserError. An unexpected one becomes an InternalError and is logged with its traceback."""
    if isinstance(error, UserError):
        error.__cause__ = error.__context__ = None  # their frames would keep the model in memory
        return error.with_traceback(None)
    if is_out_of_memory(error):
        log.warning("Job %s ran out of memory: %s", job_id, error)
        return OutOfMemory("There is not enough memory for this: try a smaller picture or a smaller batch.")
    log.error("Job %s failed", job_id, exc_info=error)
    return InternalError(OUR_FAULT)
