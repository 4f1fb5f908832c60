"""How many connections there may be and how long one may say nothing, so that idle ones lock nobody out.

A connection is idle until the first line and headers of a request are whole. When there are too many, the one that has
been idle longest makes room. This computer keeps a few that others cannot take.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import logging
import socket
import sys
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, cast

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

log = logging.getLogger(__name__)

MOST_CONNECTIONS = 512
"""Fewer where the system gives the process few files: half of them."""
RESERVED = 32
"""So many connections are this computer's own."""
HEADER_SECONDS = 20.0
"""From the opening of a connection, or the first byte of a request, to the end of its headers."""
BODY_SECONDS = 60.0
"""How long a body may stop coming."""
REST_SECONDS = 2.0
"""How long what follows a refused request is read."""


def connection_limit() -> int:
    """`MOST_CONNECTIONS`, or half of the files that the process may open, after asking the system for enough."""
    if sys.platform == "win32":
        return MOST_CONNECTIONS
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * MOST_CONNECTIONS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MOST_CONNECTIONS if soft == resource.RLIM_INFINITY else min(MOST_CONNECTIONS, soft // 2)


class Connection(H11Protocol):
    """uvicorn's HTTP/1.1 connection with a deadline while it is idle or its body stops coming."""

    limit = MOST_CONNECTIONS
    header_seconds, body_seconds = HEADER_SECONDS, BODY_SECONDS
    _deadline: asyncio.TimerHandle | None = None
    _receiving = "nothing"

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Takes the connection; where there are too many, another one or this one is closed."""
        super().connection_made(transport)
        self._expect("headers", self.header_seconds)
        there = [cast(Connection, one) for one in self.connections]
        most = self.limit if self._is_local() else self.limit - RESERVED
        if len(there) <= most:
            return
        idle = [one for one in there if one._receiving == "headers" and one is not self]
        victim = min(idle, key=Connection._due) if idle else self
        victim.close_at_once()

    def data_received(self, data: bytes) -> None:
        """Reads on, and says by when the next bytes must come."""
        if self._receiving != "rest":
            super().data_received(data)
        if self._receiving == "rest":
            return
        if self.transport.is_closing():
            self._expect("nothing", None)
        elif self.cycle is None or self.cycle.response_complete:
            if self._receiving != "headers":  # the deadline is of the whole headers, not of each byte
                self._expect("headers", self.header_seconds)
        elif self.cycle.more_body:
            self._expect("body", self.body_seconds)
        else:
            self._expect("nothing", None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the deadline."""
        self._expect("nothing", None)
        super().connection_lost(exc)

    def handle_websocket_upgrade(self, event: Any) -> None:
        """Hands the connection over, without a deadline."""
        self._expect("nothing", None)
        super().handle_websocket_upgrade(event)

    def send_400_response(self, msg: str) -> None:
        """Answers what is no request, or has too long headers (431), with a sentence. What is still coming is read
        for a moment: with the connection closed at once, the client would see a reset instead of the answer."""
        error = sys.exception()
        status = HTTPStatus(error.error_status_hint if isinstance(error, h11.RemoteProtocolError) else 400)
        detail = ("The first line and the headers of this request are too long." if status == 431 else
                  "This is not an HTTP/1.1 request.")
        body = json.dumps({"error": status.phrase, "detail": detail}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()),
                   (b"connection", b"close")]
        for event in (h11.Response(status_code=status, headers=headers, reason=status.phrase.encode()),
                      h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event))
        self.transport.write_eof()
        self._expect("rest", REST_SECONDS)

    def close_at_once(self) -> None:
        """Without an answer: there is no request."""
        self._expect("nothing", None)
        self.connections.discard(self)
        self.transport.abort()

    def _expect(self, what: str, seconds: float | None) -> None:
        self._receiving = what
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(seconds, self.close_at_once) if seconds is not None else None

    def _due(self) -> float:
        return self._deadline.when() if self._deadline else float("inf")

    def _is_local(self) -> bool:
        try:
            return self.client is not None and ipaddress.ip_address(self.client[0]).is_loopback
        except ValueError:
            return False


class Server(uvicorn.Server):
    """uvicorn's server. It begins with connections that were `accepted` before; nothing has been read from these."""

    def __init__(self, config: uvicorn.Config, accepted: Sequence[socket.socket] = ()) -> None:
        super().__init__(config)
        self._accepted = accepted

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listens, and takes the connections."""
        await super().startup(sockets)
        config, loop = self.config, asyncio.get_running_loop()
        for one in self._accepted:
            with contextlib.suppress(OSError):  # its client has gone
                await loop.connect_accepted_socket(lambda: config.http_protocol_class(  # type: ignore[call-arg]
                    config=config, server_state=self.server_state, app_state=self.lifespan.state), one)
