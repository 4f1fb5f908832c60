"""How events are wired here: without Gradio's progress display, and not as a part of Gradio's own API."""

from __future__ import annotations

from typing import Any

QUIET: dict[str, Any] = {"show_progress": "hidden", "show_progress_on": (), "api_visibility": "private"}
"""One after another. To be shown on nothing is more than to be hidden: else Gradio's page notes at every step of an
event how far it is in each component that was ever the output of one, which takes longer than all the rest."""

LIVE = QUIET | {"concurrency_limit": None}
"""Any number at the same time."""

AT_ONCE = QUIET | {"queue": False}
"""Answered past the queue, by the question's own response: for what takes no time and gives no notes. The queue answers
in a stream that it closes when nothing is left; what is asked at that very moment can wait for ever."""

FOLLOWING = QUIET | {"trigger_mode": "always_last", "concurrency_limit": 2}
"""What follows controls that are being moved: only where they stop matters. At most one such event for a control."""
