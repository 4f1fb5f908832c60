"""What programs ask for besides pictures: waiting tasks, the system, /config of a server without a page."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from modules.api import create_api
from modules.engine.engine import Engine
from modules.jobs.queue import JobQueue
from modules.settings import Settings
from modules.text.infotext import VERSION

from .conftest import ADDRESS


def test_nothing_waits_in_an_idle_server(client: TestClient) -> None:
    assert client.get("/internal/pending-tasks").json() == {"size": 0, "tasks": []}
    assert client.get("/internal/nothing").status_code == 404


def test_the_system_is_told_without_secrets(engine: Engine, queue: JobQueue, settings: Settings,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hidden-one")
    settings = replace(settings, api_auth=(("ann", "hidden-two"),))
    client = TestClient(create_api(engine, queue, settings), base_url=ADDRESS)
    answer = client.get("/internal/sysinfo", auth=("ann", "hidden-two"))
    assert answer.json()["Version"] == VERSION
    assert any(text.startswith("torch==") for text in answer.json()["Packages"])
    assert "hidden" not in json.dumps(answer.json())


@pytest.mark.parametrize(("nowebui", "status"), [(True, 200), (False, 404)])
def test_config_answers_without_a_page(engine: Engine, queue: JobQueue, settings: Settings, nowebui: bool,
                                       status: int) -> None:
    """With a page it is Gradio's, which is mounted behind the API."""
    client = TestClient(create_api(engine, queue, replace(settings, nowebui=nowebui)), base_url=ADDRESS)
    assert client.get("/config").status_code == status
