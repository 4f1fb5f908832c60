"""The model in use let go and loaded again."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from modules.api.waiting import finished
from modules.engine.engine import Engine
from modules.jobs.queue import JobQueue


def router(engine: Engine, queue: JobQueue) -> APIRouter:
    """unload-checkpoint and reload-checkpoint wait for their turn in the queue."""
    api = APIRouter(prefix="/sdapi/v1")

    @api.post("/unload-checkpoint")
    async def unload_checkpoint() -> dict[str, Any]:
        await finished(queue.submit_work(lambda job: engine.unload()))
        return {}

    @api.post("/reload-checkpoint")
    async def reload_checkpoint() -> dict[str, Any]:
        await finished(queue.submit_load(engine.options))
        return {}

    return api
