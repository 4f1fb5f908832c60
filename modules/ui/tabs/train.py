"""The Train tab: folders of pictures with their captions, and the training of what they show.

A script (`train_view/`) draws the tab when it is first shown; until then the page holds only the few lines that fetch
it. It calls the functions of `answers`, and gets the pictures from the routes of `modules.api.datasets`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio as gr

from modules.errors import InvalidInput
from modules.jobs.job import Job, Origin
from modules.request.fields import Declared, declared, find
from modules.training.config import MOST_SAMPLES, Dataset, TrainingConfig, checked, to_toml
from modules.training.process import Run
from modules.ui.page.component import assets
from modules.ui.page.header import Header
from modules.ui.page.messages import answered
from modules.ui.tabs.datasets import Answer, Datasets, Question
from modules.ui.tabs.progress_view import progress_words

_asset = assets(Path(__file__).parent / "train_view")
SCRIPTS = ("elements", "dataset", "marks", "settings", "progress")
"""The parts of the tab's script. They share one scope."""

FETCH = """const shown = new IntersectionObserver(async (seen) => {
    if (!seen.some((one) => one.isIntersecting)) return;
    shown.disconnect();
    const begun = await inpaintPage.ask(server, "begin");
    if (begun.problem) element.textContent = begun.problem;
    else new Function("element, server, upload, begun", begun.script)(element, server, upload, begun);
});
shown.observe(element);"""

FIRST = ("checkpoint", "name", "kind", "layers", "rank", "steps", "batch", "rate", "schedule", "precision")
"""The settings that matter, in this order; the others are behind More settings."""


def build(header: Header) -> gr.HTML:
    """Draw the tab here."""
    return gr.HTML("<p>Loading…</p>", js_on_load=FETCH, apply_default_css=False, server_functions=answers(header),
                   elem_id="train_view")


def answers(header: Header) -> list[Callable[[Any], Answer]]:
    """The functions that the tab's script calls, each with one JSON object. An error gives {"problem": one
    sentence}."""
    datasets, trainings = Datasets(header), Trainings(header)

    def begin(question: Question) -> Answer:
        return {"script": "".join(_asset(f"{name}.js") for name in SCRIPTS), "html": _asset("view.html"),
                "style": _asset("style.css"), "job": trainings.going(),
                "settings": [_described(item) for item in (*(find(TrainingConfig, name) for name in FIRST), *(
                    item for item in declared(TrainingConfig) if item.name not in FIRST))],
                "first": len(FIRST), "dataset": [_described(item) for item in declared(Dataset)[1:]]
                } | datasets.lists(question)

    return [answered(begin), *datasets.answers(), *trainings.answers()]


class Trainings:
    """The trainings that this page has begun. Its methods answer the script; `job` in a question is the id of one."""

    def __init__(self, header: Header) -> None:
        self._engine, self._queue = header.engine, header.queue
        self._jobs: dict[str, tuple[Job, Run]] = {}

    def answers(self) -> list[Callable[[Any], Answer]]:
        """The functions that the script calls."""
        return [answered(function) for function in (self.estimate, self.toml, self.train, self.progress, self.stop)]

    def going(self) -> str | None:
        """The id of a training that is not over."""
        return next((job_id for job_id, (job, _) in self._jobs.items() if not job.over), None)

    def estimate(self, question: Question) -> Answer:
        """How many bytes a training needs, and for what."""
        from modules.training.estimate import memory_estimate  # imports torch, which the page itself does not need

        found = memory_estimate(config_of(question), self._engine.settings)
        return {"bytes": {"total": found.total} | dataclasses.asdict(found)}

    def toml(self, question: Question) -> Answer:
        """The file that the command line takes."""
        config = config_of(question)
        return {"toml": to_toml(dataclasses.replace(config, datasets=tuple(
            dataclasses.replace(one, folder=f"datasets/{one.folder}") for one in config.datasets)))}

    def train(self, question: Question) -> Answer:
        """Begin."""
        from modules.jobs.training import submit_training

        job, run = submit_training(self._queue, self._engine, config_of(question), Origin(tab="train"))
        self._jobs[job.id] = job, run
        return {"job": job.id}

    def progress(self, question: Question) -> Answer:
        """What a training has told."""
        job, run = self._jobs.get(str(question.get("job")), (None, None))
        if job is None or run is None:
            raise InvalidInput("This training is no longer known.")
        samples = f"{self._engine.settings.root_path}/datasets/samples/{quote(run.name, safe='')}"
        return {"over": job.over, "words": _ended(job, run) if job.over else progress_words(job),
                "share": job.progress, "losses": run.losses, "validations": run.validations, "first": run.step -
                len(run.losses) + 1, "steps": run.steps,
                "samples": [{"address": f"{samples}/{path.stem}", "step": int(path.stem.partition("-")[0])}
                            for path in run.samples]}

    def stop(self, question: Question) -> Answer:
        """End one with what it has learned."""
        self._queue.interrupt(str(question.get("job")))
        return {}


def config_of(question: Question) -> TrainingConfig:
    """The settings that the tab holds: `settings` by name as texts, the folder and its settings in `dataset`, and the
    prompts of `samples`, one a line. Raises InvalidInput."""
    given = question.get("dataset", {})
    if not given.get("folder"):
        raise InvalidInput("Choose a folder with pictures first.", field="folder")
    samples = tuple(line.strip() for line in str(question.get("samples", "")).splitlines() if line.strip())
    if len(samples) > MOST_SAMPLES:
        raise InvalidInput(f"samples should be at most {MOST_SAMPLES} prompts in quotes.", field="samples")
    return TrainingConfig(**_values(TrainingConfig, question.get("settings", {})),
                          datasets=(Dataset(**_values(Dataset, given)),), samples=samples)


def _values(table: type, given: Mapping[str, Any]) -> dict[str, Any]:
    return {item.name: _value(item, given[item.name]) for item in declared(table) if item.name in given}


def _value(item: Declared, given: Any) -> Any:
    try:
        return checked(item, item.read(given.strip()) if isinstance(given, str) and item.is_number else given)
    except ValueError as error:
        raise InvalidInput(f"{item.label} must be a number between {item.low} and {item.high}.",
                           field=item.name) from error


def _described(item: Declared) -> Answer:
    """What the script needs to draw a setting."""
    kind = "choice" if item.choices else {bool: "flag", str: "text"}.get(item.kind, "number")
    return {"name": item.name, "kind": kind, "label": item.label, "help": item.help, "value": item.default,
            "choices": item.choices, "low": item.low, "high": item.high}


def _ended(job: Job, run: Run) -> str:
    if job.error:
        return job.error.message
    if run.path is None:
        return "Interrupted."
    name = run.path.stem
    if job.state == "interrupted":
        return f"{name} is there with what was learned so far; Train goes on."
    return f"{name} is there, among the cards."
