"""A photograph of 2048 x 1365 comes back from Only masked as it was but for the painted part, by every way in."""

from __future__ import annotations

import base64
import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
import photographs
import pytest
from fakes import FakeModel, fake_engine, write_checkpoint
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from photographs import ADOBE_RGB, DISPLAY_P3, SIZE, SRGB, converted, profile
from PIL import ExifTags, Image, ImageDraw

from modules import cli
from modules.api import create_api
from modules.engine.engine import Engine
from modules.imaging.mask import prepare
from modules.imaging.photograph import read
from modules.jobs.queue import JobQueue
from modules.request import Inpaint
from modules.request.job_context import NullJob
from modules.request.options import Options
from modules.request.photograph import Photograph
from modules.settings import Settings

SPACES = {"Adobe RGB": ADOBE_RGB, "Display P3": DISPLAY_P3}
BLUR = 4


def mask() -> Image.Image:
    image = Image.new("L", SIZE)
    ImageDraw.Draw(image).ellipse((900, 300, 1200, 620), fill=255)
    return image


OUTSIDE = np.asarray(prepare(mask(), invert=False, blur_x=BLUR, blur_y=BLUR, hard=True)) == 0
INSIDE = np.asarray(mask().resize(SIZE)) == 255


def request_for(original: Photograph, **changes: Any) -> Inpaint:
    return Inpaint(**{"steps": 2, "cfg_scale": 1.0, "seed": 5, "width": 128, "height": 128, "only_masked": True,
                      "init_images": (original.image,), "photographs": (original,), "mask": mask(),
                      "mask_blur_x": BLUR, "mask_blur_y": BLUR} | changes)


@pytest.fixture(scope="module")
def values() -> dict[str, NDArray[Any]]:
    eight = photographs.pixels()
    deep = photographs.deep_pixels(eight)
    return {"8": eight, "16": deep, "16 with alpha": photographs.with_alpha(deep)}


def camera_tags() -> dict[int, Any]:
    found = photographs.tags(photographs.file(photographs.pixels()[:8, :8], "JPEG", exif=photographs.exif()))
    return {tag: value for tag, value in found.items() if tag != ExifTags.Base.Orientation}


def kept_tags(data: bytes) -> dict[int, Any]:
    """The EXIF tags of a file but for the record of its edits."""
    return {tag: value for tag, value in photographs.tags(data).items() if tag != ExifTags.Base.ImageHistory}


@pytest.mark.parametrize(("depth", "space", "kind"), [
    ("8", "Adobe RGB", "PNG"), ("16", "Adobe RGB", "TIFF"), ("16 with alpha", "Display P3", "TIFF"),
    ("16", "Display P3", "PNG")])
def test_only_the_painted_part_changes(engine: Engine, queue: JobQueue, values: dict[str, NDArray[Any]], depth: str,
                                       space: str, kind: str) -> None:
    """The file in the outputs has every value, the profile and the EXIF; inside is what the model painted."""
    icc = profile(SPACES[space])
    original = read(photographs.file(values[depth], kind, icc=icc, exif=photographs.exif()), "photo")
    request = request_for(original, denoising_strength=1.0)
    job = queue.submit(request)
    job.wait()
    assert job.error is None
    made, = job.result.images
    saved = read(made.path.read_bytes())
    assert (saved.size, saved.icc, saved.pixels.dtype) == (SIZE, icc, values[depth].dtype)
    assert kept_tags(made.path.read_bytes()) == camera_tags()
    assert np.array_equal(saved.pixels[OUTSIDE], values[depth][OUTSIDE])
    assert np.array_equal(saved.pixels[..., 3:], values[depth][..., 3:])
    plain, = engine.generate(dataclasses.replace(request, photographs=(), seed=made.seed), NullJob()).images
    most = np.iinfo(saved.pixels.dtype).max
    core = np.asarray(prepare(mask(), invert=False, blur_x=BLUR, blur_y=BLUR, hard=True)) == 255
    expected = converted(np.asarray(plain.image)[core] / 255, SRGB, SPACES[space])
    assert np.abs(saved.pixels[core][:, :3] / most - expected).max() * 255 < 3
    assert (saved.pixels[INSIDE] != values[depth][INSIDE]).mean() > 0.5


def test_a_plain_photograph_gives_exactly_webuis_picture(engine: Engine) -> None:
    original = read(photographs.file(photographs.pixels(), "PNG"))
    request = request_for(original)
    kept, = engine.generate(request, NullJob()).images
    plain, = engine.generate(dataclasses.replace(request, photographs=()), NullJob()).images
    assert kept.image.tobytes() == plain.image.tobytes()
    assert np.array_equal(kept.photograph.pixels, np.asarray(plain.image))
    assert kept.infotext == plain.infotext


def test_the_picture_of_one_edit_is_the_photograph_of_the_next(engine: Engine, values: dict[str, NDArray[Any]]) -> None:
    """Two edits in a chain: only what either painted has changed."""
    original = read(photographs.file(values["16"], "TIFF", icc=profile(ADOBE_RGB), exif=photographs.exif()))
    first, = engine.generate(request_for(original), NullJob()).images
    other = mask().transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    second, = engine.generate(request_for(first.photograph, mask=other), NullJob()).images
    untouched = OUTSIDE & OUTSIDE[::-1]
    assert np.array_equal(second.photograph.pixels[untouched], values["16"][untouched])
    assert np.array_equal(second.photograph.pixels[OUTSIDE[::-1]], first.photograph.pixels[OUTSIDE[::-1]])


