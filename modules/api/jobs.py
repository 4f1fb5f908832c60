"""Jobs as events: POST answers an id at once, and a stream tells of each step, previews and the result.

The bodies are those of the endpoints, so are the results. The queue is the same as for all else.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Request, Response
from pydantic import Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from modules.api import generation, remove, training
from modules.api.asking import client_of
from modules.api.body import Body, first_problem
from modules.api.gate import refusal
from modules.api.loose import TEXT
from modules.api.remove import RemoveBody
from modules.api.schema import Img2ImgBody, Txt2ImgBody, in_webui_words
from modules.api.training import TrainBody
from modules.engine.engine import Engine
from modules.errors import NotFound, UserError
from modules.imaging.jpeg import preview_jpeg
from modules.jobs.client import Client
from modules.jobs.job import Job
from modules.jobs.queue import JobQueue
from modules.settings import Settings

KEPT_SECONDS = 60 * 60
"""How long a result can be fetched, and how long a key means the same job."""
KEPT_BYTES, KEPT_JOBS = 512 * 2**20, 1000
"""Over these the oldest results go before their time."""
LOOK_SECONDS = 0.1
SILENT_SECONDS = 15.0
"""A comment goes out after so much silence, so that proxies keep the stream open."""

Key = Annotated[str | None, Header(alias="Idempotency-Key", max_length=200)]


class OtherJob(UserError):
    """The key was used for another request."""

    status = 409


BODIES: dict[str, type[Txt2ImgBody | RemoveBody | TrainBody]] = {
    "txt2img": Txt2ImgBody, "img2img": Img2ImgBody, "remove": RemoveBody, "train": TrainBody}


class JobBody(Body):
    """POST /v1/jobs: the endpoint by its name, and the body that it takes."""

    kind: Literal["txt2img", "img2img", "remove", "train"] = "txt2img"
    request: dict[str, Any] = Field(default_factory=dict)
    idempotency_key: Annotated[str, Field(max_length=200), TEXT] | None = None

    def checked(self) -> Txt2ImgBody | RemoveBody | TrainBody:
        """The endpoint's body. Raises InvalidInput naming the field."""
        try:
            return BODIES[self.kind].model_validate(self.request)
        except ValidationError as error:
            raise first_problem(error) from error


@dataclass
class Entry:
    """A job that came in here. `answer` makes what the endpoint would have answered."""

    job: Job
    answer: Callable[[], dict[str, Any]]
    digest: str
    created: float


class Jobs:
    """The jobs that came in as such, by id and by key. Every method may be called from any thread."""

    def __init__(self, make: Callable[[JobBody, Client], Entry], clock: Callable[[], float] = time.time) -> None:
        self._make, self._clock = make, clock
        self._entries: dict[str, Entry] = {}
        self._keys: dict[tuple[str, str | None], str] = {}
        self._lock = threading.Lock()

    def add(self, asked: JobBody, key: str | None, client: Client) -> tuple[Entry, bool]:
        """The job of `asked`, and whether it is new: with a key that was used before it is that job. Clients that do
        not see each other's jobs do not meet each other's keys either. Raises OtherJob, and UserErrors of the
        request."""
        ours = ("" if client.sees_all else client.address, key)
        with self._lock:
            self._forget()
            if key and (entry := self._entries.get(self._keys.get(ours, ""))):
                if entry.digest != digest(asked):
                    raise OtherJob("This Idempotency-Key was used for another request.")
                return entry, False
            entry = self._make(asked, client)
            self._entries[entry.job.id] = entry
            if key:
                self._keys[ours] = entry.job.id
            return entry, True

    def get(self, job_id: str) -> Entry:
        """The job of that id. Raises NotFound."""
        with self._lock:
            self._forget()
            if job_id not in self._entries:
                raise NotFound(f"There is no job called {job_id!r}; results are kept for {KEPT_SECONDS // 60} minutes.")
            return self._entries[job_id]

    def seen_by(self, client: Client) -> list[Entry]:
        """Those that `client` may see, the oldest first."""
        with self._lock:
            self._forget()
            return [entry for entry in self._entries.values() if client.may_see(entry.job)]

    def _forget(self) -> None:
        over = [entry for entry in self._entries.values() if entry.job.over]
        held = sum(entry.job.bytes_held() for entry in over)
        for number, entry in enumerate(over):
            few = held <= KEPT_BYTES and len(over) - number <= KEPT_JOBS
            if few and entry.created + KEPT_SECONDS > self._clock():
                break
            held -= entry.job.bytes_held()
            del self._entries[entry.job.id]
            self._keys = {key: job_id for key, job_id in self._keys.items() if job_id != entry.job.id}


