"""The cards under a prompt: LoRAs, embeddings, hypernetworks and checkpoints, with previews; and completion in it.

A script in the page (`cards_view/`) draws them. It calls the functions of `answers`, and gets the previews by their ids
from the route of `modules.api.cards`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from modules.engine.cards import KINDS, Card
from modules.engine.completion import Completion
from modules.engine.engine import Engine
from modules.errors import InvalidInput, NotFound
from modules.ui.page.component import assets
from modules.ui.page.events import QUIET
from modules.ui.page.messages import answered, told
from modules.weights.catalog import CheckpointFile

PICKLES = (".ckpt", ".pt")
"""Checkpoints of which nothing is known before they are loaded."""
_asset = assets(Path(__file__).parent / "cards_view")

Answer = dict[str, Any]
Source = Callable[..., Image.Image]
"""(inputs of an event) -> the picture that a tab shows. Raises NotFound."""


@dataclass(frozen=True)
class CardsView:
    """The widgets. The value of `view` is the id of the card that `preview` and `checkpoint` act on."""

    view: gr.HTML
    preview: gr.Button
    checkpoint: gr.Button


def draw(tab: str, engine: Engine, completion: Completion) -> CardsView:
    """Draw the cards of a tab here, closed."""
    view = gr.HTML("", html_template=_asset("view.html"), css_template=_asset("style.css"),
                   js_on_load=_asset("view.js"), apply_default_css=False, elem_id=f"{tab}_cards",
                   elem_classes="cards-view", server_functions=answers(engine, completion))
    preview = gr.Button("Use as preview", visible="hidden", elem_id=f"{tab}_card_preview")
    checkpoint = gr.Button("Use checkpoint", visible="hidden", elem_id=f"{tab}_card_checkpoint")
    return CardsView(view, preview, checkpoint)


def connect(cards: CardsView, engine: Engine, source: Source, inputs: list[Any]) -> None:
    """Connect "Use this picture as preview": the picture is that which `source` makes of `inputs`."""

    @told
    def keep(card_id: str, *arguments: Any) -> str:
        engine.cards.set_picture(_id(card_id), source(*arguments))
        return ""

    cards.preview.click(keep, [cards.view, *inputs], cards.view, **QUIET)


def answers(engine: Engine, completion: Completion) -> list[Callable[[Any], Answer]]:
    """The functions that the script calls, each with one JSON object. An error gives {"problem": one sentence}."""
    root = engine.settings.root_path

    def list(question: Mapping[str, Any]) -> Answer:
        kind = str(question.get("kind"))
        if kind not in KINDS:
            raise InvalidInput("There are no cards of this kind.")
        if question.get("refresh"):
            engine.cards.refresh(kind)
            engine.wildcards.refresh()
        loaded = engine.loaded.checkpoint.path if engine.loaded else None
        cards = engine.cards.of(kind)
        return {"cards": [_shown(card, root) for card in cards],
                "weight": engine.options.extra_networks_default_multiplier,
                "current": next((card.id for card in cards if card.path == loaded), None)}

    def about(question: Mapping[str, Any]) -> Answer:
        card = engine.cards.find(_id(question.get("id")))
        return engine.cards.facts(card.id) | {"prediction": _prediction(engine, card)}

    def predict(question: Mapping[str, Any]) -> Answer:
        file = _checkpoint(engine, engine.cards.find(_id(question.get("id"))))
        if file is None:
            raise NotFound("This file is no longer there.")
        engine.predictions.remember(file, str(question.get("prediction")))
        return {}

    def complete(question: Mapping[str, Any]) -> Answer:
        before = question.get("before")
        found = completion.of(before) if isinstance(before, str) else []
        return {"entries": [dataclasses.asdict(entry) for entry in found]}

    return [answered(function) for function in (list, about, predict, complete)]


def _checkpoint(engine: Engine, card: Card) -> CheckpointFile | None:
    return next((file for file in engine.catalog.checkpoints() if file.path == card.path), None)


def _prediction(engine: Engine, card: Card) -> str | None:
    """What is remembered of a checkpoint's prediction; None where there is nothing to choose: for a flow, for what does
    not load, and for other files. Imports torch."""
    file = _checkpoint(engine, card) if card.kind == "checkpoints" else None
    if file is None:
        return None
    from modules.networks.loader import about

    known = about(file)
    if known is None and file.path.suffix.lower() not in PICKLES:
        return None
    return None if known and known.prediction == "flow" else engine.predictions.remembered(file)


def _shown(card: Card, root: str) -> Answer:
    return {"id": card.id, "kind": card.kind, "name": card.name, "folder": card.folder, "modified": card.modified,
            "preview": card.preview, "thumbnail": f"{root}/cards/{card.id}", "description": card.description,
            "activation": card.activation, "negative": card.negative, "weight": card.weight}


def _id(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise NotFound("No card is chosen.")
    return value
