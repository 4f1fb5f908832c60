"""Who sees and manages which jobs in the queue panel."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from gradio.route_utils import Request

from modules.jobs.job import Job, Origin
from modules.jobs.queue import JobQueue
from modules.settings import Settings
from modules.ui.page.queue_panel import answers

ALICE, BOB = "a" * 32, "b" * 32


@pytest.fixture
def held(queue: JobQueue) -> Iterator[JobQueue]:
    """A queue whose first job runs until the end of the test: Alice's, then Bob's, then one of a program."""
    began, end = threading.Event(), threading.Event()

    def work(job: Job) -> None:
        began.set()
        end.wait()

    queue.submit_work(work, job_id="alice", origin=Origin(ALICE, "txt2img", "Alice's"))
    assert began.wait(60)
    queue.submit_work(lambda job: None, job_id="bob", origin=Origin(BOB, "txt2img", "Bob's"))
    queue.submit_work(lambda job: None, job_id="program")
    yield queue
    end.set()


def client(host: str) -> Any:
    return Request(username=None, client=type("Client", (), {"host": host}))


def ask(queue: JobQueue, settings: Settings, host: str, name: int, **question: Any) -> list[dict[str, Any]]:
    jobs: list[dict[str, Any]] = answers(queue, settings)[name](question, client(host))["jobs"]
    return jobs


def test_from_afar_without_a_password_others_are_places_only(held: JobQueue, settings: Settings) -> None:
    jobs = ask(held, settings, "192.168.0.7", 0, window=BOB, open=True)
    assert [job.get("name") for job in jobs] == [None, "Bob's", None]
    assert jobs[0] == {"position": 0, "mine": False, "seen": False}
    assert jobs[2] == {"position": 2, "mine": False, "seen": False}
    for other in ("alice", "program"):
        ask(held, settings, "192.168.0.7", 1, window=BOB, id=other)
        ask(held, settings, "192.168.0.7", 1, window=BOB, id=other, places=-1)
    assert [job.id for job in held.pending()] == ["bob", "program"]
    assert held.current is not None
    assert not held.current.interrupted
    assert len(ask(held, settings, "192.168.0.7", 1, window=BOB, id="bob")) == 2, "each cancels his own"


@pytest.mark.parametrize("window", ["", "c" * 32])
def test_nobody_is_taken_for_the_window_of_programs(held: JobQueue, settings: Settings, window: str) -> None:
    assert not any(job["mine"] for job in ask(held, settings, "192.168.0.7", 0, window=window))


@pytest.mark.parametrize(("host", "auth"), [("127.0.0.1", ()), ("::1", ()), ("192.168.0.7", ("user:secret",))])
def test_on_this_machine_or_with_the_password_all_is_managed(held: JobQueue, settings: Settings, host: str,
                                                            auth: tuple[str, ...]) -> None:
    settings = dataclasses.replace(settings, api_auth=auth) if auth else settings
    jobs = ask(held, settings, host, 0, window=BOB)
    assert [job["name"] for job in jobs] == ["Alice's", "Bob's", ""]
    assert [job["mine"] for job in jobs] == [False, True, False]
    ask(held, settings, host, 1, window=BOB, id="program", places=-1)
    assert [(job.id, job.position) for job in held.pending()] == [("program", 1), ("bob", 2)]
    ask(held, settings, host, 1, window=BOB, id="alice")
    assert held.current is not None
    assert held.current.interrupted


def test_workers_are_shown_to_those_who_see_all(held: JobQueue, settings: Settings) -> None:
    workers = [{"number": 1, "machine": "here", "state": "working"}]
    (look, _) = answers(held, settings, lambda: workers)
    assert look({}, client("127.0.0.1"))["workers"] == workers
    assert look({}, client("192.168.0.7"))["workers"] == []