def digest(asked: JobBody) -> str:
    """What tells one request from another."""
    return json.dumps(asked.model_dump(exclude={"idempotency_key"}), sort_keys=True)


def router(engine: Engine, queue: JobQueue, settings: Settings) -> APIRouter:
    """The endpoints."""
    api = APIRouter(prefix="/v1/jobs")

    def make(asked: JobBody, client: Client) -> Entry:
        body = asked.checked()
        if isinstance(body, RemoveBody):
            job = remove.submit(body, engine, queue, settings, client.origin)
            answer = partial(remove.answer, body, job, engine)
        elif isinstance(body, TrainBody):
            job, run = training.submit(body, engine, queue, client.origin)
            answer = partial(training.answer, run)
        else:
            job, warnings = generation.submit(body, engine, queue, settings, client.origin)
            answer = partial(generation.answer, body, job, engine, warnings)
        return Entry(job, answer, digest(asked), time.time())

    jobs = Jobs(make)

    def result(entry: Entry) -> dict[str, Any] | None:
        """The endpoint's answer, or the error with what was finished before it."""
        job = entry.job
        made = entry.answer() if job.result or job.request is None else None
        return {**(refusal(in_webui_words(job.error)) if job.error else {}), **(made or {})} or None

    def described(entry: Entry, *, with_result: bool = False) -> dict[str, Any]:
        job = entry.job
        told = {"id": job.id, "state": job.state, "position": job.position, "progress": job.progress,
                "eta_relative": job.eta, "stage": job.stage_text, "sampling_step": job.sampling_step,
                "sampling_steps": job.sampling_steps, "batch": job.batch, "batch_count": job.batch_count,
                "created": int(entry.created), "kept_until": int(entry.created + KEPT_SECONDS)}
        return told | ({"result": result(entry)} if with_result and job.over else {})

    @api.post("", status_code=202)
    async def create(asked: JobBody, request: Request, response: Response,
                     idempotency_key: Key = None) -> dict[str, Any]:
        entry, new = await run_in_threadpool(jobs.add, asked, idempotency_key or asked.idempotency_key,
                                             client_of(request, settings))
        response.status_code = 202 if new else 200
        response.headers["location"] = f"{settings.root_path}/v1/jobs/{entry.job.id}"
        return described(entry)

    @api.get("")
    def listed(request: Request) -> list[dict[str, Any]]:
        return [described(entry) for entry in jobs.seen_by(client_of(request, settings))]

    @api.get("/{job_id}")
    def one(job_id: str) -> dict[str, Any]:
        return described(jobs.get(job_id), with_result=True)

    @api.delete("/{job_id}")
    def cancel(job_id: str) -> dict[str, Any]:
        entry = jobs.get(job_id)
        queue.interrupt(job_id)
        return described(entry)

    @api.get("/{job_id}/events")
    def events(job_id: str, previews: bool = True) -> StreamingResponse:
        entry = jobs.get(job_id)
        return StreamingResponse(_events(entry, described, result, previews=previews), media_type="text/event-stream",
                                 headers={"cache-control": "no-store", "x-accel-buffering": "no"})

    return api


async def _events(entry: Entry, described: Callable[[Entry], dict[str, Any]],
                  result: Callable[[Entry], dict[str, Any] | None], *, previews: bool) -> AsyncIterator[str]:
    """state and step when something changed, preview when there is a newer one, then result or error, and the end."""
    job, seen, shown, silent = entry.job, -1, 0, 0.0
    stage: tuple[str, str, int] | None = None
    while True:
        over, version = job.over, job.version
        silent += LOOK_SECONDS
        if version != seen:
            seen, silent = version, 0.0
            now = (job.state, job.stage_text, job.position)
            yield event("step" if now == stage else "state", described(entry))
            stage = now
        if over:
            found = await run_in_threadpool(result, entry)
            yield event("error" if job.error else "result", found or {})
            return
        if previews and job.preview_version != shown:
            shown = job.preview_version
            picture = await run_in_threadpool(job.preview)
            if picture is not None:
                yield event("preview", {"image": f"data:image/jpeg;base64,{preview_jpeg(picture)}"})
        if silent >= SILENT_SECONDS:
            silent = 0.0
            yield ": still here\n\n"
        await asyncio.sleep(LOOK_SECONDS)


def event(name: str, data: dict[str, Any]) -> str:
    """One event of a stream (HTML, server-sent events)."""
    return f"event: {name}\ndata: {json.dumps(data, allow_nan=False)}\n\n"
