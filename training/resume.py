"""Makes training states of a checkpoint file, so that training goes on from it with a fresh optimizer.

    python training/resume.py models/Stable-diffusion/emoji-mini.safetensors --state cache/training/state
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors import safe_open
from text import Words
from torch import Tensor

FRESH = 100_000  # as many steps as give the moving averages their full length from the start
TABLE = "text_model.embeddings.token_embedding.weight"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", type=Path, default=Path("cache/training"))
    parser.add_argument("--state", type=Path, default=Path("cache/training/state"))
    args = parser.parse_args()
    args.state.mkdir(parents=True, exist_ok=True)
    with safe_open(str(args.checkpoint), "pt") as file:
        metadata = file.metadata()

        def part(prefix: str, name: str) -> dict[str, Tensor]:
            return {f"{name}.{k.removeprefix(prefix)}": file.get_tensor(k).float()
                    for k in file.keys() if k.startswith(prefix)}  # noqa: SIM118

        unet = part("model.diffusion_model.", "unet")
        text = part("cond_stage_model.transformer.", "text")
        vae = part("first_stage_model.", "vae")
    words = Words(args.data / "bpe.txt.gz")
    text[f"text.{TABLE}"] = words.reduce(text[f"text.{TABLE}"])
    states = {"unet": ({**unet, **text}, "samples"), "vae": (vae, "vae_samples")}
    for name, (weights, seen) in states.items():
        torch.save({"modules": weights, "averages": {}, "optimizer": None, "step": FRESH, "steps": 0, "seconds": 0.0,
                    "samples": int(metadata[seen])}, args.state / f"{name}.pt")
    torch.save({"averages": {0: text}, "samples": 0}, args.state / "text.pt")
    print(f"{args.state}: {metadata['samples']} samples of the UNet, {metadata['vae_samples']} of the decoder so far")


if __name__ == "__main__":
    main()
