"""Making files of weights: merged checkpoints with LoRAs in them, and LoRAs from the difference of two checkpoints."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from modules.engine.engine import Engine
from modules.errors import InvalidInput
from modules.text.network_tags import LORA, network_tags
from modules.text.prompt import extra_networks
from modules.weights.catalog import CheckpointFile

if TYPE_CHECKING:
    from modules.weights.merge import Recipe

OnProgress = Callable[[float], None]

_NAME = re.compile(r"[\w\-. ()+&,=\[\]]{1,120}")


def with_loras(recipe: Recipe, tags: str) -> Recipe:
    """`recipe` with the LoRAs that a text of tags names, like "<lora:a:0.8> <lora:b:1>". Raises InvalidInput for
    anything else in it."""
    found, warnings = network_tags(tags)
    rest = extra_networks(tags)[0].strip(" ,\n")
    if warnings or rest or any(tag.kind != LORA for tag in found):
        raise InvalidInput(f"LoRAs are written like <lora:name:0.8>, not {(rest or tags.strip())[:100]!r}.",
                           field="loras")
    return replace(recipe, loras=found)


def merge_checkpoints(engine: Engine, recipe: Recipe, on_progress: OnProgress) -> tuple[Path, tuple[str, ...]]:
    """Write the checkpoint that `recipe` describes among ours. Returns its path, and a sentence for each LoRA of which
    not everything was used. Only the thread that carries out requests may call it. Raises as `weights.merge.merge`."""
    from modules.networks.patches.baking import Baking
    from modules.weights.merge import merge

    folder, sha256 = engine.settings.checkpoint_dirs[0], engine.catalog.sha256
    if not recipe.loras:
        return merge(recipe, folder, sha256, on_progress), ()
    baking = Baking(recipe.a, engine.networks.loras_of(recipe.loras))
    return merge(recipe, folder, sha256, on_progress, baking.changes), baking.warnings


def extract_lora(engine: Engine, tuned: CheckpointFile, original: CheckpointFile, rank: int, name: str,
                 on_progress: OnProgress) -> Path:
    """Write a LoRA of the difference between two checkpoints among ours, called `name` or after them. Returns its path.
    Raises as `networks.patches.extracting.extract`."""
    from modules.networks.patches.extracting import extract

    if name and not _NAME.fullmatch(name):
        raise InvalidInput(f"{name!r} cannot be a file's name here.", field="name")
    path = engine.settings.lora_dirs[0] / f"{name or f'{tuned.model_name} - {original.model_name}'}.safetensors"
    extract(original, tuned, rank, path, on_progress)
    engine.networks.loras.refresh()
    return path
