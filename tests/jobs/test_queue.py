"""The queue: order, progress, previews, stopping, and what it remembers. The engine here does what a test tells it."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import logging
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from modules.errors import BadResult, Interrupted, InvalidInput, NotFound, Skipped, StorageFull, UserError
from modules.jobs import failures
from modules.jobs.failures import OutOfMemory
from modules.jobs.job import PREVIEW_SECONDS, Job
from modules.jobs.queue import JobQueue, QueueFull, ServerStopping
from modules.jobs.tasks import Task
from modules.request import Img2Img, Txt2Img
from modules.request.job_context import JobContext
from modules.request.options import Options
from modules.request.result import GeneratedImage, Result

SECONDS = 20
PICTURE = Image.new("RGB", (8, 8), "teal")
Script = Callable[[Txt2Img, JobContext], Result]


def result(request: Txt2Img, *, images: int = 1, interrupted: bool = False, size: int = 8) -> Result:
    made = tuple(GeneratedImage(Image.new("RGB", (size, size)), seed, 0, f"seed {seed}") for seed in range(images))
    return Result(made, request, interrupted=interrupted)


class ScriptedEngine:
    """Runs `script`, or the function given for a prompt; keeps what it was asked for."""

    def __init__(self) -> None:
        self.scripts: dict[str, Script] = {}
        self.prompts: list[str] = []
        self.loaded: list[str] = []

    def generate(self, request: Txt2Img, job: JobContext) -> Result:
        self.prompts.append(request.prompt)
        made = self.scripts.get(request.prompt, lambda request, job: result(request))(request, job)
        return dataclasses.replace(made, images=job.keep(made.images, request))

    def warm(self, options: Options, job: JobContext) -> None:
        self.loaded.append(options.sd_model_checkpoint)


class Gate:
    """A script that stops inside the engine until the test opens it, and then does a step so that it notices a stop."""

    def __init__(self) -> None:
        self.entered, self.open = threading.Event(), threading.Event()

    def __call__(self, request: Txt2Img, job: JobContext) -> Result:
        self.entered.set()
        assert self.open.wait(SECONDS)
        try:
            job.step(1, 1, lambda: PICTURE)
        except Interrupted:
            return result(request, interrupted=True)
        return result(request)


@pytest.fixture
def scripted() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def saved() -> list[str]:
    return []


@pytest.fixture
def queue(scripted: ScriptedEngine, saved: list[str]) -> Iterator[JobQueue]:
    def save(made: GeneratedImage, request: Txt2Img) -> Path:
        saved.append(made.infotext)
        return Path(f"/saved/{made.seed}.png")

    queue = JobQueue(scripted, save, limit=3)
    yield queue
    queue.close()


@pytest.fixture
def gate(queue: JobQueue, scripted: ScriptedEngine) -> Iterator[Gate]:
    """The queue's worker is inside a job with the prompt "gate" until `gate.open`."""
    gate = Gate()
    scripted.scripts["gate"] = gate
    yield gate
    gate.open.set()


def submit(queue: JobQueue, prompt: str, **more: Any) -> Job:
    return queue.submit(Txt2Img(prompt=prompt), **more)


def test_jobs_run_in_order_and_give_results(queue: JobQueue, scripted: ScriptedEngine) -> None:
    submitted = [submit(queue, prompt) for prompt in ("a", "b", "c")]
    assert all(job.wait(SECONDS) for job in submitted)
    assert scripted.prompts == ["a", "b", "c"]
    assert [job.state for job in submitted] == ["done"] * 3
    assert submitted[1].result is not None
    assert submitted[1].result.request.prompt == "b"


def test_pictures_are_saved_when_asked(queue: JobQueue, saved: list[str]) -> None:
    kept, unsaved = submit(queue, "a"), submit(queue, "b", save=False)
    assert kept.wait(SECONDS)
    assert unsaved.wait(SECONDS)
    assert saved == ["seed 0"]
    assert kept.result.images[0].path == Path("/saved/0.png")
    assert unsaved.result.images[0].path is None


