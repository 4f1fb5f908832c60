"""A client of the API over the model in closed form."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from serving import serving

from modules.api import create_api
from modules.engine.engine import Engine
from modules.jobs.queue import JobQueue
from modules.settings import Settings

ADDRESS = "http://127.0.0.1:7860"


@pytest.fixture
def client(engine: Engine, queue: JobQueue, settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_api(engine, queue, settings), base_url=ADDRESS, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def address(engine: Engine, queue: JobQueue, settings: Settings) -> Iterator[str]:
    """The address of a running server, for clients that bring their own HTTP."""
    with serving(create_api(engine, queue, settings)) as address:
        yield address


@pytest.fixture
def photo() -> Image.Image:
    return Image.effect_noise((64, 48), 60).convert("RGB")


@pytest.fixture
def mask() -> Image.Image:
    image = Image.new("L", (64, 48))
    image.paste(255, (24, 16, 40, 32))
    return image


def base64_of(image: Image.Image, kind: str = "PNG") -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return base64.b64encode(buffer.getvalue()).decode()


def picture(text: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(text)))


def info(answer: Any) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    return json.loads(answer.json()["info"])


def small(**changes: Any) -> dict[str, Any]:
    """A body whose picture is made in milliseconds."""
    return {"prompt": "a dog", "seed": 1, "steps": 3, "width": 64, "height": 48, "sampler_name": "Euler", **changes}
