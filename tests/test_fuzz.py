"""Random requests to every route of a running server, Gradio's included: whatever comes, no answer is a 500.

Seeded, and short here; FUZZ=10000 sends that many, prints what was answered and how memory went, and wants it flat.
"""

from __future__ import annotations

import collections
import json
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import httpx
import psutil
import pytest
from fakes import fake_engine
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from serving import serving
from starlette.routing import BaseRoute, Mount

import app as program
from modules.api import create_api
from modules.gallery.history import History
from modules.gallery.saving import Saver
from modules.jobs.queue import JobQueue
from modules.settings import Settings

REQUESTS = int(os.environ.get("FUZZ", "600"))
LONG = REQUESTS >= 5000
LONGEST_SECONDS = 20 if LONG else 120
"""Without a byte from the server."""
GOOD = {"prompt": "a dog", "seed": 1, "steps": 2, "width": 32, "height": 32, "sampler_name": "Euler"}
VIEW = {"fn_name": "find", "data": {"limit": 5}, "session_hash": "fuzz"}
"""What the page's script sends to the History tab; the tab's number is drawn."""
EVENT = {"data": [], "fn_index": 0, "session_hash": "fuzz", "event_data": None, "trigger_id": 1}
ENDS = "multipart/form-data; boundary=x"


@dataclass(frozen=True)
class Server:
    """A running server: its application, its queue, and a client of it."""

    app: FastAPI
    queue: JobQueue
    client: httpx.Client

    def picture(self) -> list[str]:
        """The same one each time."""
        answer = self.client.post("/sdapi/v1/txt2img", json=GOOD)
        assert answer.status_code == 200, answer.text
        return list(answer.json()["images"])


@pytest.fixture
def server(settings: Settings) -> Iterator[Server]:
    settings = replace(settings, max_size=128, max_pixels=2**15, max_steps=4, max_batch=2, max_count=2)
    engine, history = fake_engine(settings), History(settings.outputs_dir)
    queue = JobQueue(engine, Saver(settings.outputs_dir, history.add))
    application = program.mount_page(create_api(engine, queue, settings), engine, queue, settings, history)
    with serving(application) as url, httpx.Client(base_url=url, timeout=LONGEST_SECONDS) as client:
        yield Server(application, queue, client)
    queue.close()
    history.close()


def routes(found: Sequence[BaseRoute], before: str = "") -> Iterator[tuple[str, str]]:
    """(method, path) of every route, those of included routers and mounted applications too."""
    for route in iter_route_contexts(found):
        path = before + (route.path or "")
        if isinstance(route.route, Mount):
            yield from routes(route.route.routes, path)
        else:
            yield from ((method, path) for method in sorted(route.methods or ()))


