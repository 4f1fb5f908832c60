"""Workers in processes of their own, by Ray: the same pictures, also when one is killed, and nothing open to others."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from make_tiny import make_tiny
from PIL import Image

from modules.engine.engine import Engine
from modules.errors import Interrupted, InvalidInput, UserError
from modules.gallery.saving import Saver
from modules.jobs.queue import JobQueue
from modules.jobs.workers import Fleet
from modules.request import Img2Img, Txt2Img
from modules.request.job_context import NullJob, Preview
from modules.request.options import Options
from modules.request.result import GeneratedImage, Result
from modules.settings import Settings

CLIENT_JOBS = int(os.environ.get("CLIENT_JOBS", "8"))
"""Jobs of the test with two clients."""

PROJECT = Path(__file__).parents[2]
REQUEST = Txt2Img(prompt="a cat", width=64, height=64, steps=2, seed=41, subseed=7, n_iter=8)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    settings = Settings(data_dir=tmp_path_factory.mktemp("fleet"), device="cpu", workers=2)
    settings.checkpoint_dirs[0].mkdir(parents=True)
    make_tiny("tiny-sd15", settings.checkpoint_dirs[0] / "tiny-sd15.safetensors")
    make_tiny("tiny-sd15", settings.checkpoint_dirs[0] / "tiny-sd15-other.safetensors", salt=1)
    return settings


@pytest.fixture(scope="module")
def fleet(settings: Settings) -> Iterator[Fleet]:
    if importlib.util.find_spec("ray") is None:  # it must not be imported before its environment is set
        pytest.skip("Ray is not installed")
    from modules.jobs.ray_workers import RayWorkers

    workers = RayWorkers(settings, {})
    fleet = Fleet(settings, workers.crews)
    yield fleet
    fleet.close()
    workers.close()


@pytest.fixture(scope="module")
def alone(settings: Settings) -> list[tuple[bytes, str]]:
    return seen(Engine(settings).generate(REQUEST, NullJob()))


def seen(result: Result) -> list[tuple[bytes, str]]:
    return [(one.image.tobytes(), one.infotext) for one in result.images]


class Killing(NullJob):
    """Kills the worker that has brought the first picture."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet, self.killed, self.seeds = fleet, 0, list[int]()

    def keep(self, images: Sequence[GeneratedImage], request: Txt2Img) -> tuple[GeneratedImage, ...]:
        self.seeds += [one.seed for one in images]
        busy = [lane for lane in self._fleet.lanes if lane.state == "working" and lane.about]
        if not self.killed and busy:
            assert busy[0].about
            self.killed = busy[0].about.process
            os.kill(self.killed, signal.SIGKILL)
        return tuple(images)


def test_pictures_are_one_machines_also_when_a_worker_is_killed(fleet: Fleet, alone: list[tuple[bytes, str]]) -> None:
    assert seen(fleet.generate(REQUEST, NullJob())) == alone
    job = Killing(fleet)
    made = fleet.generate(REQUEST, job)
    assert job.killed
    assert seen(made) == alone
    assert sorted(job.seeds) == list(range(41, 49))  # none twice, none missing
    assert seen(fleet.generate(REQUEST, NullJob())) == alone


