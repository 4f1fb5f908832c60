"""kill -9 while pictures are saved: no half picture under a final name, and a history that agrees with the folder."""

from __future__ import annotations

import multiprocessing
import random
import sys
from multiprocessing.connection import Connection
from pathlib import Path

from PIL import Image

from modules.gallery.history import History
from modules.gallery.index import Filter
from modules.gallery.saving import Saver
from modules.request import Txt2Img
from modules.request.result import GeneratedImage

ROUNDS = 50
SIDE = 96


def picture(seed: int) -> Image.Image:
    """Noise that only `seed` makes: it compresses badly, so that writing takes a while."""
    return Image.frombytes("RGB", (SIDE, SIDE), random.Random(seed).randbytes(3 * SIDE * SIDE))


def save_for_ever(outputs: str, first_seed: int, tell: Connection) -> None:
    """What the program does from its start on, as fast as it can; somebody will stop it."""
    assert not {"torch", "gradio"} & set(sys.modules)
    tell.send("began")
    history = History(Path(outputs))
    history.look()
    save = Saver(Path(outputs), history.add)
    for seed in range(first_seed, first_seed + 10_000):
        text = f"number {seed}\nSteps: 1, Sampler: DDIM, CFG scale: 7, Seed: {seed}, Model: first"
        save(GeneratedImage(picture(seed), seed, 0, text), Txt2Img())
        if seed == first_seed:
            tell.send("saved")


def check(outputs: Path) -> int:
    """Opens what is there as the next start does and compares it; how many pictures there are."""
    history = History(outputs)
    history.reconcile()
    indexed = history.page(Filter(), limit=10**6)
    assert len({row.path for row in indexed}) == len(indexed)
    files = {file.relative_to(outputs).as_posix(): file for file in outputs.rglob("*") if file.is_file()
             and not file.name.startswith(".history.sqlite3")}
    assert {row.path for row in indexed} == set(files)  # no picture is missing, and no temporary file is left
    for row in indexed:
        with Image.open(files[row.path]) as image:
            assert row.seed is not None
            assert image.tobytes() == picture(row.seed).tobytes()
            assert image.text["parameters"] == row.text  # type: ignore[attr-defined]
        assert history.count(Filter(words=f'"number {row.seed}"', seed=row.seed)) == 1
    assert history._all("PRAGMA integrity_check")[0][0] == "ok"
    history._db.execute("INSERT INTO prompts(prompts) VALUES ('integrity-check')")
    history.close()
    return len(indexed)


def test_fifty_kills(tmp_path: Path) -> None:
    chance = random.Random(20260131)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["modules.gallery.history", "modules.gallery.saving"])
    counts, saved = [], 0
    for number in range(ROUNDS):
        outputs = tmp_path / str(number // 10)  # so that checking stays quick, and each folder suffers ten kills
        listen, tell = context.Pipe(duplex=False)
        program = context.Process(target=save_for_ever, args=(str(outputs), 10_000 * number, tell), daemon=True)
        program.start()
        moment = chance.choice(("began", "saved"))
        while listen.recv() != moment:
            pass
        program.join(chance.uniform(0.0, 0.2))
        program.kill()
        program.join()
        assert program.exitcode == -9
        counts.append(check(outputs))
        saved += moment == "saved"
    assert sum(counts[9::10]) >= saved > 0
