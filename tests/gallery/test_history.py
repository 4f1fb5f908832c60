"""The history against an independent reading of the same folder: the files' own bytes, and Python instead of SQL."""

from __future__ import annotations

import datetime
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import ExifTags, Image

from modules.errors import NotFound
from modules.gallery import index
from modules.gallery.history import History
from modules.gallery.index import INDEX, Filter, Picture
from modules.gallery.saving import Saver, save
from modules.gallery.thumbnails import SIDE, Thumbnails
from modules.request import Txt2Img
from modules.request.result import GeneratedImage

MODELS, SAMPLERS = ("first", "second, fine-tuned", ""), ("DDIM", "DPM++ 2M", "Euler a")
SUBJECTS = ("a red apple on a table", "红苹果, 一只猫", "Ein ALTER Leuchtturm, Fuß", "blue_eyes, 100% wool",
            "ＦＵＬＬ　width cat", "two cats \"in love\"", "КОТ на крыше", "")


def parameters(prompt: str, sampler: str, seed: int, model: str) -> str:
    shown = f'"{model}"' if "," in model else model
    return (f"{prompt}\nNegative prompt: ugly apple\nSteps: 20, Sampler: {sampler}, CFG scale: 7, Seed: {seed}, "
            f"Size: 8x8{f', Model: {shown}' if model else ''}")


def fill(outputs: Path, count: int = 48) -> list[dict[str, object]]:
    """Pictures of every kind of subject, model and sampler over a few days, as an independent list."""
    chance = random.Random(4)
    facts: list[dict[str, object]] = []
    for number in range(count):
        prompt, model, sampler = SUBJECTS[number % len(SUBJECTS)], chance.choice(MODELS), chance.choice(SAMPLERS)
        seed, day = chance.choice((1, 22, 4294967295)), datetime.date(2026, 1, 1 + number % 5)
        path = save(Image.new("RGB", (8, 8), (number, 0, 0)), parameters(prompt, sampler, seed, model),
                    outputs / "txt2img-images" / day.isoformat(), seed=seed)
        moment = datetime.datetime.combine(day, datetime.time(12, number % 60))
        os.utime(path, (moment.timestamp(),) * 2)
        facts.append({"path": path.relative_to(outputs).as_posix(), "prompt": prompt, "model": model,
                      "sampler": sampler, "seed": seed, "day": day, "moment": moment})
    return facts


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    return tmp_path / "outputs"


@pytest.fixture
def history(outputs: Path) -> Iterator[History]:
    history = History(outputs)
    yield history
    history.close()


def paths(pictures: list[Picture]) -> list[str]:
    return [picture.path for picture in pictures]


def all_of(history: History, wanted: Filter | None = None) -> list[str]:
    return paths(history.page(wanted or Filter(), limit=1000))


def in_folder(outputs: Path) -> list[str]:
    """What a person would call the pictures of the folder."""
    return sorted(file.relative_to(outputs).as_posix() for file in outputs.rglob("*.png")
                  if ".trash" not in file.parts)


def agrees(history: History, outputs: Path) -> bool:
    return sorted(all_of(history)) == in_folder(outputs)


FILTERS: list[tuple[Filter, Callable[[dict[str, object]], bool]]] = [
    (Filter(), lambda fact: True),
    (Filter(words="apple"), lambda fact: "apple" in str(fact["prompt"])),
    (Filter(words="RED  table,"), lambda fact: "red apple on a table" in str(fact["prompt"])),
    (Filter(words="苹果"), lambda fact: "苹果" in str(fact["prompt"])),
    (Filter(words="猫"), lambda fact: "猫" in str(fact["prompt"])),
    (Filter(words="一只猫"), lambda fact: "一只猫" in str(fact["prompt"])),
    (Filter(words="leuchtturm fuss"), lambda fact: "Leuchtturm" in str(fact["prompt"])),
    (Filter(words="full WIDTH"), lambda fact: "width" in str(fact["prompt"])),
    (Filter(words="кот"), lambda fact: "КОТ" in str(fact["prompt"])),
    (Filter(words="e_e"), lambda fact: "e_e" in str(fact["prompt"])),
    (Filter(words="0%"), lambda fact: "0%" in str(fact["prompt"])),
    (Filter(words="cat -love"), lambda fact: "width cat" in str(fact["prompt"])),
    (Filter(words='"on a table"'), lambda fact: "on a table" in str(fact["prompt"])),
    (Filter(words='"table on"'), lambda fact: False),
    (Filter(words="'; DROP TABLE pictures; --"), lambda fact: False),
    (Filter(words="NEAR( AND * ^\0"), lambda fact: False),
    (Filter(words="-a"), lambda fact: "a" not in str(fact["prompt"]).casefold().replace("ａ", "a")),
    (Filter(model="second, fine-tuned"), lambda fact: fact["model"] == "second, fine-tuned"),
    (Filter(sampler="DPM++ 2M", seed=22), lambda fact: fact["sampler"] == "DPM++ 2M" and fact["seed"] == 22),
    (Filter(first=datetime.date(2026, 1, 2), last=datetime.date(2026, 1, 4), words="cat"),
     lambda fact: fact["day"].day in (2, 3, 4) and "cat" in str(fact["prompt"])),  # type: ignore[attr-defined]
]


