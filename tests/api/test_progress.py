"""Progress, interrupt and skip while a job runs. The model waits in the middle of a picture until the test says go."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from fakes import FakeModel, fake_engine
from fastapi.testclient import TestClient
from torch import Tensor

from modules.engine.engine import Engine
from modules.sampling.conditioning import Conditioning
from modules.sampling.levels import Level
from modules.settings import Settings

from .conftest import info, picture, small

SECONDS = 30


class PausingModel(FakeModel):
    """Stops before the third network call until `go` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.paused, self.go = threading.Event(), threading.Event()

    def predict(self, x: Tensor, level: Level, cond: Conditioning) -> Tensor:
        if len(self.calls) == 2:
            self.paused.set()
            assert self.go.wait(SECONDS)
        return super().predict(x, level, cond)


@pytest.fixture
def model() -> PausingModel:
    return PausingModel()


@pytest.fixture
def engine(settings: Settings, model: PausingModel) -> Engine:
    return fake_engine(settings, lambda name: model)


@pytest.fixture
def running(client: TestClient, model: PausingModel) -> Iterator[Future[Any]]:
    """A txt2img request that is in its third step."""
    with ThreadPoolExecutor() as pool:
        future = pool.submit(client.post, "/sdapi/v1/txt2img", json=small(steps=8, force_task_id="mine", n_iter=2))
        assert model.paused.wait(SECONDS)
        yield future
        model.go.set()


def test_an_idle_server_says_so_with_every_field(client: TestClient) -> None:
    told = client.get("/sdapi/v1/progress").json()
    assert (told["progress"], told["eta_relative"], told["current_image"]) == (0, 0, None)
    assert told["state"]["job_count"] == 0
    assert set(told["state"]) == {"skipped", "interrupted", "stopping_generation", "job", "job_count", "job_timestamp",
                                  "job_no", "sampling_step", "sampling_steps"}


def test_progress_while_a_job_runs(client: TestClient, running: Future[Any], model: PausingModel) -> None:
    told = client.get("/sdapi/v1/progress").json()
    assert told["progress"] == pytest.approx(2 / 16)
    assert (told["state"]["sampling_step"], told["state"]["sampling_steps"]) == (2, 8)
    assert (told["state"]["job_count"], told["state"]["job_no"], told["current_task"]) == (2, 0, "mine")
    assert picture(told["current_image"]).format == "PNG"
    assert client.get("/sdapi/v1/progress?skip_current_image=true").json()["current_image"] is None
    model.go.set()
    info(running.result(SECONDS))
    assert client.get("/sdapi/v1/progress").json()["state"]["job_count"] == 0


def test_progress_by_task_id(client: TestClient, running: Future[Any], model: PausingModel) -> None:
    assert client.get("/sdapi/v1/progress?id_task=mine").json()["state"]["sampling_step"] == 2
    told = client.post("/internal/progress", json={"id_task": "mine", "id_live_preview": -1}).json()
    assert (told["active"], told["queued"], told["completed"]) == (True, False, False)
    assert told["live_preview"].startswith("data:image/jpeg;base64,")
    again = client.post("/internal/progress", json={"id_task": "mine", "id_live_preview": told["id_live_preview"]})
    assert again.json()["live_preview"] is None
    model.go.set()
    info(running.result(SECONDS))
    assert client.post("/internal/progress", json={"id_task": "mine"}).json()["completed"]
    assert client.get("/sdapi/v1/progress?id_task=mine").json()["progress"] == 0
    assert client.get("/sdapi/v1/progress?id_task=other").status_code == 404


def test_interrupt_returns_the_partial_picture(client: TestClient, running: Future[Any], model: PausingModel) -> None:
    assert client.post("/sdapi/v1/interrupt").json() == {}
    model.go.set()
    answer = running.result(SECONDS)
    assert len(info(answer)["infotexts"]) == 1
    assert picture(answer.json()["images"][0]).size == (64, 48)
    assert len(model.calls) == 3


def test_skip_goes_on_with_the_next_picture(client: TestClient, running: Future[Any], model: PausingModel) -> None:
    assert client.post("/sdapi/v1/skip").json() is None
    model.go.set()
    assert len(info(running.result(SECONDS))["infotexts"]) == 2
    assert len(model.calls) == 3 + 8


def test_progress_is_reachable_however_many_wait(client: TestClient, running: Future[Any], model: PausingModel) -> None:
    with ThreadPoolExecutor(64) as pool:  # more than the server has threads
        waiting = [pool.submit(client.post, "/sdapi/v1/txt2img", json=small(steps=1)) for _ in range(64)]
        assert client.get("/sdapi/v1/progress").json()["current_task"] == "mine"
        model.go.set()
        assert all(info(future.result(SECONDS))["seed"] == 1 for future in waiting)


def test_a_task_id_in_use_is_refused(client: TestClient, running: Future[Any], model: PausingModel) -> None:
    answer = client.post("/sdapi/v1/txt2img", json=small(force_task_id="mine"))
    assert answer.status_code == 422
    assert "mine" in answer.json()["detail"]


def test_interrupt_and_skip_without_a_job_do_nothing(client: TestClient) -> None:
    assert client.post("/sdapi/v1/interrupt").status_code == 200
    assert client.post("/sdapi/v1/skip").status_code == 200
