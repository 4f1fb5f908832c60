"""Reading a parameters text: its keys and values, and what they ask of a request."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from modules.errors import InvalidInput
from modules.request import MASKED_CONTENT, ControlUnit, Inpaint, MaskedContent, ScriptCall, SoftInpainting
from modules.request.detail import DetailPass
from modules.request.fields import declared
from modules.request.options import Options
from modules.text.infotext import control, detail
from modules.text.infotext.keys import FIELDS, OPTION_KEYS, SOFT_KEYS, plain, unquote
from modules.text.prompt import parse_attention
from modules.text.styles import Style, extract_styles

# Lengths are bounded so that a hostile text costs linear time and no number is too long for int().
_PAIR = re.compile(r'(\w[\w /-]{1,99}):\s*("(?:[^"\\]|\\.)+"|[^,]*)(?:,|$)')
_SIZE = re.compile(r"(\d{1,9})x(\d{1,9})")
_VERSION = re.compile(r"v?(\d{1,9})\.(\d{1,9})\.(\d{1,9})(?:-(\w{1,9}))?")
_NEGATIVE = "Negative prompt:"

_DEFAULTS: Mapping[str, Any] = {
    "Clip skip": "1", "Hires resize-1": 0, "Hires resize-2": 0, "Hires sampler": "Use same sampler",
    "Hires schedule type": "Use same scheduler", "Hires checkpoint": "Use same checkpoint", "Hires prompt": "",
    "Hires negative prompt": "", "Mask mode": "Inpaint masked", "Masked content": "original",
    "Inpaint area": "Whole picture", "Masked area padding": 32, "RNG": "GPU", "Schedule type": "Automatic",
    "Schedule max sigma": 0, "Schedule min sigma": 0, "Schedule rho": 0, "VAE Encoder": "Full", "VAE Decoder": "Full",
    "FP8 weight": "Disable", "Refiner switch by sampling steps": False}


def parse(text: str, styles: Sequence[Style] = (), *, keep_empty_styles: bool = False) -> dict[str, Any]:
    """Return the keys and values as WebUI reads them: strings, "Size" as "Size-1" and "Size-2", and its defaults for
    absent keys. Never raises.

    The last line counts as the line of keys only if it has at least three pairs. `styles` are taken out of the prompts
    and listed under "Styles array"; with `keep_empty_styles` that key is there even if none was found.
    """
    lines, found = _split(text)
    result: dict[str, Any] = {}
    for key, value in found:
        size = _SIZE.fullmatch(value)
        if size:
            result[f"{key}-1"], result[f"{key}-2"] = size.groups()
        else:
            result[key] = unquote(value)
    result["Prompt"], result["Negative prompt"] = _prompts(lines)
    version = _version(result.get("Version"))
    _take_styles_out(result, styles, version, keep_empty_styles)
    _understand_old_keys(result)
    for key, value in _DEFAULTS.items():
        result.setdefault(key, value)
    if result["FP8 weight"] != "Disable":
        result.setdefault("Cache FP16 weight for LoRA", False)
    weights = parse_attention(result["Prompt"]) + parse_attention(result["Negative prompt"])
    if "Emphasis" not in result and any(weight != 1 for _, weight in weights):
        result["Emphasis"] = "Original"
    _remember_old_behaviour(result, version)
    return result | control.typed(result)


def pairs(text: str) -> dict[str, str]:
    """Return the keys and values of the last line, in its order; empty if it is no line of keys."""
    return {key: unquote(value) for key, value in _split(text)[1]}


def _split(text: str) -> tuple[list[str], list[tuple[str, str]]]:
    """Return (lines of the prompts, pairs of the last line). With fewer than three pairs it belongs to the prompts."""
    *lines, last = text.strip().split("\n")
    found: list[tuple[str, str]] = _PAIR.findall(last)
    return (lines, found) if len(found) >= 3 else ([*lines, last], [])


def _prompts(lines: Sequence[str]) -> tuple[str, str]:
    prompt: list[str] = []
    negative: list[str] | None = None
    for line in (line.strip() for line in lines):
        if line.startswith(_NEGATIVE):
            negative = negative or []
            line = line[len(_NEGATIVE):].strip()
        (prompt if negative is None else negative).append(line)
    return _joined(prompt), _joined(negative or [])


def _joined(lines: Sequence[str]) -> str:
    """Join the lines, without empty ones at the beginning."""
    text = ""
    for line in lines:
        text += f"\n{line}" if text else line
    return text


def _version(text: Any) -> tuple[int, int, int, int] | None:
    """Return a WebUI version as numbers that compare: v1.7.0-225-gabc is (1, 7, 0, 225); a release candidate has -1."""
    match = _VERSION.match(text) if isinstance(text, str) else None
    if match is None:
        return None
    after = match[4]
    count = 0 if after is None else int(after) if after.isdecimal() else -1
    return int(match[1]), int(match[2]), int(match[3]), count


def _understand_old_keys(result: dict[str, Any]) -> None:
    """Translate keys of old versions: hypernetworks, and hires fix with the first pass's size."""
    if "Hypernet" in result:
        result["Prompt"] += f"<hypernet:{result['Hypernet']}:{result.get('Hypernet strength', '1.0')}>"
    if "First pass size-1" not in result or "Size-1" not in result:
        return
    first = int(result["First pass size-1"]), int(result["First pass size-2"])
    final = int(result["Size-1"]), int(result["Size-2"])
    result["Hires resize-1"], result["Hires resize-2"] = final
    result["Size-1"], result["Size-2"] = first if all(first) else _old_first_pass(*final)