def test_the_pictures_of_a_request_are_sent_once(fleet: Fleet, settings: Settings,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    put = ray.put
    sent: list[Any] = []

    def noted(value: Any) -> Any:
        sent.append(value)
        return put(value)

    monkeypatch.setattr(ray, "put", noted)
    picture = Image.effect_noise((64, 64), 90).convert("RGB")
    request = Img2Img(width=64, height=64, steps=2, seed=41, n_iter=8, init_images=(picture,))
    made = seen(fleet.generate(request, NullJob()))
    assert len(sent) == 1
    assert made == seen(Engine(settings).generate(request, NullJob()))
    fleet.generate(REQUEST, NullJob())
    assert len(sent) == 1  # one without pictures goes as it is


def test_two_clients_with_two_checkpoints_get_their_own_pictures(fleet: Fleet, settings: Settings,
                                                                 tmp_path: Path) -> None:
    queue = JobQueue(fleet, Saver(tmp_path), at_once=8, limit=CLIENT_JOBS)
    models = [Options(sd_model_checkpoint=name) for name in ("tiny-sd15", "tiny-sd15-other")]
    asked = [replace(REQUEST, seed=number, n_iter=1, options=models[number % 2]) for number in range(CLIENT_JOBS)]
    jobs = [queue.submit(request) for request in asked]
    assert all(job.wait() for job in jobs)
    engine = Engine(settings)
    for request, job in sorted(zip(asked, jobs, strict=True), key=lambda one: one[0].seed % 2):
        assert job.result is not None
        assert seen(job.result) == seen(engine.generate(request, NullJob()))
    assert len({one.path for job in jobs if job.result for one in job.result.images}) == CLIENT_JOBS
    queue.close()


def test_interrupt_reaches_the_workers_and_previews_come_back(fleet: Fleet) -> None:
    class Stopping(NullJob):
        shown: tuple[int, int] | None = None

        def step(self, step: int, total: int, preview: Preview) -> None:
            self.shown = preview().size
            if self.shown != (1, 1):  # what there is until a worker has answered, or when its part has ended
                raise Interrupted

    job = Stopping()
    made = fleet.generate(Txt2Img(width=64, height=64, steps=150, n_iter=20), job)
    assert made.interrupted
    assert len(made.images) < 20
    assert job.shown == (8, 8)


def test_an_error_of_a_worker_is_the_engines_sentence(fleet: Fleet) -> None:
    with pytest.raises(InvalidInput, match="sampler"):
        fleet.generate(Txt2Img(sampler="nonsense"), NullJob())


def test_only_this_machine_can_reach_it_and_nobody_without_the_token(fleet: Fleet) -> None:
    import ray

    fleet.generate(REQUEST, NullJob())
    listening = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            listening += [connection.laddr.ip for connection in process.net_connections("inet")
                          if connection.status == psutil.CONN_LISTEN]
    assert len(listening) > 3
    assert {one.removeprefix("::ffff:") for one in listening} == {"127.0.0.1"}
    address = ray.get_runtime_context().gcs_address
    asks = "import sys; from ray._raylet import GcsClient; GcsClient(address=sys.argv[1]).internal_kv_keys(b'', None)"
    without = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    for environment, may in ((os.environ, True), (without, False),
                             (without | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}, False)):
        asked = subprocess.run([sys.executable, "-c", asks, address], capture_output=True, text=True, check=False,
                               env=dict(environment))
        assert (asked.returncode == 0) == may
        assert ("token" in asked.stderr) != may


def test_the_program_alone_imports_nothing_of_ray() -> None:
    code = ("import sys, app; from modules.settings import Settings; from modules.jobs.queue import JobQueue\n"
            "with app.engine_of(Settings.from_argv([])) as (engine, workers): assert not workers\n"
            "sys.exit('ray' in sys.modules or 'modules.jobs.workers' in sys.modules)")
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PROJECT, env=os.environ | {"COMMANDLINE_ARGS": ""})


@pytest.fixture
def ray_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither Ray nor what its environment was, which is put back."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_USAGE_STATS_ENABLED",
                 "RAY_worker_niceness", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "ray", None)


@pytest.mark.usefixtures("ray_is_not_there")
def test_without_ray_a_sentence_says_what_to_install(settings: Settings) -> None:
    from modules.jobs import ray_workers

    with pytest.raises(UserError, match=r"pip install -r requirements-cluster\.txt"):
        ray_workers.RayWorkers(settings, {})


@pytest.mark.usefixtures("ray_is_not_there")
def test_a_cluster_wants_its_token(settings: Settings) -> None:
    from modules.jobs import ray_workers

    with pytest.raises(InvalidInput, match="needs the cluster's token"):
        ray_workers.RayWorkers(Settings(data_dir=settings.data_dir, cluster="10.0.0.1:6379"), {})


@pytest.mark.usefixtures("ray_is_not_there")
def test_an_address_at_which_nothing_listens_is_told_before_ray_looks_for_it(
        settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from modules.jobs import ray_workers

    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)

    def start(address: str) -> None:
        ray_workers.RayWorkers(Settings(data_dir=settings.data_dir, cluster=address), {})

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UserError, match=f"^--cluster {address} cannot be reached: Connection refused"):
            start(address)
        taken.listen()
        with pytest.raises(UserError, match="pip install"):
            start(address)
    for wrong in ("10.0.0.1", ":6379", "10.0.0.1:99999", "10.0.0.1:ray"):
        with pytest.raises(InvalidInput, match="wants HOST:PORT"):
            start(wrong)