def test_without_a_word_pictures_are_saved_as_the_options_say(queue: JobQueue, saved: list[str]) -> None:
    off = Options(samples_save=False)
    jobs = [queue.submit(Txt2Img(options=off)), queue.submit(Txt2Img(options=off), save=True),
            queue.submit_tasks([Task("a", Txt2Img)], save=False)]
    assert all(job.wait(SECONDS) for job in jobs)
    paths = [job.result.images[0].path for job in jobs if job.result]
    assert paths == [None, Path("/saved/0.png"), None]
    assert len(saved) == 1


def test_positions_tell_who_is_next(queue: JobQueue, gate: Gate) -> None:
    running = submit(queue, "gate")
    assert gate.entered.wait(SECONDS)
    first, second = submit(queue, "a"), submit(queue, "b")
    assert [running.position, first.position, second.position] == [0, 1, 2]
    assert queue.current is running
    assert queue.pending() == [first, second]
    version = second.version
    queue.interrupt(first.id)
    assert second.position == 1
    assert second.version > version
    gate.open.set()
    assert second.wait(SECONDS)
    assert second.position == 0


def test_interrupt_without_an_id_stops_the_running_job_and_keeps_its_picture(queue: JobQueue, gate: Gate) -> None:
    running, waiting = submit(queue, "gate"), submit(queue, "a")
    assert gate.entered.wait(SECONDS)
    assert queue.interrupt()
    gate.open.set()
    assert running.wait(SECONDS)
    assert (running.state, len(running.result.images)) == ("interrupted", 1)
    assert waiting.wait(SECONDS)
    assert waiting.state == "done"


def test_interrupting_a_waiting_job_cancels_only_it(queue: JobQueue, gate: Gate, scripted: ScriptedEngine) -> None:
    running = submit(queue, "gate")
    assert gate.entered.wait(SECONDS)
    waiting, last = submit(queue, "a"), submit(queue, "b")
    assert queue.interrupt(waiting.id)
    assert (waiting.state, waiting.over, waiting.result) == ("interrupted", True, None)
    gate.open.set()
    assert last.wait(SECONDS)
    assert running.state == "done"
    assert scripted.prompts == ["gate", "b"]


def test_there_is_nothing_to_stop_when_idle_or_over(queue: JobQueue) -> None:
    job = submit(queue, "a")
    assert job.wait(SECONDS)
    assert not queue.interrupt(job.id)
    assert not queue.skip(job.id)
    assert not queue.interrupt("never was")
    assert job.state == "done"


def test_one_skip_skips_one_batch(queue: JobQueue, scripted: ScriptedEngine) -> None:
    batches: list[str] = []

    def script(request: Txt2Img, job: JobContext) -> Result:
        for batch in range(3):
            job.batches(batch, 3)
            if batch == 1:
                queue.skip()
            try:
                job.step(1, 1, lambda: PICTURE)
                batches.append("whole")
            except Skipped:
                batches.append("skipped")
        return result(request)

    scripted.scripts["x"] = script
    assert submit(queue, "x").wait(SECONDS)
    assert batches == ["whole", "skipped", "whole"]


def test_a_skip_between_batches_does_not_reach_the_next(queue: JobQueue, scripted: ScriptedEngine) -> None:
    def script(request: Txt2Img, job: JobContext) -> Result:
        job.batches(0, 2)
        queue.skip()
        job.batches(1, 2)
        job.check()
        return result(request)

    scripted.scripts["x"] = script
    job = submit(queue, "x")
    assert job.wait(SECONDS)
    assert job.state == "done"


