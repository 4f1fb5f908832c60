"""gradio_client finds named endpoints on the page and makes pictures through them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import gradio_client
import httpx
import numpy as np
import pytest
from gradio.utils import get_upload_folder
from PIL import Image
from serving import serving

import app
from modules.api import create_api
from modules.engine.engine import Engine
from modules.gallery.history import History
from modules.jobs.queue import JobQueue
from modules.settings import Settings

QUICK = {"prompt": "a dog", "steps": 3, "seed": 5}


@pytest.fixture
def client(engine: Engine, queue: JobQueue, settings: Settings) -> Iterator[gradio_client.Client]:
    history = History(settings.outputs_dir)
    page = app.mount_page(create_api(engine, queue, settings), engine, queue, settings, history)
    with serving(page) as address:
        yield gradio_client.Client(address, verbose=False)
    history.close()


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(1).integers(0, 256, (48, 67, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def predicted(client: gradio_client.Client, *, api_name: str, **arguments: Any) -> dict[str, Any]:
    made = client.predict(**QUICK | arguments, api_name=api_name)
    return json.loads(made) if isinstance(made, str) else made


def test_a_picture_is_made_by_name(client: gradio_client.Client) -> None:
    assert {"/txt2img", "/img2img", "/inpaint", "/progress", "/interrupt"} <= set(
        client.view_api(return_format="dict")["named_endpoints"])
    made = predicted(client, width=64, height=48, api_name="/txt2img")
    with Image.open(made["files"][0]) as image:
        assert image.size == (64, 48)
        assert image.info["parameters"] == made["infotexts"][0]
    assert made["seeds"] == [5]
    assert client.predict(api_name="/interrupt") is False
    with pytest.raises(Exception, match="width"):
        predicted(client, width=10**6, api_name="/txt2img")
    with pytest.raises(Exception, match="steps must be a int"):
        predicted(client, steps="many", api_name="/txt2img")


def test_a_picture_is_made_of_an_uploaded_one(client: gradio_client.Client, photo: Path) -> None:
    made = predicted(client, image=gradio_client.handle_file(photo), denoising_strength=0.5, api_name="/img2img")
    with Image.open(made["files"][0]) as image:
        assert image.size == (64, 48)
    assert "Denoising strength: 0.5" in made["infotexts"][0]


def test_the_white_part_of_the_mask_is_made_anew(client: gradio_client.Client, photo: Path, tmp_path: Path) -> None:
    mask = Image.new("L", (67, 48))
    mask.paste(255, (24, 16, 40, 32))
    mask.save(tmp_path / "mask.png")
    files = {"image": gradio_client.handle_file(photo), "mask": gradio_client.handle_file(tmp_path / "mask.png")}
    made = predicted(client, **files, width=67, mask_blur=0, masked_content="fill", denoising_strength=1.0,
                     api_name="/inpaint")
    with Image.open(made["files"][0]) as image, Image.open(photo) as before:
        changed = (np.asarray(image.convert("RGB")) != np.asarray(before)).any(axis=2)
    assert changed[16:32, 24:40].mean() > 0.9
    changed[16:32, 24:40] = False
    assert not changed.any()
    with pytest.raises(Exception, match="masked_content is one of"):
        predicted(client, **files, masked_content="nothing", api_name="/inpaint")


def test_a_file_that_is_no_picture_is_refused_in_a_sentence(client: gradio_client.Client, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n no")
    with pytest.raises(Exception, match="not a picture that can be read"):
        predicted(client, image=gradio_client.handle_file(tmp_path / "a.png"), api_name="/img2img")
    with pytest.raises(Exception, match="image must be a file"):
        client.predict(image=None, api_name="/img2img")


def test_only_what_was_uploaded_is_opened_and_no_address_fetched(client: gradio_client.Client, photo: Path) -> None:
    """Whatever the component: Gradio looks for files in a text box's value too."""
    asked: list[str] = []

    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(404)
            self.end_headers()

        do_HEAD = do_GET

    elsewhere = HTTPServer(("127.0.0.1", 0), Elsewhere)
    threading.Thread(target=elsewhere.serve_forever, daemon=True).start()
    numbers = {one["api_name"]: one["id"] for one in client.config["dependencies"]}
    files = [f"http://127.0.0.1:{elsewhere.server_address[1]}/a.png", "https://example.invalid/a.png", str(photo),
             f"{get_upload_folder()}/../{photo.relative_to('/')}", "\x00", "x" * 5000]
    for path in files:
        file = {"path": path, "meta": {"_type": "gradio.FileData"}}
        for name, data in (("img2img", [file, *["a dog", "", 0.5, 64, 48, 2, 7.0, 1, "Euler"]]),
                           ("txt2img", [file, "", 64, 48, 2, 7.0, 1, "Euler"])):
            answer = httpx.post(f"{client.src}gradio_api/run/{name}", timeout=60, json={
                "data": data, "fn_index": numbers[name], "session_hash": "x"})
            assert answer.status_code == 422, answer.text
            assert answer.json()["error"] == "Only files that were uploaded here are opened."
    elsewhere.shutdown()
    elsewhere.server_close()
    assert asked == []
