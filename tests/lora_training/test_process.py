"""Trainings as jobs of the queue: in a process of their own, which may be stopped and killed, and over HTTP."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import psutil
import pytest
from golden.tiny import checkpoint
from PIL import Image
from starlette.testclient import TestClient

from modules.api.server import create_api
from modules.engine.engine import Engine
from modules.errors import InvalidInput
from modules.jobs.job import NOBODY, Job
from modules.jobs.queue import JobQueue
from modules.jobs.training import submit_training
from modules.settings import Settings
from modules.training.config import Dataset, TrainingConfig, to_toml
from modules.training.estimate import memory_estimate
from modules.training.file import train_file
from modules.training.process import Run

FOREVER = 300.0


@pytest.fixture
def trainer(engine: Engine, tiny: Path) -> Engine:
    """An engine with a tiny checkpoint, and a folder with a picture."""
    settings = engine.settings
    shutil.copy(tiny, settings.checkpoint_dirs[0] / "tiny.safetensors")
    engine.catalog.refresh()
    folder = settings.datasets_dir / "robot"
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "0.png")
    return engine


def config(**changes: object) -> TrainingConfig:
    values = {"checkpoint": "tiny", "name": "robot", "datasets": (Dataset("robot", trigger="rbt"),), "steps": 3,
              "batch": 1, "rank": 2, "size": 64, "seed": 5}
    return TrainingConfig(**values | changes)  # type: ignore[arg-type]


def submitted(engine: Engine, queue: JobQueue, wanted: TrainingConfig) -> tuple[Job, Run]:
    return submit_training(queue, engine, wanted, NOBODY)


def until_step(job: Job, step: int) -> None:
    version = -1
    while job.sampling_step < step:
        assert not job.over, job.error
        version = job.wait_change(version, FOREVER)


def processes() -> list[psutil.Process]:
    return [one for one in psutil.Process().children() if "modules.training.process" in one.cmdline()]


def test_a_training_is_a_job_and_its_lora_a_card(trainer: Engine, queue: JobQueue) -> None:
    job, run = submitted(trainer, queue, config(samples=("rbt",), sample_every=2))
    assert job.name == "Training robot"
    assert job.wait(FOREVER)
    assert (job.state, run.step, len(run.losses)) == ("done", 3, 3)
    assert [path.name for path in run.samples] == ["0000002-0.png", "0000003-0.png"]
    assert all(path.is_file() for path in run.samples)
    assert run.path == trainer.settings.folders("LoRAs")[0] / "robot.safetensors"
    (card,) = trainer.cards.of("loras")
    assert (card.name, card.preview is not None) == ("robot", True)
    assert not processes()


def test_stopping_keeps_what_was_learned_and_a_killed_one_goes_on(trainer: Engine, queue: JobQueue) -> None:
    """Killed before anything was kept; stopped after a step; finished."""
    many = config(steps=100_000)
    job, run = submitted(trainer, queue, many)
    until_step(job, 1)
    (process,) = processes()
    process.kill()
    assert job.wait(FOREVER)
    assert job.state == "failed"
    assert job.error is not None
    assert "ended by itself" in job.error.message
    assert run.path is None
    job, run = submitted(trainer, queue, many)
    until_step(job, 2)
    queue.interrupt(job.id)
    assert job.wait(FOREVER)
    assert job.state == "interrupted"
    assert run.path is not None
    assert run.path.is_file()
    before = run.step
    job, run = submitted(trainer, queue, many)
    until_step(job, before + 1)
    queue.interrupt(job.id)
    assert job.wait(FOREVER)
    assert run.step > before


def test_over_http(trainer: Engine, queue: JobQueue, settings: Settings) -> None:
    client = TestClient(create_api(trainer, queue, settings), base_url="http://127.0.0.1")

    def asked(text: str) -> tuple[int, dict[str, object]]:
        answer = client.post("/v1/jobs", json={"kind": "train", "request": {"config": text}})
        return answer.status_code, answer.json()

    start = 'checkpoint = "tiny"\nname = "robot"\nsteps = 1\nbatch = 1\nsize = 64\n[[datasets]]\nfolder = '
    assert asked("x = [")[0] == 422
    for folder in ("../../etc", "/etc", "nowhere", "robot/.."):
        status, problem = asked(f'{start}"{folder}"')
        assert (status, "There is no folder" in str(problem["detail"])) == (404, True)
    assert asked('name = "../x"\ncheckpoint = "tiny"\n[[datasets]]\nfolder = "robot"')[0] == 422
    status, problem = asked(f'{start}"robot"')
    assert (status, "has no caption" in str(problem["detail"])) == (422, True)
    status, job = asked(f'{start}"robot"\ntrigger = "rbt"')
    assert status == 202
    started = queue.get(str(job["id"]))
    assert started is not None
    assert started.wait(FOREVER)
    result = client.get(f"/v1/jobs/{job['id']}").json()["result"]
    assert result["file"] == "robot.safetensors"
    assert len(result["losses"]) == 1


@pytest.mark.parametrize("name", ["tiny-sd3", "tiny-ip2p", "tiny-sd2-depth"])
def test_what_cannot_be_trained_is_refused_at_the_start_everywhere(name: str, trainer: Engine, queue: JobQueue,
                                                                   settings: Settings, tmp_path: Path) -> None:
    """Before it is loaded, by the page's way, over HTTP, by the estimate and on the command line."""
    for file in checkpoint(name).parent.glob(f"{name}.*"):  # the checkpoint, and the YAML beside it
        shutil.copy(file, trainer.settings.checkpoint_dirs[0])
    trainer.catalog.refresh()
    refused = f"{name} cannot be trained: only UNets"
    wanted = config(checkpoint=name)
    for ask in (lambda: submitted(trainer, queue, wanted), lambda: memory_estimate(wanted, trainer.settings)):
        with pytest.raises(InvalidInput, match=refused):
            ask()
    text = to_toml(wanted)
    client = TestClient(create_api(trainer, queue, settings), base_url="http://127.0.0.1")
    answer = client.post("/v1/jobs", json={"kind": "train", "request": {"config": text}})
    assert (answer.status_code, refused in answer.json()["detail"]) == (422, True)
    (tmp_path / "robot.toml").write_text(text)
    shutil.copytree(trainer.settings.datasets_dir / "robot", tmp_path / "robot")
    stages: list[str] = []
    with pytest.raises(InvalidInput, match=refused):
        train_file(tmp_path / "robot.toml", trainer.settings, "cpu", told=stages.append, stage=stages.append)
    assert not stages


def test_an_estimate_grows_with_what_is_asked(trainer: Engine) -> None:
    """Checkpointing keeps less than not, half precision less than full, a large batch more than a small one."""
    def estimate(**changes: object) -> int:
        return memory_estimate(config(size=256, **changes), trainer.settings).total

    usual = estimate(batch=4)
    assert estimate(batch=8) > usual > estimate(batch=4, checkpointing=True)
    assert usual > estimate(batch=4, precision="bf16")
    assert estimate(batch=4, rank=64, layers="all") > usual
    assert estimate(batch=4, kind="embedding") < usual
