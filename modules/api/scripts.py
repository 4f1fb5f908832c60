"""scripts, script-info and extensions: which scripts a request may name, and what arguments they take."""

from __future__ import annotations

import dataclasses
from typing import Any

from fastapi import APIRouter

from modules.engine import Engine
from modules.request import SoftInpainting
from modules.scripts.available import Available
from modules.scripts.script import Input, Script

SOFT_INPAINTING = "soft inpainting"

ALWAYS_ON = (SOFT_INPAINTING,)
"""Names that `alwayson_scripts` may hold, in small letters."""

SOFT_LABELS = ("Schedule bias", "Preservation strength", "Transition contrast boost", "Mask influence",
               "Difference threshold", "Difference contrast")
"""WebUI's labels of the fields of `SoftInpainting`, in their order."""


def router(engine: Engine) -> APIRouter:
    """The three endpoints."""
    api = APIRouter(prefix="/sdapi/v1")

    @api.get("/scripts")
    def scripts() -> dict[str, list[str]]:
        titles = {tab: [title.lower() for title in engine.scripts.titles(img2img=tab == "img2img")]
                  for tab in ("txt2img", "img2img")}
        return titles | {"img2img": [*ALWAYS_ON, *titles["img2img"]]}

    @api.get("/script-info")
    def script_info() -> list[dict[str, Any]]:
        told = [_described(script, engine.available, img2img=img2img)
                for img2img in (False, True) for script in engine.scripts.of(img2img=img2img)]
        return [*told, soft_inpainting_info()]

    @api.get("/extensions")
    def extensions() -> list[dict[str, Any]]:
        return []

    return api


def soft_inpainting_info() -> dict[str, Any]:
    """The one always-on script."""
    fields = dataclasses.fields(SoftInpainting)
    sliders = [_argument(label, item.default, minimum=0, maximum=100)
               for label, item in zip(SOFT_LABELS, fields, strict=True)]
    return {"name": SOFT_INPAINTING, "is_alwayson": True, "is_img2img": True,
            "args": [_argument("Soft inpainting", False), *sliders]}


def _described(script: Script, available: Available, *, img2img: bool) -> dict[str, Any]:
    return {"name": script.title.lower(), "is_alwayson": False, "is_img2img": img2img,
            "args": [_described_input(one, available) for one in script.inputs]}


def _described_input(one: Input, available: Available) -> dict[str, Any]:
    return _argument(one.label, one.default, minimum=one.low, maximum=one.high, step=one.step,
                     choices=one.labels(available) or None)


def _argument(label: str, value: Any, *, minimum: float | None = None, maximum: float | None = None,
              step: float | None = None, choices: list[str] | None = None) -> dict[str, Any]:
    return {"label": label, "value": value, "minimum": minimum, "maximum": maximum, "step": step, "choices": choices}
