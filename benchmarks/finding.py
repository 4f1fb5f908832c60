"""python -m benchmarks finding: what masks, subjects and detectors take for a photograph of 1024 x 1024, without files
of networks in `models`. Masks by clicks are those of GrabCut; the first click on a picture looks at all of it.

With one thread, CPU time is measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import cv2
from PIL import Image

from benchmarks.timing import PROJECT, Row, interleaved, medians
from modules.engine.clicking import Clicking
from modules.imaging.click_mask import Click
from modules.imaging.detectors.registry import Detectors
from modules.imaging.subject import Subjects
from modules.settings import Settings

PHOTOGRAPH = PROJECT / "tests" / "data" / "astronaut.jpg"
SIZE = (1024, 1024)
CLICKS = [Click(452, 240), Click(300, 800), Click(700, 800, False)]
LIMIT = 0.5


def run(cache: Path, *, threads: int, rounds: int) -> list[Row]:
    """Each against the limit for a click, which only the further clicks must keep."""
    cv2.setNumThreads(threads)
    clock = time.thread_time if threads == 1 else time.perf_counter
    with Image.open(PHOTOGRAPH) as file:
        picture = file.convert("RGB").resize(SIZE)
    clicking, subjects, detectors = Clicking(Settings(data_dir=cache)), Subjects(), Detectors()
    tried = iter(range(10**6))

    def timed(act: Callable[[], object]) -> list[float]:
        began = clock()
        act()
        return [clock() - began]

    def later() -> list[float]:
        key = (next(tried),)
        clicking.mask(key, picture.copy, CLICKS[:1])
        return [one for clicks in (CLICKS[:2], CLICKS)
                for one in timed(lambda clicks=clicks: clicking.mask(key, picture.copy, clicks))]

    runs: dict[str, Callable[[], list[float]]] = {
        "First click": lambda: timed(lambda: clicking.mask((next(tried),), picture.copy, CLICKS[:1])),
        "Each further click": later, "Subject": lambda: timed(lambda: subjects.mask(picture))}
    runs |= {name: lambda name=name: timed(lambda: detectors.detector(name)(picture, 0.3))
             for name in ("Face", "Hand", "Person")}
    for first in runs.values():
        first()  # reads the networks
    taken = medians(interleaved(runs, rounds))
    rows = [Row(f"{what} on 1024 x 1024", seconds, LIMIT, "a limit", "s", 1.0 if what == "Each further click" else None)
            for what, seconds in taken.items()]
    return sorted(rows, key=lambda row: row.target is None)
