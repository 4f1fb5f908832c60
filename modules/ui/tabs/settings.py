"""The Settings tab: the options in force, and the default values of the controls. A change takes effect at once.

A script in the page (`settings_view/`) draws the tab from the tables `Options` and `Defaults`. It calls the functions
of `answers`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import gradio as gr

from modules.engine.engine import Engine
from modules.errors import InvalidInput
from modules.request.options import Options, Table
from modules.settings import Settings
from modules.text.infotext import VERSION
from modules.ui.controls.defaults import KEY, LARGEST, Defaults, entries, remembered, starts
from modules.ui.controls.request_panel import Panel
from modules.ui.page.component import assets
from modules.ui.page.events import AT_ONCE, QUIET
from modules.ui.page.messages import answered

_asset = assets(Path(__file__).parent / "settings_view")

SECTIONS = {"Defaults of the controls": "tab", "Saving": "samples_save", "Prompts": "CLIP_stop_at_last_layers",
            "Sampling": "eta_ddim", "Noise": "randn_source", "img2img and inpainting": "overlay_inpaint",
            "Hires. fix and refiner": "hires_fix_refiner_pass", "ADetailer": "ad_bbox_sortby",
            "Describe": "interrogate_deepbooru_score_threshold", "Masks by words": "mask_words_threshold",
            "Face restoration": "face_restoration",
            "Remove": "remove_model", "ControlNet": "control_net_unit_count",
            "Compatibility": "use_old_karras_scheduler_sigmas"}
"""The first setting of each section; a section extends to the next one. The checkpoint and its VAE, which precede the
first section of their table, are in the page's header."""

Lists = Callable[[], Mapping[str, Sequence[str]]]
"""Returns the choices that are known only while the program runs, by setting."""


def build(engine: Engine, settings: Settings, lists: Lists) -> gr.HTML:
    """Draw the tab here, with the program's version under the settings."""
    view = gr.HTML(html_template=_asset("view.html"), css_template=_asset("style.css"), js_on_load=_asset("view.js"),
                   apply_default_css=False, elem_id="settings_view", server_functions=answers(engine, settings, lists))
    gr.HTML(f"<p>{VERSION}</p>", elem_id="version", js_on_load=None)
    return view


def connect(view: gr.HTML, demo: gr.Blocks, panels: Sequence[Panel], tabs: gr.Tabs, engine: Engine,
            settings: Settings) -> Any:
    """Connect the tab: a changed setting moves its controls. Returns the event after which a loading page has its
    default values."""
    # The values are sent to the page as one JSON object, and a script there distributes those that changed. Gradio's
    # page is slow for each output of a server event, at that event and at each later one.
    current = gr.JSON({}, visible=False)
    built = {panel.tab: {name: panel.widgets[name].value for name in starts(panel, engine.options, Defaults())}
             for panel in panels}

    def look() -> dict[str, Any]:
        defaults = remembered(engine.config, settings)
        return {"tabs": {"selected": defaults.tab}, "new_window": defaults.new_window,
                **{panel.tab: starts(panel, engine.options, defaults) for panel in panels}}

    def hand_out(event: Any) -> Any:
        for panel in panels:
            tab, names = json.dumps(panel.tab), list(built[panel.tab])
            widgets = [panel.widgets[name] for name in names]
            event = event.then(None, [current, *widgets], widgets, js=f"(current, ...values) => inpaintPage.follow("
                               f"{tab}, {json.dumps(names)}, {json.dumps(built[panel.tab])}, current, values)", **QUIET)
        return event

    learn = "({new_window}) => inpaintWindow.startFrom(new_window)"
    changed = view.submit(look, None, current, trigger_mode="always_last", **AT_ONCE)
    hand_out(changed.then(None, current, None, js=learn, **QUIET))
    begun = demo.load(look, None, current, **AT_ONCE).then(None, current, None, js=learn, **QUIET)
    return hand_out(begun.then(None, current, tabs, **QUIET, js="({tabs}) => ({selected: "
                               "inpaintPage.startTab(tabs.selected), __type__: 'update'})"))


def answers(engine: Engine, settings: Settings, lists: Lists) -> list[Callable[[Any], dict[str, Any]]]:
    """The functions that the tab's script calls. An error gives {"problem": one sentence}."""
    changing = Lock()  # the default values are one entry of config.json, which is read, changed and written

    def read(question: Mapping[str, Any]) -> dict[str, Any]:
        return {"sections": sections(settings, lists()), "values": values()}

    def change(question: Mapping[str, Any]) -> dict[str, Any]:
        """Change all settings of `question`, or none if one is invalid."""
        _check_choices(question, lists())
        if question.get("face_restoration"):
            # Raises if that model does not exist: no picture could be made then.
            engine.restorers.full_name(engine.options.face_restoration_model)
        ours = {name: value for name, value in question.items() if name in _names(Options)}
        starting = {name: value for name, value in question.items() if name in _names(Defaults)}
        with changing:
            engine.set_options(ours | ({KEY: entries(engine.config, settings, starting)} if starting else {}))
        return {"values": values()}

    def values() -> dict[str, Any]:
        return dataclasses.asdict(engine.options) | dataclasses.asdict(remembered(engine.config, settings))

    return [answered(read), answered(change)]


def sections(settings: Settings, lists: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """The sections with their settings, for the tab's script."""
    titles = {first: title for title, first in SECTIONS.items()}
    found: list[dict[str, Any]] = []
    for table in (Defaults, Options):
        for item in dataclasses.fields(table):
            if item.name in titles:
                found.append({"title": titles[item.name], "settings": []})
            if item.name not in ("sd_model_checkpoint", "sd_vae"):
                found[-1]["settings"].append(_declaration(item, settings, lists.get(item.name, ())))
    return found


def _declaration(item: dataclasses.Field[Any], settings: Settings, choices: Sequence[str]) -> dict[str, Any]:
    about = item.metadata
    choices = list(about["choices"] or choices)
    kind = ("check" if isinstance(item.default, bool) else "choice" if choices else "colour" if about["colour"]
            else "text" if isinstance(item.default, str) else "number")
    high = about["high"]
    if item.name in LARGEST:
        high = min(high, max(getattr(settings, LARGEST[item.name]), item.default))
    return {"name": item.name, "label": about["label"], "help": about["help"], "kind": kind, "default": item.default,
            "choices": choices, "low": about["low"], "high": high, "whole": isinstance(item.default, int)}


def _check_choices(changes: Mapping[str, Any], lists: Mapping[str, Sequence[str]]) -> None:
    for name, value in changes.items():
        if name in lists and value not in lists[name]:
            raise InvalidInput(f"The option {name} cannot be {value!r}.", field=name)


def _names(table: type[Table]) -> frozenset[str]:
    return frozenset(item.name for item in dataclasses.fields(table))