def _old_first_pass(width: int, height: int) -> tuple[int, int]:
    """Return the first pass's size in old hires fix: about 512 x 512 pixels in the final shape, in multiples of 64."""
    scale = math.sqrt(512 * 512 / max(width * height, 1))
    return math.ceil(scale * width / 64) * 64, math.ceil(scale * height / 64) * 64


def _remember_old_behaviour(result: dict[str, Any], version: tuple[int, int, int, int] | None) -> None:
    """Add the options that describe what an old version did without a key for it."""
    if version is None:
        return
    if version < (1, 6, 0, 0):
        if "[" in result["Prompt"]:
            result["Old prompt editing timelines"] = True
        if result.get("Sampler") in ("DDIM", "PLMS"):
            result["Pad conds v0"] = True
    if version < (1, 7, 0, 225):
        result["Downcast alphas_cumprod"] = True
    if version < (1, 8, 0, 0) and "Refiner" in result:
        result["Refiner switch by sampling steps"] = True


def _take_styles_out(result: dict[str, Any], styles: Sequence[Style], version: tuple[int, int, int, int] | None,
                     keep_empty: bool) -> None:
    found, prompt, negative = extract_styles(styles, result["Prompt"], result["Negative prompt"])
    if found or keep_empty:
        result["Styles array"] = found
    if not found:
        return
    result["Prompt"], result["Negative prompt"] = prompt, negative
    if "Hires prompt" in result and (version is None or version >= (1, 8, 0, 139)):
        found_hires, hires, _ = extract_styles(styles, result["Hires prompt"], result.get("Hires negative prompt", ""),
                                               positive_only=True)
        if found_hires:
            result["Hires prompt"] = "" if hires == prompt else hires


@dataclass(frozen=True)
class Changes:
    """What a parameters text asks for: request fields by name, options by name, the control units, which lack their
    pictures, the detailer's passes, and the pairs that are not understood.
    """

    fields: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    control_units: tuple[ControlUnit, ...] = ()
    detail: tuple[DetailPass, ...] = ()
    unsupported: tuple[str, ...] = ()


_SAME = ("Use same sampler", "Use same scheduler", "Use same checkpoint")
_UNDERSTOOD = ("Model", "Model hash", "VAE", "VAE hash", "Precision", "Version", "Mask mode", "Mask blur",
               "Inpaint area", "Masked content", "Soft inpainting enabled", "Styles array", "Hypernet",
               "Hypernet strength", "User", "First pass size-1", "First pass size-2", "Template", "Negative Template",
               "Hires Template", "Hires Negative Template")
"""Keys that stand for no single field or option, and are read all the same."""


class Scripts(Protocol):
    """The list of scripts as this file sees it; `modules.scripts.registry.Registry` is one."""

    @property
    def keys(self) -> Collection[str]:
        """The keys that belong to scripts."""

    def recall(self, parameters: Mapping[str, Any], /) -> ScriptCall | None:
        """Return the script that the text names, with its arguments."""

    def recall_always_on(self, parameters: Mapping[str, Any], /) -> tuple[ScriptCall, ...]:
        """Return the extensions' controls that were on, with their arguments."""


