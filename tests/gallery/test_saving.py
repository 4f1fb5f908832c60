"""Pictures on disk: names, the parameters text, and what happens when the disk is full or somebody else is faster."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest
from PIL import Image

from modules.errors import StorageFull
from modules.gallery import saving
from modules.gallery.saving import CannotSave, next_number, save

PICTURE = Image.new("RGB", (16, 8), "teal")


def test_names_count_up_and_end_in_the_seed(tmp_path: Path) -> None:
    paths = [save(PICTURE, "", tmp_path / "new" / "folder", seed=seed) for seed in (7, 4294967295)]
    assert [path.name for path in paths] == ["00000-7.png", "00001-4294967295.png"]


def test_the_counter_goes_on_from_what_is_there(tmp_path: Path) -> None:
    for name in ("00041-1.png", "00007-5.jpg", "notes.txt", "12-x.png", "20260101120000-7.png"):
        (tmp_path / name).touch()
    assert next_number(tmp_path) == 42
    assert save(PICTURE, "", tmp_path, seed=3).name == "00042-3.png"


def test_what_has_no_seed_is_numbered_alone_and_keeps_more_texts(tmp_path: Path) -> None:
    paths = [save(PICTURE, "a dog", tmp_path, texts={"postprocessing": "twice as large"}) for _ in "ab"]
    assert [path.name for path in paths] == ["00000.png", "00001.png"]
    with Image.open(paths[1]) as image:
        image.load()
        assert image.info == {"parameters": "a dog", "postprocessing": "twice as large"}


@pytest.mark.parametrize("text", ["a dog\nNegative prompt: x\nSteps: 1, Sampler: Euler", "狗, a bench", "é\n" * 100])
def test_the_parameters_text_is_read_back(tmp_path: Path, text: str) -> None:
    with Image.open(save(PICTURE, text, tmp_path, seed=1)) as image:
        image.load()
        assert image.info == {"parameters": text}
        assert image.tobytes() == PICTURE.tobytes()


def test_half_a_character_costs_no_picture(tmp_path: Path) -> None:
    path = save(Image.new("RGB", (8, 8)), "half \ud83d of it", tmp_path)
    assert Image.open(path).info["parameters"] == "half ? of it"


def test_without_a_text_there_is_no_chunk(tmp_path: Path) -> None:
    with Image.open(save(PICTURE, "", tmp_path, seed=1)) as image:
        assert image.info == {}


def test_savers_at_the_same_time_never_share_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saving, "next_number", lambda directory: 0)  # as if each had looked before any had saved
    paths: list[Path] = []
    pictures = [Image.new("L", (4, 4), value) for value in range(8)]
    threads = [threading.Thread(target=lambda picture=picture: paths.append(save(picture, "", tmp_path, seed=1)))
               for picture in pictures]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path.name for path in paths) == [f"{number:05}-1.png" for number in range(8)]
    assert sorted(Image.open(path).getpixel((0, 0)) for path in paths) == list(range(8))


def test_file_systems_without_hard_links_work_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", no_links)
    (tmp_path / "00000-1.png").write_bytes(b"somebody's")
    monkeypatch.setattr(saving, "next_number", lambda directory: 0)
    assert save(PICTURE, "", tmp_path, seed=1).name == "00001-1.png"
    assert (tmp_path / "00000-1.png").read_bytes() == b"somebody's"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def full(fd: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageFull) as caught:
        save(PICTURE, "", tmp_path, seed=1)
    assert caught.value.status == 507
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_said_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("a file")
    with pytest.raises(CannotSave) as caught:
        save(PICTURE, "", tmp_path / "outputs" / "today", seed=1)
    assert "\n" not in caught.value.message


def test_nothing_is_seen_under_the_name_until_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    monkeypatch.setattr(os, "fsync", lambda fd: seen.append([path.name for path in tmp_path.glob("*.png")]))
    save(PICTURE, "", tmp_path, seed=1)
    assert seen == [[]]
    assert [path.name for path in tmp_path.iterdir()] == ["00000-1.png"]
