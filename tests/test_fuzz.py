"""Random requests to every route of the running program, Gradio's included: whatever comes, no answer is a 500.

Seeded, and short here; FUZZ=10000 sends that many and prints what was answered and how memory went.
"""

from __future__ import annotations

import collections
import json
import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import psutil
import pytest
from fakes import fake_engine
from fastapi.testclient import TestClient
from starlette.routing import Mount, Route

import app as program
from modules.api import create_api
from modules.gallery.history import History
from modules.gallery.saving import Saver
from modules.jobs.queue import JobQueue
from modules.settings import Settings

REQUESTS = int(os.environ.get("FUZZ", "400"))
LONGEST_SECONDS = 20 if "FUZZ" in os.environ else 120
ENDLESS = ("heartbeat", "queue/data", "dev/reload", "stream", "proxy", "/events")
"""Streams, which end when the client does, and what asks other hosts."""
GOOD = {"prompt": "a dog", "seed": 1, "steps": 2, "width": 32, "height": 32, "sampler_name": "Euler"}


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    settings = replace(settings, max_size=128, max_pixels=2**15, max_steps=4, max_batch=2, max_count=2)
    engine, history = fake_engine(settings), History(settings.outputs_dir)
    queue = JobQueue(engine, Saver(settings.outputs_dir, history.add))
    application = program.mount_page(create_api(engine, queue, settings), engine, queue, settings, history)
    with TestClient(application, base_url="http://127.0.0.1:7860", raise_server_exceptions=False) as client:
        yield client
    queue.close()
    history.close()


def routes(found: list[Any], before: str = "") -> Iterator[tuple[str, str]]:
    """(method, path) of every route, those of mounted applications too."""
    for route in found:
        path = before + getattr(route, "path", "")
        if isinstance(route, Mount):
            yield from routes(list(route.routes or ()), path)
        elif isinstance(route, Route):
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
            names = [*GOOD, "data", "fn_index", "session_hash", "event_id", "init_images", "mask", "request", "kind",
                     "script_name", "script_args", "alwayson_scripts", "override_settings", "trigger_id", "path"]
            if self.of.random() < 0.5:
                return [self.value(depth + 1) for _ in range(self.of.randrange(4))]
            return {self.of.choice(names): self.value(depth + 1) for _ in range(self.of.randrange(5))}
        return self.of.choice(kinds)

    def body(self) -> bytes:
        """A body: JSON of an object, mostly; sometimes no JSON at all."""
        if self.of.random() < 0.1:
            return self.of.randbytes(self.of.randrange(200))
        value = self.value()
        if isinstance(value, dict) and self.of.random() < 0.5:
            value = GOOD | value
        return json.dumps(value).encode("utf-8", "surrogatepass")

    def path(self, path: str) -> str:
        """A route's path with its parameters filled in, and sometimes a query."""
        while "{" in path:
            start, end = path.index("{"), path.index("}")
            filled = self.of.choice(["0", "1", "-5", "nobody", "a%20b", "%2E%2E", "x" * 300, "%00", str(10**20)])
            path = path[:start] + filled + path[end + 1:]
        return path + self.of.choice(["", "", "", "/", "?a=1", "?id_task=x&skip_current_image=2"])


def test_no_request_gives_a_500(client: TestClient) -> None:
    chance, statuses, bad = Chance(20260131), collections.Counter[int](), []
    all_routes = [(method, path) for method, path in routes(client.app.routes)  # type: ignore[attr-defined]
                  if not any(word in path for word in ENDLESS)]
    assert any(path.startswith("/gradio_api/") for _, path in all_routes)
    before = client.post("/sdapi/v1/txt2img", json=GOOD).json()["images"]
    options = client.get("/sdapi/v1/options").json()
    memory = [psutil.Process().memory_info().rss]
    with ThreadPoolExecutor(1) as pool:
        for number in range(REQUESTS):
            method, path = chance.of.choice(all_routes)
            path, body = chance.path(path), chance.body()
            kind = chance.of.choice(["application/json"] * 8 + ["text/plain", "multipart/form-data",
                                    "multipart/form-data; boundary=x", "application/x-www-form-urlencoded"])
            sent = pool.submit(client.request, method, path, content=None if method in ("GET", "HEAD") else body,
                               headers={"content-type": kind}, follow_redirects=False)
            status = sent.result(LONGEST_SECONDS).status_code
            statuses[status] += 1
            if status >= 500 and status not in (503, 507):
                bad.append((status, method, path[:100], kind, body[:200]))
            if (number + 1) % max(REQUESTS // 5, 1) == 0:
                memory.append(psutil.Process().memory_info().rss)
    print(f"{REQUESTS} requests: {dict(sorted(statuses.items()))}; MB: {[value // 2**20 for value in memory]}")
    assert bad == []
    client.post("/sdapi/v1/options", json=options)
    assert client.post("/sdapi/v1/txt2img", json=GOOD).json()["images"] == before
