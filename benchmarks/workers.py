"""python -m benchmarks.workers: how several workers scale, on pretended GPUs.

A pretended GPU takes 0.75 s for each batch and none of the processor, so that the figures show what the server, Ray and
the splitting cost. The pictures are 512 x 512.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
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
    """A worker that sleeps for `SECONDS` a batch, in steps; a request of one step takes no time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def about(self) -> About:
        return About("here", "pretended", os.getpid(), what_is_same(self._settings))

    def make(self, part: Part) -> Iterator[Event]:
        steps, size = part.request.steps, (part.request.width, part.request.height)
        for done, number in enumerate(part.numbers):
            yield Begun(done, len(part.numbers))
            for step in range(steps):
                time.sleep(SECONDS / steps if steps > 1 else 0)
                yield Step(step + 1, steps)
            yield Made((GeneratedImage(Image.new("RGB", size), part.request.seed + number, 0, ""),), {})
        yield Over(warm=frozenset([part.request.options.sd_model_checkpoint or ""]))

    def preview(self, part_id: str) -> bytes | None:
        return None

    def stop(self, part_id: str, wish: Wish) -> None: ...

    def unload(self) -> None: ...


def pretended(settings: Settings, config: Mapping[str, Any]) -> Crew:
    return Pretended(settings)


def measured(workers: int, pictures: int, folder: Path) -> tuple[float, float]:
    """(seconds for all `pictures`, seconds of a job of one picture that takes no time, the best of 20)."""
    settings = Settings(data_dir=folder, workers=workers, device="cpu")
    settings.checkpoint_dirs[0].mkdir(parents=True)
    (settings.checkpoint_dirs[0] / "pretended.safetensors").write_bytes(b"")
    ray = RayWorkers(settings, {}, pretended)
    for crew in ray.crews:
        crew.about()
    fleet = Fleet(settings, ray.crews)

    def seconds(steps: int, count: int) -> float:
        began = time.perf_counter()
        fleet.generate(Txt2Img(width=512, height=512, steps=steps, seed=1, n_iter=count), NullJob())
        return time.perf_counter() - began

    seconds(1, 8 * workers)
    found = seconds(STEPS, pictures), min(seconds(1, 1) for _ in range(20))
    fleet.close()
    ray.close()
    return found


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.workers", description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--pictures", type=int, default=64)
    chosen = parser.parse_args(argv)
    if len(chosen.workers) > 1:  # Ray starts once in a process
        print("| workers | seconds | of linear | overhead of the smallest job |\n| --- | --- | --- | --- |", flush=True)
        for workers in chosen.workers:
            subprocess.run([sys.executable, "-m", "benchmarks.workers", "--workers", str(workers), "--pictures",
                            str(chosen.pictures)], check=True)
        return
    (workers,) = chosen.workers
    with tempfile.TemporaryDirectory() as folder:
        whole, smallest = measured(workers, chosen.pictures, Path(folder))
    share = chosen.pictures * SECONDS / workers / whole
    print(f"| {workers} | {whole:.1f} | {share:.2f} | {1000 * smallest:.0f} ms |", flush=True)


if __name__ == "__main__":
    main()
