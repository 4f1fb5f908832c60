"""The registry of scripts, searched by title."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modules.errors import InvalidInput
from modules.hooks.forms import Controls, Script
from modules.request import ScriptCall
from modules.scripts.img2img_alternative import IMG2IMG_ALTERNATIVE
from modules.scripts.loopback import LOOPBACK
from modules.scripts.outpainting_mk2 import OUTPAINTING_MK2
from modules.scripts.poor_mans_outpainting import POOR_MANS_OUTPAINTING
from modules.scripts.prompt_matrix import PROMPT_MATRIX
from modules.scripts.prompts_from_file import PROMPTS_FROM_FILE
from modules.scripts.sd_upscale import SD_UPSCALE
from modules.scripts.ultimate_upscale import ULTIMATE_UPSCALE
from modules.scripts.xyz_plot import XYZ_IMG2IMG, XYZ_TXT2IMG

BUILT_IN: tuple[Script, ...] = (
    IMG2IMG_ALTERNATIVE, LOOPBACK, OUTPAINTING_MK2, POOR_MANS_OUTPAINTING, PROMPT_MATRIX, PROMPTS_FROM_FILE, SD_UPSCALE,
    ULTIMATE_UPSCALE, XYZ_TXT2IMG, XYZ_IMG2IMG)
"""In WebUI's order, with Ultimate SD upscale after SD upscale."""


@dataclass(frozen=True)
class Registry:
    """The scripts of the program and of its extensions, the built-in ones first. `always_on` are the controls that
    extensions add to tabs."""

    scripts: tuple[Script, ...] = BUILT_IN
    always_on: tuple[Controls, ...] = ()

    def titles(self, *, img2img: bool) -> list[str]:
        """The titles that a tab offers."""
        return [script.title for script in self.of(img2img=img2img)]

    def of(self, *, img2img: bool) -> list[Script]:
        """The scripts for img2img and inpaint, or for txt2img."""
        return [script for script in self.scripts if (script.img2img if img2img else script.txt2img)]

    def find(self, title: str, *, img2img: bool) -> Script:
        """The script of that title, in any case. Raises InvalidInput with WebUI's message."""
        for script in self.of(img2img=img2img):
            if script.title.lower() == title.lower():
                return script
        raise InvalidInput(f"Script '{title}' not found", field="script_name")

    def recall(self, parameters: Mapping[str, Any]) -> ScriptCall | None:
        """The script that a parsed parameters text names, with its arguments. None if it names no known script."""
        return next((script.recall(parameters) for script in self.scripts if script.is_in(parameters)), None)

    def recall_always_on(self, parameters: Mapping[str, Any]) -> tuple[ScriptCall, ...]:
        """The extension controls that a parsed parameters text says were on, with their arguments."""
        return tuple(form.recall(parameters) for form in self.always_on
                     if all(str(parameters.get(key)) == str(value) for key, value in form.mark.items()))

    @property
    def keys(self) -> frozenset[str]:
        """All keys of the parameters text that belong to scripts and extensions."""
        forms = (*self.scripts, *self.always_on)
        return frozenset({*(key for form in forms for key in form.mark),
                          *(one.key for form in forms for one in form.inputs if one.key)})
