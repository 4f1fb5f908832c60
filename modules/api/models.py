"""The model in use let go and loaded again; and the describer of pictures, which there is none of."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from modules.api.schema import InterrogateBody
from modules.api.waiting import finished
from modules.engine.engine import Engine
from modules.errors import NotFound
from modules.jobs.queue import JobQueue


def router(engine: Engine, queue: JobQueue) -> APIRouter:
    """unload-checkpoint and reload-checkpoint wait for their turn in the queue; interrogate says what is missing."""
    api = APIRouter(prefix="/sdapi/v1")

    @api.post("/unload-checkpoint")
    async def unload_checkpoint() -> dict[str, Any]:
        await finished(queue.submit_work(lambda job: engine.unload()))
        return {}

    @api.post("/reload-checkpoint")
    async def reload_checkpoint() -> dict[str, Any]:
        await finished(queue.submit_load(engine.options))
        return {}

    @api.post("/interrogate")
    def interrogate(body: InterrogateBody) -> None:
        raise NotFound(f"There is no model here that describes pictures ({body.model}).", field="model")

    return api
