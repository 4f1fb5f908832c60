"""A saved picture carries how it was made of a photograph, and from that the same picture is made again."""

from __future__ import annotations

import dataclasses
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import photographs
import pytest
from photographs import ADOBE_RGB, profile
from PIL import ExifTags, Image

from modules.engine import redo
from modules.engine.engine import Engine
from modules.errors import InvalidInput
from modules.gallery.formats import Format
from modules.gallery.history import History
from modules.gallery.saving import Saver, save_as, sidecar_of
from modules.imaging.photograph import read
from modules.jobs import replay
from modules.jobs.queue import JobQueue
from modules.request import Inpaint, MaskedContent, ResizeMode, ScriptCall, SoftInpainting
from modules.request.job_context import NullJob
from modules.request.options import Options
from modules.request.photograph import Photograph
from modules.request.result import GeneratedImage
from modules.text.edits import Edits, from_json
from modules.ui.tabs.redo import choices

DEEP = photographs.deep_pixels(photographs.pixels()[900:996, 800:928])
DATA = photographs.file(DEEP, "TIFF", icc=profile(ADOBE_RGB), exif=photographs.exif())
BOXES = ((10, 10, 40, 40), (70, 50, 100, 80))


def edit(before: Photograph, box: tuple[int, int, int, int], **changes: Any) -> Inpaint:
    mask = Image.new("L", before.size)
    mask.paste(255, box)
    return Inpaint(**{"prompt": "a dog", "steps": 2, "cfg_scale": 1.0, "seed": 5, "width": 64, "height": 64,
                      "only_masked": True, "init_images": (before.image,), "photographs": (before,), "mask": mask,
                      "mask_blur_x": 2, "mask_blur_y": 2} | changes)


def edited(engine: Engine, before: Photograph, box: tuple[int, int, int, int], **changes: Any) -> GeneratedImage:
    made, = engine.generate(edit(before, box, **changes), NullJob()).images
    return made


def twice(engine: Engine) -> GeneratedImage:
    first = edited(engine, read(DATA, "photo.tif"), BOXES[0], prompt="one")
    return edited(engine, first.photograph, BOXES[1], prompt="two", seed=8)


def edits_of(photograph: Photograph) -> Edits:
    found = from_json(photograph.record)
    assert found is not None
    return found


def replayed(queue: JobQueue, edits: Edits, data: bytes = DATA) -> GeneratedImage:
    source = read(data)
    redo.check_source(edits, source)
    job = queue.submit_steps(replay.steps(edits, lambda: source, queue._engine.remove))
    job.wait()
    assert job.error is None, job.error
    made, = job.result.images
    return made


@pytest.mark.parametrize("kind", ["png", "tiff", "webp", "jpeg"])
def test_the_saved_file_has_all_edits(engine: Engine, kind: str) -> None:
    made = twice(engine)
    saved = read(Format().named(kind).encode_photograph(made.photograph, made.infotext))
    edits = edits_of(saved)
    assert (edits.source.sha256, edits.source.nbytes) == (read(DATA).sha256, len(DATA))
    assert (edits.source.name, edits.source.width, edits.source.height) == ("photo.tif", 128, 96)
    assert [step.text.split("\n")[0] for step in edits.steps] == ["one", "two"]
    assert saved.exif, "what the camera wrote is there too"


def test_the_edits_make_the_same_picture_again(engine: Engine, queue: JobQueue) -> None:
    made = twice(engine)
    again = replayed(queue, edits_of(made.photograph))
    assert np.array_equal(again.photograph.pixels, made.photograph.pixels)
    assert (again.photograph.icc, again.infotext) == (made.photograph.icc, made.infotext)
    saved = list(queue._save._outputs.rglob("*.png"))
    assert saved == [again.path], "pictures on the way are not saved"


def test_a_changed_edit_changes_its_part_alone(engine: Engine, queue: JobQueue) -> None:
    made = twice(engine)
    edits = edits_of(made.photograph)
    other = dataclasses.replace(edits.steps[0], text=edits.steps[0].text.replace("Seed: 5", "Seed: 6"))
    again = replayed(queue, dataclasses.replace(edits, steps=(other, edits.steps[1])))
    changed = (again.photograph.pixels != made.photograph.pixels).any(-1)
    assert changed[15:35, 15:35].all()
    assert not changed[:, 60:].any()


