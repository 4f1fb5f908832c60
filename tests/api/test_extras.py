"""extra-single-image and extra-batch-images: sizes, pixels and texts against Pillow's and WebUI's own."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from modules.engine.engine import Engine
from modules.errors import CheckpointError
from modules.imaging import upscale

from .conftest import base64_of, info, picture, small

SINGLE, BATCH = "/sdapi/v1/extra-single-image", "/sdapi/v1/extra-batch-images"
GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "golden"


def cases() -> list[Any]:
    lines = (line for path in sorted(GOLDEN.glob("cases*.jsonl")) for line in path.read_text("utf-8").splitlines())
    found = [case for case in map(json.loads, lines) if case["group"] == "extras"]
    return [pytest.param(case, id=case["id"]) for case in found]


@pytest.mark.parametrize("case", cases())
def test_pictures_are_webuis(client: TestClient, case: dict[str, Any]) -> None:
    request = case["request"]
    source = base64.b64encode((GOLDEN / "inputs" / request["image"]).read_bytes()).decode()
    answer = client.post(SINGLE, json=request | {"image": source}).json()
    made, recorded = picture(answer["image"]), Image.open(GOLDEN / case["outputs"][0])
    assert (list(made.size), made.mode) == (case["size"], case["mode"])
    assert np.array_equal(np.asarray(made), np.asarray(recorded))
    assert answer["html_info"] == case["html_info"]
    assert {name: text for name, text in made.info.items() if isinstance(text, str)} == case["png_info"]


def single(client: TestClient, image: Image.Image, **changes: Any) -> Image.Image:
    answer = client.post(SINGLE, json={"image": base64_of(image), "upscaler_1": "Lanczos", **changes})
    assert answer.status_code == 200, answer.text
    return picture(answer.json()["image"])


def test_by_a_factor(client: TestClient, photo: Image.Image) -> None:
    assert np.array_equal(single(client, photo, upscaling_resize=2), photo.resize((128, 96), Image.Resampling.LANCZOS))
    assert single(client, photo, upscaling_resize=1.2).size == (72, 56)  # 76 x 57, in eighths


def test_to_a_size_and_cut(client: TestClient, photo: Image.Image) -> None:
    box = {"resize_mode": 1, "upscaling_resize_w": 120, "upscaling_resize_h": 96, "upscaler_1": "nearest"}
    whole = photo.resize((128, 96), Image.Resampling.NEAREST)
    assert np.array_equal(single(client, photo, **box, upscaling_crop=False), whole)
    assert np.array_equal(single(client, photo, **box, upscaling_crop=True), whole.crop((4, 0, 124, 96)))


def test_two_upscalers_are_mixed(client: TestClient, photo: Image.Image) -> None:
    mixed = single(client, photo, upscaler_2="Nearest", extras_upscaler_2_visibility=0.25)
    sharp, blocks = (photo.resize((128, 96), method) for method in (Image.Resampling.LANCZOS, Image.Resampling.NEAREST))
    assert np.array_equal(mixed, Image.blend(sharp, blocks, 0.25))


def test_transparency_and_the_parameters_text_stay(client: TestClient, photo: Image.Image) -> None:
    photo.putalpha(photo.convert("L"))
    text = PngInfo()
    text.add_text("parameters", "a dog\nSteps: 3, Sampler: Euler, Seed: 1")
    buffer = io.BytesIO()
    photo.save(buffer, "PNG", pnginfo=text)
    answer = client.post(SINGLE, json={"image": base64.b64encode(buffer.getvalue()).decode(), "upscaler_1": "Lanczos"})
    made = picture(answer.json()["image"])
    assert np.array_equal(made, photo.resize((128, 96), Image.Resampling.LANCZOS))
    assert made.info["parameters"] == "a dog\nSteps: 3, Sampler: Euler, Seed: 1"
    assert made.info["postprocessing"] == "Postprocess upscale by: 2.0, Postprocess upscaler: Lanczos"


def test_a_batch_gives_each_picture_in_order(client: TestClient, photo: Image.Image) -> None:
    other = photo.transpose(Image.Transpose.ROTATE_90)
    files = [{"data": base64_of(image), "name": f"{number}.png"} for number, image in enumerate((photo, other))]
    answer = client.post(BATCH, json={"imageList": files, "upscaler_1": "Nearest", "upscaling_resize": 2}).json()
    first, second = map(picture, answer["images"])
    assert np.array_equal(first, photo.resize((128, 96), Image.Resampling.NEAREST))
    assert np.array_equal(second, other.resize((96, 128), Image.Resampling.NEAREST))
    assert client.post(BATCH, json={"imageList": []}).json() == {
        "html_info": "<p></p>", "images": [], "warnings": []}


@pytest.mark.parametrize("upscaler", ["R-ESRGAN 4x+", "swinir_4x", "LDSR"])
def test_what_webui_always_has_is_done_by_something_else_and_said(client: TestClient, photo: Image.Image,
                                                                  upscaler: str) -> None:
    body = {"image": base64_of(photo), "upscaler_1": upscaler, "codeformer_visibility": 1, "gfpgan_visibility": 0.5}
    answer = client.post(SINGLE, json=body).json()
    assert np.array_equal(picture(answer["image"]), photo.resize((128, 96), Image.Resampling.LANCZOS))
    assert len(answer["warnings"]) == 3
    assert all(any(name in text for text in answer["warnings"]) for name in ("'CodeFormer'", "'GFPGAN'", "by Lanczos"))


@pytest.mark.parametrize(("changes", "named"), [
    ({"upscaler_1": "4x-none"}, "4x-none"), ({"upscaler_2": "4x-none"}, "4x-none"), ({"upscaling_resize": 0}, "resize"),
    ({"upscaling_resize": -2}, "upscaling_resize"), ({"upscaling_resize": 17}, "upscaling_resize"),
    ({"upscaling_resize": "x"}, "upscaling_resize"), ({"resize_mode": 2}, "resize_mode"),
    ({"resize_mode": 1, "upscaling_resize_w": 0}, "size"), ({"resize_mode": 1, "upscaling_resize_w": 10**9}, "pixels"),
    ({"extras_upscaler_2_visibility": 2}, "visibility"), ({"gfpgan_visibility": 2}, "visibility of GFPGAN"),
    ({"image": "x"}, "image"), ({"image": "http://127.0.0.1/x.png"}, "image")])
def test_what_cannot_be_done_is_refused_by_name(client: TestClient, photo: Image.Image, changes: dict[str, Any],
                                                named: str) -> None:
    answer = client.post(SINGLE, json={"image": base64_of(photo), "upscaler_1": "Lanczos", **changes})
    assert answer.status_code == 422
    assert named in answer.json()["detail"]


@pytest.fixture
def networks(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two model files; "double" is a network that repeats pixels and inverts them, the other cannot be read."""
    folder = engine.settings.models_dir / "ESRGAN"
    folder.mkdir()
    (folder / "double.safetensors").write_bytes(b"2")
    (folder / "broken.pth").write_bytes(b"x")
    read: list[str] = []

    def load(path: Path) -> upscale.Network:
        read.append(path.stem)
        if path.stem == "broken":
            raise CheckpointError("broken.pth is cut off.")
        return lambda tile: tile.resize((2 * tile.width, 2 * tile.height), 0).point(lambda value: 255 - value)

    monkeypatch.setattr(engine.upscalers, "_load", load)
    return read


