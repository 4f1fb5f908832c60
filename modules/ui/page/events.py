"""Keyword arguments for Gradio events. All are without Gradio's progress display and are not part of its API."""

from __future__ import annotations

from typing import Any

QUIET: dict[str, Any] = {"show_progress": "hidden", "show_progress_on": (), "api_visibility": "private"}
"""One call at a time. `show_progress_on=()` is needed as well: with `hidden` alone Gradio's page still updates a status
for every output at every step, which is slow."""

LIVE = QUIET | {"concurrency_limit": None}
"""Any number of calls at the same time."""

AT_ONCE = QUIET | {"queue": False}
"""Bypass Gradio's queue; the result comes back in the HTTP response. For handlers that return at once and show no
message. (Gradio closes the event stream when the queue is empty; an event sent in that moment may never be
answered.)"""

FOLLOWING = QUIET | {"trigger_mode": "always_last", "concurrency_limit": 2}
"""For handlers that follow a control while it moves: of several changes only the last is handled. At most one such
event for each control."""
