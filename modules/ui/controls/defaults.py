"""The default values of the tabs' controls, stored in `config.json` under `ui_defaults`, by the names of the controls.

Controls that show an option have the option in force as their default.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from modules.base.config import Config
from modules.errors import InvalidInput
from modules.request import MASKED_CONTENT, Inpaint, Txt2Img
from modules.request.fields import field as option
from modules.request.fields import find
from modules.request.options import Options, Table
from modules.settings import Settings
from modules.ui.controls.request_panel import AREAS, AUTOMATIC_AREA, KEEP_PROPORTIONS, RESIZE_MODES, Panel

log = logging.getLogger(__name__)

KEY = "ui_defaults"
DEFAULTS = "the defaults"
LARGEST = {name: find(Txt2Img, name).limit for name in ("width", "height", "n_iter", "batch_size")}
"""Controls that are limited by a flag, with the name of that flag."""


def _same(name: str, help: str = "", *, high: float | None = None) -> Any:
    """An option like the request's field `name`: its default, label and range on the page, up to `high` if given."""
    item = find(Inpaint, name)
    low, most = item.shown or (item.low, item.high)
    return option(item.default, item.label, help or item.help, low=low, high=most if high is None else high)


@dataclass(frozen=True, kw_only=True)
class Defaults(Table):
    """The default values. Each holds for all tabs that have the control."""

    tab: str = option("inpaint", "Tab at the start", "The tab that a new window shows.",
                      choices=("txt2img", "img2img", "inpaint"))
    new_window: str = option(DEFAULTS, "A new window starts from",
                             "A new window has these defaults, or the prompts, controls and pictures of the last one.",
                             choices=(DEFAULTS, "the last window"))
    sampler: str = _same("sampler")
    scheduler: str = _same("scheduler")
    steps: int = _same("steps")
    cfg_scale: float = _same("cfg_scale", "7 follows what the checkpoint is made for.")
    width: int = _same("width", "512 follows the size that the checkpoint is made for.", high=8192)
    height: int = _same("height", "512 follows the size that the checkpoint is made for.", high=8192)
    n_iter: int = _same("n_iter", high=1000)
    batch_size: int = _same("batch_size")
    denoising_strength: float = _same("denoising_strength", "In img2img and inpaint.")
    hr_denoising_strength: float = option(0.7, "Denoising strength of Hires. fix",
                                          "How much the second pass may change. Latent needs 0.5 or more.",
                                          low=0, high=1)
    resize_mode: str = option(KEEP_PROPORTIONS, "Resize mode", find(Inpaint, "resize_mode").help,
                              choices=(KEEP_PROPORTIONS, *RESIZE_MODES))
    mask_blur: int = _same("mask_blur_x", "In pixels.")
    masked_content: str = option("original", "Masked content", find(Inpaint, "masked_content").help,
                                choices=tuple(MASKED_CONTENT))
    only_masked: str = option(AUTOMATIC_AREA, "Inpaint area", find(Inpaint, "only_masked").help,
                              choices=(AUTOMATIC_AREA, *AREAS))
    only_masked_padding: int = _same("only_masked_padding")
    negative_prompt: str = _same("negative_prompt", "What you never want to see.")


def remembered(config: Config, settings: Settings) -> Defaults:
    """The defaults in force: the valid ones of the file, and the program's for the others."""
    defaults = Defaults()
    for name, value in _kept(config).items():
        try:
            defaults = checked(defaults.replaced({name: value}), settings)
        except InvalidInput as error:
            log.warning("%s of %s: %s", KEY, settings.config_file.name, error.message)
    return defaults


def entries(config: Config, settings: Settings, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The file's entry under `KEY` after `changes`. Raises InvalidInput for the control with an invalid value."""
    defaults = checked(remembered(config, settings).replaced(changes), settings)
    return {**_kept(config), **{name: value for name, value in asdict(defaults).items() if name in changes}}


def checked(defaults: Defaults, settings: Settings) -> Defaults:
    """Return `defaults` if the flags allow them. Raises InvalidInput."""
    for name, flag in LARGEST.items():
        value, largest = getattr(defaults, name), getattr(settings, flag)
        if value > max(largest, getattr(Defaults(), name)):
            raise InvalidInput(f"The option {name} is at most {largest}, not {value}.", field=name)
    return defaults


def starts(panel: Panel, options: Options, defaults: Defaults) -> dict[str, Any]:
    """The start values of those widgets of the panel that have a setting."""
    values = {item.name: getattr(table, item.name) for table in (options, defaults) for item in fields(table)}
    if not panel.from_picture:
        values["denoising_strength"] = defaults.hr_denoising_strength
    return {name: values[name] for name in panel.widgets if name in values}


def _kept(config: Config) -> dict[str, Any]:
    kept = config.values().get(KEY)
    return kept if isinstance(kept, dict) else {}
