"""What the server keeps of each page that is open: Gradio's state of a session, for a limited number of sessions."""

from __future__ import annotations

from typing import Any

from gradio.routes import App
from gradio.state_holder import SessionState, StateHolder

KEPT = 128
"""The most sessions. A client that never says that it has gone has one of them until this many newer ones exist."""
KEPT_CLOSED = 8
"""How many sessions of closed pages are among them: a page whose connection broke for a moment goes on with its own."""


class Sessions(StateHolder):
    """Gradio's sessions. Gradio itself keeps 10,000 of them, closed ones too, each with about 3 MB and the last results
    of its page. A page whose session is gone begins a new one at its next event; its gallery's pictures are then
    no longer known to the server."""

    def __getitem__(self, session_id: str) -> SessionState:
        new = session_id not in self
        session = super().__getitem__(session_id)
        if new:
            session.config_values = {}  # a third of the memory, for links to a page's state, which this page lacks
        return session

    def update(self, session_id: str) -> None:
        """Note that the session is used, and forget those over the limits, the least recently used first."""
        with self.lock:
            if session_id in self:
                self.session_data.move_to_end(session_id)
            closed = [one for one, session in self.session_data.items() if session.is_closed]
            for one in (*closed[:-KEPT_CLOSED], *list(self.session_data)[:-KEPT]):
                self.session_data.pop(one, None)
                self.time_last_used.pop(one, None)


def limit_sessions(mounted: Any) -> None:
    """Make the page that was mounted as the route `mounted`, before it answers anything, keep its sessions in
    `Sessions`."""
    page: App = mounted.app
    page.state_holder = Sessions()  # type: ignore[no-untyped-call]
    page.state_holder.set_blocks(page.get_blocks())
