"""Face restoration over HTTP, by a network that makes every face red, and a detector that finds one in the middle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from PIL import Image

from modules.engine.engine import Engine
from modules.errors import CheckpointError
from modules.imaging import faces
from modules.imaging.network_files import Network
from modules.text import infotext

from .conftest import base64_of, info, picture, small

TXT2IMG, IMG2IMG, SINGLE = (f"/sdapi/v1/{name}" for name in ("txt2img", "img2img", "extra-single-image"))
BOX = (24, 16, 40, 32)
SQUARE = faces.around(BOX)
RED = (255, 0, 0)


@pytest.fixture
def model(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """GFPGANv1.4 is there, and a file that cannot be read."""
    folder = engine.settings.models_dir / "GFPGAN"
    folder.mkdir(parents=True)
    for name in ("GFPGANv1.4.pth", "broken.pth"):
        (folder / name).write_bytes(b"x")

    def load(path: Path) -> Network:
        if path.stem == "broken":
            raise CheckpointError("broken.pth is cut off.")
        return lambda face: Image.new("RGB", face.size, RED)

    monkeypatch.setattr(engine.restorers, "_load", load)
    monkeypatch.setattr(faces, "detector", lambda cascade: lambda image: [BOX])


def made(client: TestClient, path: str, body: dict[str, Any]) -> NDArray[np.uint8]:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    image = answer.json()["image"] if path == SINGLE else answer.json()["images"][0]
    return np.asarray(picture(image))


def outside(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`pixels` with nothing in the square that was restored."""
    left, top, right, bottom = (max(edge, 0) for edge in SQUARE)
    pixels = pixels.copy()
    pixels[top:bottom, left:right] = 0
    return pixels


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize("asked", [
    {"restore_faces": True}, {"override_settings": {"face_restoration": True, "face_restoration_model": "gfpgan"}}])
def test_a_finished_picture_has_its_faces_restored(client: TestClient, asked: dict[str, Any]) -> None:
    assert client.get("/sdapi/v1/face-restorers").json() == [{"name": "broken", "cmd_dir": None},
                                                             {"name": "GFPGANv1.4", "cmd_dir": None}]
    plain, restored = made(client, TXT2IMG, small()), made(client, TXT2IMG, small(**asked))
    assert np.array_equal(outside(plain), outside(restored))
    assert np.array_equal(restored[23, 32], RED)
    assert not np.array_equal(plain[23, 32], RED)
    told = info(client.post(TXT2IMG, json=small(**asked)))
    assert (told["restore_faces"], told["face_restoration_model"]) == (True, "GFPGANv1.4")
    assert "Seed: 1, Face restoration: GFPGANv1.4, Size: 64x48" in told["infotexts"][0]
    options = infotext.to_changes(infotext.parse(told["infotexts"][0])).options
    assert (options["face_restoration"], options["face_restoration_model"]) == (True, "GFPGANv1.4")
    again = made(client, TXT2IMG, {"infotext": told["infotexts"][0]})
    assert np.array_equal(again, restored)


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize("only_masked", [False, True])
def test_what_inpainting_keeps_is_kept(client: TestClient, photo: Image.Image, only_masked: bool) -> None:
    mask = Image.new("L", photo.size)
    mask.paste(255, (28, 16, 36, 30))
    body = small(init_images=[base64_of(photo)], mask=base64_of(mask), mask_blur=0, inpaint_full_res=only_masked,
                 inpaint_full_res_padding=4, restore_faces=True)
    pixels, kept = made(client, IMG2IMG, body), np.asarray(mask) == 0
    assert np.array_equal(pixels[kept], np.asarray(photo)[kept])
    assert np.array_equal(pixels[23, 32], RED)


@pytest.mark.parametrize(("name", "words"), [
    ("Automatic", "there is no model for it in models/GFPGAN"), ("CodeFormer", "no model for it called 'CodeFormer'")])
def test_without_a_model_the_picture_is_as_ever_and_that_is_said(client: TestClient, name: str, words: str) -> None:
    assert client.get("/sdapi/v1/face-restorers").json() == []
    body = small(restore_faces=True, override_settings={"face_restoration_model": name})
    answer = client.post(TXT2IMG, json=body)
    assert np.array_equal(np.asarray(picture(answer.json()["images"][0])), made(client, TXT2IMG, small()))
    (warning,) = answer.json()["warnings"]
    assert words in warning
    assert "Face restoration" not in info(answer)["infotexts"][0]
    assert info(answer)["restore_faces"] is False


@pytest.mark.usefixtures("model")
def test_a_model_that_cannot_be_read_costs_no_picture(client: TestClient) -> None:
    body = small(restore_faces=True, override_settings={"face_restoration_model": "broken"})
    answer = client.post(TXT2IMG, json=body)
    assert answer.json()["warnings"] == ["broken.pth is cut off."]
    assert np.array_equal(np.asarray(picture(answer.json()["images"][0])), made(client, TXT2IMG, small()))


@pytest.mark.usefixtures("model")
def test_extras_restore_faces_as_far_as_asked(client: TestClient, photo: Image.Image) -> None:
    photo.putalpha(photo.convert("L"))
    body = {"image": base64_of(photo), "gfpgan_visibility": 0.5}
    answer = client.post(SINGLE, json=body).json()
    pixels, before = np.asarray(picture(answer["image"])), np.asarray(photo)
    assert np.array_equal(outside(pixels), outside(before))
    assert np.array_equal(pixels[..., 3], before[..., 3])
    assert np.abs(pixels[23, 32, :3] - (before[23, 32, :3] + np.array(RED)) / 2).max() <= 1
    assert answer["html_info"] == "<p>GFPGAN visibility: 0.5</p>"
    larger = client.post(SINGLE, json=body | {"upscaler_1": "Nearest", "gfpgan_visibility": 1}).json()
    assert np.array_equal(np.asarray(picture(larger["image"]))[23, 32, :3], RED)
    assert larger["html_info"] == ("<p>Postprocess upscale by: 2.0, Postprocess upscaler: Nearest, "
                                   "GFPGAN visibility: 1.0</p>")


@pytest.mark.usefixtures("model")
def test_a_plot_compares_models(client: TestClient) -> None:
    body = small(script_name="x/y/z plot", script_args=[
        0, "no, gfpgan", [], 0, "", [], 0, "", [], True, True, False, False, False, False, False, 0, False])
    axes = next(script for script in client.get("/sdapi/v1/script-info").json() if script["name"] == "x/y/z plot")
    body["script_args"][0] = axes["args"][0]["choices"].index("Face restore")
    answer = client.post(TXT2IMG, json=body)
    assert answer.status_code == 200, answer.text
    texts = info(answer)["infotexts"]
    assert ["Face restoration: GFPGANv1.4" in text for text in texts[-2:]] == [False, True]
