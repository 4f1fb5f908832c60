"""From a TOML file with settings to a LoRA among the others, with what cards and other programs read of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from modules.errors import InvalidInput
from modules.networks.loader import about, load_model
from modules.settings import Settings
from modules.training.config import TrainingConfig, read_config
from modules.training.dataset import Example, examples
from modules.training.loop import Progress, train, write
from modules.weights import catalog

USUAL_SIZE = 512
"""Pixels, of a checkpoint that does not tell its own."""


def train_file(path: Path, settings: Settings, device: str, *, told: Callable[[Progress], None],
               stage: Callable[[str], None]) -> Path:
    """Trains what the file describes, and returns the path of the LoRA. Raises UserError, and what `told` raises; the
    same call goes on then."""
    config = read_config(path)
    out = settings.folders("LoRAs")[0] / f"{config.name}.safetensors"
    if out.exists():
        raise InvalidInput(f"There is a LoRA called {config.name} already: {out}.", field="name")
    found = examples(config.datasets)
    checkpoint = catalog.Catalog(settings.checkpoint_dirs, settings.vae_dirs,
                                 settings.cache_dir / "hashes.json").find(config.checkpoint)
    native, known = catalog.metadata(checkpoint.path).get("native_size", ""), about(checkpoint)
    size = int(native[:5]) if native.isdecimal() else known.size if known else USUAL_SIZE
    stage("Loading the checkpoint")
    model = load_model(checkpoint, device=torch.device(device), dtype=torch.float32, packs=False, keep_half=False)
    state = settings.data_dir / "training" / f"{config.name}.state.safetensors"
    tensors = train(model, config, found, size=size, state=state, told=told, stage=stage)
    write_lora(out, tensors, metadata(config, checkpoint.model_name, found),
               ", ".join(dict.fromkeys(dataset.trigger for dataset in config.datasets if dataset.trigger)))
    state.unlink(missing_ok=True)
    return out


def metadata(config: TrainingConfig, checkpoint: str, found: Sequence[Example]) -> dict[str, str]:
    """What the page's cards and other programs read of the file: kohya's names."""
    words = Counter(word.strip() for example in found for word in example.caption.split(",") if word.strip())
    return {
        "ss_network_module": "networks.lora", "ss_network_dim": str(config.rank),
        "ss_network_alpha": f"{config.alpha:g}", "ss_sd_model_name": checkpoint, "ss_output_name": config.name,
        "ss_learning_rate": f"{config.rate:g}", "ss_steps": str(config.steps), "ss_seed": str(config.seed),
        "ss_total_batch_size": str(config.batch), "ss_clip_skip": str(config.clip_skip),
        "ss_num_train_images": str(len(found)), "ss_min_snr_gamma": f"{config.min_snr:g}",
        "ss_tag_frequency": json.dumps({config.name: dict(words.most_common(200))}, ensure_ascii=False),
        "modelspec.title": config.name,
    }


def write_lora(path: Path, tensors: dict[str, Tensor], about: dict[str, str], trigger: str) -> None:
    """The file, and beside it a JSON file with the words that call the LoRA, which the cards show. Raises
    CannotSave."""
    write(path, save(tensors, about))
    if trigger:
        words: dict[str, Any] = {"activation text": trigger}
        write(path.with_suffix(".json"), json.dumps(words, ensure_ascii=False, indent=2).encode())