def test_what_is_lost_is_said(engine: Engine, values: dict[str, NDArray[Any]]) -> None:
    original = read(photographs.file(values["16"], "TIFF"))
    whole = engine.generate(request_for(original, only_masked=False), NullJob())
    assert whole.images[0].photograph is None
    assert "Only masked keeps them" in " ".join(whole.warnings)
    bare = engine.generate(request_for(original, options=Options(overlay_inpaint=False)), NullJob())
    assert bare.images[0].photograph is None
    broken = read(photographs.file(values["8"], "PNG", icc=b"x" * 200))
    assert broken.warnings[0] in engine.generate(request_for(broken), NullJob()).warnings
    replaced = engine.generate(request_for(original, init_images=(original.image.copy(),)), NullJob())
    assert "replaced the photograph" in " ".join(replaced.warnings)


def test_soft_inpainting_keeps_it_too(engine: Engine, values: dict[str, NDArray[Any]]) -> None:
    from modules.request import SoftInpainting

    original = read(photographs.file(values["16"], "TIFF", icc=profile(ADOBE_RGB)))
    made, = engine.generate(request_for(original, soft=SoftInpainting()), NullJob()).images
    far = np.ones(OUTSIDE.shape, bool)
    far[100:820, 700:1400] = False
    assert np.array_equal(made.photograph.pixels[far], values["16"][far])


# ---------------------------------------------------------------- the ways in

def body_for(data: bytes, **changes: Any) -> dict[str, Any]:
    buffer = io.BytesIO()
    mask().save(buffer, "PNG")
    return {"init_images": [base64.b64encode(data).decode()], "mask": base64.b64encode(buffer.getvalue()).decode(),
            "steps": 1, "width": 128, "height": 128, "sampler_name": "Euler", "mask_blur": BLUR, **changes}


@pytest.mark.parametrize(("asked", "kind"), [("original", "TIFF"), ("tiff", "TIFF"), ("png", "PNG"), ("webp", "WEBP"),
                                             ("jpeg", "JPEG")])
def test_the_api_sends_it_in_the_format_asked_for(engine: Engine, queue: JobQueue, settings: Settings, asked: str,
                                                  kind: str, values: dict[str, NDArray[Any]]) -> None:
    data = photographs.file(values["16"], "TIFF", icc=profile(ADOBE_RGB), exif=photographs.exif())
    with TestClient(create_api(engine, queue, settings), base_url="http://127.0.0.1:7860") as client:
        answer = client.post("/sdapi/v1/img2img", json=body_for(data, photograph_format=asked))
    assert answer.status_code == 200, answer.text
    sent = base64.b64decode(answer.json()["images"][0])
    found = read(sent)
    assert (found.kind, found.size, found.icc) == (kind, SIZE, profile(ADOBE_RGB))
    assert kept_tags(sent) == camera_tags()
    if kind in ("TIFF", "PNG"):
        assert np.array_equal(found.pixels[OUTSIDE], values["16"][OUTSIDE])


def test_without_the_field_the_api_answers_as_webui(engine: Engine, queue: JobQueue, settings: Settings) -> None:
    """The picture's values as they are, without its profile, as an 8-bit PNG."""
    small = photographs.pixels()
    data = photographs.file(small, "PNG", icc=profile(ADOBE_RGB), exif=photographs.exif())
    with TestClient(create_api(engine, queue, settings), base_url="http://127.0.0.1:7860") as client:
        sent = base64.b64decode(client.post("/sdapi/v1/img2img", json=body_for(data)).json()["images"][0])
        assert client.post("/sdapi/v1/img2img", json=body_for(data, photograph_format="gif")).status_code == 422
    found = read(sent)
    assert (found.kind, found.icc, found.exif) == ("PNG", b"", b"")
    assert np.array_equal(found.pixels[OUTSIDE], small[OUTSIDE])


@pytest.mark.parametrize("ending", [".tif", ".png"])
def test_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: dict[str, NDArray[Any]],
                          ending: str) -> None:
    write_checkpoint(tmp_path / "models" / "Stable-diffusion", "only")
    monkeypatch.setattr(cli, "Engine", lambda settings: fake_engine(settings, lambda name: FakeModel()))
    (tmp_path / "photo.tif").write_bytes(photographs.file(values["16"], "TIFF", icc=profile(DISPLAY_P3),
                                                          exif=photographs.exif()))
    mask().save(tmp_path / "mask.png")
    out = tmp_path / f"out{ending}"
    assert cli.main(["inpaint", "--image", str(tmp_path / "photo.tif"), "--mask", str(tmp_path / "mask.png"),
                     "--only-masked", "--steps", "1", "--width", "128", "--height", "128", "--mask-blur", str(BLUR),
                     "--out", str(out), "--data-dir", str(tmp_path)]) == 0
    found = read(out.read_bytes())
    assert (found.icc, found.kind) == (profile(DISPLAY_P3), "TIFF" if ending == ".tif" else "PNG")
    assert kept_tags(out.read_bytes()) == camera_tags()
    assert np.array_equal(found.pixels[OUTSIDE], values["16"][OUTSIDE])
