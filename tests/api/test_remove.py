"""POST /sdapi/v1/remove: the picture, its text and file, and a sentence for all that cannot be done."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from modules.engine.engine import Engine
from modules.errors import Interrupted
from modules.gallery.deep import png as deep_png
from modules.imaging import photograph as photographs
from modules.imaging.patchmatch import PatchMatch
from modules.imaging.remove import Removers

from .conftest import base64_of, picture, small

REMOVE = "/sdapi/v1/remove"


def body(image: Image.Image, mask: Image.Image, **changes: Any) -> dict[str, Any]:
    return {"image": base64_of(image), "mask": base64_of(mask), **changes}


def test_what_is_painted_over_goes_without_a_checkpoint(client: TestClient, photo: Image.Image, mask: Image.Image,
                                                        engine: Engine) -> None:
    answer = client.post(REMOVE, json=body(photo, mask, seed=7, save_images=True))
    assert answer.status_code == 200, answer.text
    told = answer.json()
    made = picture(told["images"][0])
    assert made.tobytes() == Removers().remove(photo, mask, seed=7).tobytes()
    assert told["info"].startswith("Remove with: PatchMatch, Seed: 7, Size: 64x48, Version: ")
    assert (made.info["parameters"], told["seed"]) == (told["info"], 7)
    assert engine.loaded is None
    (file,) = (engine.settings.outputs_dir / "img2img-images").rglob("*.png")
    assert file.name == "00000-7.png"
    assert np.array_equal(np.asarray(Image.open(file)), np.asarray(made))


def test_a_photograph_keeps_its_depth_and_exif(client: TestClient, mask: Image.Image) -> None:
    deep = np.random.default_rng(0).integers(0, 2**16, (48, 64, 3), np.uint16)
    exif = Image.Exif()
    exif[0x010F] = "A camera"
    packed = base64.b64encode(deep_png(deep, b"", exif.tobytes(), PngInfo(), 1)).decode()
    asked = {"image": packed, "mask": base64_of(mask), "photograph_format": "original"}
    answer = client.post(REMOVE, json=asked)
    assert answer.status_code == 200, answer.text
    made = photographs.read(base64.b64decode(answer.json()["images"][0]))
    kept = np.asarray(mask) == 0
    assert made.is_deep
    assert (made.pixels[kept] == deep[kept]).all()
    assert (made.pixels[~kept] != deep[~kept]).any(axis=1).mean() > 0.9
    assert b"A camera" in made.exif


@pytest.mark.parametrize(("changes", "sentence"), [
    ({"mask": base64_of(Image.new("L", (64, 48)))}, "The mask is empty"),
    ({"mask": base64_of(Image.new("L", (64, 48), 255))}, "leaves too little"),
    ({"mask": base64_of(Image.new("L", (8, 48), 255))}, "8 x 48 pixels and the picture 64 x 48"),
    ({"mask": ""}, "mask is empty."), ({"image": "no"}, "image is not base64"),
    ({"model": "big"}, "no model called 'big'"), ({"seed": -5}, "seed")])
def test_what_cannot_be_done_is_a_422_with_a_sentence(client: TestClient, photo: Image.Image, mask: Image.Image,
                                                      changes: dict[str, Any], sentence: str) -> None:
    answer = client.post(REMOVE, json=body(photo, mask) | changes)
    assert answer.status_code == 422
    assert sentence.lower() in answer.json()["detail"].lower()
    assert "\n" not in answer.json()["detail"]


def test_a_process_that_dies_is_a_503_and_the_queue_goes_on(client: TestClient, photo: Image.Image, mask: Image.Image,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    fill = PatchMatch.fill

    def killed(self: PatchMatch, *arguments: Any) -> Any:
        self.process.kill()
        return fill(self, *arguments)

    monkeypatch.setattr(PatchMatch, "fill", killed)
    answer = client.post(REMOVE, json=body(photo, mask))
    assert (answer.status_code, answer.json()["detail"]) == (
        503, "The process that fills the painted part ended before it was finished: try again.")
    monkeypatch.undo()
    assert client.post(REMOVE, json=body(photo, mask)).status_code == 200


def test_interrupted_it_gives_no_half_picture(client: TestClient, photo: Image.Image, mask: Image.Image,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: PatchMatch, *arguments: Any) -> Any:
        assert client.post("/sdapi/v1/interrupt").status_code == 200
        self._check()
        raise AssertionError("it went on")

    monkeypatch.setattr(PatchMatch, "fill", interrupted)
    answer = client.post(REMOVE, json=body(photo, mask))
    assert (answer.status_code, answer.json()["detail"]) == (
        409, "The picture was not finished, because somebody interrupted it.")


def test_progress_shows_what_is_being_done(client: TestClient, photo: Image.Image, mask: Image.Image,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []

    def look(self: PatchMatch, *arguments: Any) -> Any:
        seen.append(client.get("/sdapi/v1/progress").json())
        raise Interrupted

    monkeypatch.setattr(PatchMatch, "fill", look)
    client.post(REMOVE, json=body(photo, mask, force_task_id="mine"))
    assert (seen[0]["textinfo"], seen[0]["current_task"]) == ("Removing with PatchMatch", "mine")


def test_masked_content_4_of_img2img(client: TestClient, photo: Image.Image, mask: Image.Image) -> None:
    asked = small(init_images=[base64_of(photo)], mask=base64_of(mask), inpainting_fill=4, inpaint_full_res=False)
    answer = client.post("/sdapi/v1/img2img", json=asked)
    assert answer.status_code == 200, answer.text
    assert "Masked content: surroundings" in picture(answer.json()["images"][0]).info["parameters"]
    assert client.post("/sdapi/v1/img2img", json=asked | {"inpainting_fill": 5}).status_code == 422
