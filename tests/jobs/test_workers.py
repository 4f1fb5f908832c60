"""Several workers: what comes of a request is what one machine makes, whatever happens to them on the way.

The workers here are engines in threads, over a model in closed form.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeModel, fake_engine
from PIL import Image

from modules.engine.engine import Engine
from modules.errors import Interrupted, InvalidInput, NotFound, Skipped, StorageFull, UserError
from modules.gallery.formats import Format
from modules.gallery.saving import Saver
from modules.jobs import workers
from modules.jobs.crew import About, Begun, Crew, CrewLost, EngineCrew, Event, Made, Part, Wish
from modules.jobs.queue import JobQueue
from modules.jobs.tasks import Task
from modules.jobs.workers import Fleet
from modules.request import Img2Img, Inpaint, MaskedContent, ScriptCall, Txt2Img
from modules.request.job_context import NullJob, Preview
from modules.request.options import Options
from modules.request.result import GeneratedImage, Result
from modules.settings import Settings

CLIENT_JOBS = int(os.environ.get("CLIENT_JOBS", "20"))
"""Jobs of the test with two clients."""

SECONDS = 60
PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 48, 3)).astype(np.uint8))
MASK = Image.new("L", PICTURE.size)
MASK.paste(255, (8, 8, 30, 24))
COMMON: dict[str, Any] = {"prompt": "a cat", "width": 48, "height": 40, "steps": 3, "cfg_scale": 1.0, "seed": 41,
                          "subseed": 7, "options": Options(sd_model_checkpoint="first")}
MEANS = {"first": 0.2, "second": -0.4}


class Told(NullJob):
    """A job that notes what it is told; `stop` is asked at each check."""

    def __init__(self, stop: Callable[[Told], None] = lambda job: None) -> None:
        self.kept: list[GeneratedImage] = []
        self.batches_told: list[tuple[int, int]] = []
        self.steps: list[tuple[int, int]] = []
        self.stages: list[str] = []
        self.previews: list[Preview] = []
        self._stop = stop

    def check(self) -> None:
        self._stop(self)

    def stage(self, text: str) -> None:
        self.stages.append(text)

    def batches(self, done: int, total: int) -> None:
        self.batches_told.append((done, total))

    def step(self, step: int, total: int, preview: Preview) -> None:
        self.steps.append((step, total))
        self.previews.append(preview)
        self.check()

    def keep(self, images: Sequence[GeneratedImage], request: Txt2Img) -> tuple[GeneratedImage, ...]:
        self.kept += images
        return tuple(images)


class Watched:
    """A crew that notes its parts, and calls `on_event` before each event is handed on, which may raise CrewLost."""

    def __init__(self, crew: Crew, on_event: Callable[[Part, Event], None] = lambda part, event: None) -> None:
        self.crew, self.on_event = crew, on_event
        self.parts: list[Part] = []

    def about(self) -> About:
        return self.crew.about()

    def make(self, part: Part) -> Iterator[Event]:
        self.parts.append(part)
        with contextlib.closing(self.crew.make(part)) as events:  # type: ignore[type-var]
            for event in events:
                self.on_event(part, event)
                yield event

    def preview(self, part_id: str) -> bytes | None:
        return self.crew.preview(part_id)

    def stop(self, part_id: str, wish: Wish) -> None:
        self.crew.stop(part_id, wish)

    def unload(self) -> None:
        self.crew.unload()


def one_engine(settings: Settings) -> Engine:
    return fake_engine(settings, lambda name: FakeModel(name=name, mean=MEANS[name], std=0.2))


@pytest.fixture(autouse=True)
def looked_for_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "AGAIN_SECONDS", 0.0)


@pytest.fixture
def fleet_of(settings: Settings) -> Iterator[Callable[..., Fleet]]:
    """Makes a fleet of as many workers as are given, each with what is called at its events."""
    fleets = []

    def make(*on_events: Callable[[Part, Event], None]) -> Fleet:
        fleets.append(Fleet(settings, [Watched(EngineCrew(one_engine(settings)), one) for one in on_events]))
        return fleets[-1]

    yield make
    for fleet in fleets:
        fleet.close()


def quiet(part: Part, event: Event) -> None: ...


def seen(result: Result) -> list[tuple[Any, ...]]:
    return [(one.image.tobytes(), one.infotext, one.seed, one.subseed, [extra.tobytes() for extra in one.extras])
            for one in result.images]


REQUESTS: dict[str, Txt2Img] = {
    "txt2img": Txt2Img(**COMMON, n_iter=7, batch_size=2),
    "img2img": Img2Img(**COMMON, n_iter=3, init_images=(PICTURE,)),
    "latent noise": Inpaint(**COMMON, n_iter=5, init_images=(PICTURE,), mask=MASK,
                            masked_content=MaskedContent.LATENT_NOISE),
    "wildcards": Txt2Img(**COMMON | {"prompt": "a __colour__ cat", "options": Options(
        sd_model_checkpoint="first", wildcards="everywhere")}, n_iter=3),
    "matrix": Txt2Img(**COMMON | {"prompt": "a cat|red|large"}, script=ScriptCall("Prompt matrix", ())),
    "prompts from a file": Txt2Img(**COMMON, script=ScriptCall("Prompts from file or textbox", (
        False, False, "start", "a dog\n--seed 5 --prompt \"a bird\" --n_iter 2\na fish"))),
    "plot over two checkpoints": Txt2Img(**COMMON, script=ScriptCall("X/Y/Z plot", (
        "Checkpoint name", "first, second", (), "Seed", "1-3", ()))),
    "a script that makes the noise": Img2Img(**COMMON, init_images=(PICTURE,), denoising_strength=0.7,
                                             script=ScriptCall("img2img alternative test", ()))}


@pytest.mark.parametrize("name", REQUESTS)
def test_what_three_workers_make_is_what_one_machine_makes(name: str, settings: Settings,
                                                           fleet_of: Callable[..., Fleet]) -> None:
    (settings.data_dir / "wildcards").mkdir()
    (settings.data_dir / "wildcards" / "colour.txt").write_text("red\ngreen\nblue\n")
    alone, together = Told(), Told()
    expected = one_engine(settings).generate(REQUESTS[name], alone)
    made = fleet_of(quiet, quiet, quiet).generate(REQUESTS[name], together)
    assert seen(made) == seen(expected)
    assert len(seen(expected)) > 0
    assert sorted(one.infotext for one in together.kept) == sorted(one.infotext for one in alone.kept)
    assert made.warnings == expected.warnings
    assert made.request == expected.request
    assert not made.interrupted


def test_the_work_is_shared_and_its_progress_is_the_sum(fleet_of: Callable[..., Fleet]) -> None:
    both = threading.Barrier(2)
    met: set[int] = set()

    def meet(number: int) -> Callable[[Part, Event], None]:
        def on_event(part: Part, event: Event) -> None:
            if isinstance(event, Begun) and number not in met:
                met.add(number)
                both.wait(SECONDS)  # so that neither can do all of it before the other has begun

        return on_event

    fleet, job = fleet_of(meet(0), meet(1)), Told()
    fleet.generate(Txt2Img(**COMMON, n_iter=8), job)
    parts = [part for lane in fleet.lanes for part in lane.crew.parts]  # type: ignore[attr-defined]
    assert sorted(number for part in parts for number in part.numbers) == list(range(8))
    assert all(lane.crew.parts for lane in fleet.lanes)  # type: ignore[attr-defined]
    assert {total for _, total in job.batches_told} == {8}
    done = [number for number, _ in job.batches_told]
    assert done == sorted(done)
    assert done[-1] == 7
    assert all(0 < step <= total for step, total in job.steps)
    assert sum(one["pictures_a_minute"] for one in fleet.workers()) == 8


@pytest.mark.parametrize("fatal", range(14))
def test_a_worker_that_dies_at_any_event_costs_no_picture(fatal: int, settings: Settings,
                                                          fleet_of: Callable[..., Fleet]) -> None:
    count = iter(range(1000))

    def dies(part: Part, event: Event) -> None:
        if next(count) == fatal:
            raise CrewLost("It was killed.")

    request = Txt2Img(**COMMON, n_iter=6)
    fleet, job = fleet_of(dies), Told()
    made = fleet.generate(request, job)
    assert seen(made) == seen(one_engine(settings).generate(request, NullJob()))
    assert sorted(one.seed for one in job.kept) == [41, 42, 43, 44, 45, 46]  # none twice, none missing
    assert fleet.lanes[0].failure == "It was killed."


def test_cells_of_a_plot_are_made_at_the_same_time(fleet_of: Callable[..., Fleet]) -> None:
    both = threading.Barrier(2)

    def meets(part: Part, event: Event) -> None:
        if isinstance(event, Made):
            both.wait(SECONDS)

    fleet, job = fleet_of(meets, meets), Told()
    made = fleet.generate(Txt2Img(**COMMON, script=ScriptCall("X/Y/Z plot", ("Seed", "1, 2", ()))), job)
    assert len(made.images) == 1
    assert {one.seed for one in job.kept[:2]} == {1, 2}
    assert {total for _, total in job.batches_told} == {2}


def test_a_cell_that_fails_is_empty_and_the_others_are_there(fleet_of: Callable[..., Fleet]) -> None:
    def dies(bad: int) -> Callable[[Part, Event], None]:
        def on_event(part: Part, event: Event) -> None:
            if part.request.seed == bad:
                raise CrewLost("It was killed.")

        return on_event

    plot = Txt2Img(**COMMON, script=ScriptCall("X/Y/Z plot", ("Seed", "1-4", ())))
    job = Told()
    made = fleet_of(dies(3), dies(3)).generate(plot, job)
    assert [one.grid for one in made.images] == ["xyz_grid"]
    assert sorted(one.seed for one in job.kept if not one.grid) == [1, 2, 4]
    assert made.warnings == ("This picture ended the worker that made it three times.",)
    with pytest.raises(UserError, match="three times"):
        fleet_of(dies(1), dies(1)).generate(plot, Told())


def test_a_batch_that_ends_three_workers_fails(fleet_of: Callable[..., Fleet]) -> None:
    def dies(part: Part, event: Event) -> None:
        if isinstance(event, Begun) and part.numbers[event.done] == 2:
            raise CrewLost("It was killed.")

    fleet, job = fleet_of(dies, dies), Told()
    with pytest.raises(UserError, match="ended the worker that made it three times"):
        fleet.generate(Txt2Img(**COMMON, n_iter=3), job)
    assert fleet.generate(Txt2Img(**COMMON), Told()).images  # the workers are there again


def stops_after(steps: int, error: type[Exception]) -> Callable[[Told], None]:
    """A stop of a job that is raised once, when it has been told of so many steps."""
    raised: list[bool] = []

    def stop(job: Told) -> None:
        if len(job.steps) >= steps and not raised:
            raised.append(True)
            raise error

    return stop


def test_interrupt_keeps_the_newest_guess_of_each_worker(fleet_of: Callable[..., Fleet]) -> None:
    fleet, job = fleet_of(quiet, quiet), Told(stops_after(1, Interrupted))
    made = fleet.generate(Txt2Img(**COMMON | {"steps": 150}, n_iter=50), job)
    assert made.interrupted
    assert 1 <= len(made.images) < 50
    assert [one.seed for one in made.images] == sorted(one.seed for one in job.kept)
    assert fleet.generate(Txt2Img(**COMMON), Told()).images  # the workers go on with the next job


def test_skip_ends_the_batches_that_run_and_no_others(fleet_of: Callable[..., Fleet]) -> None:
    fleet, job = fleet_of(quiet), Told(stops_after(1, Skipped))
    made = fleet.generate(Txt2Img(**COMMON | {"steps": 30}, n_iter=3), job)
    assert not made.interrupted
    assert len(made.images) == 3


def test_a_full_disk_ends_the_job_and_stops_the_workers(fleet_of: Callable[..., Fleet]) -> None:
    class Full(Told):
        def keep(self, images: Sequence[GeneratedImage], request: Txt2Img) -> tuple[GeneratedImage, ...]:
            raise StorageFull("The disk is full.")

    fleet = fleet_of(quiet, quiet)
    with pytest.raises(StorageFull):
        fleet.generate(Txt2Img(**COMMON, n_iter=50), Full())
    assert fleet.generate(Txt2Img(**COMMON), Told()).images


def test_an_error_of_a_request_is_the_engines(fleet_of: Callable[..., Fleet]) -> None:
    fleet = fleet_of(quiet, quiet)
    with pytest.raises(NotFound, match="nowhere"):
        fleet.generate(Txt2Img(**COMMON | {"options": Options(sd_model_checkpoint="nowhere")}), Told())
    with pytest.raises(InvalidInput, match="whole=True"):
        fleet.generate_one(Txt2Img(**COMMON), Told(), first_noise=lambda model, latent, noise: noise)


def test_a_preview_is_drawn_where_the_latent_is(fleet_of: Callable[..., Fleet]) -> None:
    gate, reached = threading.Event(), threading.Event()

    def waits(part: Part, event: Event) -> None:
        if isinstance(event, Made):
            reached.set()
            assert gate.wait(SECONDS)

    fleet, job = fleet_of(waits), Told()
    thread = threading.Thread(target=fleet.generate, args=[Txt2Img(**COMMON), job])
    thread.start()
    assert reached.wait(SECONDS)
    while not job.previews:
        gate.wait(0.01)
    shown = job.previews[-1]()
    gate.set()
    thread.join(SECONDS)
    assert shown.size == (6, 5)
    assert len(shown.getcolors()) > 1


def test_a_worker_without_the_file_is_left_alone(settings: Settings, tmp_path: Path) -> None:
    elsewhere = Settings(data_dir=tmp_path / "elsewhere")
    shutil.copytree(settings.models_dir, elsewhere.models_dir)
    (elsewhere.checkpoint_dirs[0] / "second.safetensors").unlink()
    (elsewhere.checkpoint_dirs[0] / "first.safetensors").write_bytes(b"another file of that name")
    poor, rich = Watched(EngineCrew(one_engine(elsewhere))), Watched(EngineCrew(one_engine(settings)))
    fleet = Fleet(settings, [poor, rich])
    for name in ("first", "second"):
        made = fleet.generate(Txt2Img(**COMMON | {"options": Options(sd_model_checkpoint=name)}, n_iter=4), Told())
        assert [one.seed for one in made.images] == [41, 42, 43, 44]
    fleet.close()

    fleet = Fleet(settings, [poor])
    with pytest.raises(NotFound, match="second"):
        fleet.generate(Txt2Img(**COMMON | {"options": Options(sd_model_checkpoint="second")}), Told())
    with pytest.raises(NotFound, match="another file"):
        fleet.generate(Txt2Img(**COMMON), Told())
    shutil.copytree(settings.models_dir, elsewhere.models_dir, dirs_exist_ok=True)
    assert fleet.generate(Txt2Img(**COMMON), Told()).images  # it is looked for again with each request
    fleet.close()


def test_a_worker_of_another_version_is_refused(settings: Settings) -> None:
    class Older(Watched):
        def about(self) -> About:
            about = super().about()
            return dataclasses.replace(about, same={**about.same, "torch": "1.0"})

    fleet = Fleet(settings, [Older(EngineCrew(one_engine(settings)))])
    with pytest.raises(UserError, match=r"No worker can be used.*torch: 1\.0 there"):
        fleet.generate(Txt2Img(**COMMON), Told())
    assert fleet.lanes[0].state == "refused"
    fleet.close()


@pytest.mark.parametrize("options", [{}, {"samples_format": "webp"}])
def test_the_files_are_those_of_one_machine_and_made_by_the_workers(
        options: dict[str, Any], settings: Settings, tmp_path: Path, fleet_of: Callable[..., Fleet],
        monkeypatch: pytest.MonkeyPatch) -> None:
    encoders: list[str] = []
    encode = Format.encode

    def noted(*arguments: Any, **named: Any) -> bytes:
        encoders.append(threading.current_thread().name)
        return encode(*arguments, **named)

    def files(engine: Engine, folder: Path) -> set[bytes]:
        engine.config.hold(options)
        queue = JobQueue(engine, Saver(folder, form=lambda: Format.of(options)))
        for request, save in ((Txt2Img(**COMMON, n_iter=3, batch_size=2), True),
                              (Txt2Img(**COMMON, script=ScriptCall("X/Y/Z plot", ("Seed", "1, 2", ()))), True),
                              (Img2Img(**COMMON, init_images=(PICTURE,), script=ScriptCall(
                                  "img2img alternative test", ())), True),
                              (Txt2Img(**COMMON), False)):
            assert queue.submit(request, save=save).wait(SECONDS)
        queue.close()
        return {file.read_bytes() for file in folder.rglob("*.*")}

    expected = files(one_engine(settings), tmp_path / "alone")
    monkeypatch.setattr(Format, "encode", noted)
    assert files(fleet_of(quiet, quiet), tmp_path / "together") == expected
    assert len(expected) == 10
    assert sum(not name.startswith("worker") for name in encoders) == 1  # the plot itself
    assert len(encoders) == 10  # and nothing for the job that saves nothing


def test_loading_warms_a_worker_which_then_gets_the_work(fleet_of: Callable[..., Fleet]) -> None:
    fleet = fleet_of(quiet, quiet)
    fleet.warm(Options(sd_model_checkpoint="second"), Told())
    warm = [lane for lane in fleet.lanes if "second.safetensors" in lane.warm]
    assert len(warm) == 1
    assert [one["state"] for one in fleet.workers()] == ["idle", "idle"]
    assert [one["in_memory"] for one in fleet.workers() if one["in_memory"]] == [["second.safetensors"]]
    used = [one["memory"]["ram"]["used"] for one in fleet.workers() if one["memory"]]
    assert len(used) == 1  # the other has done nothing yet
    assert used[0] > 0
    assert fleet.summary() == "2 of 2 workers are ready, 0 at work"
    fleet.unload()
    assert not any(lane.warm for lane in fleet.lanes)


def test_the_steps_are_recorded_where_the_job_keeps_them(settings: Settings, fleet_of: Callable[..., Fleet],
                                                         tmp_path: Path) -> None:
    class Recording(Told):
        def recording(self) -> Path:
            return tmp_path / "steps" / "1.safetensors"

    fleet_of(quiet).generate(Txt2Img(**COMMON, record_steps=True), Recording())
    there = (tmp_path / "steps" / "1.safetensors").read_bytes()

    class Alone(NullJob):
        def recording(self) -> Path:
            return tmp_path / "alone.safetensors"

    one_engine(settings).generate(Txt2Img(**COMMON, record_steps=True), Alone())
    assert len(there) == (tmp_path / "alone.safetensors").stat().st_size


def test_the_files_of_a_batch_are_made_at_the_same_time(settings: Settings, fleet_of: Callable[..., Fleet]) -> None:
    both = threading.Barrier(2)

    def meets(part: Part, event: Event) -> None:
        if isinstance(event, Made):
            both.wait(SECONDS)

    requests = [Txt2Img(**COMMON | {"seed": seed}) for seed in range(6)]
    queue = JobQueue(fleet_of(meets, meets), Saver(settings.outputs_dir), at_once=16)
    job = queue.submit_tasks([Task(f"file {request.seed}", lambda request=request: request) for request in requests])
    steps: list[tuple[int, int, int]] = []
    version = -1
    while not job.over:
        version = job.wait_change(version)
        steps.append((job.sampling_step, job.sampling_steps, job.batch_count))  # the count is told before the steps
    assert job.state == "done"
    assert job.result is not None
    alone = one_engine(settings)
    assert sorted(seen(job.result)) == sorted(one for request in requests
                                              for one in seen(alone.generate(request, NullJob())))
    assert {count for step, _, count in steps if step} == {6}
    assert all(step <= total for step, total, _ in steps)
    queue.close()


def test_two_clients_with_two_checkpoints_get_their_own_pictures(settings: Settings,
                                                                 fleet_of: Callable[..., Fleet]) -> None:
    fleet = fleet_of(quiet, quiet)
    queue = JobQueue(fleet, Saver(settings.outputs_dir), at_once=8, limit=CLIENT_JOBS)
    models = [Options(sd_model_checkpoint=name) for name in ("first", "second")]
    asked = [Txt2Img(**COMMON | {"seed": number, "options": models[number % 2]})
             for number in range(CLIENT_JOBS)]
    jobs = [queue.submit(request) for request in asked]
    assert all(job.wait(SECONDS) for job in jobs)
    alone = one_engine(settings)
    for request, job in zip(asked, jobs, strict=True):
        assert job.result is not None
        assert seen(job.result) == seen(alone.generate(request, NullJob()))
    assert len({one.path for job in jobs if job.result for one in job.result.images}) == CLIENT_JOBS
    queue.close()