def test_search_and_filters_agree_with_the_folder(history: History, outputs: Path) -> None:
    facts = fill(outputs)
    history.reconcile()
    for wanted, fits in FILTERS:
        expected = [fact["path"] for fact in sorted(facts, key=lambda fact: str(fact["moment"]), reverse=True)
                    if fits(fact)]
        assert sorted(all_of(history, wanted)) == sorted(map(str, expected)), wanted
        assert history.count(wanted) == len(expected)
    assert all_of(history)[0] == max(facts, key=lambda fact: str(fact["moment"]))["path"]
    assert history.models() == sorted(filter(None, MODELS))
    assert history.samplers() == sorted(SAMPLERS)


def test_pages_follow_one_another_without_gap_or_repeat(history: History, outputs: Path) -> None:
    for path in (outputs / fact["path"] for fact in fill(outputs)):  # type: ignore[operator]
        os.utime(path, (1.7e9, 1.7e9))  # all at the same time, so that only the id tells them apart
    history.reconcile()
    found: list[Picture] = []
    while page := history.page(Filter(), found[-1].cursor if found else None, limit=7):
        found += page
    assert sorted(paths(found)) == in_folder(outputs)
    assert paths(found) == all_of(history)


@pytest.mark.parametrize("seed", [10**18, 2**63, 2**64 - 1])
def test_seeds_of_64_bits_are_found(history: History, outputs: Path, seed: int) -> None:
    made = GeneratedImage(Image.new("RGB", (24, 16)), seed, 1, parameters("a dog", "DDIM", seed, "first"))
    Saver(outputs, history.add)(made, Txt2Img())
    assert [picture.seed for picture in history.page(Filter(seed=seed))] == [seed]


def test_a_row_says_what_the_file_says(history: History, outputs: Path) -> None:
    text = parameters("a dog\n红", "DDIM", 4294967295, "first")
    made = GeneratedImage(Image.new("RGB", (24, 16)), 4294967295, 1, text)
    path = Saver(outputs, history.add)(made, Txt2Img())
    (picture,) = history.page(Filter())
    stat = path.stat()
    assert outputs / picture.path == path == history.file(picture.id)
    assert (picture.created, picture.bytes) == (stat.st_mtime_ns, stat.st_size)
    assert (picture.width, picture.height, picture.seed) == (24, 16, 4294967295)
    assert (picture.model, picture.sampler, picture.prompt) == ("first", "DDIM", "a dog\n红")
    assert picture.text == text
    assert not picture.favourite


