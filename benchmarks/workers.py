"""python -m benchmarks.workers: how several workers scale, on pretended GPUs.

A pretended GPU takes 0.75 s for each batch and none of the processor, so that the figures show what the server, Ray and
the splitting cost. The pictures are 512 x 512.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from modules.jobs.crew import About, Begun, Crew, Event, Made, Over, Part, Step, Wish, what_is_same
from modules.jobs.ray_workers import RayWorkers
from modules.jobs.workers import Fleet
from modules.request import Txt2Img
from modules.request.job_context import NullJob
from modules.request.result import GeneratedImage
from modules.settings import Settings

SECONDS, STEPS = 0.75, 20


class Pretended:
    """A worker that sleeps. `seconds` are those of a batch."""

    def __init__(self, settings: Settings, seconds: float) -> None:
        self._settings, self._seconds = settings, seconds

    def about(self) -> About:
        return About("here", "pretended", os.getpid(), what_is_same(self._settings))

    def make(self, part: Part) -> Iterator[Event]:
        for done, number in enumerate(part.numbers):
            yield Begun(done, len(part.numbers))
            for step in range(STEPS if self._seconds else 1):
                time.sleep(self._seconds / STEPS)
                yield Step(step + 1, STEPS)
            size = part.request.width, part.request.height
            yield Made((GeneratedImage(Image.new("RGB", size), part.request.seed + number, 0, ""),), {})
        yield Over(warm=frozenset([part.request.options.sd_model_checkpoint or ""]))

    def preview(self, part_id: str) -> bytes | None:
        return None

    def stop(self, part_id: str, wish: Wish) -> None: ...

    def unload(self) -> None: ...


def slow(settings: Settings, config: Mapping[str, Any]) -> Crew:
    return Pretended(settings, SECONDS)


def immediate(settings: Settings, config: Mapping[str, Any]) -> Crew:
    return Pretended(settings, 0.0)


def measured(workers: int, pictures: int, folder: Path) -> tuple[float, float]:
    """(seconds for all `pictures`, seconds of a job of one picture that takes no time)."""
    settings = Settings(data_dir=folder, workers=workers, device="cpu")
    settings.checkpoint_dirs[0].mkdir(parents=True, exist_ok=True)
    (settings.checkpoint_dirs[0] / "pretended.safetensors").write_bytes(b"")
    found = []
    for make, count in ((slow, pictures), (immediate, 1)):
        ray = RayWorkers(settings, {}, make)
        fleet = Fleet(settings, ray.crews)
        request = Txt2Img(width=512, height=512, steps=STEPS, seed=1)
        fleet.generate(Txt2Img(width=512, height=512, steps=STEPS, seed=1, n_iter=2 * workers), NullJob())
        for crew in ray.crews:
            crew.about()
        rounds = []
        for _ in range(1 if count > 1 else 20):
            began = time.perf_counter()
            fleet.generate(Txt2Img(width=512, height=512, steps=STEPS, seed=1, n_iter=count) if count > 1 else request,
                           NullJob())
            rounds.append(time.perf_counter() - began)
        found.append(min(rounds))
        fleet.close()
        ray.close()
    return found[0], found[1]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.workers", description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--pictures", type=int, default=64)
    chosen = parser.parse_args(argv)
    print("| workers | seconds | of linear | overhead of the smallest job |\n| --- | --- | --- | --- |")
    for workers in chosen.workers:
        with tempfile.TemporaryDirectory() as folder:
            whole, smallest = measured(workers, chosen.pictures, Path(folder))
        share = chosen.pictures * SECONDS / workers / whole
        print(f"| {workers} | {whole:.1f} | {share:.2f} | {1000 * smallest:.0f} ms |", flush=True)


if __name__ == "__main__":
    main()
