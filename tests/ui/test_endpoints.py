"""gradio_client finds named endpoints on the page and makes a picture through one."""

from __future__ import annotations

import json
from collections.abc import Iterator

import gradio_client
import pytest
from PIL import Image
from serving import serving

import app
from modules.api import create_api
from modules.engine.engine import Engine
from modules.gallery.history import History
from modules.jobs.queue import JobQueue
from modules.settings import Settings


@pytest.fixture
def client(engine: Engine, queue: JobQueue, settings: Settings) -> Iterator[gradio_client.Client]:
    history = History(settings.outputs_dir)
    page = app.mount_page(create_api(engine, queue, settings), engine, queue, settings, history)
    with serving(page) as address:
        yield gradio_client.Client(address, verbose=False)
    history.close()


def test_a_picture_is_made_by_name(client: gradio_client.Client) -> None:
    assert {"/txt2img", "/progress", "/interrupt"} <= set(client.view_api(return_format="dict")["named_endpoints"])
    made = client.predict(prompt="a dog", width=64, height=48, steps=3, seed=5, api_name="/txt2img")
    made = json.loads(made) if isinstance(made, str) else made
    with Image.open(made["files"][0]) as image:
        assert image.size == (64, 48)
        assert image.info["parameters"] == made["infotexts"][0]
    assert made["seeds"] == [5]
    assert client.predict(api_name="/interrupt") is False
    with pytest.raises(Exception, match="width"):
        client.predict(prompt="a dog", width=10**6, api_name="/txt2img")
