"""Teaches the checkpoint another world: a folder of pictures, each with its caption in a text file of the same name.

    python training/own.py pictures --out models/Stable-diffusion/mine.safetensors --minutes 60

pictures/red-kite.png goes with pictures/red-kite.txt. The UNet and the text encoder learn, from the weights of --start;
its autoencoder stays. Needs torch, numpy, pillow and safetensors, and nothing that fetch.py fetches.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from evaluate import Checkpoint
from export import checkpoint
from latents import to_tensor
from loop import Plan, Worker, load_average, run_workers, train
from model import Autoencoder, Sizes, TextEncoder, UNet, alphas_cumprod
from noise import noise_loss
from PIL import Image, ImageOps
from safetensors.torch import save_file
from text import Words
from torch import Tensor, nn

MERGES = Path("modules/networks/text/tokenizer/merges.txt")
TABLE = "text_model.embeddings.token_embedding.weight"


def pairs(folder: Path) -> list[tuple[Path, str]]:
    """The pictures and their captions."""
    found = [(path, path.with_suffix(".txt")) for path in sorted(folder.glob("*.png"))]
    said = [(path, text.read_text(encoding="utf-8").strip()) for path, text in found if text.exists()]
    if not said:
        raise SystemExit(f"{folder} holds no PNG file with a text file of the same name beside it")
    return said


@torch.no_grad()
def encoded(vae: Autoencoder, paths: list[Path], side: int) -> Tensor:
    """Latents (N, 4, side / 8, side / 8) of the pictures' middle squares."""
    made = []
    for path in paths:
        square = ImageOps.fit(Image.open(path).convert("RGB"), (side, side), Image.Resampling.LANCZOS)
        made.append(vae.encode(to_tensor([np.asarray(square)])))
    return torch.cat(made)


def learn(worker: Worker, folder: Path, state: Path, start: Path, merges: Path, sizes: Sizes | None, side: int,
          minutes: float = 0.0, samples: int = 0, batch: int = 16, rate: float = 5e-4) -> None:
    """Trains for so many minutes or samples; sizes: of a new UNet and text encoder, None goes on from the file's."""
    torch.manual_seed(0)
    model, said = Checkpoint(start, merges), pairs(folder)
    words = Words(merges, [text for _, text in said])
    latents = encoded(model.vae, [path for path, _ in said], side).to(worker.device)
    tokens = words([text for _, text in said])
    unet, text = UNet(sizes or model.sizes), TextEncoder(replace(sizes or model.sizes, vocabulary=len(words)))
    if sizes is None:
        unet.load_state_dict(model.unet.state_dict())
        kept = dict(model.text.state_dict())
        text.load_state_dict({**kept, TABLE: words.reduce(kept[TABLE])})
    modules = nn.ModuleDict({"unet": unet, "text": text}).to(worker.device)
    noise_left, unsaid = alphas_cumprod().to(worker.device), words([""])

    def loss(step: int) -> tuple[Tensor, int]:
        chosen = torch.randint(0, len(said), (batch,))
        z, rows = latents[chosen], tokens[chosen]
        rows[torch.rand(batch) < 0.1] = unsaid
        return noise_loss(lambda x, time: unet(x, time, text(rows.to(worker.device))), z, noise_left), batch

    plan = Plan("own", batch, rate, samples, minutes, warmup=50, constant=0.6, averages=(0.995,))
    train(plan, worker, [{"params": list(modules.parameters())}], modules, loss, state)


def write(state: Path, folder: Path, start: Path, merges: Path, sizes: Sizes | None, side: int, out: Path) -> None:
    """One checkpoint file of what was learned, and of the autoencoder that the training started from."""
    model, texts = Checkpoint(start, merges), [text for _, text in pairs(folder)]
    used, words = sizes or model.sizes, Words(merges, texts)
    unet, text = UNet(used), TextEncoder(replace(used, vocabulary=len(words)))
    for name, module in (("unet", unet), ("text", text)):
        load_average(module, state / "own.pt", name)
    table = words.expand(text.text_model.embeddings.token_embedding.weight.detach())
    examples = random.Random(1).sample(sorted(set(texts)), min(8, len(set(texts))))
    save_file(checkpoint(unet, model.vae, text, table), out, {
        **model.metadata, "title": out.stem, "native_size": str(side), "words": json.dumps({"examples": examples}),
        "unet_heads": str(used.unet_heads), "unet_norm_groups": str(used.unet_groups),
        "text_heads": str(used.text_heads), "licence": "that of the pictures it was trained on"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=Path, default=Path("models/Stable-diffusion/emoji-mini.safetensors"))
    parser.add_argument("--state", type=Path, help="where the run is kept, so that it can go on")
    parser.add_argument("--merges", type=Path, default=MERGES)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each (1 where there is a GPU)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        state = args.state or Path(temporary)
        state.mkdir(parents=True, exist_ok=True)
        run_workers(learn, args.workers, args.folder, state, args.start, args.merges, None, args.side, args.minutes)
        write(state, args.folder, args.start, args.merges, None, args.side, args.out)
    print(args.out)


if __name__ == "__main__":
    main()
