"""The keep-brush: exact values of other results and of the original, and edits that can be made again."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import photographs
import pytest
from PIL import Image

from modules.engine import keeping, redo
from modules.engine.engine import Engine
from modules.engine.keeping import Part
from modules.errors import InvalidInput
from modules.imaging.photograph import read
from modules.jobs import replay
from modules.jobs.queue import JobQueue
from modules.request import Inpaint
from modules.request.job_context import NullJob
from modules.request.options import Options
from modules.request.photograph import Photograph
from modules.request.result import GeneratedImage
from modules.text.edits import MOST_STEPS, Edits, from_json
from tests.engine.test_redo import BOXES, DATA, edited, edits_of, replayed

FAR = 6
"""Pixels from the edge of a stroke beyond which nothing is mixed."""


def candidates(engine: Engine, before: Photograph, count: int = 2) -> list[GeneratedImage]:
    return [edited(engine, before, BOXES[0], seed=5 + number) for number in range(count)]


def labels(boxes: dict[tuple[int, int, int, int], int]) -> Image.Image:
    drawn = Image.new("L", (128, 96))
    for box, number in boxes.items():
        drawn.paste(number, box)
    return drawn


def kept(result: GeneratedImage, boxes: dict[tuple[int, int, int, int], int], **pictures: Photograph) -> GeneratedImage:
    numbered = {int(name[1:]): picture for name, picture in pictures.items()}
    return keeping.keep(result, keeping.parts(labels(boxes), numbered), Options())


def test_each_pixel_is_exactly_that_of_its_picture(engine: Engine) -> None:
    original = read(DATA, "photo.tif")
    first, second = candidates(engine, original)
    made = kept(first, {(0, 0, 25, 96): 1, (25, 0, 50, 96): 2}, p1=original, p2=second.photograph)
    pixels = made.photograph.pixels
    assert pixels.dtype == np.uint16
    assert np.array_equal(pixels[:, :25 - FAR], original.pixels[:, :25 - FAR])
    assert np.array_equal(pixels[:, 25 + FAR:50 - FAR], second.photograph.pixels[:, 25 + FAR:50 - FAR])
    assert np.array_equal(pixels[:, 50 + FAR:], first.photograph.pixels[:, 50 + FAR:])
    three = np.stack([original.pixels, first.photograph.pixels, second.photograph.pixels])
    assert (pixels >= three.min(0)).all()
    assert (pixels <= three.max(0)).all()
    assert (made.photograph.icc, made.photograph.exif) == (original.icc, original.exif)
    assert made.infotext == first.infotext


def test_its_edits_make_the_same_picture_again(engine: Engine, queue: JobQueue) -> None:
    """With parts of the original, of another result, and of a result of this kind; and with an edit after it."""
    original = read(DATA, "photo.tif")
    first, second = candidates(engine, original)
    once = kept(first, {(0, 0, 25, 96): 1, (25, 0, 50, 96): 2}, p1=original, p2=second.photograph)
    twice = kept(second, {(10, 0, 40, 30): 3}, p3=once.photograph)
    after = edited(engine, twice.photograph, BOXES[1], prompt="after", seed=9)
    for made in (once, twice, after):
        edits = edits_of(made.photograph)
        assert edits.source.sha256 == original.sha256
        assert np.array_equal(replayed(queue, edits).photograph.pixels, made.photograph.pixels)
    assert [step.text.split("\n")[0] for step in edits.steps] == ["a dog", redo.KEEP_BRUSH, "after"]
    nested, = edits.steps[1].kept
    assert (nested.start, [step.text.split("\n")[0] for step in nested.steps]) == (0, ["a dog", redo.KEEP_BRUSH])
    assert from_json(edits.to_json()) == edits


def test_an_edit_that_is_left_out_changes_the_rest_alone(engine: Engine, queue: JobQueue) -> None:
    original = read(DATA)
    first, second = candidates(engine, original)
    made = kept(first, {(25, 0, 50, 96): 2}, p2=second.photograph)
    steps = edits_of(made.photograph).steps
    without = replayed(queue, edits_with(made, (steps[0], dataclasses.replace(steps[1], text=""))))
    assert np.array_equal(without.photograph.pixels, first.photograph.pixels)
    alone = replayed(queue, edits_with(made, (dataclasses.replace(steps[0], text=""), steps[1])))
    assert np.array_equal(alone.photograph.pixels[:, :25 - FAR], original.pixels[:, :25 - FAR])
    assert np.array_equal(alone.photograph.pixels[:, 25 + FAR:], second.photograph.pixels[:, 25 + FAR:])


def edits_with(made: GeneratedImage, steps: Any) -> Edits:
    return dataclasses.replace(edits_of(made.photograph), steps=steps)


def test_pictures_on_the_way_are_held_no_longer_than_needed(engine: Engine, queue: JobQueue) -> None:
    original = read(DATA)
    first, second = candidates(engine, original)
    made = kept(first, {(25, 0, 50, 96): 2}, p2=second.photograph)
    steps = replay.steps(edits_of(made.photograph), lambda: original, engine.remove)
    assert [step.reads for step in steps] == [(), (), (0, 1)]


def test_what_does_not_fit_is_refused_in_words(engine: Engine) -> None:
    original = read(DATA)
    first, = candidates(engine, original, 1)
    grey = read(photographs.file(photographs.pixels()[:96, :128], "PNG"))
    with pytest.raises(InvalidInput, match="depth"):
        kept(first, {(0, 0, 9, 9): 1}, p1=grey)
    with pytest.raises(InvalidInput, match="no such result"):
        kept(first, {(0, 0, 9, 9): 7}, p1=original)
    with pytest.raises(InvalidInput, match="Paint over"):
        kept(first, {}, p1=original)


def test_there_is_no_record_where_none_is_wanted_or_possible(engine: Engine) -> None:
    original = read(DATA)
    first, second = candidates(engine, original)
    painted = [Part(second.photograph, labels({(0, 0, 50, 50): 255}))]
    assert keeping.keep(first, painted, Options()).photograph.record
    assert not keeping.keep(first, painted, Options(save_edits=False)).photograph.record
    stranger = dataclasses.replace(second.photograph, record="", sha256="")
    assert not keeping.keep(first, [Part(stranger, painted[0].mask)], Options()).photograph.record


def test_a_result_without_a_photograph_is_kept_from_too(engine: Engine) -> None:
    image = Image.linear_gradient("L").convert("RGB").resize((128, 96))
    mask = Image.new("L", image.size, 255)
    made, = engine.generate(Inpaint(prompt="x", steps=1, width=128, height=96, init_images=(image,), mask=mask),
                            NullJob()).images
    back = kept(made, {(0, 0, 60, 96): 1}, p1=Photograph(np.asarray(image), image))
    assert np.array_equal(np.asarray(back.image)[:, :60 - FAR], np.asarray(image)[:, :60 - FAR])
    assert np.array_equal(np.asarray(back.image)[:, 60 + FAR:], np.asarray(made.image)[:, 60 + FAR:])


@pytest.mark.parametrize("change", [{"start": -1}, {"start": "x"}, {"mask": 5}, {"steps": [{}]}])
def test_a_forged_part_is_no_record(engine: Engine, change: dict[str, Any]) -> None:
    record = forged(engine, change)
    assert from_json(record) is None


def test_forged_parts_are_refused_in_words(engine: Engine, queue: JobQueue) -> None:
    original = read(DATA)
    for change in ({"mask": ""}, {"start": 10**9, "mask": "!"}):
        edits = from_json(forged(engine, change))
        assert edits is not None
        job = queue.submit_steps(replay.steps(edits, lambda: original, engine.remove))
        job.wait()
        assert job.error is not None
        assert job.error.status < 500, job.error.message
    record = json.loads(forged(engine, {}))
    record["steps"][1]["kept"] *= MOST_STEPS
    assert from_json(json.dumps(record)) is None, "parts have edits too, and they count"


def forged(engine: Engine, change: dict[str, Any]) -> str:
    original = read(DATA)
    first, second = candidates(engine, original)
    record = json.loads(kept(first, {(25, 0, 50, 96): 2}, p2=second.photograph).photograph.record)
    record["steps"][1]["kept"][0] |= change
    return json.dumps(record)