def to_changes(parameters: Mapping[str, Any], *, with_checkpoint: bool = False,
               scripts: Scripts | None = None) -> Changes:
    """Return what `parse` found as changes to a request. Raises nothing.

    An absent key means the default of its field or option. The checkpoint and VAE are left alone unless
    `with_checkpoint`. With `scripts` the text's script is found too. A value that does not have its field's type is
    left out.
    """
    usual = Options()
    fields: dict[str, Any] = {"subseed": -1, "subseed_strength": 0.0, "seed_resize_from_w": 0, "seed_resize_from_h": 0,
                              "eta": None, "initial_noise_multiplier": 1.0, "mask_blur_x": 0, "mask_blur_y": 0,
                              "hr_second_pass_steps": 0, "refiner_checkpoint": "", "refiner_switch_at": None,
                              "enable_hr": _second_pass(parameters), "soft": _soft(parameters)}
    fields |= {item.name: item.default for item in plain(Inpaint)}
    fields |= {item.name: "" if parameters[key] in _SAME else parameters[key]
               for key, item in FIELDS.items() if key in parameters}
    if "Mask blur" in parameters:
        fields["mask_blur_x"] = fields["mask_blur_y"] = parameters["Mask blur"]
    fields["mask_invert"] = parameters.get("Mask mode") == "Inpaint not masked"
    fields["only_masked"] = parameters.get("Inpaint area") == "Only masked"
    fields["masked_content"] = MASKED_CONTENT.get(parameters.get("Masked content", ""), MaskedContent.ORIGINAL)
    options = {name: parameters.get(key, getattr(usual, name)) for key, name in OPTION_KEYS.items()}
    options |= _loop(parameters) | {"face_restoration": "Face restoration" in parameters}
    if with_checkpoint:
        options |= {name: parameters[key] for key, name in (("Model", "sd_model_checkpoint"), ("VAE", "sd_vae"))
                    if key in parameters}
    typed = _typed(fields)
    known = {*FIELDS, *OPTION_KEYS, *_UNDERSTOOD, *_DEFAULTS, *SOFT_KEYS}
    if scripts:
        typed |= {"script": scripts.recall(parameters), "always_on": scripts.recall_always_on(parameters)}
        known |= {*scripts.keys}
    known |= control.typed(parameters).keys()
    known |= detail.keys(parameters)
    return Changes(typed, options, control.read(parameters), detail.read(parameters),
                   tuple(f"{key}: {value}" for key, value in parameters.items() if key not in known))


def _second_pass(parameters: Mapping[str, Any]) -> bool:
    """Whether hires fix was on. A text without a size for it is read as 0 x 0, as in WebUI."""
    named = "Hires upscale" in parameters or "Hires upscaler" in parameters
    return "Denoising strength" in parameters and (named or str(parameters.get("Hires resize-1", 0)) != "0")


def _soft(parameters: Mapping[str, Any]) -> SoftInpainting | None:
    """Return soft inpainting's numbers; None if it is off or a number does not fit."""
    if parameters.get("Soft inpainting enabled") != "True":
        return None
    try:
        return SoftInpainting(**{name: _as_written(parameters[key]) for key, name in SOFT_KEYS.items()
                                 if key in parameters})
    except (ValueError, InvalidInput):
        return None


def _as_written(text: str) -> float:
    """Return a number that is written again as it was: 1 stays 1, and 1.0 stays 1.0."""
    return int(text) if text.isdecimal() else float(text)


def _loop(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Return the options of the DDIM loop. Without their keys the version decides: WebUI changed it in 1.6.0."""
    version = _version(parameters.get("Version"))
    if version is None:
        loop, noise = "classic", "initial"
    elif version < (1, 6, 0, 0):
        loop, noise = "classic", "fresh"
    else:
        loop, noise = "webui-1.10", "initial"
    return {"ddim_loop": parameters.get("DDIM loop", loop), "mask_noise": parameters.get("Mask noise", noise)}


def _typed(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields with their texts as values of the right type, without those that are none."""
    types = {item.name: item for item in declared(Inpaint)}
    typed = {}
    for name, value in fields.items():
        try:
            typed[name] = types[name].read(value) if isinstance(value, str) and name in types else value
        except ValueError:
            continue
    return typed
