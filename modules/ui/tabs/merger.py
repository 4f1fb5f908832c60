"""The Checkpoint Merger tab: makes a new checkpoint from up to three and LoRAs, or a LoRA from the difference of two
checkpoints, as a job of the queue."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from modules.engine import merging
from modules.errors import InvalidInput
from modules.jobs.job import Job, Origin
from modules.ui.controls import numbers
from modules.ui.controls.numbers import Slider
from modules.ui.controls.request_panel import tool_button
from modules.ui.page.events import AT_ONCE, LIVE
from modules.ui.page.header import Header
from modules.ui.page.help import explain
from modules.ui.page.messages import told
from modules.ui.tabs.progress_view import Watched

FORMULAS = {
    "Weighted sum": ("A x (1 - M) + B x M",
                     "A mixture of A and B: with M = 0 the result is A, with M = 1 it is B."),
    "Add difference": ("A + (B - C) x M",
                       "What B learnt beyond C is added to A. With an inpainting checkpoint as A, your own model as B "
                       "and the model that B was trained from as C, and M = 1, your model learns to inpaint."),
    "Multiply": ("|A|^(1 - M) x |B|^M",
                 "The weighted geometric mean: what is small in A or in B stays small. Where A and B have different "
                 "signs, it is the weighted sum."),
    "No interpolation": ("A", "A alone: to bake a VAE into it, to make it smaller, or to leave weights out."),
}
"""The formula of each method, with M for the multiplier, and its use."""


@dataclass(frozen=True)
class Merger:
    """The tab's widgets. `chosen` are those of the recipe, by name. `made` changes with each new checkpoint. Those of
    extracting are `difference` and `extracting`."""

    header: Header
    chosen: dict[str, Any]
    refresh: gr.Button
    formula: gr.HTML
    watched: Watched
    made: gr.State
    difference: dict[str, Any]
    extracting: Watched


def build(header: Header) -> Merger:
    """Draw the tab here."""
    chosen: dict[str, Any] = {}
    with gr.Row(elem_classes="merge-bench"):
        with gr.Column(min_width=300):
            with gr.Row(elem_classes="tight with-buttons"):
                with gr.Column(min_width=0):
                    chosen["a"] = _checkpoints("a", "Primary model (A)",
                                               "The model to begin with. It gives all that is not merged.")
                refresh = tool_button("refresh", "Look for new files", "merger_refresh")
            chosen["b"] = _checkpoints("b", "Secondary model (B)", "The model that is mixed in or added.")
            chosen["c"] = _checkpoints("c", "Tertiary model (C)",
                                       "The model that B was trained from. Only what B learnt beyond it is added.",
                                       visible=False)
            chosen["method"] = explain(
                gr.Radio(list(FORMULAS), value="Weighted sum", label="Interpolation Method", elem_id="merger_method",
                         elem_classes="compact"),
                "How the models are put together. The line below says what the chosen method is for.")
            chosen["multiplier"] = explain(
                Slider(0, 1, value=0.3, step=0.01, label="Multiplier (M)", elem_id="merger_multiplier"),
                "The share of the second model. 0 keeps the first, 1 takes all of the second.")
            formula = gr.HTML(formula_html("Weighted sum"), elem_id="merger_formula", elem_classes="quiet",
                              js_on_load=None, apply_default_css=False)
        with gr.Column(min_width=300):
            chosen["name"] = explain(
                gr.Textbox(label="Custom Name (Optional)", max_lines=1, max_length=120,
                           placeholder="Made of the names of its parts", elem_id="merger_name"),
                "The name of the new file. Left empty, it is made of the names of its parts.")
            chosen["loras"] = explain(
                gr.Textbox(label="LoRAs to bake in", max_lines=2, max_length=2000, placeholder="<lora:name:0.8>",
                           elem_id="merger_loras"),
                "LoRAs that the new checkpoint has in it, written as in prompts. With No interpolation they are added "
                "to A alone.")
            chosen["half"] = explain(
                gr.Checkbox(True, label="Save as float16", elem_id="merger_half"),
                "Halves the size of the file. The pictures hardly differ.")
            chosen["bake_vae"] = explain(
                gr.Dropdown(["None"], value="None", label="Bake in VAE", elem_id="merger_vae"),
                "Puts another VAE into the new file. Use it where colours are pale.")
            chosen["discard"] = explain(
                gr.Textbox(label="Discard weights with matching name", max_lines=1, max_length=200,
                           placeholder="A regular expression, such as ^model_ema", elem_id="merger_discard"),
                "Leaves out the weights with such names. ^model_ema makes a file smaller.")
            watched = _starts("Merge", "merger")
    difference: dict[str, Any] = {}
    with gr.Accordion("Extract a LoRA", open=False, elem_classes="fold", elem_id="merger_extract"), \
            gr.Row(elem_classes="merge-bench"):
        with gr.Column(min_width=300):
            difference["tuned"] = _checkpoints("tuned", "Fine-tuned checkpoint",
                                               "The model whose style or subject the LoRA is to have.")
            difference["original"] = _checkpoints("original", "Original checkpoint",
                                                  "The model that it was trained from.")
        with gr.Column(min_width=300):
            difference["rank"] = explain(
                Slider(1, 320, value=64, step=1, label="Rank", elem_id="merger_rank"),
                "How much the LoRA can hold. 32 to 128 are usual; more is closer to the model and a larger file.")
            difference["name"] = explain(
                gr.Textbox(label="Name of the LoRA (Optional)", max_lines=1, max_length=120,
                           placeholder="Made of the names of both checkpoints", elem_id="merger_lora_name"),
                "The name of the new file. Left empty, it is made of the names of both checkpoints.")
            extracting = _starts("Extract", "extract")
    return Merger(header, chosen, refresh, formula, watched, gr.State(""), difference, extracting)


def _starts(label: str, name: str) -> Watched:
    """The button that starts a job, Interrupt, and the job's progress."""
    with gr.Row(elem_classes="tight go-row"):
        start = gr.Button(label, variant="primary", size="lg", elem_id=f"{name}_generate", elem_classes="go")
        interrupt = gr.Button("Interrupt", variant="stop", size="lg", elem_id=f"{name}_interrupt", visible=False,
                              elem_classes="interrupt")
    stage = gr.HTML("", elem_id=f"{name}_stage", elem_classes="stage", js_on_load=None, apply_default_css=False)
    return Watched(start, interrupt, gr.State(""), stage)


