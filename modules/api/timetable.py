"""v1/timetable: at which noise levels a sampler will ask the network. Ours."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from modules.engine.engine import Engine
from modules.engine.timetable import timetable


def router(engine: Engine) -> APIRouter:
    """The endpoint."""
    api = APIRouter()

    @api.get("/v1/timetable")
    def calls(sampler_name: str = "DDIM", scheduler: str = "Automatic", steps: int = 20,
              denoising_strength: float | None = None, ddim_loop: str = "") -> dict[str, Any]:
        options = engine.options.replaced({"ddim_loop": ddim_loop}) if ddim_loop else engine.options
        return timetable(engine, sampler_name, scheduler, steps, denoising_strength, options)

    return api
