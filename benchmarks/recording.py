"""python -m benchmarks recording: what Record steps costs a run of 20 steps at 512 x 512, in time and on the disk.

The network is that of the embedded checkpoint, which is small: beside a larger one the same costs are a smaller share.
Time is that of the processor, since the disk is written by the kernel later. Without recording a run makes the same
objects as if there were none, so there is nothing to measure.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from pathlib import Path

from PIL import Image, ImageDraw

from benchmarks.small_masks import load
from benchmarks.timing import Row, interleaved, medians
from modules.engine.engine import resolve
from modules.generation import recipes
from modules.request import Inpaint
from modules.request.job_context import NullJob
from modules.request.options import Options

SIZE, STEPS = 512, 20
TIME_TARGET, MOST_MB = 1.03, 40.0


class Recorded(NullJob):
    """A job that records into one file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def recording(self) -> Path:
        return self.file


def run(cache: Path, *, rounds: int) -> list[Row]:
    """Time and size."""
    model = load("default", cache)
    mask = Image.new("L", (SIZE, SIZE))
    ImageDraw.Draw(mask).ellipse((60, 60, 460, 460), fill=255)
    plain = resolve(Inpaint(
        prompt="a lighthouse on a cliff", seed=1, subseed=1, steps=STEPS, denoising_strength=1.0, width=SIZE,
        height=SIZE, init_images=(Image.new("RGB", (SIZE, SIZE), "teal"),), mask=mask,
        options=Options().replaced({"small_mask": "off"})))
    with tempfile.TemporaryDirectory() as folder:
        job = Recorded(Path(folder) / "steps.safetensors")

        def timed(request: Inpaint) -> list[float]:
            began = time.process_time()
            recipes.generate(lambda *_: model, request, job)
            return [time.process_time() - began]

        assert isinstance(plain, Inpaint)
        recorded = dataclasses.replace(plain, record_steps=True)
        timed(recorded)  # packs
        seconds = medians(interleaved({"on": lambda: timed(recorded), "off": lambda: timed(plain)}, rounds))
        megabytes = job.file.stat().st_size / 1e6
    name = f"Record steps, {STEPS} steps, default {SIZE} x {SIZE}"
    return [Row(f"{name}, CPU time", seconds["on"], seconds["off"], "without", "s", TIME_TARGET),
            Row(f"{name}, its file", megabytes, MOST_MB, "a limit", "MB", 1.0)]