def _checkpoints(name: str, label: str, help: str, *, visible: bool = True) -> gr.Dropdown:
    return explain(gr.Dropdown([], value=None, label=label, visible=visible, elem_id=f"merger_{name}"), help)


def connect(merger: Merger, demo: gr.Blocks, refreshing: Sequence[Any]) -> None:
    """Connect the tab. The events `refreshing` make it look for new files."""
    header, chosen, watched = merger.header, merger.chosen, merger.watched
    catalog = header.engine.catalog
    difference, extracting = merger.difference, merger.extracting
    lists = [*(chosen[name] for name in ("a", "b", "c")), difference["tuned"], difference["original"],
             chosen["bake_vae"]]

    def fill() -> list[Any]:
        catalog.refresh()
        checkpoints = gr.update(choices=[(file.title, file.filename) for file in catalog.checkpoints()])
        return [checkpoints] * 5 + [gr.update(choices=["None", *(file.name for file in catalog.vaes())])]

    def choose(method: str) -> list[Any]:
        return [gr.update(visible=method != "No interpolation"), gr.update(visible=method == "Add difference"),
                gr.update(visible=method != "No interpolation"), formula_html(method)]

    @told
    def submit(*values: Any) -> tuple[Job, Made]:
        return start(header, numbers.by_name(chosen, values))

    @told
    def submit_extraction(*values: Any) -> tuple[Job, Made]:
        return start_extraction(header, numbers.by_name(difference, values))

    def run(*values: Any) -> Iterator[dict[Any, Any]]:
        job, made = submit(*values)

        def finished() -> tuple[list[str], dict[Any, Any]]:
            if made.path is None:
                return [], {}
            return [f"{made.path.name} is there, and can be chosen at the top.", *made.warnings], \
                {merger.made: made.path.name}

        yield from watched.follow(job, finished)

    def run_extraction(*values: Any) -> Iterator[dict[Any, Any]]:
        job, made = submit_extraction(*values)

        def finished() -> tuple[list[str], dict[Any, Any]]:
            return [f"{made.path.name} is there, among the LoRAs."] if made.path else [], {}

        yield from extracting.follow(job, finished)

    demo.load(fill, None, lists, **AT_ONCE)
    gr.on(refreshing, fill, None, lists, **AT_ONCE)
    chosen["method"].change(choose, chosen["method"],
                            [chosen["b"], chosen["c"], chosen["multiplier"], merger.formula], **AT_ONCE)
    watched.start.click(run, list(chosen.values()), [*watched.outputs, merger.made], trigger_mode="always_last", **LIVE)
    watched.connect(header.queue)
    extracting.start.click(run_extraction, list(difference.values()), extracting.outputs, trigger_mode="always_last",
                           **LIVE)
    extracting.connect(header.queue)


