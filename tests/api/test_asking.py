"""Whose jobs a program sees and stops: over --listen without a password those from its own address, otherwise all."""

from __future__ import annotations

import base64
import dataclasses
import threading
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from modules.api import create_api
from modules.engine.engine import Engine
from modules.jobs.job import Job, Origin
from modules.jobs.queue import JobQueue
from modules.settings import Settings

from .conftest import ADDRESS, small

ALICE, BOB, HERE = "192.168.0.7", "192.168.0.8", "127.0.0.1"


@pytest.fixture
def running(queue: JobQueue) -> Iterator[Job]:
    """Alice's job, which runs until the end of the test."""
    began, end = threading.Event(), threading.Event()

    def work(job: Job) -> None:
        began.set()
        end.wait()

    job = queue.submit_work(work, job_id="alice", origin=Origin(address=ALICE))
    assert began.wait(60)
    yield job
    end.set()


@pytest.fixture
def api(engine: Engine, queue: JobQueue, settings: Settings, running: Job) -> object:
    return create_api(engine, queue, settings)


def program(api: object, address: str, password: str = "") -> TestClient:
    headers = {"authorization": "Basic " + base64.b64encode(password.encode()).decode()} if password else {}
    return TestClient(api, base_url=ADDRESS, client=(address, 5000), headers=headers)  # type: ignore[arg-type]


def asked_for(client: TestClient, **more: str) -> str:
    answer = client.post("/v1/jobs", json={"request": small(), **more})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def test_lists_hold_the_own_jobs(api: object) -> None:
    jobs = {address: asked_for(program(api, address)) for address in (ALICE, BOB)}
    for address, seen in ((ALICE, [jobs[ALICE]]), (BOB, [jobs[BOB]]), (HERE, [jobs[ALICE], jobs[BOB]])):
        assert [one["id"] for one in program(api, address).get("/v1/jobs").json()] == seen
        assert program(api, address).get("/internal/pending-tasks").json() == {"size": 2, "tasks": seen}


def test_progress_is_that_of_the_own_job(api: object) -> None:
    def told(address: str) -> str | None:
        current: str | None = program(api, address).get("/sdapi/v1/progress").json()["current_task"]
        return current

    assert [told(address) for address in (ALICE, BOB, HERE)] == ["alice", None, "alice"]
    job = asked_for(program(api, BOB))
    assert told(BOB) == job
    assert program(api, ALICE).get(f"/v1/jobs/{job}").json()["position"] == 1, "who knows the id may ask"


def test_each_stops_the_own_jobs(api: object, running: Job, queue: JobQueue) -> None:
    job = asked_for(program(api, BOB))
    assert program(api, BOB).post("/sdapi/v1/skip").status_code == 200
    assert program(api, BOB).post("/sdapi/v1/interrupt").status_code == 200
    assert (running.skipped, running.interrupted) == (False, False)
    cancelled = queue.get(job)
    assert cancelled is not None
    assert cancelled.state == "interrupted"
    assert program(api, HERE).post("/sdapi/v1/interrupt").status_code == 200
    assert running.interrupted


def test_who_knows_the_password_stops_all(engine: Engine, queue: JobQueue, settings: Settings, running: Job) -> None:
    api = create_api(engine, queue, dataclasses.replace(settings, api_auth=(("user", "secret"),)))
    bob = program(api, BOB, "user:secret")
    assert bob.get("/sdapi/v1/progress").json()["current_task"] == "alice"
    assert bob.post("/sdapi/v1/interrupt").status_code == 200
    assert running.interrupted


def test_each_address_has_keys_of_its_own(api: object) -> None:
    first = asked_for(program(api, ALICE), idempotency_key="1")
    assert asked_for(program(api, BOB), idempotency_key="1") != first
