"""Loads a checkpoint the way the tests want it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from modules.networks.loader import load_model
from modules.networks.model import DiffusionModel
from modules.sampling.conditioning import Conditioning, TextOptions, stack
from modules.sampling.levels import Level
from modules.weights.catalog import CheckpointFile


def load(path: Path, **kwargs: Any) -> DiffusionModel:
    """The model in a file, on the CPU in float32 unless said otherwise."""
    chosen = {"device": torch.device("cpu"), "dtype": torch.float32} | kwargs
    return load_model(CheckpointFile(path, path.name), **chosen)


def with_vae(model: DiffusionModel, vae: torch.nn.Module, dtype: torch.dtype,
             tiled_vae: str = "auto") -> DiffusionModel:
    """`model` with another autoencoder, which computes in `dtype`."""
    return DiffusionModel("x", model.network, vae, model.text, model.parts, latent=model.latent, levels=model.levels,
                          prediction=model.prediction, inputs=model.inputs, device=model.device, dtype=dtype,
                          tiled_vae=tiled_vae)


def said(model: DiffusionModel, *texts: str) -> Conditioning:
    """The conditioning of as many rows as there are texts."""
    return stack(model.encode_prompts(texts, TextOptions()))


def level(t: float) -> Level:
    """A level at timestep t. The network is told no more than that."""
    return Level(t, 0.5, 0.5)
