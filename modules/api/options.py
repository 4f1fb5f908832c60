"""GET and POST /sdapi/v1/options. Options that we do not know are remembered and given back, so that a program may read
the whole dictionary, change one entry and post it again."""

from __future__ import annotations

import dataclasses
from typing import Any

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool

from modules.api.schema import as_webui_means, option_values
from modules.api.waiting import finished
from modules.engine.engine import Engine
from modules.errors import NotFound
from modules.gallery.formats import DEFAULTS
from modules.jobs.queue import JobQueue
from modules.request.options import Options

KNOWN = frozenset(item.name for item in dataclasses.fields(Options))
READ_ONLY = frozenset({"sd_checkpoint_hash"})
FOREIGN = DEFAULTS | {"send_seed": True, "live_previews_enable": True,
           "show_progress_every_n_steps": 1, "save_mask": False, "return_grid": False}
"""Options of WebUI's that programs look for. Nothing here obeys them but the formats."""


def router(engine: Engine, queue: JobQueue) -> APIRouter:
    """The two endpoints."""
    api = APIRouter()

    @api.get("/sdapi/v1/options")
    def get_options() -> dict[str, Any]:
        return FOREIGN | engine.config.values() | option_values(engine.options) | _checkpoint(engine)

    @api.post("/sdapi/v1/options")
    async def set_options(changes: dict[str, Any]) -> None:
        changes = as_webui_means(changes)
        ours = {name: value for name, value in changes.items() if name in KNOWN}
        options = await run_in_threadpool(engine.options.replaced, ours)
        if await run_in_threadpool(_other_model, engine, options):
            await finished(queue.submit_load(options))
        await run_in_threadpool(engine.set_options, {name: value for name, value in changes.items()
                                                      if name not in READ_ONLY})

    return api


def _other_model(engine: Engine, options: Options) -> bool:
    """Whether `options` name another checkpoint or VAE than those in force. Raises NotFound."""
    checkpoint, vae = engine.files_of(options)
    try:
        in_force, vae_in_force = engine.files_of(engine.options)
    except NotFound:  # it has been deleted
        return True
    if checkpoint is None or in_force is None:
        return checkpoint is not in_force
    return (checkpoint.path, vae) != (in_force.path, vae_in_force)


def _checkpoint(engine: Engine) -> dict[str, Any]:
    """The checkpoint in force by its title, which is what WebUI's list of models has."""
    try:
        checkpoint, _ = engine.files_of(engine.options)
    except NotFound:
        checkpoint = None
    if checkpoint is None:
        return {"sd_checkpoint_hash": ""}
    return {"sd_model_checkpoint": checkpoint.title, "sd_checkpoint_hash": checkpoint.sha256 or ""}
