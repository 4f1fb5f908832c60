"""Fills a tab's controls from a parameters text, and lists what could not be taken over."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from modules.engine.engine import Engine
from modules.errors import NotFound, UserError
from modules.request import Inpaint, ResizeMode
from modules.request.fields import find, own
from modules.request.options import Options
from modules.text import infotext
from modules.text.styles import load_styles
from modules.ui.controls import control_units, detail_passes, scripts
from modules.ui.controls.numbers import Number, Slider, limits
from modules.ui.controls.request_panel import Panel

SENT = ("prompt", "negative_prompt", "steps", "cfg_scale", "width", "height", "seed")
MASK_KEYS = {"Mask blur", "Mask mode", "Inpaint area", "Masked content", "Soft inpainting enabled", "Mask noise",
             "Small masks", *(item.text for item in own(Inpaint) if item.text)}
MASK_FIELDS = {"soft", *(item.name for item in own(Inpaint))}


def is_parameters(text: str | None) -> bool:
    """True if `text` has the line of keys and values of a parameters text."""
    return "Steps" in infotext.parse(text or "")


def send_along(text: str, panel: Panel, *, locked: bool) -> list[Any]:
    """An update for each of the panel's widgets, for a result that is sent to the tab.

    As in WebUI, prompts, steps, CFG scale, size and seed are sent along; the other widgets stay as they are. `locked`
    keeps the seed that the panel has. Raises InvalidInput as `paste`.
    """
    parameters = infotext.parse(text, load_styles(panel.settings.styles_file))
    fields = infotext.to_changes(parameters).fields
    values = {name: fields[name] for name in SENT if name in fields} | {"styles": parameters.get("Styles array", [])}
    _check_ranges(values, panel, [])
    return panel.updates(values, locked=locked)


def paste(text: str, panel: Panel, engine: Engine, *, locked: bool) -> tuple[list[Any], str]:
    """Return (an update for each of the panel's widgets, an HTML note about what is not taken over).

    The checkpoint in use stays; the note names the one in the text. Styles that the prompts contain are selected
    instead of written out. Raises InvalidInput if the styles file cannot be read.
    """
    parameters = infotext.parse(text, load_styles(panel.settings.styles_file))
    changes = infotext.to_changes(parameters, scripts=engine.scripts)
    fields, problems = dict(changes.fields), list(changes.unsupported)
    if _is_of(panel, infotext.pairs(text)):
        fields["resize_mode"] = ResizeMode.JUST_RESIZE  # the text's size is the one that was drawn
    if not infotext.pairs(text).keys() & MASK_KEYS:  # the text has no mask settings
        fields = {name: value for name, value in fields.items() if name not in MASK_FIELDS}
    fields["styles"] = parameters.get("Styles array", [])
    _check_sampler(fields, problems, engine)
    _check_upscaler(fields, problems, engine)
    _check_checkpoints(fields, problems, engine)
    options = _check_faces(_options(changes.options, problems), problems, engine)
    fields["overrides"] = [f"{key}: {getattr(options, name)}" for key, name in infotext.OPTION_KEYS.items()
                           if name not in panel.widgets and getattr(options, name) != getattr(engine.options, name)]
    values = fields | {name: getattr(options, name) for name in changes.options}
    values |= scripts.choices_of(changes.fields["script"], changes.fields["always_on"], panel, engine)
    values |= control_units.pasted(changes.control_units, panel, engine, problems)
    values |= detail_passes.pasted(changes.detail, panel, engine, problems)
    _check_ranges(values, panel, problems)
    note = _note(parameters, problems, fields["overrides"], engine, units=len(changes.control_units))
    return panel.updates(values, locked=locked), note


def _is_of(panel: Panel, pairs: Mapping[str, str]) -> bool:
    """Whether the text with these `pairs` is of a picture that was made from a picture on such a tab."""
    if panel.masked:
        return bool(pairs.keys() & MASK_KEYS)
    return panel.from_picture and "Denoising strength" in pairs and not any(key.startswith("Hires") for key in pairs)


def _options(found: Mapping[str, Any], problems: list[str]) -> Options:
    """The text's values as options. Invalid ones are left out and added to `problems` with the page's labels."""
    options = Options()
    for name, value in found.items():
        try:
            options = options.replaced({name: value})
        except UserError as error:
            label = find(Options, name).label
            problems.append(error.message.replace(f"option {name} ", f"option {label} "))
    return options


def _check_sampler(fields: dict[str, Any], problems: list[str], engine: Engine) -> None:
    """Replace sampler and schedule by their full names; "DPM++ 2M Karras" names both. Unknown ones are removed."""
    from modules.sampling import registry

    for sampler, scheduler, usual in (("sampler", "scheduler", "DDIM"), ("hr_sampler", "hr_scheduler", "")):
        try:
            found, schedule = registry.resolve(fields.get(sampler) or "DDIM", fields.get(scheduler) or "",
                                               engine.samplers)
        except UserError as error:
            problems.append(error.message)
            fields.pop(sampler, None)
            fields.pop(scheduler, None)
            continue
        if fields.get(sampler):
            fields[sampler] = found.name
            fields[scheduler] = schedule if fields.get(scheduler) or usual or schedule != "Automatic" else ""


def _check_upscaler(fields: dict[str, Any], problems: list[str], engine: Engine) -> None:
    """Only what the dropdown offers: programs may name others, which something else stands in for."""
    name = fields.get("hr_upscaler")
    if fields["enable_hr"] and name is not None and name.lower() not in (
            known.lower() for known in engine.available.hires_upscalers()):
        problems.append(f"There is no upscaler called {name!r}.")
        del fields["hr_upscaler"]


def _check_checkpoints(fields: dict[str, Any], problems: list[str], engine: Engine) -> None:
    """Replace the hires checkpoint and the refiner by their names in the dropdowns. Unknown ones are removed."""
    for name, label in (("hr_checkpoint", "Hires checkpoint"), ("refiner_checkpoint", "Refiner")):
        if not fields.get(name):
            continue
        try:
            fields[name] = engine.catalog.find(fields[name]).filename
        except NotFound:
            problems.append(f"{label}: {fields[name]}")
            fields[name] = ""


def _check_faces(options: Options, problems: list[str], engine: Engine) -> Options:
    """Switch face restoration off if its model does not exist."""
    if not options.face_restoration:
        return options.replaced({"face_restoration_model": engine.options.face_restoration_model})
    try:
        return options.replaced({"face_restoration_model":
                                 engine.restorers.full_name(options.face_restoration_model)})
    except UserError:
        problems.append(f"Face restoration: {options.face_restoration_model}")
        return options.replaced({"face_restoration": False,
                                 "face_restoration_model": engine.options.face_restoration_model})


def _check_ranges(values: dict[str, Any], panel: Panel, problems: list[str]) -> None:
    """Clip numbers to the ranges of their widgets, which would refuse them otherwise, and name those that change."""
    for name, value in values.items():
        widget = panel.widgets.get(name)
        if not isinstance(widget, Slider | Number) or not isinstance(value, int | float):
            continue
        low, high = limits(widget)
        values[name] = min(max(value, low), high)
        if values[name] != value:
            problems.append(f"{widget.label}: {_written(value)} (here {_written(values[name])})")


def _written(number: float) -> str:
    """A number as text: "7" for 7.0, and a seed with all its digits."""
    return f"{number:g}" if isinstance(number, float) else str(number)


def _note(parameters: Mapping[str, Any], problems: list[str], overrides: list[str], engine: Engine, *,
          units: int) -> str:
    """The note in HTML. Empty if everything was taken over."""
    sentences = [_checkpoint_hint(parameters, engine)]
    if problems:
        sentences.append("Not taken over: " + " · ".join(problems))
    if overrides:
        sentences.append("Under Advanced, Override settings: " + "; ".join(overrides) + ".")
    if units:
        sentences.append("A parameters text has no pictures: choose those that ControlNet is to follow again.")
    paragraphs = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in sentences if sentence)
    return f'<div class="pasted" role="status">{paragraphs}</div>' if paragraphs else ""


def _checkpoint_hint(parameters: Mapping[str, Any], engine: Engine) -> str:
    """A sentence that names the text's checkpoint if another one is in use, otherwise empty."""
    name, digits = parameters.get("Model"), parameters.get("Model hash")
    if not name and not digits:
        return ""
    wanted = " ".join(part for part in (name, f"[{digits}]" if digits else "") if part)
    try:
        used = engine.files_of(engine.options)[0]
    except NotFound:
        used = None
    if used and (used.shorthash == digits if used.shorthash and digits else used.name == name):
        return ""
    for file in engine.catalog.checkpoints():
        if file.shorthash == digits if file.shorthash and digits else file.name == name:
            return f"Made with the checkpoint {wanted}: to use it, choose {file.filename} at the top."
    return f"Made with the checkpoint {wanted}, which is not here; the one at the top is used."
