"""scripts, script-info and extensions: which scripts a request may name, and what arguments they take."""

from __future__ import annotations

import dataclasses
from typing import Any

from fastapi import APIRouter

from modules.api.control_units import CONTROLNET
from modules.api.detail import ADETAILER
from modules.engine.engine import Engine
from modules.hooks.choices import Available
from modules.hooks.forms import Controls, Input, Script
from modules.hooks.loading import TABS
from modules.request import SOFT_LABELS, SoftInpainting

SOFT_INPAINTING = "soft inpainting"

ALWAYS_ON = (SOFT_INPAINTING, CONTROLNET, ADETAILER)
"""Names that `alwayson_scripts` may hold, in small letters."""


def router(engine: Engine) -> APIRouter:
    """The three endpoints."""
    api = APIRouter(prefix="/sdapi/v1")

    @api.get("/scripts")
    def scripts() -> dict[str, list[str]]:
        titles = {tab: [title.lower() for title in engine.scripts.titles(img2img=tab == "img2img")]
                  for tab in ("txt2img", "img2img")}
        added = {tab: [form.title.lower() for form in forms] for tab, forms in _forms(engine).items()}
        return {"txt2img": [CONTROLNET, ADETAILER, *added["txt2img"], *titles["txt2img"]],
                "img2img": [*ALWAYS_ON, *added["img2img"], *titles["img2img"]]}

    @api.get("/script-info")
    def script_info() -> list[dict[str, Any]]:
        told = [_described(script, engine.available, img2img=img2img)
                for img2img in (False, True) for script in engine.scripts.of(img2img=img2img)]
        added = [_described_controls(form, engine.available, img2img=tab == "img2img")
                 for tab, forms in _forms(engine).items() for form in forms]
        units: list[dict[str, Any]] = [  # their arguments are objects
            {"name": name, "is_alwayson": True, "is_img2img": img2img, "args": []}
            for name in (CONTROLNET, ADETAILER) for img2img in (False, True)]
        return [*told, soft_inpainting_info(), *units, *added]

    @api.get("/extensions")
    def extensions() -> list[dict[str, Any]]:
        return [{"name": extension.name, "remote": "", "branch": "", "commit_hash": "", "version": extension.version,
                 "commit_date": "", "enabled": extension.loaded, "description": extension.about,
                 "problem": extension.problem}
                for extension in engine.extensions.extensions]

    return api


def _forms(engine: Engine) -> dict[str, list[Controls]]:
    """What extensions add, for programs: they know no inpaint tab."""
    of = {tab: engine.extensions.controls(tab) for tab in TABS}
    by_title = {form.title: form for tab in ("img2img", "inpaint") for form in of[tab].values()}
    return {"txt2img": list(of["txt2img"].values()), "img2img": list(by_title.values())}


def soft_inpainting_info() -> dict[str, Any]:
    """The one always-on script."""
    sliders = [_argument(SOFT_LABELS[item.name], item.default, minimum=0, maximum=100)
               for item in dataclasses.fields(SoftInpainting)]
    return {"name": SOFT_INPAINTING, "is_alwayson": True, "is_img2img": True,
            "args": [_argument("Soft inpainting", False), *sliders]}


def _described(script: Script, available: Available, *, img2img: bool) -> dict[str, Any]:
    return {"name": script.title.lower(), "is_alwayson": False, "is_img2img": img2img,
            "args": [_described_input(one, available) for one in script.inputs]}


def _described_controls(form: Controls, available: Available, *, img2img: bool) -> dict[str, Any]:
    return {"name": form.title.lower(), "is_alwayson": True, "is_img2img": img2img,
            "args": [_argument(form.title, False), *(_described_input(one, available) for one in form.inputs)]}


def _described_input(one: Input, available: Available) -> dict[str, Any]:
    return _argument(one.label, one.default, minimum=one.low, maximum=one.high, step=one.step,
                     choices=one.labels(available, for_programs=True) or None)


def _argument(label: str, value: Any, *, minimum: float | None = None, maximum: float | None = None,
              step: float | None = None, choices: list[str] | None = None) -> dict[str, Any]:
    return {"label": label, "value": value, "minimum": minimum, "maximum": maximum, "step": step, "choices": choices}
