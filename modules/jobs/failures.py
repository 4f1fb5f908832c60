"""What a job that failed tells the user: any exception as one sentence."""

from __future__ import annotations

import logging

from modules.errors import OUR_FAULT, UserError

log = logging.getLogger(__name__)


class OutOfMemory(UserError):
    """The picture does not fit into memory."""

    status = 503


class InternalError(UserError):
    """Something that is our fault; the log has the traceback."""

    status = 500


def explained(error: BaseException, job_id: str) -> UserError:
    """`error` as a sentence; what is our fault goes to the log with its traceback."""
    if isinstance(error, UserError):
        error.__cause__ = error.__context__ = None  # their frames, and its own, would keep the model in memory
        return error.with_traceback(None)
    if _is_out_of_memory(error):
        log.warning("Job %s ran out of memory: %s", job_id, error)
        return OutOfMemory("There is not enough memory for this: try a smaller picture or a smaller batch.")
    log.error("Job %s failed", job_id, exc_info=error)
    return InternalError(OUR_FAULT)


NO_MEMORY = ("DefaultCPUAllocator", "out of memory", "could not create a memory", "ALLOC_FAILED")
"""What PyTorch, oneDNN, cuBLAS and cuDNN say."""


def _is_out_of_memory(error: BaseException) -> bool:
    """By name, so that this file need not import torch. On the CPU torch raises a plain RuntimeError."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in NO_MEMORY)
