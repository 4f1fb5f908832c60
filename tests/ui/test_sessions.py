"""What the server keeps of the pages: of few that were closed, and of a limited number in all."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import gradio as gr
import httpx
import pytest
from fastapi import FastAPI
from serving import serving

import app as program
from modules.api import create_api
from modules.engine.engine import Engine
from modules.gallery.history import History
from modules.jobs.queue import JobQueue
from modules.settings import Settings
from modules.ui.page import sessions
from modules.ui.page.sessions import KEPT_CLOSED, Sessions, limit_sessions

SECONDS = 60


@pytest.fixture
def counting() -> FastAPI:
    """A page with one event, which counts in the session."""
    with gr.Blocks() as page:
        count = gr.State(0)
        gr.Button().click(lambda before: before + 1, count, count, api_name="count")
    app = gr.mount_gradio_app(FastAPI(), page, path="/")
    limit_sessions(app.routes[-1])
    return app


def sessions_of(app: FastAPI) -> Sessions:
    kept = app.routes[-1].app.state_holder  # type: ignore[attr-defined]
    assert isinstance(kept, Sessions)
    return kept


def use(client: httpx.Client, session: str) -> None:
    answer = client.post("/gradio_api/run/count", json={"data": [None], "session_hash": session})
    assert answer.status_code == 200, answer.text


def wait_until_closed(kept: Sessions, session: str) -> None:
    changed = threading.Event()
    while not kept.session_data[session].is_closed:
        changed.wait(0.01)


def test_closed_pages_are_forgotten_and_open_ones_kept(counting: FastAPI) -> None:
    kept = sessions_of(counting)
    with serving(counting) as url, httpx.Client(base_url=url, timeout=SECONDS) as client, ExitStack() as open_page:
        open_page.enter_context(client.stream("GET", "/gradio_api/heartbeat/open"))
        use(client, "open")
        for number in range(2 * KEPT_CLOSED):
            with client.stream("GET", f"/gradio_api/heartbeat/page{number}") as heartbeat:
                beats = heartbeat.iter_raw()
                next(beats)
                use(client, f"page{number}")
            wait_until_closed(kept, f"page{number}")
        use(client, "open")
        newest = {f"page{number}" for number in range(KEPT_CLOSED, 2 * KEPT_CLOSED)}
        assert set(kept.session_data) == {"open", *newest}
        assert list(kept["open"].state_data.values()) == [2]


def test_clients_that_never_say_goodbye_are_limited(counting: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "KEPT", 3)
    with serving(counting) as url, httpx.Client(base_url=url, timeout=SECONDS) as client:
        for session in "abacd":
            use(client, session)
    assert list(sessions_of(counting).session_data) == ["a", "c", "d"]


def test_the_program_limits_them(engine: Engine, queue: JobQueue, settings: Settings) -> None:
    history = History(settings.outputs_dir)
    app = program.mount_page(create_api(engine, queue, settings), engine, queue, settings, history)
    assert not sessions_of(app).session_data
    history.close()
