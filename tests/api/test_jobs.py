"""Jobs as events: an id at once, a stream of what happens, a key that makes a retry harmless."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from modules.api import jobs as api_jobs
from modules.jobs.queue import Job, JobQueue

from .conftest import base64_of, picture, small

JOBS = "/v1/jobs"


def events(text: str) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


@pytest.fixture
def held(queue: JobQueue) -> Any:
    """The worker is busy until the event is set."""
    entered, go_on = threading.Event(), threading.Event()

    def busy(job: Job) -> None:
        entered.set()
        assert go_on.wait(60)

    queue.submit_work(busy)
    assert entered.wait(60)
    yield go_on
    go_on.set()


def test_a_job_has_an_id_at_once_and_its_events_end_with_the_result(client: TestClient, held: threading.Event) -> None:
    answer = client.post(JOBS, json={"kind": "txt2img", "request": small(n_iter=2)})
    job = answer.json()
    assert (answer.status_code, job["state"], job["position"]) == (202, "queued", 1)
    assert answer.headers["location"] == f"{JOBS}/{job['id']}"
    assert [one["id"] for one in client.get(JOBS).json()] == [job["id"]]
    held.set()
    told = events(client.get(f"{JOBS}/{job['id']}/events").text)
    names = [name for name, _ in told]
    assert names[0] == "state"
    assert names[-1] == "result"
    assert set(names) <= {"state", "step", "preview", "result"}
    plain = client.post("/sdapi/v1/txt2img", json=small(n_iter=2)).json()
    assert told[-1][1]["images"] == plain["images"]
    assert client.get(f"{JOBS}/{job['id']}").json()["result"]["images"] == plain["images"]


def test_steps_and_previews_are_told_while_it_runs(client: TestClient) -> None:
    job = client.post(JOBS, json={"request": small(steps=100, n_iter=20)}).json()
    told = events(client.get(f"{JOBS}/{job['id']}/events").text)
    steps = [data["sampling_step"] for name, data in told if name == "step"]
    assert max(steps) > 0
    previews = [data["image"] for name, data in told if name == "preview"]
    assert all(text.startswith("data:image/jpeg;base64,") for text in previews)
    assert picture(told[-1][1]["images"][0]).size == (64, 48)


def test_a_key_makes_one_job_of_a_retry(client: TestClient, held: threading.Event) -> None:
    body, key = {"request": small()}, {"Idempotency-Key": "k1"}
    first = client.post(JOBS, json=body, headers=key)
    again = client.post(JOBS, json=body, headers=key)
    assert (first.status_code, again.status_code) == (202, 200)
    assert first.json()["id"] == again.json()["id"]
    assert client.post(JOBS, json=body | {"idempotency_key": "k1"}).json()["id"] == first.json()["id"]
    assert client.post(JOBS, json={"request": small(seed=2)}, headers=key).status_code == 409
    assert client.post(JOBS, json=body).json()["id"] != first.json()["id"]
    held.set()


def test_what_is_painted_over_is_removed(client: TestClient, photo: Image.Image, mask: Image.Image) -> None:
    body = {"image": base64_of(photo), "mask": base64_of(mask), "seed": 3}
    job = client.post(JOBS, json={"kind": "remove", "request": body}).json()
    name, told = events(client.get(f"{JOBS}/{job['id']}/events").text)[-1]
    assert (name, told) == ("result", client.post("/sdapi/v1/remove", json=body).json())
    assert client.post(JOBS, json={"kind": "remove", "request": {"image": "?"}}).status_code == 422


def test_a_job_is_cancelled(client: TestClient, held: threading.Event) -> None:
    job = client.post(JOBS, json={"request": small()}).json()
    assert client.delete(f"{JOBS}/{job['id']}").json()["state"] == "interrupted"
    assert events(client.get(f"{JOBS}/{job['id']}/events").text)[-1] == ("result", {})


def test_what_is_wrong_is_said_at_once_and_what_goes_wrong_in_the_stream(client: TestClient, queue: JobQueue,
                                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    for body in ({"kind": "video"}, {"request": {"steps": 0}}, {"request": {"steps": "x"}}, {"kind": "img2img"}):
        answer = client.post(JOBS, json=body)
        assert answer.status_code in (404, 422)
        assert answer.json()["detail"]
    assert client.get(f"{JOBS}/nobody").status_code == 404
    assert client.get(f"{JOBS}/nobody/events").status_code == 404

    def fails(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(queue._engine, "generate", fails)
    job = client.post(JOBS, json={"request": small()}).json()
    name, data = events(client.get(f"{JOBS}/{job['id']}/events").text)[-1]
    assert (name, data["error"]) == ("error", "OutOfMemory")


def test_results_are_kept_for_a_time_and_while_there_is_room(client: TestClient,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    def done() -> str:
        job = client.post(JOBS, json={"request": small()}).json()
        client.get(f"{JOBS}/{job['id']}/events")
        return str(job["id"])

    first, second = done(), done()
    monkeypatch.setattr(api_jobs, "KEPT_BYTES", 64 * 48 * 3)
    assert [client.get(f"{JOBS}/{job}").status_code for job in (first, second)] == [404, 200]
    monkeypatch.setattr(api_jobs, "KEPT_SECONDS", -1)
    assert client.get(f"{JOBS}/{second}").status_code == 404
