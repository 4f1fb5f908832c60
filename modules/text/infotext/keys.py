"""The keys of the parameters text, and how a value is quoted."""

from __future__ import annotations

import json
from typing import Any

from modules.request import SOFT_LABELS, Inpaint
from modules.request.fields import Declared, declared
from modules.request.options import Options

VERSION = "Inpaint WebUI 0.1.0"

FIELDS: dict[str, Declared] = {item.text: item for item in declared(Inpaint) if item.text}
"""Keys that stand for one field of a request, and that field. A size is two keys here, as `parse` gives them: "Size-1"
and "Size-2"."""

OPTION_KEYS: dict[str, str] = {item.text: item.name for item in declared(Options) if item.text}
"""Keys that stand for an option, and that option's name."""

SOFT_KEYS: dict[str, str] = {f"Soft inpainting {label.lower()}": name for name, label in SOFT_LABELS.items()}
"""Keys of soft inpainting's numbers, and their fields in `SoftInpainting`."""

RULED = frozenset({
    "Prompt", "Negative prompt", "Steps", "Sampler", "Schedule type", "CFG scale", "Image CFG scale", "Seed",
    "Face restoration", "Size-1", "Size-2", "Variation seed", "Variation seed strength", "Seed resize from-1",
    "Seed resize from-2",
    "Denoising strength", "Conditional mask weight", "Clip skip", "ENSD", "RNG", "Tiling", "Masked area padding",
    "Hires upscale", "Hires upscaler", "Hires steps", "Hires resize-1", "Hires resize-2", "Hires sampler",
    "Hires schedule type", "Hires prompt", "Hires negative prompt", "Hires checkpoint", "Hires refiner", "Refiner",
    "Refiner switch at", "Refiner switch by sampling steps", "Downcast alphas_cumprod", "Old prompt editing timelines",
    "Emphasis", "Noise multiplier", "Extra noise", "Eta", "Eta DDIM", "Sigma churn", "Sigma tmin", "Sigma tmax",
    "Sigma noise", "Schedule min sigma", "Schedule max sigma", "Schedule rho", "Beta schedule alpha",
    "Beta schedule beta", "Discard penultimate sigma", "DDIM loop", "Mask noise", "Small masks",
    "UniPC variant", "UniPC skip type", "UniPC order", "UniPC lower order final", "Noise Schedule",
    "SGM noise multiplier", "NGMS", "NGMS all steps", "Skip Early CFG", "Pad conds", "Pad conds v0",
    "Remove with"})
"""Declared keys that are written by a rule of their own, or only read (UniPC's). All others are plain: they are written
when the value is not the default, and their absence means the default."""


def plain(table: type) -> list[Declared]:
    """The declared fields of `table` whose keys are plain."""
    return [item for item in declared(table) if item.text and item.text not in RULED]


def quote(value: Any) -> Any:
    """Return `value` as the line of keys shows it: a JSON string if it has a comma, a colon or a line break."""
    if not isinstance(value, str) or not any(sign in value for sign in ",:\n"):
        return value
    return json.dumps(value, ensure_ascii=False)


def unquote(text: str) -> str:
    """Undo `quote`. A text that is no JSON string stays as it is."""
    if len(text) < 2 or not (text.startswith('"') and text.endswith('"')):
        return text
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, str) else text


