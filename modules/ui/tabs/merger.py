"""The Checkpoint Merger tab: makes a new checkpoint from up to three, as a job of the queue."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

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
    """The tab's widgets. `chosen` are those of the recipe, by name. `made` changes with each new checkpoint."""

    header: Header
    chosen: dict[str, Any]
    refresh: gr.Button
    formula: gr.HTML
    watched: Watched
    made: gr.State


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
            with gr.Row(elem_classes="tight go-row"):
                merge = gr.Button("Merge", variant="primary", size="lg", elem_id="merger_generate", elem_classes="go")
                interrupt = gr.Button("Interrupt", variant="stop", size="lg", elem_id="merger_interrupt",
                                      visible=False, elem_classes="interrupt")
            stage = gr.HTML("", elem_id="merger_stage", elem_classes="stage", js_on_load=None,
                            apply_default_css=False)
    return Merger(header, chosen, refresh, formula, Watched(merge, interrupt, gr.State(""), stage), gr.State(""))


def _checkpoints(name: str, label: str, help: str, *, visible: bool = True) -> gr.Dropdown:
    return explain(gr.Dropdown([], value=None, label=label, visible=visible, elem_id=f"merger_{name}"), help)


def connect(merger: Merger, demo: gr.Blocks, refreshing: Sequence[Any]) -> None:
    """Connect the tab. The events `refreshing` make it look for new files."""
    header, chosen, watched = merger.header, merger.chosen, merger.watched
    catalog = header.engine.catalog
    lists = [chosen[name] for name in ("a", "b", "c", "bake_vae")]

    def fill() -> list[Any]:
        catalog.refresh()
        checkpoints = gr.update(choices=[(file.title, file.filename) for file in catalog.checkpoints()])
        return [checkpoints] * 3 + [gr.update(choices=["None", *(file.name for file in catalog.vaes())])]

    def choose(method: str) -> list[Any]:
        return [gr.update(visible=method != "No interpolation"), gr.update(visible=method == "Add difference"),
                gr.update(visible=method != "No interpolation"), formula_html(method)]

    @told
    def submit(*values: Any) -> tuple[Job, list[Path]]:
        return start(header, numbers.by_name(chosen, values))

    def run(*values: Any) -> Iterator[dict[Any, Any]]:
        job, made = submit(*values)

        def finished() -> tuple[list[str], dict[Any, Any]]:
            if not made:
                return [], {}
            return [f"{made[0].name} is there, and can be chosen at the top."], {merger.made: made[0].name}

        yield from watched.follow(job, finished)

    demo.load(fill, None, lists, **AT_ONCE)
    gr.on(refreshing, fill, None, lists, **AT_ONCE)
    chosen["method"].change(choose, chosen["method"],
                            [chosen["b"], chosen["c"], chosen["multiplier"], merger.formula], **AT_ONCE)
    watched.start.click(run, list(chosen.values()), [*watched.outputs, merger.made], trigger_mode="always_last", **LIVE)
    watched.connect(header.queue)


def start(header: Header, values: dict[str, Any]) -> tuple[Job, list[Path]]:
    """Put the merge that the widgets describe into the queue. Returns the job, and a list that gets the new file's
    path.

    Raises InvalidInput, NotFound, QueueFull.
    """
    from modules.weights.merge import Recipe, merge  # imports torch, which the page itself does not need

    catalog = header.engine.catalog
    if not values["a"]:
        raise InvalidInput("Choose a primary model (A).", field="a")
    a, b, c = (catalog.find(values[name]) if values[name] else None for name in "abc")
    assert a is not None
    vae = catalog.find_vae(values["bake_vae"]) if values["bake_vae"] not in (None, "None") else None
    recipe = Recipe(a, b, c, values["method"], values["multiplier"], bool(values["half"]),
                    (values["name"] or "").strip(), values["discard"] or "", vae)
    made: list[Path] = []

    def work(job: Job) -> None:
        def tell_share(share: float) -> None:
            job.check()
            job.batches(round(share * 100), 100)
            job.stage(f"Merging: {share:.0%}")

        job.stage("Reading the checkpoints")
        made.append(merge(recipe, header.engine.settings.checkpoint_dirs[0], catalog.sha256, tell_share))

    return header.queue.submit_work(work, origin=Origin(name="Checkpoint Merger")), made


def formula_html(method: str) -> str:
    """The method's formula and its use, as HTML."""
    formula, use = FORMULAS[method]
    return f"<p><code>{html.escape(formula)}</code></p><p>{html.escape(use)}</p>"
