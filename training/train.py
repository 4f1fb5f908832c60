"""Trains the default checkpoint from nothing.

    python training/train.py all          # everything, in order; a second call goes on where the first one stopped
    python training/train.py text|unet|vae

See README.md beside this file.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import latents
from loop import run_workers
from model import Sizes
from text import train_text
from unet import train_unet
from vae import train_vae


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("text", "unet", "vae", "all"))
    parser.add_argument("--data", type=Path, default=Path("cache/training"), help="what fetch.py fetched")
    parser.add_argument("--state", type=Path, default=Path("cache/training/state"), help="where runs are kept")
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each (1 where there is a GPU)")
    parser.add_argument("--text-samples", type=int, default=100_000)
    parser.add_argument("--unet-samples", type=int, default=300_000)
    parser.add_argument("--vae-samples", type=int, default=60_000)
    args = parser.parse_args()
    args.state.mkdir(parents=True, exist_ok=True)
    sizes = Sizes()
    latents.load(args.data)
    tasks = {"text": train_text, "unet": train_unet, "vae": train_vae}
    for stage in tasks if args.stage == "all" else (args.stage,):
        samples = getattr(args, f"{stage}_samples")
        run_workers(tasks[stage], args.workers, args.data, args.state, sizes, samples)


if __name__ == "__main__":
    main()