def test_a_stop_that_the_engine_lets_through_is_no_failure(queue: JobQueue, scripted: ScriptedEngine) -> None:
    def script(request: Txt2Img, job: JobContext) -> Result:
        queue.interrupt()
        job.check()
        raise AssertionError("unreachable")

    scripted.scripts["x"] = script
    job = submit(queue, "x")
    assert job.wait(SECONDS)
    assert (job.state, job.error) == ("interrupted", None)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_progress_covers_all_batches_and_the_eta_follows_the_steps() -> None:
    clock = Clock()
    job = Job("x", lambda job: None, request=Txt2Img(n_iter=2), clock=clock)
    job.begin()
    assert (job.progress, job.eta) == (0, None)
    job.batches(0, 2)
    clock.now += 50  # loading: no step is that slow
    job.step(1, 4, lambda: PICTURE)
    assert job.progress == pytest.approx(1 / 8)
    assert job.eta is None
    clock.now += 3
    job.step(2, 4, lambda: PICTURE)
    assert job.progress == pytest.approx(2 / 8)
    assert job.eta == pytest.approx(18)  # 6 steps of 3 seconds
    job.batches(1, 2)
    assert job.progress == pytest.approx(4 / 8)
    job.step(4, 4, lambda: PICTURE)
    assert job.progress == 1
    job.finish("done", result(Txt2Img()))
    assert (job.progress, job.eta, job.state) == (1, None, "done")


def test_previews_are_drawn_on_demand_once_a_version_and_not_too_often() -> None:
    clock, drawn = Clock(), []

    def draw() -> Image.Image:
        drawn.append(clock.now)
        return PICTURE.copy()

    job = Job("x", lambda job: None, clock=clock)
    job.begin()
    assert job.preview() is None
    job.step(1, 9, draw)
    job.step(2, 9, draw)
    assert drawn == []
    first = job.preview()
    assert first is not None
    assert job.preview() is first
    job.step(3, 9, draw)
    assert job.preview() is first  # too soon for another
    clock.now += PREVIEW_SECONDS
    assert job.preview() is not first
    assert len(drawn) == 2
    assert job.preview_version == 3


def test_a_preview_that_fails_is_no_preview() -> None:
    clock, drawn = Clock(), []

    def fail() -> Image.Image:
        drawn.append(clock.now)
        raise RuntimeError("out of memory")

    job = Job("x", lambda job: None, clock=clock)
    job.begin()
    job.step(1, 9, fail)
    assert (job.preview(), job.preview()) == (None, None)
    assert len(drawn) == 1, "it is not tried again and again"
    clock.now += PREVIEW_SECONDS
    job.step(2, 9, PICTURE.copy)
    assert job.preview() is not None


def test_a_job_may_end_while_its_pictures_are_saved(tmp_path: Path) -> None:
    """A signal ends all jobs at once; the worker goes on until its next step, and what it has is saved whole."""

    def save(made: GeneratedImage, request: Txt2Img) -> Path:
        job.finish("failed", error=ServerStopping("The server is stopping."))
        return tmp_path / f"{made.seed}.png"

    request = Txt2Img(n_iter=2)
    job = Job("x", lambda job: None, request=request, save=save)
    job.begin()
    kept = job.keep(result(request, images=2).images, request)
    assert [made.path for made in kept] == [tmp_path / "0.png", tmp_path / "1.png"]


def test_watchers_are_woken_by_every_change() -> None:
    job = Job("x", lambda job: None)
    seen: list[int] = []
    watching = threading.Event()

    def watch() -> None:
        version = job.version
        watching.set()
        while not job.over:
            version = job.wait_change(version, SECONDS)
            seen.append(version)

    watcher = threading.Thread(target=watch)
    watcher.start()
    assert watching.wait(SECONDS)
    job.begin()
    job.stage("Loading")
    job.finish("done")
    watcher.join(SECONDS)
    assert not watcher.is_alive()
    assert seen[-1] == job.version == 3
    assert job.wait_change(0, timeout=0) == 3


def test_errors_for_the_person_are_kept_and_the_worker_goes_on(queue: JobQueue, scripted: ScriptedEngine) -> None:
    def script(request: Txt2Img, job: JobContext) -> Result:
        raise NotFound("There is no such checkpoint.")

    scripted.scripts["x"] = script
    failed, after = submit(queue, "x"), submit(queue, "a")
    assert after.wait(SECONDS)
    assert (failed.state, failed.error.message, failed.error.status) == ("failed", "There is no such checkpoint.", 404)
    assert after.state == "done"


