"""Whether memory stays flat: 50 swaps between two checkpoints, and four inpaintings after each of them.

The checkpoints are small ones, so that a leak of one model, 57 MB, would be seen at once. With `--model-cache 0` each
swap reads its file again and lets the other model go.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from benchmarks.checkpoints import checkpoint
from benchmarks.loading import status
from benchmarks.timing import Row

SWAPS, EACH, SETTLED = 50, 4, 10
SIZE = 64  # pixels a side


def run(cache: Path) -> tuple[list[Row], list[float]]:
    """(the row, resident memory in MB after each inpainting)."""
    from benchmarks.steps import scene
    from modules.engine.engine import Engine
    from modules.request import Inpaint
    from modules.request.job_context import NullJob
    from modules.request.options import Options
    from modules.settings import Settings

    path = checkpoint("tiny", cache).resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for other in ("one", "other"):
            (folder / f"{other}.safetensors").symlink_to(path)
        engine = Engine(Settings(data_dir=folder, ckpt_dir=folder, device="cpu", model_cache=0))
        picture, mask = scene(SIZE)
        used = []
        for k in range(SWAPS):
            options = Options(sd_model_checkpoint=("one", "other")[k % 2])
            for seed in range(EACH):
                engine.generate(Inpaint(prompt=f"a lighthouse {k}", steps=2, width=SIZE, height=SIZE, seed=seed,
                                        init_images=(picture,), mask=mask, options=options), NullJob())
                used.append(status("VmRSS") / 1e6)
    early, late = used[SETTLED * EACH : 2 * SETTLED * EACH], used[-SETTLED * EACH :]
    return [Row(f"Memory at swaps {SWAPS - SETTLED} to {SWAPS}, {SWAPS * EACH} pictures", statistics.median(late),
                statistics.median(early), f"at swaps {SETTLED} to {2 * SETTLED}", "MB", 1.02)], used
