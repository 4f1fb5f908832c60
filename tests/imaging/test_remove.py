"""Remove: the painted part is filled from the rest, nothing else changes, and its process can be stopped and killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from modules.errors import Interrupted, InvalidInput
from modules.imaging import patchmatch, remove
from modules.imaging.patches import Array, incoherence, with_detail
from modules.imaging.patchmatch import PatchMatch, RemoveFailed
from modules.imaging.remove import Removers

SIDE = 96
DATA = Path(__file__).parents[3] / "shared" / "data"


def picture(values: Array) -> Image.Image:
    return Image.fromarray(np.repeat(np.broadcast_to(values, (SIDE, SIDE)).astype(np.uint8)[..., None], 3, 2))


def masked(*boxes: tuple[int, int, int, int], size: tuple[int, int] = (SIDE, SIDE), value: int = 255) -> Image.Image:
    mask = Image.new("L", size)
    for box in boxes:
        ImageDraw.Draw(mask).rectangle(box, fill=value)
    return mask


def noise(size: tuple[int, int] = (SIDE, SIDE), seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8))


def scribbled(image: Image.Image, mask: Image.Image) -> Image.Image:
    """`image` with noise where the mask is, which a fill must not use."""
    return Image.composite(noise(image.size, 1), image, mask)


DOWN, ACROSS = np.mgrid[:SIDE, :SIDE]
TEXTURES = {"upright stripes": ACROSS // 6 % 2 * 200 + 20, "level stripes": DOWN // 6 % 2 * 200 + 20,
            "checkerboard": (ACROSS // 12 + DOWN // 12) % 2 * 200 + 20}


@pytest.mark.parametrize("texture", TEXTURES)
def test_a_texture_goes_on_through_the_hole(texture: str) -> None:
    truth, mask = picture(TEXTURES[texture]), masked((33, 31, 62, 60))
    made = Removers().remove(scribbled(truth, mask), mask, seed=1)
    hole = np.asarray(mask) > 0
    error = np.abs(np.asarray(made, int) - np.asarray(truth, int))[hole].mean()
    assert error < 25, "of 200 between a stripe and the next; grey would have 100, the noise 90"


def test_an_upright_pole_is_not_broken_off() -> None:
    """The guide that prefers patches of the same row would leave the ground behind the pole there."""
    pole = np.where(abs(ACROSS - 48) < 4, 220, 60) + np.random.default_rng(0).normal(0, 4, (SIDE, SIDE))
    mask = masked((34, 34, 62, 60))
    made = np.asarray(Removers().remove(scribbled(picture(pole.clip(0, 255)), mask), mask, seed=1))
    assert (made[34:61, 46:51].min(axis=(1, 2)) > 150).mean() > 0.9


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_outside_the_mask_every_byte_stays_and_all_inside_changes(mode: str) -> None:
    image, mask = noise().convert(mode), masked((20, 20, 40, 40), (70, 70, 75, 75))
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    image.info["parameters"] = "kept"
    made = Removers().remove(image, mask)
    before, after, hole = np.asarray(image), np.asarray(made), np.asarray(mask) > 0
    assert (before[~hole] == after[~hole]).all()
    assert (before != after)[hole].any(axis=1).mean() > 0.95
    assert (made.mode, made.info["parameters"]) == (mode, "kept")
    assert mode == "RGB" or (before[..., 3] == after[..., 3]).all()


def test_the_same_seed_gives_the_same_picture_and_another_one_another() -> None:
    image, mask = noise(), masked((30, 30, 50, 50))
    first, again, other = (Removers().remove(image, mask, seed=seed).tobytes() for seed in (3, 3, 4))
    assert first == again != other


def test_what_is_grey_in_the_mask_is_blended() -> None:
    red, white = (200, 0, 0), (240, 240, 240)
    image, grey = Image.new("RGB", (SIDE, SIDE), white), masked((30, 30, 50, 50), value=128)
    image.paste(red, (30, 30, 51, 51))
    assert abs(np.array(Removers().remove(image, grey).getpixel((40, 40))) - (220, 120, 120)).max() <= 2


@pytest.mark.parametrize(("mask", "sentence"), [
    (masked(), "empty"), (masked((0, 0, SIDE, SIDE)), "too little"), (masked((0, 0, SIDE, SIDE - 5)), "too little"),
    (masked(size=(8, 9)), "8 x 9 pixels and the picture 96 x 96")])
def test_a_mask_that_cannot_be_used_gets_a_sentence(mask: Image.Image, sentence: str) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        Removers().remove(noise(), mask)


def test_an_unknown_model_gets_a_sentence() -> None:
    with pytest.raises(InvalidInput, match="no model called 'big' in models/inpaint"):
        Removers().remove(noise(), masked((1, 1, 9, 9)), name="big")


# --- spots and sizes

def recording(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """PatchMatch is replaced by a fill with grey; the shapes of what it was given."""
    shapes: list[tuple[int, int]] = []

    def grey(self: PatchMatch, part: Array, hole: Array, seed: int) -> Array:
        shapes.append(hole.shape)
        return np.where(hole[..., None], np.uint8(128), part)

    monkeypatch.setattr(PatchMatch, "fill", grey)
    return shapes


def test_specks_that_lie_apart_get_small_crops_and_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes, told = recording(monkeypatch), []
    image, mask = noise((2000, 1000)), masked((100, 100, 109, 109), (1900, 900, 1919, 909), size=(2000, 1000))
    made = Removers().remove(image, mask, on_spot=lambda done, total, so_far: told.append((done, total)))
    assert shapes == [(10 + 128, 10 + 128), (10 + 128, 20 + 128)]
    assert told == [(1, 2), (2, 2)]
    assert {made.getpixel((104, 104)), made.getpixel((1910, 905))} == {(128, 128, 128)}


def test_a_picture_of_4096_is_searched_at_a_bounded_size_and_joined_at_its_own(
        monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = recording(monkeypatch)
    side = 4096
    image, mask = noise((side, side)), masked((800, 800, 2800, 2800), size=(side, side))
    made = np.asarray(Removers().remove(image, mask))
    (shape,) = shapes
    assert shape[0] * shape[1] <= remove.SEARCH_PIXELS * 1.01
    before, hole = np.asarray(image), np.asarray(mask) > 0
    assert (made[~hole] == before[~hole]).all()
    inside = made[hole].astype(float)
    assert abs(inside.std() - before[hole].std()) < 25, "the noise of the full size is there, not a smooth enlargement"


def test_4096_stays_within_bounded_memory() -> None:
    """Measured in a process of its own: all it ever held, less what its picture and its libraries take."""
    code = """
