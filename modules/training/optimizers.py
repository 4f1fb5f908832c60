"""What turns gradients into steps, and the rate of each step."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import nn

from modules.errors import InvalidInput
from modules.training.config import TrainingConfig

OPTIONAL = {"prodigy": ("prodigyopt", "Prodigy"), "lion": ("lion_pytorch", "Lion")}
"""Modules of requirements-training.txt, and the optimizers in them."""


def optimizer_for(config: TrainingConfig, parameters: Sequence[nn.Parameter],
                  of_texts: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimizer, with a group of parameters for each rate, which is its `usual`. Raises InvalidInput."""
    groups: list[dict[str, Any]] = [{"params": list(parameters), "usual": config.rate}]
    if of_texts:
        groups.append({"params": list(of_texts), "usual": config.text_rate})
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, config.rate, (0.9, 0.99), weight_decay=config.decay)
    module, name = OPTIONAL[config.optimizer]
    if config.optimizer == "prodigy" and of_texts and config.text_rate != config.rate:
        raise InvalidInput("Prodigy finds one rate for all: make the text encoder's equal to the other, or 0.",
                           field="text_rate")
    try:
        made = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise InvalidInput(f"{name} is not installed: pip install -r requirements-training.txt installs it.",
                           field="optimizer") from error
    return cast(torch.optim.Optimizer, made(groups, lr=config.rate, weight_decay=config.decay))


def set_rates(optimizer: torch.optim.Optimizer, config: TrainingConfig, step: int) -> None:
    """The rates of step `step`, from 0: a warm-up, then constant, or a cosine to zero at the end."""
    rising = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
    falling = 0.5 * (1 + math.cos(math.pi * step / config.steps)) if config.schedule == "cosine" else 1.0
    for group in optimizer.param_groups:
        group["lr"] = group["usual"] * rising * falling
