"""Texts are compressed for clients that ask for it; event streams and pictures are not."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.responses import Response, StreamingResponse

from modules.api import create_api
from modules.engine.engine import Engine
from modules.jobs.queue import JobQueue
from modules.settings import Settings

LARGE = b"0123456789" * 1000


def client(engine: Engine, queue: JobQueue, settings: Settings) -> TestClient:
    api: FastAPI = create_api(engine, queue, settings)
    for name, kind in (("page", "text/html"), ("script", "text/javascript"), ("picture", "image/png")):
        api.add_api_route(f"/{name}", lambda kind=kind: Response(LARGE, media_type=kind))
    api.add_api_route("/events", lambda: StreamingResponse(iter([LARGE]), media_type="text/event-stream"))
    return TestClient(api, base_url="http://127.0.0.1")


def test_what_is_compressed(engine: Engine, queue: JobQueue, settings: Settings) -> None:
    asking = client(engine, queue, settings)
    encodings = {path: asking.get(path, headers={"accept-encoding": "gzip"}).headers.get("content-encoding")
                 for path in ("/page", "/script", "/openapi.json", "/picture", "/events")}
    assert encodings == {"/page": "gzip", "/script": "gzip", "/openapi.json": "gzip", "/picture": None,
                         "/events": None}


def test_who_does_not_ask_gets_it_plain(engine: Engine, queue: JobQueue, settings: Settings) -> None:
    answer = client(engine, queue, settings).get("/page", headers={"accept-encoding": "identity"})
    assert "content-encoding" not in answer.headers
    assert answer.content == LARGE
