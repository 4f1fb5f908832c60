"""Checkpoints of random weights in Stable Diffusion's layout: nothing is downloaded, and all values are harmless."""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

HERE = Path(__file__).parent
EMBEDDED = HERE.parent / "models" / "Stable-diffusion" / "emoji-mini.safetensors"
SHAPES = {
    "sd15": HERE / "shapes" / "sd15.json",  # 1.07e9 numbers, a file of 2.1 GB
    "sdxl": HERE / "shapes" / "sdxl.json",  # 3.47e9 numbers, a file of 6.9 GB
    "tiny": HERE.parent / "tests" / "shapes" / "tiny-sd15.json",
}


def checkpoint(name: str, cache: Path) -> Path:
    """The path of `name`.safetensors in `cache`, built there the first time (sd15: 20 s, 5 GB of memory; sdxl:
    2 minutes, 8 GB).

    `default` is the embedded one.
    """
    if name == "default":
        return EMBEDDED
    path = cache / f"{name}.safetensors"
    if not path.exists():
        print(f"building {path}", flush=True)
        cache.mkdir(parents=True, exist_ok=True)
        shapes = json.loads(SHAPES[name].read_text())
        partial = path.with_suffix(".partial")
        save_file({key: _weight(key, shape) for key, shape in shapes.items() if "." in key}, str(partial))
        partial.rename(path)
    return path


def _weight(key: str, shape: list[int]) -> np.ndarray:
    if key.endswith("position_ids"):
        return np.arange(shape[-1], dtype=np.int64).reshape(shape)
    # Each name seeds its own stream, and the width keeps the variance, so that activations stay near 1 at any size.
    centre, width = (float(key.endswith("weight")), 0.05) if len(shape) == 1 else (0.0, math.prod(shape[1:]) ** -0.5)
    uniform = np.random.default_rng(zlib.crc32(key.encode())).random(shape, dtype=np.float32)
    uniform -= np.float32(0.5)
    uniform *= np.float32(2 * math.sqrt(3) * width)
    return np.asarray(uniform + np.float32(centre), np.float16)
