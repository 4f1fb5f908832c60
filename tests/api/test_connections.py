"""Idle connections lock nobody out: they are closed in time, and before that when others need their place."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from modules.api import connections
from modules.api.connections import Connection, connection_limit

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body"):
        pass
    await PlainTextResponse("hello")(scope, receive, send)


def talk(client: Callable[[int], Awaitable[None]], app: ASGIApp = hello, **changes: float) -> None:
    """Runs `client` against a server whose connections have the attributes `changes`."""

    async def both() -> None:
        kind = type("Quick", (Connection,), changes)
        config = uvicorn.Config(app, port=0, http=kind, log_level="error", lifespan="off")
        server = uvicorn.Server(config)
        config.load()
        server.lifespan = config.lifespan_class(config)
        await server.startup()
        try:
            # A server that closes nothing would let the client wait for ever.
            await asyncio.wait_for(client(server.servers[0].sockets[0].getsockname()[1]), 120)
        finally:
            server.force_exit = True
            await server.shutdown()

    with ThreadPoolExecutor(1) as own:  # the browser's tests leave a running loop to the thread of the tests
        own.submit(asyncio.run, both()).result()


async def answered(port: int) -> bool:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    text = await reader.read()
    writer.close()
    return text.endswith(b"hello")


def test_the_longest_idle_connection_makes_room() -> None:
    async def client(port: int) -> None:
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(12)]
        for _ in range(3):
            assert await answered(port)
        assert await idle[0][0].read() == b"", "the oldest were closed"
        idle[-1][1].write(REQUEST)
        assert (await idle[-1][0].readline()).startswith(b"HTTP/1.1 200"), "the newest still answer"
        for _, writer in idle:
            writer.close()

    talk(client, limit=8)


@pytest.mark.parametrize("first", [b"", b"GET / HTTP/1.1\r\nHost: local", REQUEST + b"GET / HT",
                                   b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n123"])
def test_silence_ends_a_connection(first: bytes) -> None:
    async def client(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(first)
        assert (await reader.read()).count(b"hello") == first.count(REQUEST)
        writer.close()

    talk(client, header_seconds=0.2, body_seconds=0.2)


@pytest.mark.parametrize(("sent", "status", "said"), [
    (b"GET / HTTP/1.1\r\nHost: localhost\r\nCookie: " + b"a" * 2**22, b"431 Request Header Fields Too Large",
     b"too long"),
    (b"\x16\x03\x01" * 2**20, b"400 Bad Request", b"not an HTTP/1.1 request")])
def test_what_is_no_request_is_answered_with_a_sentence(sent: bytes, status: bytes, said: bytes) -> None:
    async def client(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        text = await reader.read()
        await writer.drain()
        head, _, body = text.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 " + status)
        assert said in body
        writer.close()

    talk(client)


def test_an_answer_that_takes_its_time_is_waited_for() -> None:
    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.3)
        await PlainTextResponse("hello")(scope, receive, send)

    async def client(port: int) -> None:
        assert await answered(port)

    talk(client, slow, header_seconds=0.1, body_seconds=0.1)


def test_others_leave_some_connections_to_this_computer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "RESERVED", 7)
    monkeypatch.setattr(Connection, "_is_local", lambda self: False)

    async def client(port: int) -> None:
        first = await asyncio.open_connection("127.0.0.1", port)
        second = await asyncio.open_connection("127.0.0.1", port)
        assert await first[0].read() == b""
        for _, writer in (first, second):
            writer.close()

    talk(client, limit=8)


def test_the_limit_leaves_files_for_other_things() -> None:
    assert 1 < connection_limit() <= connections.MOST_CONNECTIONS
