"""python -m benchmarks networks: putting LoRAs on Stable Diffusion 1.5 and changing them, against diffusers.

Both read the same two files of rank 32 for all linear layers of attention in the UNet and in the text encoder. Theirs
is `load_lora_weights` and `fuse_lora`, and before another set `unfuse_lora` and `unload_lora_weights`; it wants peft
and accelerate. Both compute in float32, and no picture is made.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.small_masks import load
from benchmarks.timing import Row, interleaved, medians
from modules.networks.model import DiffusionModel
from modules.networks.patches.lora import Lora, read_lora
from modules.networks.patches.patched import plain_weight
from modules.networks.patches.patches import NOTHING, Patches

RANK = 32
TARGET = 0.5


def run(cache: Path, *, rounds: int) -> list[Row]:
    """Applying one set to a model without, and changing one for the other."""
    model = load("sd15", cache)
    files = [write(model, cache / f"lora-{number}.safetensors", number) for number in range(2)]
    theirs = _Diffusers(files)
    seconds = medians(interleaved({
        "ours, apply": lambda: _timed(lambda: _put_on(model, files[0]), before=lambda: model.put_on(NOTHING)),
        "theirs, apply": lambda: _timed(lambda: theirs.put_on(0), before=theirs.take_off),
        "ours, change": lambda: _timed(lambda: _put_on(model, files[1]), before=lambda: _put_on(model, files[0])),
        "theirs, change": lambda: _timed(lambda: theirs.change(1), before=lambda: theirs.change(0))}, rounds))
    return [Row(f"{key.capitalize()} a LoRA of rank {RANK}, sd15, file included", seconds[f"ours, {key}"],
                seconds[f"theirs, {key}"], "diffusers load_lora_weights + fuse_lora", "s", TARGET)
            for key in ("apply", "change")]


def _timed(act: Callable[[], object], before: Callable[[], object]) -> list[float]:
    before()
    began = time.perf_counter()
    act()
    return [time.perf_counter() - began]


def _put_on(model: DiffusionModel, path: Path) -> None:
    warnings = model.put_on(Patches(loras=(Lora(read_lora(path, path.stem)),)))
    assert not warnings


class _Diffusers:
    """diffusers' pipeline of the same size with random weights, and its way with LoRAs."""

    def __init__(self, files: list[Path]) -> None:
        from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
        from transformers import CLIPTextConfig, CLIPTextModel

        text = CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12)
        self._pipe = StableDiffusionPipeline(
            None, CLIPTextModel(text), None, UNet2DConditionModel(cross_attention_dim=768), DDIMScheduler(), None, None,
            requires_safety_checker=False)
        self._files, self._on = files, False

    def put_on(self, number: int) -> None:
        self._pipe.load_lora_weights(str(self._files[number]))
        self._pipe.fuse_lora()
        self._on = True

    def take_off(self) -> None:
        if self._on:
            self._pipe.unfuse_lora()
            self._pipe.unload_lora_weights()
            self._on = False

    def change(self, number: int) -> None:
        self.take_off()
        self.put_on(number)


def write(model: DiffusionModel, path: Path, seed: int) -> Path:
    """A LoRA in kohya's names for the linear layers of attention, in float16."""
    chance = torch.Generator().manual_seed(seed)
    tensors: dict[str, Tensor] = {}
    for part, prefix in (("unet", "lora_unet"), ("text", "lora_te_text_model")):
        for layer in dict.fromkeys(model.layers.layers[part].values()):
            weight = plain_weight(model.parts[part].get_submodule(layer.path))
            if weight.dim() == 2 and ("attn" in layer.path or ".ff." in layer.path or ".mlp." in layer.path):
                name = f"{prefix}_{layer.path.replace('.', '_')}"
                tensors |= {f"{name}.lora_up.weight": torch.randn(len(weight), RANK, generator=chance).half() * 0.01,
                            f"{name}.lora_down.weight": torch.randn(RANK, weight.shape[1], generator=chance).half(),
                            f"{name}.alpha": torch.tensor(float(RANK)).half()}
    save_file(tensors, path)
    return path
