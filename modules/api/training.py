"""A training as a job of `/v1/jobs`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from modules.api.body import Body
from modules.api.loose import TEXT
from modules.engine.engine import Engine
from modules.jobs.job import Job, Origin
from modules.jobs.queue import JobQueue
from modules.jobs.training import submit_training
from modules.training.config import parse_config
from modules.training.process import Run


class TrainBody(Body):
    """`config` is the text of a TOML file as docs/training.md describes it. The folders of its datasets are names in
    `datasets/`."""

    config: Annotated[str, Field(max_length=100_000), TEXT] = ""


def submit(body: TrainBody, engine: Engine, queue: JobQueue, origin: Origin) -> tuple[Job, Run]:
    """The job, and what it will have told. Raises UserError."""
    return submit_training(queue, engine, parse_config(body.config, Path("config")), origin)


def answer(run: Run) -> dict[str, Any]:
    """What a training has told: the name of its file, None without one, and its losses."""
    return {"file": run.path.name if run.path else None, "losses": run.losses,
            "validations": [{"step": step, "loss": loss} for step, loss in run.validations]}
