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
    table, used = text[f"text.{TABLE}"], set(words.used)
    strange = next(token for token in range(len(table)) if token not in used)
    text[f"text.{TABLE}"] = table[torch.tensor([strange, *words.used])].clone()
    states = {"unet": ({**unet, **text}, "samples"), "vae": (vae, "vae_samples")}
    for name, (weights, seen) in states.items():
        torch.save({"modules": weights, "average": {k: v.clone() for k, v in weights.items()}, "optimizer": None,
                    "step": 0, "samples": int(metadata[seen])}, args.state / f"{name}.pt")
    torch.save({"average": text}, args.state / "text.pt")
    print(f"{args.state}: {metadata['samples']} samples of the UNet, {metadata['vae_samples']} of the decoder so far")


if __name__ == "__main__":
    main()
