"""A training as a job of the queue. Pictures that are asked for meanwhile wait behind it, as behind any job."""

from __future__ import annotations

import contextlib
import dataclasses

from modules.engine.engine import Engine
from modules.engine.models import compute_device
from modules.errors import InvalidInput, Stopped
from modules.jobs.job import Job, Origin
from modules.jobs.queue import JobQueue
from modules.training.config import TrainingConfig, parse_config, to_toml
from modules.training.dataset import examples, open_picture
from modules.training.file import check_trainable
from modules.training.folders import Folders
from modules.training.process import Run, run
from modules.training.writing import write


def submit_training(queue: JobQueue, engine: Engine, config: TrainingConfig, origin: Origin) -> tuple[Job, Run]:
    """Write the settings into the training's folder, and put the training into the queue. The folders of its datasets
    are names in `datasets/`. Returns the job, and what it will have told.

    Interrupting the job ends the training with what was learned; the same settings go on. Raises InvalidInput,
    NotFound, CheckpointError, QueueFull, CannotSave.
    """
    settings, folders = engine.settings, Folders(engine.settings.datasets_dir)
    checkpoint = engine.catalog.find(config.checkpoint)
    datasets = tuple(dataclasses.replace(one, folder=str(folders.path(one.folder))) for one in config.datasets)
    path = settings.trainings_dir / config.name / f"{config.name}.toml"
    parse_config(to_toml(dataclasses.replace(config, datasets=datasets)), path)  # raises for what a file may not say
    if any(job.name == _title(config) for job in (*queue.pending(), *([queue.current] if queue.current else []))):
        raise InvalidInput(f"{config.name} is being trained already.", field="name")
    check_trainable(checkpoint)
    told, learned = Run(config.name, steps=config.steps), examples(datasets)

    def tell(found: Run, stage: str) -> None:
        vars(told).update(vars(found))
        if stage:
            job.stage(stage)
            return
        shown = found.samples[-1] if found.samples else learned[0].path
        with contextlib.suppress(Stopped):  # `run` asks for itself
            job.step(found.step, found.steps, lambda: open_picture(shown))

    def work(job: Job) -> None:
        write(path, to_toml(dataclasses.replace(config, datasets=datasets)).encode())
        engine.unload()  # the memory is the training's
        found = run(path, config.name, settings, compute_device(settings), check=job.check, told=tell)
        told.path = found.path
        engine.networks.refresh()
        job.check()

    job = queue.submit_work(work, origin=dataclasses.replace(origin, name=_title(config)))
    return job, told


def _title(config: TrainingConfig) -> str:
    return f"Training {config.name}"
