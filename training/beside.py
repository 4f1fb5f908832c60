"""The command line of a network that is trained beside the finished checkpoint: its run, its file, its judgement."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import latents
import torch
from evaluate import Checkpoint
from loop import Worker, run_workers
from unet import size


def run(doc: str | None, name: str, train: Callable[[Worker, argparse.Namespace], None],
        export: Callable[[argparse.Namespace, Checkpoint, int], None],
        judge: Callable[[argparse.Namespace, Checkpoint], None], *, minutes: float, batch: int, of: int, rate: float
        ) -> None:
    """Trains, or with --export or --judge calls those with the arguments, the checkpoint, and the samples seen. The
    state is state/<name>.pt. minutes, batch and rate are what is not given; `of`: the side in pixels of the pictures
    that the batch counts."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("models/Stable-diffusion/emoji-mini.safetensors"))
    parser.add_argument("--data", type=Path, default=Path("cache/training"))
    parser.add_argument("--state", type=Path, default=Path("cache/training/state"))
    parser.add_argument("--merges", type=Path, default=Path("modules/networks/text/tokenizer/merges.txt"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=minutes)
    parser.add_argument("--sizes", type=size, nargs="+", default=[(256, 256), (256, 256), (192, 288), (288, 192)])
    parser.add_argument("--batch", type=int, default=batch, help=f"pictures of {of} x {of} in a worker's step")
    parser.add_argument("--rate", type=float, default=rate)
    parser.add_argument("--export", type=Path)
    parser.add_argument("--judge", action="store_true")
    args = parser.parse_args()
    if args.export:
        export(args, Checkpoint(args.model, args.merges),
               torch.load(args.state / f"{name}.pt", map_location="cpu")["samples"])
    elif args.judge:
        torch.set_num_threads(1)
        judge(args, Checkpoint(args.model, args.merges))
    else:
        args.state.mkdir(parents=True, exist_ok=True)
        latents.load(args.data)
        run_workers(train, args.workers, args)