import resource, sys
import numpy as np
from PIL import Image
from modules.imaging import patches, patchmatch, remove
patchmatch.PatchMatch.fill = lambda self, part, hole, seed: np.where(hole[..., None], np.uint8(9), part)
image, mask = Image.new("RGB", (4096, 4096), "green"), Image.new("L", (4096, 4096))
mask.paste(255, (400, 400, 3300, 3300))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
remove.Removers().remove(image, mask)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / (1 if sys.platform == "darwin" else 1 / 1024))
"""
    pytest.importorskip("resource")
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          cwd=Path(__file__).parents[2])
    assert float(told.stdout) < 900 * 2**20


def test_detail_comes_from_where_the_small_picture_looks_the_same() -> None:
    """Left half fine checks, right half plain; both look grey when small, but for a tone. The hole lies in the left."""
    fine = (np.indices((256, 256)).sum(0) // 2 % 2 * 120 + 40).astype(np.uint8)
    large = np.repeat(np.where(np.arange(256) < 128, fine, 160)[..., None], 3, 2).astype(np.uint8)
    hole = np.zeros((256, 256), bool)
    hole[100:156, 40:88] = True
    small = np.repeat(np.where(np.arange(64) < 32, 100, 160)[None, :, None], 64, 0).repeat(3, 2).astype(np.uint8)
    small_hole = hole[::4, ::4]
    made = with_detail(np.where(hole[..., None], np.uint8(0), large), hole, small, small_hole, lambda: None)
    assert abs(made[hole].astype(float).std() - 60) < 10
    assert abs(made[hole].astype(float).mean() - 100) < 10


def test_a_fill_of_the_same_texture_fits_better_than_another() -> None:
    hole = np.asarray(masked((33, 31, 62, 60))) > 0
    truth = np.asarray(picture(TEXTURES["checkerboard"]))
    fits, grey = (incoherence(np.where(hole[..., None], inside, truth), hole) for inside in (truth, np.uint8(120)))
    assert fits < 1 < 20 < grey


# --- its process

def killed_at_work(how: Callable[[PatchMatch], object]) -> None:
    image, hole = np.asarray(noise()), np.asarray(masked((30, 30, 60, 60))) > 0
    with PatchMatch() as process:
        worker = process.process
        os.kill(worker.pid, signal.SIGSTOP)  # it cannot finish before it is killed
        process._check = lambda: how(process)  # type: ignore[assignment, return-value]
        process.fill(image, hole, 1)


def test_killing_the_process_midway_gives_a_sentence_and_the_next_removal_works() -> None:
    with pytest.raises(RemoveFailed, match="ended before it was finished: try again"):
        killed_at_work(lambda process: process.process.kill())
    Removers().remove(noise(), masked((30, 30, 50, 50)))


def test_interrupting_ends_the_process() -> None:
    seen: list[subprocess.Popen[bytes]] = []

    def stop(process: PatchMatch) -> None:
        seen.append(process.process)
        raise Interrupted

    with pytest.raises(Interrupted):
        killed_at_work(stop)
    assert seen[0].poll() == -signal.SIGKILL


def test_without_the_library_the_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text("raise SystemExit(3)")
    monkeypatch.setattr(patchmatch, "WORKER", tmp_path / "worker.py")
    with pytest.raises(RemoveFailed, match="pip install pypatchmatch"):
        Removers().remove(noise(), masked((30, 30, 50, 50)))


# --- networks

def test_a_file_in_the_folder_is_used_and_only_the_hole_is_its_own(tmp_path: Path) -> None:
    (tmp_path / "big-lama.pt").touch()
    asked: list[Image.Image] = []

    def network(image: Image.Image) -> Image.Image:
        asked.append(image)
        return Image.new("RGB", image.size, (1, 2, 3))

    removers = Removers([tmp_path], lambda path: network)
    image, mask = noise(), masked((30, 30, 50, 50))
    made = removers.remove(image, mask)
    assert removers.names() == ["Automatic", "PatchMatch", "big-lama"]
    assert [removers.full_name(name) for name in ("automatic", "BIG-lama", "patchmatch")] == [
        "big-lama", "big-lama", "PatchMatch"]
    expected = image.copy()
    expected.paste((1, 2, 3), (30, 30, 51, 51))
    assert made.tobytes() == expected.tobytes()
    assert asked[0].getchannel("A").histogram()[0] == 21 * 21


# --- photographs

@pytest.mark.skipif(not DATA.is_dir(), reason="the photographs are not here")
@pytest.mark.parametrize("name", ["bench2", "overture-creations-5sI6fQgYIuo"])
def test_what_was_there_is_gone_from_a_photograph(name: str) -> None:
    """At a quarter of its size. The colours of the fill are those of the surroundings, not of the girl or the dog."""
    size = (160, 160)
    image = Image.open(DATA / f"{name}.png").convert("RGB").resize(size)
    mask = Image.open(DATA / f"{name}_mask.png").convert("L").resize(size).point(lambda value: 255 if value else 0)
    made = Removers().remove(image, mask, seed=1)
    hole = np.asarray(mask) > 0
    assert (np.asarray(made) == np.asarray(image))[~hole].all()
    assert incoherence(np.asarray(made), hole) < incoherence(np.asarray(image), hole)