class Chance:
    """Values of all sorts."""

    def __init__(self, seed: int) -> None:
        self.of = random.Random(seed)

    def value(self, depth: int = 0) -> Any:
        """JSON, or what Python's reader takes for it."""
        kinds: list[Any] = [
            None, True, -1, 0, 2**70, 1.5, float("nan"), float("inf"), "", "a dog", "\ud83d", "x" * 2000,
            "../../etc/passwd", "data:image/png;base64,AAAA", "first", [], {}, "\x00", "1e9", "None"]
        if depth < 3 and self.of.random() < 0.4:
            names = [*GOOD, *EVENT, *VIEW, "component_id", "event_id", "init_images", "mask", "request", "kind", "ids",
                     "script_name", "script_args", "alwayson_scripts", "override_settings", "path", "filter", "image"]
            if self.of.random() < 0.5:
                return [self.value(depth + 1) for _ in range(self.of.randrange(4))]
            return {self.of.choice(names): self.value(depth + 1) for _ in range(self.of.randrange(5))}
        return self.of.choice(kinds)

    def body(self, path: str) -> bytes:
        """A body: JSON of an object, mostly, of the kind that the route takes; sometimes no JSON at all."""
        if self.of.random() < 0.1:
            return self.of.randbytes(self.of.randrange(200))
        value = self.value()
        if isinstance(value, dict) and self.of.random() < 0.7:
            if "component_server" in path:
                value = VIEW | {"component_id": self.of.randrange(1500)} | value
            elif "gradio_api" in path:
                value = EVENT | {"fn_index": self.of.randrange(300)} | value
            else:
                value = GOOD | value
        return json.dumps(value).encode("utf-8", "surrogatepass")

    def form(self) -> bytes:
        """A body of two parts, of which something may be missing."""
        name = self.of.choice(["files", "image", "prompt", "mask", "data"])
        content = self.of.choice([b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", self.of.randbytes(50)])
        parts = [f'--x\r\nContent-Disposition: form-data; name="{name}"; filename="a.png"\r\n\r\n'.encode() + content,
                 b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na dog', b"--x--\r\n"]
        return b"\r\n".join(part for part in parts if self.of.random() < 0.9)

    def path(self, path: str) -> str:
        """A route's path with its parameters filled in, and sometimes a query."""
        while "{" in path:
            start, end = path.index("{"), path.index("}")
            filled = self.of.choice(["0", "1", "-5", "nobody", "a%20b", "%2E%2E", "x" * 300, "%00", str(10**20),
                                     "txt2img", "fuzz", "%ff", "a/../..", "%EF%BF%BF"])
            path = path[:start] + filled + path[end + 1:]
        return path + self.of.choice(["", "", "", "/", "?a=1", "?id_task=x&skip_current_image=2",
                                      "?session_hash=fuzz", "?upload_id=x", "?url=http://[::1", "?%00=%ff"])


def test_no_request_gives_a_500(server: Server) -> None:
    chance, statuses, bad = Chance(20260131), collections.Counter[int](), []
    all_routes = list(routes(server.app.routes))
    paths = {path for _, path in all_routes}
    assert {"/gradio_api/queue/join", "/sdapi/v1/txt2img", "/v1/jobs", "/history/pictures/{picture_id}"} <= paths
    before, options = server.picture(), server.client.get("/sdapi/v1/options").json()
    memory = []
    for number in range(REQUESTS):
        method, route = chance.of.choice(all_routes)
        kind = chance.of.choice(["application/json"] * 8 + ["text/plain", "multipart/form-data", ENDS, ENDS,
                                                            "application/x-www-form-urlencoded"])
        path, body = chance.path(route), chance.form() if kind == ENDS else chance.body(route)
        status = status_of(server.client, method, path, kind, body)
        statuses[status] += 1
        if status >= 500 and status not in (503, 507):
            bad.append((status, method, path[:100], kind, body[:300]))
        if (number + 1) % max(REQUESTS // 10, 1) == 0:
            memory.append(psutil.Process().memory_info().rss // 2**20)
    print(f"{REQUESTS} requests: {dict(sorted(statuses.items()))}; MB: {memory}")
    assert bad == []
    assert statuses[200] > REQUESTS // 20
    assert not LONG or max(memory[3:]) <= 1.1 * memory[2], "memory grows"
    while server.queue.pending():
        server.queue.interrupt(server.queue.pending()[0].id)
    server.client.post("/sdapi/v1/options", json=options)
    assert server.picture() == before


def status_of(client: httpx.Client, method: str, path: str, kind: str, body: bytes) -> int:
    """The status of the answer, which is read to its end, unless it is a stream of events: those end when they like.

    A connection that the server closed just when it was used again is tried anew, once, as HTTP wants it.
    """
    try:
        return sent(client, method, path, kind, body)
    except (httpx.ReadError, httpx.RemoteProtocolError):
        return sent(client, method, path, kind, body)


def sent(client: httpx.Client, method: str, path: str, kind: str, body: bytes) -> int:
    with client.stream(method, path, content=None if method in ("GET", "HEAD") else body,
                       headers={"content-type": kind}) as answer:
        if not answer.headers.get("content-type", "").startswith("text/event-stream"):
            answer.read()
        return answer.status_code