@pytest.mark.parametrize("changes", [
    {"mask_round": False}, {"mask_blur_x": 1}, {"masked_content": MaskedContent.FILL},
    {"soft": SoftInpainting(power=2)}, {"resize_mode": ResizeMode.LATENT_UPSCALE},
    {"mask_invert": True}, {"options": Options(img2img_color_correction=True, img2img_fix_steps=True)},
    {"sampler": "Euler a", "scheduler": "Karras", "eta": 0.5, "subseed": 3, "subseed_strength": 0.2}])
def test_what_the_text_does_not_say_is_recorded_too(engine: Engine, queue: JobQueue, changes: dict[str, Any]) -> None:
    made = edited(engine, read(DATA), BOXES[0], **changes)
    assert np.array_equal(replayed(queue, edits_of(made.photograph)).photograph.pixels, made.photograph.pixels)


@pytest.mark.parametrize("changes", [{}, {"mask_invert": True, "mask": Image.new("L", (128, 96), 255)},
                                     {"mask_round": False}])
def test_remove_is_an_edit_among_others(engine: Engine, queue: JobQueue, changes: dict[str, Any]) -> None:
    """It is made again with its model and its seed, between two others, and can be left out."""
    first = edited(engine, read(DATA, "photo.tif"), BOXES[0], prompt="one").photograph
    request = edit(first, BOXES[1], seed=-1, **changes)
    if request.mask_invert:
        request.mask.paste(0, BOXES[1])
    removed, = engine.remove(request, NullJob()).images
    made = edited(engine, removed.photograph, BOXES[1], prompt="two", denoising_strength=0.3)
    edits = edits_of(made.photograph)
    assert [step.text.split("\n")[0].partition(",")[0] for step in edits.steps] == \
        ["one", "Remove with: PatchMatch", "two"]
    assert [name for name, _ in choices(edits)] == ["1. one", "2. Remove", "3. two"]
    again = replayed(queue, edits)
    assert np.array_equal(again.photograph.pixels, made.photograph.pixels)
    assert edits_of(again.photograph).steps == edits.steps
    up_to_it = replayed(queue, dataclasses.replace(edits, steps=edits.steps[:2]))
    assert np.array_equal(up_to_it.photograph.pixels, removed.photograph.pixels)
    assert not np.array_equal(removed.photograph.pixels, first.pixels)
    skipped = dataclasses.replace(edits.steps[1], text="")
    without = replayed(queue, dataclasses.replace(edits, steps=(edits.steps[0], skipped, edits.steps[2])))
    direct = edited(engine, first, BOXES[1], prompt="two", denoising_strength=0.3)
    assert np.array_equal(without.photograph.pixels, direct.photograph.pixels)


def test_remove_leaves_the_record_and_places_out_as_generate_does(engine: Engine) -> None:
    options = Options(save_edits=False, save_places=False)
    removed, = engine.remove(edit(read(DATA), BOXES[0], options=options), NullJob()).images
    assert removed.photograph.record == ""
    with Image.open(io.BytesIO(Format().named("png").encode_photograph(removed.photograph))) as image:
        assert ExifTags.IFD.GPSInfo not in image.getexif()


@pytest.mark.parametrize("changes", [{"latent_mask": Image.new("L", (128, 96), 255)},
                                     {"always_on": (ScriptCall("an extension's", (1,)),)}])
def test_what_could_not_be_made_again_has_no_record(engine: Engine, changes: dict[str, Any]) -> None:
    before = read(DATA)
    made = edited(engine, before, BOXES[0])
    assert redo.recorded(made.photograph, before, edit(before, BOXES[0]), made.infotext).record
    assert not redo.recorded(made.photograph, before, edit(before, BOXES[0], **changes), made.infotext).record


def test_noise_that_a_script_makes_is_not_recorded(engine: Engine) -> None:
    request = edit(read(DATA), BOXES[0])
    made, = engine.generate_one(request, NullJob(), first_noise=lambda model, latent, noise: noise * 0.5).images
    assert made.photograph is not None
    assert not made.photograph.record


def test_a_picture_that_another_program_changed_is_a_new_source(engine: Engine) -> None:
    """It may have kept the record in the file, but the edits do not lead to it."""
    made = twice(engine)
    meddled = made.photograph.pixels.copy()
    meddled[0, 0] ^= 1
    data = Format().named("tiff").encode_photograph(dataclasses.replace(made.photograph, pixels=meddled))
    again = edited(engine, read(data), BOXES[0])
    edits = edits_of(again.photograph)
    assert len(edits.steps) == 1
    assert edits.source.sha256 == read(data).sha256
    kept = Format().named("tiff").encode_photograph(made.photograph)
    assert len(edits_of(edited(engine, read(kept), BOXES[0]).photograph).steps) == 3