def test_other_formats_are_read_and_other_files_are_not(history: History, outputs: Path) -> None:
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = b"UNICODE\0" + "a boat".encode("utf-16-be")
    (outputs / "old").mkdir(parents=True)
    for name in ("one.jpg", "two.webp"):
        Image.new("RGB", (8, 8)).save(outputs / "old" / name, exif=exif)
    (outputs / "old" / "half.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    (outputs / "old" / "page.html").write_text("<script>")
    (outputs / "old" / "away.png").symlink_to("/etc/hostname")
    (outputs / "linked").symlink_to(outputs / "old")
    history.reconcile()
    assert sorted(all_of(history, Filter(words="boat"))) == sorted(all_of(history)) == ["old/one.jpg", "old/two.webp"]


def test_what_is_changed_behind_its_back_is_found_at_the_next_look(history: History, outputs: Path) -> None:
    facts = fill(outputs, 12)
    history.reconcile()
    history.set_favourite(history.page(Filter())[3].id, True)
    kept_ids = {picture.path: picture.id for picture in history.page(Filter())}
    gone, changed = (str(fact["path"]) for fact in facts[:2])
    (outputs / gone).unlink()
    text = parameters("a new world", "Euler a", 7, "first")
    shutil.copy(save(Image.new("RGB", (8, 8)), text, outputs / "img2img-images", seed=7), outputs / changed)
    history.reconcile()
    assert agrees(history, outputs)
    assert set(all_of(history, Filter(words="new world"))) == {changed, "img2img-images/00000-7.png"}
    assert {p.path: p.id for p in history.page(Filter())}.items() >= \
        {path: number for path, number in kept_ids.items() if path not in (gone, changed)}.items()
    version = history.status.version
    history.reconcile()
    assert history.status.version == version  # nothing new, nothing written


def test_favourites_survive_a_rebuild_and_ids_stay_theirs(history: History, outputs: Path) -> None:
    fill(outputs, 12)
    history.reconcile()
    before = history.page(Filter())
    liked = {before[0].path, before[5].path}
    for picture in before:
        if picture.path in liked:
            history.set_favourite(picture.id, True)
    history.rebuild()
    assert history.wait(30)
    after = history.page(Filter())
    assert paths(after) == paths(before)
    assert {picture.path for picture in after if picture.favourite} == liked
    assert set(all_of(history, Filter(favourites=True))) == liked
    assert not {picture.id for picture in after} & {picture.id for picture in before}
    with pytest.raises(NotFound):
        history.get(before[0].id)
    history.set_favourite(after[0].id, False)
    assert len(all_of(history, Filter(favourites=True))) == 1


def test_trash_and_undo(history: History, outputs: Path) -> None:
    fill(outputs, 12)
    history.reconcile()
    first, second, third = history.page(Filter())[:3]
    history.set_favourite(first.id, True)
    data = (outputs / first.path).read_bytes()
    everything = in_folder(outputs)
    assert history.trash([first.id, second.id, first.id]) == 2
    assert history.trash([third.id]) == 1
    assert in_folder(outputs) == sorted(set(everything) - set(paths([first, second, third])))
    assert agrees(history, outputs)
    assert len(list((outputs / ".trash").rglob("*.png"))) == 3
    with pytest.raises(NotFound):
        history.file(first.id)

    # The freed name is taken by a new picture, which must neither be overwritten nor inherit the favourite.
    Image.new("RGB", (8, 8), "white").save(outputs / first.path)
    taken = (outputs / first.path).read_bytes()
    history.reconcile()
    assert history.undo() == 1
    assert agrees(history, outputs)
    assert third.path in in_folder(outputs)
    assert history.undo() == 2
    assert agrees(history, outputs)
    restored = first.path.replace(".png", "-1.png")
    assert in_folder(outputs) == sorted([*everything, restored])
    assert (outputs / first.path).read_bytes() == taken
    assert (outputs / restored).read_bytes() == data
    assert all_of(history, Filter(favourites=True)) == [restored]
    assert not history.can_undo()
    assert history.undo() == 0


def test_a_broken_index_is_made_anew(outputs: Path) -> None:
    fill(outputs, 6)
    (outputs / INDEX).write_bytes(b"this is no database" * 100)
    history = History(outputs)
    history.reconcile()
    assert agrees(history, outputs)
    history.close()
    assert (outputs / f"{INDEX}.broken").read_bytes().startswith(b"this is no database")


def test_an_index_that_breaks_while_in_use_is_rebuilt(history: History, outputs: Path) -> None:
    fill(outputs, 6)
    history.reconcile()
    history.set_favourite(history.page(Filter())[0].id, True)
    liked = all_of(history, Filter(favourites=True))
    page_size, = history._db.execute("PRAGMA page_size").fetchone()
    root, = history._db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'by_date'").fetchone()
    history.close()
    with (outputs / INDEX).open("r+b") as file:
        file.seek((root - 1) * page_size)
        file.write(b"\xff" * page_size)
    history._db = index.connect(str(outputs / INDEX))
    with pytest.raises(sqlite3.DatabaseError):
        history.page(Filter())
    history.rebuild()
    assert history.wait(30)
    assert agrees(history, outputs)
    assert all_of(history, Filter(favourites=True)) == liked


def test_an_index_that_fails_loses_no_picture(outputs: Path, caplog: pytest.LogCaptureFixture) -> None:
    history = History(outputs)
    history.close()
    made = GeneratedImage(Image.new("RGB", (8, 8), "teal"), 5, 1, "a dog")
    path = Saver(outputs, history.add)(made, Txt2Img())
    assert Image.open(path).getpixel((0, 0)) == (0, 128, 128)
    assert "is not in the history" in caplog.text
    again = History(outputs)
    again.reconcile()
    assert agrees(again, outputs)
    again.close()


def test_where_nothing_can_be_written_the_index_is_in_memory(outputs: Path) -> None:
    fill(outputs, 6)
    (outputs / INDEX).mkdir()
    history = History(outputs)
    history.reconcile()
    assert agrees(history, outputs)
    history.close()


def test_a_file_outside_the_folder_is_not_given_out(history: History, outputs: Path, tmp_path: Path) -> None:
    fill(outputs, 1)
    history.reconcile()
    (picture,) = history.page(Filter())
    secret = tmp_path / "secret.png"
    Image.new("RGB", (8, 8)).save(secret)
    (outputs / picture.path).unlink()
    (outputs / picture.path).symlink_to(secret)
    with pytest.raises(NotFound):
        history.file(picture.id)


def test_leftovers_of_killed_programs_are_removed_and_those_of_living_ones_kept(outputs: Path) -> None:
    folder = outputs / "txt2img-images"
    folder.mkdir(parents=True)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    long_ago = time.time() - 10 * 24 * 3600
    names = {f".{ended.pid}-7f00.tmp": None, f".{os.getpid()}-1.tmp": long_ago, f".{os.getppid()}-1.tmp": long_ago,
             f".{os.getppid()}-2.tmp": None, ".keep": long_ago}
    for name, moment in names.items():
        (folder / name).touch()
        if moment:
            os.utime(folder / name, (moment, moment))
    history = History(outputs)
    (folder / f".{os.getpid()}-2.tmp").touch()
    history.reconcile()
    history.close()
    assert {path.name for path in folder.iterdir()} == {f".{os.getppid()}-2.tmp", f".{os.getpid()}-2.tmp", ".keep"}


def test_fifty_thousand_pictures_are_found_through_an_index(history: History) -> None:
    numbers = range(50_000)
    with history._writing() as db:
        db.executemany(
            "INSERT INTO pictures VALUES (?, ?, ?, 1, 8, 8, ?, ?, ?, '', '')",
            ((n, f"{n:05}-{n}.png", n * 10**9, n, f"model {n % 20}", f"sampler {n % 19}") for n in numbers))
        db.executemany("INSERT INTO prompts (rowid, folded) VALUES (?, ?)",
                       ((n, f"thing{n} of {'gold' if n % 1000 == 0 else 'tin'}") for n in numbers))
    for wanted, used in ((Filter(), "by_date"), (Filter(model="model 3"), "by_model"), (Filter(seed=77), "by_seed"),
                         (Filter(sampler="sampler 3"), "by_sampler"),
                         (Filter(first=datetime.date(1970, 1, 1), last=datetime.date(1970, 1, 2)), "by_date"),
                         (Filter(words="gold"), "VIRTUAL TABLE INDEX"), (Filter(favourites=True), "favourites")):
        where, values = index.where(wanted)
        plan = "\n".join(row["detail"] for row in history._all(
            "EXPLAIN QUERY PLAN SELECT * FROM pictures WHERE " + where + " ORDER BY created DESC, id DESC LIMIT 60",
            *values))
        assert used in plan, (wanted, plan)
        assert not re.search(r"SCAN pictures(?! USING)", plan), (wanted, plan)
    assert [picture.seed for picture in history.page(Filter(words="gold"), limit=3)] == [49000, 48000, 47000]
    assert history.count(Filter(words="gold", model="model 0")) == 50
    assert [picture.seed for picture in history.page(Filter(model="model 3"), limit=2)] == [49983, 49963]


def test_thumbnails_are_small_pictures_of_the_file_as_it_is(tmp_path: Path) -> None:
    file, thumbnails = tmp_path / "wide.png", Thumbnails(tmp_path / "thumbnails")
    for colour in ((200, 30, 30), (30, 200, 30)):
        Image.new("RGB", (1600, 800), colour).save(file)
        (tmp_path / "small.webp").write_bytes(thumbnails.get(file))
        assert thumbnails.get(file) == (tmp_path / "small.webp").read_bytes()
        with Image.open(tmp_path / "small.webp") as small:
            assert small.size == (SIDE, SIDE // 2)
            pixel = small.convert("RGB").getpixel((9, 9))
            assert all(abs(a - b) < 6 for a, b in zip(pixel, colour, strict=True))  # type: ignore[arg-type]
    (tmp_path / "broken.png").write_bytes(b"nothing")
    with pytest.raises(NotFound):
        thumbnails.get(tmp_path / "broken.png")
    for kept in (kept_files := list((tmp_path / "thumbnails").iterdir()))[:1]:
        os.utime(kept, (0, 0))
    assert len(kept_files) == 2
    thumbnails.forget_old()
    assert list((tmp_path / "thumbnails").iterdir()) == kept_files[1:]
