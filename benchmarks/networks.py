"""python -m benchmarks networks: putting LoRAs on a model and changing them, against diffusers.

Both read the same two files of rank 32 for all linear layers of attention, of Stable Diffusion 1.5's UNet and text
encoder, and of SDXL's UNet. Theirs is `load_lora_weights` and `fuse_lora`, and before another set `unfuse_lora` and
`unload_lora_weights`; it wants peft and accelerate. Both compute in float32, each in a process of its own, and no
picture is made. The first apply and the first change are not counted. With one thread, CPU time is measured.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.large import CONFIG, empty_unet
from benchmarks.small_masks import load
from benchmarks.timing import Row, child, interleaved, medians
from modules.networks.model import DiffusionModel
from modules.networks.patches.lora import Lora, read_lora
from modules.networks.patches.patched import plain_weight
from modules.networks.patches.patches import NOTHING, Patches

RANK = 32
TARGET = 0.5
PARTS = {"sd15": {"unet": "lora_unet", "text": "lora_te_text_model"}, "sdxl": {"unet": "lora_unet"}}
"""The parts that a LoRA is for, with their prefix in kohya's names."""


def run(name: str, cache: Path, *, threads: int, rounds: int) -> list[Row]:
    """Applying one set to a model without, and changing one for the other."""
    figures: dict[str, list[float]] = {}

    def measured(who: str) -> list[float]:
        for act, seconds in child("benchmarks.networks", who, name, cache, threads).items():
            figures.setdefault(f"{who}, {act}", []).append(seconds)
        return []

    interleaved({who: lambda who=who: measured(who) for who in WHO}, rounds)
    seconds = medians(figures)
    return [Row(f"{act.capitalize()} a LoRA of rank {RANK}, {name}, file included", seconds[f"ours, {act}"],
                seconds[f"diffusers, {act}"], "diffusers load_lora_weights + fuse_lora", "s", TARGET)
            for act in ("apply", "change")]


class Ours:
    """Our model, which has the LoRA of a file on, or none."""

    def __init__(self, name: str, cache: Path) -> None:
        self._model = load(name, cache)
        for module in (self._model.vae, *(part for key, part in self._model.parts.items() if key not in PARTS[name])):
            module.to("meta")  # diffusers' pipeline is without them too
        for number, file in enumerate(files(name, cache)):
            if not file.exists():
                write(self._model, PARTS[name], file, number)

    def put_on(self, file: Path) -> None:
        warnings = self._model.put_on(Patches(loras=(Lora(read_lora(file, file.stem)),)))
        assert not warnings

    def take_off(self) -> None:
        self._model.put_on(NOTHING)

    change = put_on


class Diffusers:
    """diffusers' pipeline of the same size with other weights, and its way with LoRAs."""

    def __init__(self, name: str, cache: Path) -> None:
        from diffusers import DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline
        from transformers import CLIPTextConfig, CLIPTextModel

        self._pipe: Any
        if name == "sdxl":
            self._pipe = StableDiffusionXLPipeline(None, None, None, None, None, empty_unet(CONFIG), DDIMScheduler())
        else:
            text = CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=12,
                                  num_attention_heads=12)
            self._pipe = StableDiffusionPipeline(None, CLIPTextModel(text), None,
                                                 empty_unet({"cross_attention_dim": 768}), DDIMScheduler(), None, None,
                                                 requires_safety_checker=False)
        self._on = False

    def put_on(self, file: Path) -> None:
        self._pipe.load_lora_weights(str(file))
        self._pipe.fuse_lora()
        self._on = True

    def take_off(self) -> None:
        if self._on:
            self._pipe.unfuse_lora()
            self._pipe.unload_lora_weights()
            self._on = False

    def change(self, file: Path) -> None:
        self.take_off()
        self.put_on(file)


WHO: dict[str, Callable[[str, Path], Ours | Diffusers]] = {"ours": Ours, "diffusers": Diffusers}


def files(name: str, cache: Path) -> list[Path]:
    """Two LoRAs for a checkpoint of that name."""
    return [cache / f"lora-{name}-{number}.safetensors" for number in range(2)]


def write(model: DiffusionModel, parts: dict[str, str], path: Path, seed: int) -> None:
    """A LoRA in kohya's names for the linear layers of attention in these `parts`, in float16."""
    chance = torch.Generator().manual_seed(seed)
    tensors: dict[str, Tensor] = {}
    for part, prefix in parts.items():
        for layer in dict.fromkeys(model.layers.layers[part].values()):
            weight = plain_weight(model.parts[part].get_submodule(layer.path))
            if weight.dim() == 2 and ("attn" in layer.path or ".ff." in layer.path or ".mlp." in layer.path):
                name = f"{prefix}_{layer.path.replace('.', '_')}"
                tensors |= {f"{name}.lora_up.weight": torch.randn(len(weight), RANK, generator=chance).half() * 0.01,
                            f"{name}.lora_down.weight": torch.randn(RANK, weight.shape[1], generator=chance).half(),
                            f"{name}.alpha": torch.tensor(float(RANK)).half()}
    save_file(tensors, path)


def main(who: str, name: str, cache: Path, threads: int) -> None:
    """Print the seconds of an apply and of a change as JSON. The first of each is not counted."""
    torch.set_num_threads(threads)
    clock = time.thread_time if threads == 1 else time.perf_counter
    one, (first, second) = WHO[who](name, cache), files(name, cache)
    seconds = {}
    for _ in range(2):
        one.take_off()
        began = clock()
        one.put_on(first)
        applied = clock()
        one.change(second)
        seconds = {"apply": applied - began, "change": clock() - applied}
    print(json.dumps(seconds))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
