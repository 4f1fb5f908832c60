"""Requests drawn from our OpenAPI schema, fitting and not, and bodies that work with some fields replaced by those.

Whatever comes, the answer is a result or a refusal in one sentence, and the server goes on. CRAWL=5000 sends that many.
"""

from __future__ import annotations

import collections
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import hypothesis
import pytest
import schemathesis
from fakes import fake_engine
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, strategies
from PIL import Image
from schemathesis import GenerationMode
from schemathesis.python import asgi

from modules.api import create_api
from modules.gallery.saving import Saver
from modules.jobs.queue import JobQueue
from modules.settings import Settings

from .conftest import ADDRESS, base64_of, small

REQUESTS = int(os.environ.get("CRAWL", "200"))
BODIES = ("/sdapi/v1/txt2img", "/sdapi/v1/img2img", "/sdapi/v1/extra-single-image", "/sdapi/v1/extra-batch-images")
"""Endpoints that almost any random body is refused by, so a good one is the start of half the requests."""


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    """A server whose limits keep every picture that may be asked for small."""
    settings = replace(settings, max_size=128, max_pixels=2**15, max_steps=4, max_batch=2, max_count=2,
                       allow_host=("testserver",))  # the name that schemathesis calls the application by
    engine = fake_engine(settings)
    queue = JobQueue(engine, Saver(settings.outputs_dir))
    with TestClient(create_api(engine, queue, settings), base_url=ADDRESS, raise_server_exceptions=False) as client:
        yield client
    queue.close()


def good_body(path: str) -> dict[str, Any]:
    photo, mask = base64_of(Image.new("RGB", (32, 24), "teal")), base64_of(Image.new("L", (32, 24), 255))
    common = small(steps=2, width=32, height=24)
    return {"/sdapi/v1/txt2img": common, "/sdapi/v1/img2img": common | {"init_images": [photo], "mask": mask},
            "/sdapi/v1/extra-single-image": {"image": photo, "upscaler_1": "Lanczos"},
            "/sdapi/v1/extra-batch-images": {"imageList": [{"data": photo, "name": "a.png"}]}}[path]


def requests(operation: Any, good: dict[str, Any] | None) -> strategies.SearchStrategy[schemathesis.Case]:
    """Cases of one endpoint: as the schema says, against it, and good bodies with a few fields from such cases."""
    drawn = strategies.one_of(*(operation.as_strategy(generation_mode=mode) for mode in GenerationMode))
    if good is None:
        return drawn

    @strategies.composite
    def mutated(draw: Any) -> schemathesis.Case:
        case = draw(drawn)
        if isinstance(case.body, dict) and case.body:
            names = draw(strategies.lists(strategies.sampled_from(sorted(case.body)), max_size=4))
            case.body = good | {name: case.body[name] for name in names}
        return case

    return drawn | mutated()


@pytest.mark.filterwarnings("ignore")
def test_no_request_breaks_the_server(client: TestClient) -> None:
    schema = schemathesis.openapi.from_asgi("/openapi.json", client.app)
    operations = [result.ok() for result in schema.get_all_operations()]
    options = client.get("/sdapi/v1/options").json()
    before = client.post("/sdapi/v1/txt2img", json=small(steps=4)).json()["images"]
    statuses: collections.Counter[int] = collections.Counter()
    weights = [8 if operation.path in BODIES else int(len(operation.body) + len(operation.query) > 0)
               for operation in operations]

    session = asgi.get_client(client.app)
    for operation, weight in zip(operations, weights, strict=True):
        @hypothesis.settings(max_examples=max(REQUESTS * weight // sum(weights), 1), deadline=None, database=None,
                             derandomize="CRAWL" not in os.environ, suppress_health_check=list(HealthCheck))
        @hypothesis.given(requests(operation, good_body(operation.path) if operation.path in BODIES else None))
        def send(case: schemathesis.Case) -> None:
            answer = case.call(base_url=ADDRESS, session=session)
            statuses[answer.status_code] += 1
            assert answer.status_code < 500, answer.text
            assert answer.status_code < 400 or answer.json()["detail"]

        send()

    print(f"{statuses.total()} requests: {dict(sorted(statuses.items()))}")
    assert statuses[200] > statuses.total() // 10
    assert statuses.keys() <= {200, 400, 404, 405, 406, 409, 413, 415, 422}
    client.post("/sdapi/v1/options", json=options)
    assert client.post("/sdapi/v1/txt2img", json=small(steps=4)).json()["images"] == before
