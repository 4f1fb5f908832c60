"""Folders of pictures: what is added, named alike, and written."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from modules.errors import InvalidInput, NotFound
from modules.training.dataset import read_caption
from modules.training.folders import Folders, buckets, looks, replaced


def picture(seed: int, size: tuple[int, int] = (96, 64)) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, form: str = "PNG", **more: object) -> bytes:
    content = io.BytesIO()
    image.save(content, form, **more)
    return content.getvalue()


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    folders = Folders(tmp_path / "datasets")
    folders.add("robot")
    return folders


def test_pictures_come_with_their_captions_and_under_free_names(folders: Folders) -> None:
    first, second = encoded(picture(1)), encoded(picture(2))
    folders.add_pictures("robot", [("a.png", first), ("a.txt", b"a  red\nrobot")])
    folders.add_pictures("robot", [("a.caption", b"a blue robot"), ("a.png", second)])
    found = {entry.path.name: entry for entry in folders.entries("robot")}
    assert {name: entry.caption for name, entry in found.items()} == {"a.png": "a red robot", "a-2.png": "a blue robot"}
    assert found["a.png"].path.read_bytes() == first
    assert found["a-2.png"].path.read_bytes() == second


def test_the_same_picture_in_another_size_and_form_is_named(folders: Folders) -> None:
    image = picture(3, (300, 200))
    turned = Image.Exif()
    turned[274] = 6
    files = [("a.png", encoded(image)), ("b.jpg", encoded(image.resize((150, 100)), "JPEG", quality=40)),
             ("c.png", encoded(picture(4))), ("d.jpg", encoded(image.rotate(90, expand=True), "JPEG", exif=turned)),
             ("e.png", encoded(image.filter(ImageFilter.GaussianBlur(2))))]
    folders.add_pictures("robot", files)
    assert {entry.path.name: entry.alike for entry in folders.entries("robot")} == {
        "a.png": "", "b.jpg": "a.png", "c.png": "", "d.jpg": "a.png", "e.png": "a.png"}
    assert {entry.size for entry in folders.entries("robot")} == {(300, 200), (150, 100), (96, 64)}
    differing = [(looks(picture(n)) ^ looks(picture(m))).bit_count() for n in range(12) for m in range(n)]
    assert min(differing) > 8


@pytest.mark.parametrize(("name", "content", "sentence"), [
    ("x.png", b"no picture", "cannot be read as a picture"), ("x.exe", b"MZ", "neither a picture nor a caption")])
def test_what_is_no_picture_is_refused_and_leaves_nothing(name: str, content: bytes, sentence: str,
                                                          folders: Folders) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        folders.add_pictures("robot", [(name, content)])
    assert [path.name for path in folders.path("robot").iterdir()] == [".keep"]


@pytest.mark.parametrize("name", ["..", ".", "", "nowhere", "robot/..", "/etc"])
def test_no_name_leads_out(name: str, folders: Folders) -> None:
    with pytest.raises(NotFound):
        folders.entries(name)
    if name != "nowhere":
        with pytest.raises(InvalidInput):
            folders.add(name)


def test_captions_are_written_where_they_were_and_empty_ones_taken_away(folders: Folders) -> None:
    folders.add_pictures("robot", [("a.png", encoded(picture(1))), ("a.caption", b"old"),
                                   ("b.png", encoded(picture(2))), ("b.txt", b"stays")])
    stays = folders.path("robot") / "b.txt"
    before = stays.stat().st_mtime_ns
    folders.write_captions("robot", {"a.png": " new\n words ", "b.png": "stays", "../c.png": "x"})
    assert (folders.path("robot") / "a.caption").read_text() == "new words"
    assert stays.stat().st_mtime_ns == before
    assert not (folders.path("robot") / "a.txt").exists()
    folders.write_captions("robot", {"a.png": ""})
    assert read_caption(folders.path("robot") / "a.png") == ""


def test_removed_pictures_are_kept_aside(folders: Folders) -> None:
    folders.add_pictures("robot", [("a.png", encoded(picture(1))), ("a.txt", b"x"), ("b.png", encoded(picture(2)))])
    folders.remove("robot", ["a.png", "../../x"])
    assert [entry.path.name for entry in folders.entries("robot")] == ["b.png"]
    assert sorted(path.name for path in (folders.path("robot") / ".removed").iterdir()) == ["a.png", "a.txt"]


def test_find_and_replace_takes_texts_as_they_are() -> None:
    assert replaced({"a": "A (red) robot", "b": "x"}, "(RED)", r"\1 blue") == {"a": r"A \1 blue robot", "b": "x"}
    with pytest.raises(InvalidInput):
        replaced({"a": "x"}, "", "y")


def test_buckets_are_counted(folders: Folders) -> None:
    folders.add_pictures("robot", [("a.png", encoded(picture(1, (64, 64)))), ("b.png", encoded(picture(2, (90, 90)))),
                                   ("c.png", encoded(picture(3, (128, 64))))])
    assert buckets(folders.entries("robot"), 128, 16) == {(128, 128): 2, (176, 96): 1}


def test_masks_and_crops_lie_beside_the_pictures_which_stay_as_they_are(folders: Folders) -> None:
    content = encoded(picture(1))
    folders.add_pictures("robot", [("a.png", content), ("a.txt", b"x"), ("b.png", encoded(picture(2)))])
    folder, mask = folders.path("robot"), Image.new("L", (96, 64))
    mask.paste(255, (8, 8, 40, 40))
    folders.write_mask("robot", "a.png", mask)
    folders.write_crop("robot", "a.png", (16, 0, 80, 64))
    with Image.open(folder / "masks" / "a.png") as written:
        assert (written.mode, written.tobytes()) == ("L", mask.tobytes())
    assert (folder / "crops" / "a.txt").read_bytes() == b"64x64+16+0\n"
    assert (folder / "a.png").read_bytes() == content
    first, second = folders.entries("robot")
    assert (first.masked, first.crop, first.size, first.trained_size) == (True, (16, 0, 80, 64), (96, 64), (64, 64))
    assert (second.masked, second.crop, second.trained_size) == (False, None, (96, 64))
    assert buckets([first], 128, 16) == {(128, 128): 1}
    folders.write_crop("robot", "a.png", (0, 0, 96, 64))  # the whole picture is none
    folders.write_mask("robot", "a.png", None)
    first, _ = folders.entries("robot")
    assert (first.masked, first.crop) == (False, None)
    assert (folder / ".removed" / "masks" / "a.png").is_file()
    with pytest.raises(InvalidInput, match="another size"):
        folders.write_mask("robot", "a.png", Image.new("L", (64, 96)))
    with pytest.raises(InvalidInput, match="does not lie in the picture, which has 96 x 64"):
        folders.write_crop("robot", "a.png", (16, 0, 112, 64))
    with pytest.raises(NotFound):
        folders.write_mask("robot", "../a.png", mask)


@pytest.mark.parametrize(("text", "sentence"), [
    ("96x64", "must be a box"), ("0x64+0+0", "must be a box"), ("64x64+64+0", "does not lie in the picture")])
def test_a_crop_that_is_none_is_said_beside_its_picture(text: str, sentence: str, folders: Folders) -> None:
    folders.add_pictures("robot", [("a.png", encoded(picture(1)))])
    (folders.path("robot") / "crops").mkdir()
    (folders.path("robot") / "crops" / "a.txt").write_text(text)
    (entry,) = folders.entries("robot")
    assert sentence in entry.problem


def test_a_mask_and_a_crop_go_with_their_picture(folders: Folders) -> None:
    folders.add_pictures("robot", [("a.png", encoded(picture(1)))])
    folders.write_mask("robot", "a.png", Image.new("L", (96, 64), 255))
    folders.write_crop("robot", "a.png", (16, 0, 80, 64))
    folders.remove("robot", ["a.png"])
    folders.add_pictures("robot", [("a.png", encoded(picture(2)))])
    (entry,) = folders.entries("robot")
    assert (entry.masked, entry.crop) == (False, None)


def test_only_pictures_that_are_there_are_known(folders: Folders) -> None:
    folders.add("other")
    folders.add_pictures("other", [("z.png", encoded(picture(9)))])
    folders.add_pictures("robot", [("a.png", encoded(picture(1))), ("b.png", encoded(picture(2)))])
    for name in ("other", "robot"):
        folders.entries(name)
    (folders.path("robot") / "b.png").write_bytes(encoded(picture(3, (64, 64))))
    os.utime(folders.path("robot") / "b.png", (1, 1))
    folders.remove("robot", ["a.png"])
    (entry,) = folders.entries("robot")
    assert entry.size == (64, 64)
    assert sorted((path.name, time == 10**9) for path, time in folders._known) == [("b.png", True), ("z.png", False)]
    shutil.rmtree(folders.path("other"))
    folders.entries("robot")
    assert [path.name for path, _ in folders._known] == ["b.png"]
