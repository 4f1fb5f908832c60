"""The page that is there before the program is, and the hand-over of what else was asked."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

import app as program
from modules.api.connections import Connection, Server
from modules.base.first_page import FirstPage
from modules.settings import Settings

SECONDS = 60
PROJECT = Path(program.__file__).parent


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with what came, and from which port."""
    request = Request(scope, receive)
    body = (await request.body()).decode()
    assert request.client
    await JSONResponse({"path": request.url.path, "body": body, "port": request.client.port})(scope, receive, send)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with program.listen(Settings(port=0)) as listener:
        yield listener


def ask(listener: socket.socket, text: str) -> socket.socket:
    """A connection over which `text` was sent."""
    client = socket.create_connection(listener.getsockname(), SECONDS)
    client.sendall(text.replace("\n", "\r\n").encode())
    return client


def answer(client: socket.socket) -> str:
    """All that comes until the other side has said everything."""
    with client:
        return b"".join(iter(lambda: client.recv(65536), b"")).decode()


def get(path: str) -> str:
    return f"GET {path} HTTP/1.1\nHost: localhost\nConnection: close\n\n"


def test_the_page_is_answered_at_once_wherever_it_stands(listener: socket.socket) -> None:
    first = FirstPage(listener, "/sd")
    for path in ("/", "/sd", "/sd/", "/?lang=zh-CN", "/?__theme=dark"):
        said = answer(ask(listener, get(path)))
        assert said.startswith("HTTP/1.1 503 ")
        assert "\r\nRetry-After: 2\r\n" in said
        assert "The program is starting" in said
        assert 'fetch("/sd/sdapi/v1/progress' in said
        body = said.partition("\r\n\r\n")[2]
        assert f"Content-Length: {len(body.encode())}\r\n" in said
    assert first.stop() == []


def test_everything_else_waits_for_the_server_that_follows(listener: socket.socket) -> None:
    first = FirstPage(listener)
    posting = ask(listener, "POST /sdapi/v1/txt2img HTTP/1.1\nHost: localhost\nConnection: close\n"
                            "Content-Length: 5\n\nhe")
    asking, silent, gone = ask(listener, get("/sdapi/v1/progress")), ask(listener, ""), ask(listener, "GET /x HTTP")
    ports = [client.getsockname()[1] for client in (posting, asking)]
    gone.close()
    assert "The program is starting" in answer(ask(listener, get("/")))  # the others were accepted before it
    accepted = first.stop()
    assert len(accepted) == 4
    server = Server(uvicorn.Config(echo, log_level="critical", http=Connection, lifespan="off"), accepted)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        posting.sendall(b"llo")
        silent.sendall(get("/late").replace("\n", "\r\n").encode())
        late = ask(listener, get("/"))
        found = [httpx.Response(200, text=answer(client).partition("\r\n\r\n")[2]).json()
                 for client in (posting, asking, silent, late)]
    finally:
        server.should_exit = True
        thread.join(SECONDS)
    assert [one["path"] for one in found] == ["/sdapi/v1/txt2img", "/sdapi/v1/progress", "/late", "/"]
    assert [one["body"] for one in found] == ["hello", "", "", ""]
    assert [one["port"] for one in found[:2]] == ports


def test_too_many_connections_wait_in_the_system(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modules.base.first_page.MOST", 2)
    first = FirstPage(listener)
    clients = [ask(listener, get("/x")) for _ in range(2)]
    late = ask(listener, get("/"))
    while len(first._open) < 2:
        pass
    assert len(first.stop()) == 2
    listener.setblocking(True)
    connection, _ = listener.accept()
    assert connection.recv(3) == b"GET"
    for one in (*clients, late, connection):
        one.close()


BROKEN = """
import sys, app
from modules.errors import UserError
def serve(settings, listener, first_page):
    print(listener.getsockname()[1], flush=True)
    sys.stdin.readline()
    raise UserError("The disk is full.")
app.serve = serve
app.command()
"""


def test_a_program_that_cannot_load_says_why_and_lets_go_of_those_who_wait(tmp_path: Path) -> None:
    command = [sys.executable, "-c", BROKEN, "--port", "0", "--data-dir", str(tmp_path)]
    with subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True) as process:
        assert process.stdout
        url = f"http://127.0.0.1:{process.stdout.readline().strip()}"
        assert httpx.get(url, timeout=SECONDS).status_code == 503
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(httpx.get, f"{url}/sdapi/v1/progress", timeout=SECONDS)
            _, said = process.communicate("go on\n", timeout=SECONDS)
            assert process.returncode == 2
            assert said == "app.py: The disk is full.\n"
            with pytest.raises(httpx.TransportError):
                waiting.result(SECONDS)
