"""Loads a checkpoint the way the tests want it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from modules.networks.loader import load_model
from modules.networks.model import StableDiffusion
from modules.weights.catalog import CheckpointFile


def load(path: Path, **kwargs: Any) -> StableDiffusion:
    """The model in a file, on the CPU in float32 unless said otherwise."""
    chosen = {"device": torch.device("cpu"), "dtype": torch.float32} | kwargs
    return load_model(CheckpointFile(path, path.name), **chosen)