@pytest.mark.parametrize("problem", ["person", "surprise", "exit", "cancelled"])
def test_a_failed_job_keeps_nothing_of_its_work_alive(queue: JobQueue, scripted: ScriptedEngine, problem: str,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by its error's frames nor by what the worker holds; and what is no Exception does not end the worker."""
    monkeypatch.setattr(failures.log, "disabled", True)  # records would hold the frames
    weights: list[weakref.ref[Image.Image]] = []

    def script(request: Txt2Img, job: JobContext) -> Result:
        model = Image.new("L", (1, 1))
        weights.append(weakref.ref(model))
        if problem == "exit":
            sys.exit(2)
        if problem == "cancelled":
            raise asyncio.CancelledError
        try:
            return model.unknown  # type: ignore[attr-defined, no-any-return]
        except AttributeError as error:
            if problem == "surprise":
                raise
            raise NotFound("There is no such checkpoint.") from error

    scripted.scripts["x"] = script
    failed, after = submit(queue, "x"), submit(queue, "a")
    assert after.wait(SECONDS)
    assert failed.state == "failed"
    gc.collect()
    assert weights[0]() is None


def test_surprises_go_to_the_log_and_become_one_sentence(queue: JobQueue, scripted: ScriptedEngine,
                                                        caplog: pytest.LogCaptureFixture) -> None:
    def script(request: Txt2Img, job: JobContext) -> Result:
        raise ZeroDivisionError("secret detail")

    scripted.scripts["x"] = script
    with caplog.at_level(logging.ERROR):
        job = submit(queue, "x")
        assert job.wait(SECONDS)
    assert "secret detail" not in job.error.message
    assert job.error.status == 500
    assert "ZeroDivisionError: secret detail" in caplog.text
    assert submit(queue, "a").wait(SECONDS)


@pytest.mark.parametrize("error", [
    MemoryError(), RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"),
    type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory"),
    RuntimeError("could not create a memory object"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")])
def test_too_little_memory_is_said_so(queue: JobQueue, scripted: ScriptedEngine, error: Exception) -> None:
    def script(request: Txt2Img, job: JobContext) -> Result:
        raise error

    scripted.scripts["x"] = script
    job = submit(queue, "x")
    assert job.wait(SECONDS)
    assert isinstance(job.error, OutOfMemory)


def test_a_full_disk_fails_the_job_but_loses_no_picture(scripted: ScriptedEngine) -> None:
    def save(made: GeneratedImage, request: Txt2Img) -> Path:
        raise StorageFull("The disk is full.")

    queue = JobQueue(scripted, save)
    job = submit(queue, "a")
    assert job.wait(SECONDS)
    queue.close()
    assert (job.state, job.error.status, len(job.result.images)) == ("failed", 507, 1)


def test_what_was_made_before_a_failure_is_saved_and_shown(queue: JobQueue, scripted: ScriptedEngine,
                                                           saved: list[str]) -> None:
    def script(request: Txt2Img, job: JobContext) -> Result:
        job.keep(result(request, images=2).images, request)
        raise BadResult("NaN.")

    scripted.scripts["x"] = script
    job = submit(queue, "x")
    assert job.wait(SECONDS)
    assert (job.state, job.error.message) == ("failed", "NaN.")
    assert saved == ["seed 0", "seed 1"]
    assert [made.path for made in job.result.images] == [Path("/saved/0.png"), Path("/saved/1.png")]


def test_the_queue_has_an_end(queue: JobQueue, gate: Gate) -> None:
    submit(queue, "gate")
    assert gate.entered.wait(SECONDS)
    for _ in range(3):
        submit(queue, "a")
    with pytest.raises(QueueFull) as caught:
        submit(queue, "a")
    assert caught.value.status == 503


def test_ids_may_be_chosen_and_used_again_when_over(queue: JobQueue, gate: Gate) -> None:
    first = submit(queue, "gate", job_id="mine")
    assert queue.get("mine") is first
    with pytest.raises(InvalidInput, match="mine"):
        submit(queue, "a", job_id="mine")
    gate.open.set()
    assert first.wait(SECONDS)
    second = submit(queue, "a", job_id="mine")
    assert second.wait(SECONDS)
    assert queue.get("mine") is second


def test_a_checkpoint_swap_is_a_job_like_others(queue: JobQueue, scripted: ScriptedEngine, gate: Gate) -> None:
    submit(queue, "gate")
    swap = queue.submit_load(Options(sd_model_checkpoint="other"))
    assert scripted.loaded == []
    gate.open.set()
    assert swap.wait(SECONDS)
    assert scripted.loaded == ["other"]
    assert (swap.state, swap.result) == ("done", None)


def test_old_jobs_are_forgotten_and_the_newest_kept(queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modules.jobs.queue.KEPT_JOBS", 2)
    done = []
    for prompt in "abcd":
        done.append(submit(queue, prompt))
        assert done[-1].wait(SECONDS)
    last = submit(queue, "e")
    assert last.wait(SECONDS)
    queue.close()
    assert [queue.get(job.id) is job for job in (*done, last)] == [False, False, False, True, True]


def test_results_take_bounded_memory(scripted: ScriptedEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modules.jobs.queue.KEPT_BYTES", 2 * 64 * 64 * 3)
    scripted.scripts["big"] = lambda request, job: result(request, size=64)
    queue = JobQueue(scripted, lambda made, request: Path())
    done = [submit(queue, "big") for _ in range(3)]
    assert done[-1].wait(SECONDS)
    queue.close()
    assert [queue.get(job.id) is not None for job in done] == [False, True, True]


def test_held_bytes_count_pictures_that_came_in() -> None:
    job = Job("x", lambda job: None, request=Img2Img(init_images=(Image.new("RGBA", (10, 10)),)))
    assert job.bytes_held() == 400
    given = Job("y", lambda job: None, request=Txt2Img(first_pass=Image.new("RGB", (10, 10))))
    assert given.bytes_held() == 300


def test_waiting_jobs_hold_bounded_memory(queue: JobQueue, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modules.jobs.queue.WAITING_BYTES", 1000)
    submit(queue, "gate")
    assert gate.entered.wait(SECONDS)
    large = Img2Img(init_images=(Image.new("RGB", (16, 16)),))
    queue.submit(large)
    with pytest.raises(QueueFull, match="pictures"):
        queue.submit(large)
    submit(queue, "a")
    with pytest.raises(QueueFull, match="pictures"):
        queue.submit_work(lambda job: None, nbytes=500)


def test_closing_cancels_what_waits_and_takes_nothing_more(queue: JobQueue, gate: Gate) -> None:
    running, waiting = submit(queue, "gate"), submit(queue, "a")
    assert gate.entered.wait(SECONDS)
    gate.open.set()
    queue.close(SECONDS)
    assert running.over
    assert waiting.over
    with pytest.raises(UserError):
        submit(queue, "a")


def test_stopping_answers_everybody_at_once_and_keeps_what_is_finished(queue: JobQueue, scripted: ScriptedEngine,
                                                                       saved: list[str]) -> None:
    """While the worker is inside a step that nothing can end."""
    entered, go_on = threading.Event(), threading.Event()

    def slow(request: Txt2Img, job: JobContext) -> Result:
        job.keep(result(request).images, request)
        entered.set()
        assert go_on.wait(SECONDS)
        return result(request)

    scripted.scripts["slow"] = slow
    running, waiting = submit(queue, "slow"), submit(queue, "a")
    assert entered.wait(SECONDS)
    queue.stop()
    for job in (running, waiting):
        assert job.finished.done()
        assert (job.state, type(job.error), job.error.status) == ("failed", ServerStopping, 503)
    assert [made.path for made in running.result.images] == [Path("/saved/0.png")]
    assert saved == ["seed 0"]
    with pytest.raises(QueueFull):
        submit(queue, "b")
    go_on.set()
    queue.close(SECONDS)
    assert running.state == "failed", "the worker comes too late"
    assert scripted.prompts == ["slow"]


def test_tasks_are_one_job_and_a_bad_one_is_named(queue: JobQueue, scripted: ScriptedEngine) -> None:
    def fail(request: Txt2Img, job: JobContext) -> Result:
        raise BadResult("The network gave NaN.")

    def unreadable() -> Txt2Img:
        raise InvalidInput("This file is not a picture.")

    scripted.scripts["second"] = fail
    tasks = [Task(name, lambda name=name: Txt2Img(prompt=name)) for name in ("first", "second")]
    job = queue.submit_tasks([*tasks, Task("third", unreadable), Task("fourth", lambda: Txt2Img(prompt="fourth"))])
    assert job.wait(SECONDS)
    assert job.state == "done"
    assert scripted.prompts == ["first", "second", "fourth"]
    assert job.result is not None
    assert len(job.result.images) == 2
    assert job.result.warnings == ("second: The network gave NaN.", "third: This file is not a picture.")
    assert all(made.path is not None for made in job.result.images)

    alone = queue.submit_tasks([Task("third", unreadable)])
    assert alone.wait(SECONDS)
    assert alone.state == "failed"
    assert alone.error is not None
    assert alone.error.message == "third: This file is not a picture."


def test_a_stop_ends_all_tasks_and_progress_is_of_the_whole(queue: JobQueue, scripted: ScriptedEngine,
                                                            gate: Gate) -> None:
    scripted.scripts["b"] = gate
    job = queue.submit_tasks([Task(name, lambda name=name: Txt2Img(prompt=name)) for name in "abcd"])
    assert gate.entered.wait(SECONDS)
    assert job.progress == 0.25
    queue.interrupt(job.id)
    gate.open.set()
    assert job.wait(SECONDS)
    assert job.state == "interrupted"
    assert scripted.prompts == ["a", "b"]
    assert job.result is not None
    assert [made.seed for made in job.result.images][:1] == [0]


def test_freed_memory_is_given_back_when_nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    given_back = threading.Event()
    monkeypatch.setattr("modules.jobs.queue.give_back", given_back.set)
    queue = JobQueue(ScriptedEngine(), lambda made, request: Path())
    assert queue.submit(Txt2Img(prompt="a")).wait(SECONDS)
    assert given_back.wait(SECONDS)
    queue.close()


# ---------------------------------------------------------------- several jobs at a time


@pytest.fixture
def wide(scripted: ScriptedEngine) -> Iterator[tuple[JobQueue, dict[str, Gate]]]:
    """A queue that runs two jobs at a time, and gates for the prompts a to d."""
    gates = {prompt: Gate() for prompt in "abcd"}
    scripted.scripts.update(gates)
    queue = JobQueue(scripted, lambda made, request: Path(), at_once=2)
    yield queue, gates
    for gate in gates.values():
        gate.open.set()
    queue.close()


def test_two_jobs_run_and_the_third_waits(wide: tuple[JobQueue, dict[str, Gate]]) -> None:
    queue, gates = wide
    a, b, c = (submit(queue, prompt) for prompt in "abc")
    assert gates["a"].entered.wait(SECONDS)
    assert gates["b"].entered.wait(SECONDS)
    assert queue.running() == [a, b]
    assert queue.current is a
    assert [a.position, b.position, c.position] == [0, 0, 1]
    gates["b"].open.set()
    assert b.wait(SECONDS)
    assert gates["c"].entered.wait(SECONDS)
    assert queue.running() == [a, c]


def test_without_an_id_the_oldest_running_job_is_stopped(wide: tuple[JobQueue, dict[str, Gate]]) -> None:
    queue, gates = wide
    a, b = submit(queue, "a"), submit(queue, "b")
    assert gates["a"].entered.wait(SECONDS)
    assert gates["b"].entered.wait(SECONDS)
    assert queue.interrupt()
    assert (a.interrupted, b.interrupted) == (True, False)
    assert queue.skip(b.id)
    assert (a.skipped, b.skipped) == (False, True)


def test_what_uses_this_process_runs_one_at_a_time(wide: tuple[JobQueue, dict[str, Gate]]) -> None:
    queue, gates = wide
    entered, opened = threading.Event(), threading.Event()

    def work(job: Job) -> None:
        entered.set()
        assert opened.wait(SECONDS)

    first = queue.submit_work(work)
    assert entered.wait(SECONDS)
    second, request = queue.submit_work(lambda job: None), submit(queue, "a")
    assert gates["a"].entered.wait(SECONDS)  # it overtakes the second
    assert queue.running() == [first, request]
    assert second.position == 1
    opened.set()
    assert second.wait(SECONDS)
    assert second.state == "done"


@pytest.mark.parametrize(("waiting", "begin"), [
    ("aaaa", [0, 1]),  # two of each checkpoint
    ("aaab", [0, 1, 3]),  # another one's overtake
    ("abcabc", [0, 1, 2, 3]),  # and four in all
    ("aab-a", [0, 1, 2, 3])])  # what has no checkpoint counts in all
def test_so_many_jobs_of_each_checkpoint_begin(waiting: str, begin: list[int], scripted: ScriptedEngine) -> None:
    gate = Gate()
    scripted.scripts["gate"] = gate

    def work(job: Job) -> None:
        assert gate.open.wait(SECONDS)

    queue = JobQueue(scripted, lambda made, request: Path(), at_once=4, alike=2)
    jobs = [queue.submit_work(work) if name == "-" else
            queue.submit(Txt2Img(prompt="gate", options=Options(sd_model_checkpoint=name))) for name in waiting]
    first = [jobs[number] for number in begin]
    for job in first:
        version = -1
        while job.state == "queued":
            version = job.wait_change(version, SECONDS)
    assert set(queue.running()) == set(first)
    assert queue.pending() == [job for job in jobs if job not in first]
    gate.open.set()
    assert all(job.wait(SECONDS) for job in jobs)
    assert all(job.state == "done" for job in jobs)
    queue.close()


def test_stopping_ends_all_running_jobs(wide: tuple[JobQueue, dict[str, Gate]]) -> None:
    queue, gates = wide
    jobs = [submit(queue, prompt) for prompt in "abc"]
    assert gates["a"].entered.wait(SECONDS)
    assert gates["b"].entered.wait(SECONDS)
    queue.stop()
    assert [type(job.error) for job in jobs] == [ServerStopping] * 3


def test_a_job_that_gives_way_comes_last_is_stopped_by_others_and_is_not_kept(queue: JobQueue, gate: Gate,
                                                                             scripted: ScriptedEngine) -> None:
    first = submit(queue, "gate", gives_way=True)
    assert gate.entered.wait(SECONDS)
    again = submit(queue, "again", gives_way=True)
    assert not first.interrupted  # others of its kind wait for it
    other = submit(queue, "other")
    assert (first.interrupted, first.displaced) == (True, True)
    assert [other.position, again.position] == [1, 2]
    gate.open.set()
    assert again.wait(SECONDS)
    assert scripted.prompts == ["gate", "other", "again"]
    assert (first.state, other.state, again.state, again.displaced) == ("interrupted", "done", "done", False)
    last = submit(queue, "last")
    assert last.wait(SECONDS)
    assert [queue.get(job.id) for job in (first, other, again, last)] == [None, other, None, last]


def test_of_jobs_that_were_moved_those_that_give_way_stay_behind_new_ones(queue: JobQueue, gate: Gate) -> None:
    submit(queue, "gate")
    assert gate.entered.wait(SECONDS)
    polite, other = submit(queue, "polite", gives_way=True), submit(queue, "other")
    assert queue.move(polite.id, -1)
    new = submit(queue, "new")
    assert [job.id for job in queue.pending()] == [polite.id, other.id, new.id]