@dataclass
class Made:
    """What a job has made: the new file, and a sentence for each LoRA of which not everything was used."""

    path: Path | None = None
    warnings: tuple[str, ...] = ()


def start(header: Header, values: dict[str, Any]) -> tuple[Job, Made]:
    """Put the merge that the widgets describe into the queue. Returns the job, and what it will have made.

    Raises InvalidInput, NotFound, QueueFull.
    """
    from modules.weights.merge import Recipe  # imports torch, which the page itself does not need

    catalog = header.engine.catalog
    if not values["a"]:
        raise InvalidInput("Choose a primary model (A).", field="a")
    a, b, c = (catalog.find(values[name]) if values[name] else None for name in "abc")
    assert a is not None
    vae = catalog.find_vae(values["bake_vae"]) if values["bake_vae"] not in (None, "None") else None
    recipe = Recipe(a, b, c, values["method"], values["multiplier"], bool(values["half"]),
                    (values["name"] or "").strip(), values["discard"] or "", vae)
    recipe = merging.with_loras(recipe, values["loras"] or "")
    made = Made()

    def work(job: Job) -> None:
        job.stage("Reading the checkpoints")
        made.path, made.warnings = merging.merge_checkpoints(header.engine, recipe, _shares(job, "Merging"))

    return header.queue.submit_work(work, origin=Origin(name="Checkpoint Merger")), made


def start_extraction(header: Header, values: dict[str, Any]) -> tuple[Job, Made]:
    """Put the extraction that the widgets describe into the queue. Returns the job, and what it will have made.

    Raises InvalidInput, NotFound, QueueFull.
    """
    for name, what in (("tuned", "a fine-tuned checkpoint"), ("original", "the original checkpoint")):
        if not values[name]:
            raise InvalidInput(f"Choose {what}.", field=name)
    tuned, original = (header.engine.catalog.find(values[name]) for name in ("tuned", "original"))
    made = Made()

    def work(job: Job) -> None:
        job.stage("Reading the checkpoints")
        made.path = merging.extract_lora(header.engine, tuned, original, int(values["rank"]),
                                         (values["name"] or "").strip(), _shares(job, "Extracting"))

    return header.queue.submit_work(work, origin=Origin(name="Extract a LoRA")), made


def _shares(job: Job, text: str) -> Callable[[float], None]:
    """Tells the job the share that is done, and raises Interrupted."""
    def tell(share: float) -> None:
        job.check()
        job.batches(round(share * 100), 100)
        job.stage(f"{text}: {share:.0%}")

    return tell


def formula_html(method: str) -> str:
    """The method's formula and its use, as HTML."""
    formula, use = FORMULAS[method]
    return f"<p><code>{html.escape(formula)}</code></p><p>{html.escape(use)}</p>"