def test_a_network_is_read_once_and_passed_through_as_often_as_needed(
        client: TestClient, photo: Image.Image, networks: list[str]) -> None:
    doubled = photo.resize((128, 96), 0)
    inverted = doubled.point(lambda value: 255 - value)
    assert np.array_equal(single(client, photo, upscaler_1="double", upscaling_resize=2), inverted)
    assert np.array_equal(single(client, photo, upscaler_1="Double", upscaling_resize=1.5),
                          inverted.resize((96, 72), Image.Resampling.LANCZOS))
    assert np.array_equal(single(client, photo, upscaler_1="double", upscaling_resize=4), doubled.resize((256, 192), 0))
    assert networks == ["double"]


def test_large_pictures_go_through_in_tiles_without_a_seam(client: TestClient, networks: list[str],
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upscale, "TILE", 24)
    image = Image.effect_noise((64, 40), 60).convert("RGB")
    expected = image.resize((128, 80), 0).point(lambda value: 255 - value)
    assert np.array_equal(single(client, image, upscaler_1="double"), expected)


def test_tiles_that_differ_fade_into_each_other() -> None:
    shades = iter((0, 200))
    tiles: list[tuple[int, int]] = []
    whole = upscale.in_tiles(Image.new("RGB", (upscale.TILE + 100, 8)),
                             lambda tile: Image.new("RGB", tile.size, (next(shades),) * 3),
                             lambda done, total: tiles.append((done, total)))
    row = np.asarray(whole)[0, :, 0].astype(int)
    assert tiles == [(1, 2), (2, 2)]
    assert (row[:100].max(), row[100 + upscale.OVERLAP:].min()) == (0, 200)
    steps = np.diff(row[99: 101 + upscale.OVERLAP])
    assert steps.min() > 0
    assert steps.max() < 200 / upscale.OVERLAP


def test_a_file_that_cannot_be_read_is_named(client: TestClient, photo: Image.Image, networks: list[str]) -> None:
    answer = client.post(SINGLE, json={"image": base64_of(photo), "upscaler_1": "broken"})
    assert (answer.status_code, answer.json()["detail"]) == (422, "broken.pth is cut off.")


def test_hires_fix_enlarges_with_the_same_networks(client: TestClient, networks: list[str]) -> None:
    body = small(enable_hr=True, hr_scale=2, denoising_strength=0.01, steps=4, sampler_name="Euler", cfg_scale=1)
    first = picture(client.post("/sdapi/v1/txt2img", json=small(steps=4, cfg_scale=1)).json()["images"][0])
    plain, inverted = (np.asarray(picture(client.post("/sdapi/v1/txt2img", json=body | {"hr_upscaler": name}).json()[
        "images"][0]), float) for name in ("Nearest", "double"))
    assert networks == ["double"]
    wanted = np.asarray(first.resize((128, 96), 0), float)
    assert np.abs(plain - wanted).mean() < np.abs(inverted - wanted).mean()
    assert np.abs(inverted - (255 - wanted)).mean() < np.abs(plain - (255 - wanted)).mean()
    answer = client.post("/sdapi/v1/txt2img", json=small(enable_hr=True, hr_upscaler="4x-none"))
    assert answer.status_code == 422
    assert "4x-none" in answer.json()["detail"]
    assert info(client.post("/sdapi/v1/txt2img", json=small()))["seed"] == 1


def test_a_cut_out_is_a_transparent_png(client: TestClient, engine: Engine) -> None:
    picture_ = Image.radial_gradient("L").convert("RGB")
    engine.config.update({"samples_format": "jpg"})
    answer = client.post("/sdapi/v1/extra-single-image", json={"image": base64_of(picture_), "cut_out_subject": True})
    cut = picture(answer.json()["image"])
    assert (cut.format, cut.mode, cut.size) == ("PNG", "RGBA", picture_.size)
    assert cut.tobytes() == engine.subjects.cut_out(picture_).tobytes()
    assert "Postprocess cut out: selfie_segmentation" in answer.json()["html_info"]
