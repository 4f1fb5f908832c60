"""Decoding a large picture in strips against decoding it in one piece: CPU time and peak memory, a process each."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch

from benchmarks.checkpoints import checkpoint
from benchmarks.loading import status
from benchmarks.timing import Row, child, interleaved, medians


def run(cache: Path, *, size: int, threads: int, rounds: int) -> list[Row]:
    """Rows for a picture of `size` x `size` pixels with Stable Diffusion 1.5's autoencoder in float32."""
    path = checkpoint("sd15", cache)
    peaks: dict[str, list[float]] = {"strips": [], "whole": []}

    def decoded(kind: str) -> list[float]:
        figures = child("benchmarks.vae", kind, path, size, threads)
        peaks[kind].append(figures["peak"])
        return [figures["seconds"]]

    found = medians(interleaved({kind: lambda kind=kind: decoded(kind) for kind in peaks}, rounds))
    peak = medians(peaks)
    return [Row(f"Decode {size} x {size} in strips, CPU time", found["strips"], found["whole"], "in one piece", "s"),
            Row(f"Decode {size} x {size} in strips, peak memory", peak["strips"], peak["whole"], "in one piece", "GB")]


def main(kind: str, path: Path, size: int, threads: int) -> None:
    """Decodes noise and prints the figures; the peak is that of the whole process, libraries and model included."""
    from modules.networks.loader import load_model
    from modules.networks.tiled_vae import decode
    from modules.weights.catalog import CheckpointFile

    torch.set_num_threads(threads)
    # Only the autoencoder is kept: the rest of the checkpoint would hide it.
    vae = load_model(CheckpointFile(path, path.name), device=torch.device("cpu"), dtype=torch.float32).vae
    latent = torch.randn(1, 4, size // 8, size // 8)
    Path("/proc/self/clear_refs").write_text("5")  # the kernel's peak starts anew
    began = time.process_time()
    with torch.no_grad():
        decode(vae, latent) if kind == "strips" else vae.decode(latent).sample
    print(json.dumps({"seconds": time.process_time() - began, "peak": status("VmHWM") / 1e9}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
