"""Files that are whole or not there, one writer at a time, and what killed programs leave behind."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from pathlib import Path

import pytest

from modules.base import files
from modules.base.files import is_leftover, only_writer, sweep, temporary_name, write_whole

NOW = 10.0**9


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    write_whole(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="space"):
        write_whole(path, b"new")
    assert [(item.name, item.read_bytes()) for item in tmp_path.iterdir()] == [("a.json", b"old")]


def test_no_two_temporary_names_are_the_same_and_each_names_its_host(tmp_path: Path) -> None:
    names = {temporary_name(tmp_path / "a.csv").name for _ in range(10)}
    assert len(names) == 10
    assert all(name.startswith(f".a.csv.{files._HOST}.{os.getpid()}-") for name in names)


def name_of(host: str, maker: int) -> str:
    return f".styles.csv.{host}.{maker}-7.part"


@pytest.mark.parametrize(("name", "age", "alive", "expected"), [
    (name_of(files._HOST, 5), 1, False, True), (name_of(files._HOST, 5), 1, True, False),
    (name_of(files._HOST, 5), files.LONGEST_WRITE + 1, True, True),
    (name_of("elsewhere", 5), 3600, False, False), (name_of("elsewhere", 5), 25 * 3600, True, True),
    (name_of(files._HOST, os.getpid()), 0, True, False), (name_of(files._HOST, os.getpid()), 2, True, True),
    (".5-7f.tmp", 1, False, True), (".config.json.5.tmp", 1, False, True), (".config.json.5.tmp", 1, True, False),
    ("styles.csv", 10**6, False, False), (".x.part", 10**6, False, False)], ids=[str(number) for number in range(12)])
def test_leftovers_are_those_of_programs_that_are_gone(name: str, age: float, alive: bool, expected: bool) -> None:
    assert is_leftover(name, NOW - age, NOW, lambda maker: alive) is expected


def test_leftovers_are_swept_and_nothing_else(tmp_path: Path) -> None:
    gone = multiprocessing.get_context("fork").Process(target=str)
    gone.start()
    gone.join()
    for name in (name_of(files._HOST, gone.pid or 0), "styles.csv", ".hidden"):
        (tmp_path / name).touch()
    (tmp_path / name_of("elsewhere", 8)).mkdir()
    assert sweep(tmp_path, time.time()) == 1
    assert {item.name for item in tmp_path.iterdir()} == {"styles.csv", ".hidden", name_of("elsewhere", 8)}
    assert sweep(tmp_path / "nowhere", time.time()) == 0


def count_up(path: Path, times: int) -> None:
    for _ in range(times):
        with only_writer(path):
            write_whole(path, str(int(path.read_text()) + 1).encode())


def test_writers_wait_for_each_other_in_threads_and_processes(tmp_path: Path) -> None:
    path = tmp_path / "count"
    write_whole(path, b"0")
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=count_up, args=(path, 25)) for _ in range(2)]
    writers += [threading.Thread(target=count_up, args=(path, 25)) for _ in range(4)]  # type: ignore[misc]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert path.read_text() == "150"
