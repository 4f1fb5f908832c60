"""What the server makes of a canvas value, honest or forged. No browser needed."""

from __future__ import annotations

import base64
import json
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from gradio.data_classes import FileData
from PIL import Image

from modules.errors import InvalidInput
from modules.ui.canvas.canvas import (
    PNG_PREFIX,
    CanvasValue,
    MaskCanvas,
    MaskData,
    decode_mask,
    decode_paint,
    encode_mask,
    open_picture,
)
from tests.browser.conftest import CanvasApp


def test_a_mask_comes_back_as_it_was() -> None:
    mask = Image.fromarray(np.arange(64 * 48, dtype=np.uint32).reshape(48, 64).astype(np.uint8))
    back = decode_mask(encode_mask(mask), (64, 48))
    assert back is not None
    assert np.array_equal(np.asarray(back), np.asarray(mask))


def test_a_black_mask_is_no_mask() -> None:
    assert decode_mask(encode_mask(Image.new("L", (8, 8))), (8, 8)) is None


@pytest.mark.parametrize("forged", [
    "", "nonsense", "data:image/svg+xml;base64,PHN2Zy8+", PNG_PREFIX, PNG_PREFIX + "!!!",
    PNG_PREFIX + base64.b64encode(b"\x89PNG\r\n\x1a\n").decode(),
    PNG_PREFIX + "A" * 10**6,
    encode_mask(Image.new("L", (16, 8))),
], ids=["empty", "text", "svg", "no data", "no base64", "cut off", "too long", "other size"])
def test_a_forged_layer_is_refused_in_one_sentence(forged: str) -> None:
    for decode, field, name in ((decode_mask, "mask", "mask"), (decode_paint, "paint", "colour layer")):
        with pytest.raises(InvalidInput) as refusal:
            decode(forged, (8, 8))
        assert refusal.value.field == field
        assert refusal.value.message.startswith(f"The {name} ")


@pytest.mark.parametrize(("mode", "expected"), [("L", "RGB"), ("LA", "RGBA"), ("P", "RGB"), ("RGBA", "RGBA"),
                                                ("1", "RGB"), ("I;16", "RGB")])
def test_every_kind_of_picture_becomes_rgb_or_rgba(tmp_path: Path, mode: str, expected: str) -> None:
    Image.new(mode, (5, 4)).save(tmp_path / "picture.png")
    image = open_picture(tmp_path / "picture.png")
    assert (image.mode, image.size) == (expected, (5, 4))


def test_pictures_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("text")
    Image.new("RGB", (100, 100)).save(tmp_path / "big.png")
    Image.new("RGB", (100, 100)).save(tmp_path / "cut.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:-200])
    for name, limit, shown in (("text.png", 10**6, None), ("missing.png", 10**6, None), ("cut.jpg", 10**6, None),
                               ("big.png", 9999, None), ("big.png", 10**6, (50, 50))):
        with pytest.raises(InvalidInput) as refusal:
            open_picture(tmp_path / name, limit, shown)
        assert refusal.value.message.startswith({9999: "The picture has 100x100 pixels; "}.get(
            limit, "The picture has another size" if shown else "This file is not a picture"))


def test_a_picture_that_cannot_be_used_comes_with_what_is_wrong(tmp_path: Path) -> None:
    """To be said where it is needed: the small previews ask for it too."""
    Image.new("RGB", (100, 100)).save(tmp_path / "cut.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:-200])
    value = CanvasValue(image=FileData(path=str(tmp_path / "cut.jpg")), size=(100, 100),
                        mask=encode_mask(Image.new("L", (100, 100), 255)))
    data = MaskCanvas().preprocess(value)
    assert data == MaskData(problem="This file is not a picture that can be read.")
    with pytest.raises(InvalidInput, match="not a picture that can be read"):
        data.chosen()


@pytest.mark.parametrize("path", ["/etc/hostname", "../../etc/hostname", "http://127.0.0.1/x.png"])
def test_a_path_that_was_never_uploaded_is_refused(canvas_app: CanvasApp, path: str) -> None:
    before = len(canvas_app.received)
    value = {"image": {"path": path, "meta": {"_type": "gradio.FileData"}}, "mask": None, "size": [1, 1]}
    post = urllib.request.Request(f"{canvas_app.url}gradio_api/call/get", json.dumps({"data": [value]}).encode(),
                                  {"Content-Type": "application/json"})
    with urllib.request.urlopen(post) as answer:
        event = json.load(answer)["event_id"]
    with urllib.request.urlopen(f"{canvas_app.url}gradio_api/call/get/{event}") as answer:
        assert "event: error" in answer.read().decode()
    assert len(canvas_app.received) == before