def test_the_record_can_be_left_out(engine: Engine) -> None:
    made = edited(engine, read(DATA), BOXES[0], options=Options(save_edits=False))
    data = Format().named("tiff").encode_photograph(made.photograph, made.infotext)
    assert read(data).record == ""
    assert b"nbytes" not in data
    assert ExifTags.GPS.GPSLatitude in photographs.tags(data)


@pytest.mark.parametrize("kind", ["png", "tiff", "webp", "jpeg"])
def test_places_and_names_can_be_left_out(engine: Engine, kind: str) -> None:
    first = edited(engine, read(DATA, "at-home.tif"), BOXES[0])
    made = edited(engine, first.photograph, BOXES[1], options=Options(save_places=False))
    data = Format().named(kind).encode_photograph(made.photograph, made.infotext)
    assert len(edits_of(read(data)).steps) == 2
    assert b"at-home" not in data
    assert photographs.tags(data)[ExifTags.Base.Make] == "Kamera"
    with Image.open(io.BytesIO(data)) as image:
        assert ExifTags.IFD.GPSInfo not in image.getexif()


def test_a_record_too_long_for_a_jpeg_lies_beside_it(engine: Engine, tmp_path: Path) -> None:
    made = twice(engine)
    for name, length in (("short.jpg", 10), ("long.jpg", 70_000)):
        record = json.dumps({**json.loads(made.photograph.record), "pixels": "x" * length})
        save_as(made.image, made.infotext, tmp_path / name,
                photograph=dataclasses.replace(made.photograph, record=record))
        beside = sidecar_of(tmp_path / name)
        assert beside.is_file() == (length == 70_000)
        assert (beside.read_text() if beside.is_file() else read((tmp_path / name).read_bytes()).record) == record
        assert photographs.tags((tmp_path / name).read_bytes())[ExifTags.Base.Make] == "Kamera"


def test_another_file_is_not_the_source(engine: Engine) -> None:
    edits = edits_of(twice(engine).photograph)
    with pytest.raises(InvalidInput, match=r"photo\.tif, 128x96"):
        redo.check_source(edits, read(DATA + b"\0"))


@pytest.mark.parametrize("record", [
    "", "nonsense", "[]", "{}", '{"version":2}', "[" * 100_000, '{"version":1,"source":{},"steps":[]}',
    '{"version":1,"pixels":"","source":{"sha256":"","nbytes":1,"width":1,"height":1,"name":3},"steps":[{}]}',
    *(json.dumps({"version": 1, "pixels": "", "steps": [{"text": "", "mask": "", "fields": {}, "options": {}}],
                  "source": {"sha256": "", "nbytes": nbytes, "width": 1, "height": 1, "name": ""}})
      for nbytes in (math.inf, 10**30, -1))])
def test_a_forged_record_is_none(record: str) -> None:
    assert from_json(record) is None


@pytest.mark.parametrize("step", [
    {"mask": "!"}, {"mask": ""}, {"text": "x\nSteps: 2, Sampler: Euler, Size: 99999x99999"},
    {"text": "x\nSteps: 1, Sampler: No such, Seed: 1"}, {"options": {"eta_ddim": 77}}, {"fields": {"steps": -1}},
    {"fields": {"mask_blur_x": "soft"}}, {"text": "x\nSteps: 1, Seed: 1, Model: ../../etc/passwd"}])
def test_forged_steps_are_refused_in_words(engine: Engine, queue: JobQueue, step: dict[str, Any]) -> None:
    source = read(DATA)
    edits = edits_of(edited(engine, source, BOXES[0]).photograph)
    forged = dataclasses.replace(edits.steps[0], **step)
    job = queue.submit_steps(replay.steps(dataclasses.replace(edits, steps=(forged,)), lambda: source, engine.remove))
    job.wait()
    assert job.error is not None
    assert job.error.status < 500, job.error.message


def test_the_source_is_found_by_its_hash(tmp_path: Path) -> None:
    saver = Saver(tmp_path)
    for seed in range(3):
        saver(GeneratedImage(Image.effect_noise((64, 48), 50), seed, 0, ""), edit(read(DATA), BOXES[0]))
    history = History(tmp_path)
    history.reconcile()
    for path in tmp_path.rglob("*.png"):
        data = path.read_bytes()
        assert history.find_file(read(data).sha256, len(data)) == path
        assert history.find_file(read(data).sha256, len(data) + 1) is None
        assert history.find_file("0" * 64, len(data)) is None
