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
from gradio.utils import get_upload_folder

from modules.errors import InvalidInput
from modules.jobs.job import Job, Origin
from modules.request.fields import Declared, declared, find
from modules.training.config import MOST_SAMPLES, Dataset, TrainingConfig, checked, to_toml
from modules.training.dataset import open_picture
from modules.training.folders import Entry, Folders, buckets
from modules.training.process import Run
from modules.ui.controls.describe import described
from modules.ui.page.component import assets
from modules.ui.page.header import Header
from modules.ui.page.messages import answered
from modules.ui.tabs.progress_view import progress_words

_asset = assets(Path(__file__).parent / "train_view")
SCRIPTS = ("elements", "dataset", "settings", "progress")
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
SIDE, STEP = 512, 64
"""By which sizes are shown for a checkpoint of another size."""

Question = Mapping[str, Any]
Answer = dict[str, Any]


def build(header: Header) -> gr.HTML:
    """Draw the tab here."""
    return gr.HTML("<p>Loading…</p>", js_on_load=FETCH, apply_default_css=False, server_functions=answers(header),
                   elem_id="train_view")


def answers(header: Header) -> list[Callable[[Any], Answer]]:
    """The functions that the tab's script calls, each with one JSON object. An error gives {"problem": one
    sentence}."""
    engine, settings = header.engine, header.engine.settings
    folders = Folders(settings.datasets_dir)
    jobs: dict[str, tuple[Job, Run]] = {}

    def begin(question: Question) -> Answer:
        going = next((job_id for job_id, (job, _) in jobs.items() if not job.over), None)
        return {"script": "".join(_asset(f"{name}.js") for name in SCRIPTS), "html": _asset("view.html"),
                "style": _asset("style.css"), "root": settings.root_path, "job": going, "most_samples": MOST_SAMPLES,
                "settings": [_described(item) for item in (*(find(TrainingConfig, name) for name in FIRST), *(
                    item for item in declared(TrainingConfig) if item.name not in FIRST))],
                "first": len(FIRST), "dataset": [_described(item) for item in declared(Dataset)[1:]]} | lists(question)

    def lists(question: Question) -> Answer:
        engine.catalog.refresh()
        describers = engine.describers
        return {"folders": folders.names(), "checkpoints": [one.name for one in engine.catalog.checkpoints()],
                "describers": [*describers.captioners(), *describers.taggers.files()]}

    def folder(question: Question) -> Answer:
        name = str(question.get("folder"))
        entries = folders.entries(name)
        sizes = buckets(entries, SIDE, STEP)
        return {"pictures": [_shown(settings.root_path, name, entry) for entry in entries],
                "sizes": [{"size": f"{width} x {height}", "count": count}
                          for (width, height), count in sorted(sizes.items())]}

    def new_folder(question: Question) -> Answer:
        folders.add(str(question.get("folder")).strip())
        return {"folders": folders.names()}

    def add(question: Question) -> Answer:
        files = [(str(one.get("name")), _uploaded(str(one.get("path"))).read_bytes())
                 for one in question.get("files", [])]
        folders.add_pictures(str(question.get("folder")), files)
        return folder(question)

    def remove(question: Question) -> Answer:
        folders.remove(str(question.get("folder")), [str(question.get("picture"))])
        return folder(question)

    def write(question: Question) -> Answer:
        captions = {str(name): str(text) for name, text in question.get("captions", {}).items()}
        folders.write_captions(str(question.get("folder")), captions)
        return {}

    def caption(question: Question) -> Answer:
        name, picture = str(question.get("folder")), str(question.get("picture"))
        image = open_picture(folders.picture(name, picture))
        words = described(image, str(question.get("describer")), engine, header.queue)
        folders.write_captions(name, {picture: words})
        return {"caption": words}

    def estimate(question: Question) -> Answer:
        from modules.training.estimate import memory_estimate  # imports torch, which the page itself does not need

        return {"bytes": memory_estimate(config_of(question), settings)}

    def toml(question: Question) -> Answer:
        config = config_of(question)
        return {"toml": to_toml(dataclasses.replace(config, datasets=tuple(
            dataclasses.replace(one, folder=f"datasets/{one.folder}") for one in config.datasets)))}

    def train(question: Question) -> Answer:
        from modules.jobs.training import submit_training

        job, run = submit_training(header.queue, engine, config_of(question), Origin(tab="train"))
        jobs[job.id] = job, run
        return {"job": job.id}

    def progress(question: Question) -> Answer:
        job, run = jobs.get(str(question.get("job")), (None, None))
        if job is None or run is None:
            raise InvalidInput("This training is no longer known.")
        return {"over": job.over, "words": _ended(job, run) if job.over else progress_words(job),
                "share": job.progress, "losses": run.losses, "validations": run.validations, "first": run.step -
                len(run.losses) + 1, "steps": run.steps, "problem_said": job.error.message if job.error else "",
                "samples": [{"address": f"{settings.root_path}/datasets/samples/{quote(run.name, safe='')}/{path.stem}",
                             "step": int(path.stem.partition("-")[0])} for path in run.samples]}

    def stop(question: Question) -> Answer:
        header.queue.interrupt(str(question.get("job")))
        return {}

    return [answered(function) for function in
            (begin, lists, folder, new_folder, add, remove, write, caption, estimate, toml, train, progress, stop)]


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


def _shown(root: str, folder: str, entry: Entry) -> Answer:
    stat = entry.path.stat()
    return {"name": entry.path.name, "size": f"{entry.size[0]} x {entry.size[1]}", "caption": entry.caption,
            "alike": entry.alike, "problem": entry.problem,
            "address": f"{root}/datasets/pictures/{quote(folder, safe='')}/{quote(entry.path.name, safe='')}"
                       f"?{stat.st_mtime_ns}"}


def _uploaded(path: str) -> Path:
    """A file that the page has uploaded. Raises InvalidInput for any other."""
    if "\0" not in path:  # with which nothing can be asked of the file system
        found = Path(path).resolve()
        if found.is_relative_to(Path(get_upload_folder()).resolve()) and found.is_file():
            return found
    raise InvalidInput("Only files that were uploaded here are opened.")


def _ended(job: Job, run: Run) -> str:
    if job.error:
        return job.error.message
    if run.path is None:
        return "Interrupted."
    name = run.path.stem
    if job.state == "interrupted":
        return f"{name} is there with what was learned so far; Train goes on."
    return f"{name} is there, among the cards."
