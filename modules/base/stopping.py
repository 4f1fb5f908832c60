"""Where long work inside one call of a network asks whether it may go on: between chunks of a prompt, layers of a VAE.

What asks is the thread's own (a context variable), because the layers below know no job.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar

_ask: ContextVar[Callable[[], None] | None] = ContextVar("ask", default=None)


@contextlib.contextmanager
def asking(ask: Callable[[], None]) -> Iterator[None]:
    """Inside, `may_go_on` calls `ask` in this thread; what that raises ends the work."""
    token = _ask.set(ask)
    try:
        yield
    finally:
        _ask.reset(token)


def may_go_on() -> None:
    """Raises what the present `asking` raises; does nothing outside one."""
    ask = _ask.get()
    if ask is not None:
        ask()
