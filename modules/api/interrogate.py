"""Words for pictures: WebUI's interrogate, and the routes of the extension wd14-tagger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Request
from PIL import Image
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from modules.api import pictures
from modules.api.asking import client_of
from modules.api.body import Body
from modules.api.extras import WasInterrupted
from modules.api.loose import TEXT
from modules.api.waiting import finished
from modules.engine.engine import Engine
from modules.jobs.job import Job, Origin
from modules.jobs.queue import JobQueue
from modules.settings import Settings

Answer = TypeVar("Answer")
Name = Annotated[str, Field(max_length=200), TEXT]


class InterrogateBody(Body):
    """POST /sdapi/v1/interrogate. `model` is `clip`, `deepdanbooru`, or the name of a captioner or tagger."""

    image: str = ""
    model: Name = "clip"


class Described(BaseModel):
    """The words, as a prompt, and the name of the captioner or tagger that they are from."""

    caption: str
    model: str


class TaggerBody(Body):
    """POST /tagger/v1/interrogate. `queue` and `name_in_queue` are sent by clients of newer versions of the extension
    and have no effect, but that the answer is theirs."""

    image: str = ""
    model: Name = ""
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.0
    queue: Name = ""
    name_in_queue: Name = ""


class Tagged(BaseModel):
    """The shares by word, ratings included; or, for newer clients, {"rating": ..., "tag": ...}."""

    caption: dict[str, float] | dict[str, dict[str, float]]


def router(engine: Engine, queue: JobQueue, settings: Settings) -> APIRouter:
    """The endpoints. The queue's worker does the work."""
    api = APIRouter()
    describers = engine.describers

    async def worked(text: str, origin: Origin, look: Callable[[Image.Image, Job], Answer]) -> Answer:
        """What `look` says of the picture in base64, in its turn. Raises UserError."""
        packed = await run_in_threadpool(pictures.open_picture, text, "image", settings.max_image_mp * 10**6)
        found: list[Answer] = []

        def work(job: Job) -> None:
            job.stage("Looking at the picture")
            found.append(look(pictures.unpacked(packed, "image"), job))

        await finished(queue.submit_work(work, nbytes=packed.width * packed.height * 4, origin=origin))
        if not found:
            raise WasInterrupted("The picture was not described, because somebody interrupted it.")
        return found[0]

    @api.post("/sdapi/v1/interrogate", response_model=Described)
    async def interrogate(body: InterrogateBody, request: Request) -> dict[str, Any]:
        name = await run_in_threadpool(describers.named, body.model)
        threshold = engine.options.interrogate_deepbooru_score_threshold
        return {"model": name, "caption": await worked(
            body.image, client_of(request, settings).origin,
            lambda image, job: describers.describe(image, name, threshold, job.check))}

    @api.post("/tagger/v1/interrogate", response_model=Tagged)
    async def tag(body: TaggerBody, request: Request) -> dict[str, Any]:
        await run_in_threadpool(describers.tagger, body.model)
        tags = await worked(body.image, client_of(request, settings).origin,
                            lambda image, job: describers.tags(image, body.model))
        words = tags.above(body.threshold)
        newer = body.model_fields_set & {"queue", "name_in_queue"}
        return {"caption": {"rating": tags.ratings, "tag": words} if newer else {**tags.ratings, **words}}

    @api.get("/tagger/v1/interrogators")
    def interrogators() -> dict[str, list[str]]:
        return {"models": list(describers.taggers.files())}

    @api.post("/tagger/v1/unload-interrogators")
    async def unload_interrogators() -> str:
        await finished(queue.submit_work(lambda job: describers.forget()))
        return "Successfully unload 1 model(s)"

    return api
