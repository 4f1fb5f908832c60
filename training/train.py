"""Trains the default checkpoint from nothing.

    python training/train.py all          # everything, in order; a second call goes on where the first one stopped
    python training/train.py text|unet|vae|redraw|sharp

See README.md beside this file.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import latents
from loop import run_workers
from model import Sizes
from redrawn import redraw
from text import train_text
from unet import Lesson, size, train_unet
from vae import sharpen, train_vae


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("text", "unet", "vae", "redraw", "sharp", "all"))
    parser.add_argument("--data", type=Path, default=Path("cache/training"), help="what fetch.py fetched")
    parser.add_argument("--state", type=Path, default=Path("cache/training/state"), help="where runs are kept")
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each (1 where there is a GPU)")
    parser.add_argument("--text-samples", type=int, default=200_000)
    parser.add_argument("--unet-samples", type=int, default=1_000_000)
    parser.add_argument("--vae-samples", type=int, default=100_000)
    parser.add_argument("--redrawn", type=int, default=2400, help="scenes that the UNet draws again for the decoder")
    parser.add_argument("--sharp-samples", type=int, default=50_000)
    parser.add_argument("--minutes", type=float, default=0.0, help="end the UNet's or the decoder's run by the clock")
    parser.add_argument("--sizes", type=size, nargs="+", default=[(128, 128)], help="pictures: 256 192x288")
    parser.add_argument("--batch", type=int, default=16, help="pictures of 128 x 128 in a worker's step")
    parser.add_argument("--rate", type=float, default=1.2e-3, help="the UNet's highest rate")
    args = parser.parse_args()
    args.state.mkdir(parents=True, exist_ok=True)
    sizes = Sizes()
    latents.load(args.data)
    by_clock = args.minutes > 0
    lesson = Lesson(0 if by_clock else args.unet_samples, args.minutes, args.rate, args.batch, tuple(args.sizes))
    stages = {
        "text": (train_text, args.text_samples),
        "unet": (train_unet, lesson),
        "vae": (train_vae, (0 if by_clock else args.vae_samples, args.minutes)),
        "redraw": (redraw, args.redrawn),
        "sharp": (sharpen, (0 if by_clock else args.sharp_samples, args.minutes)),
    }
    everything = [stage for stage in stages if stage != "redraw"]  # the UNet is not yet what it will be at 256 pixels
    for stage in everything if args.stage == "all" else (args.stage,):
        task, length = stages[stage]
        run_workers(task, args.workers, args.data, args.state, sizes, length)


if __name__ == "__main__":
    main()
