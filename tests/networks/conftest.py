"""Tiny checkpoints in Stable Diffusion's layout, built once a run, and a model loaded from one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from networks.loading import load
from safetensors.torch import load_file, save_file
from torch import Tensor

from modules.networks import loader
from modules.networks.model import DiffusionModel


@pytest.fixture(scope="session")
def sd_model(tiny: Path) -> DiffusionModel:
    return load(tiny)


@pytest.fixture(scope="session")
def plain_model(tiny: Path) -> DiffusionModel:
    """The same without packed weights."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loader, "pack", lambda module: None)
        return load(tiny)


@pytest.fixture(scope="session")
def sd_inpainting(tiny_inpainting: Path) -> DiffusionModel:
    return load(tiny_inpainting)


@pytest.fixture
def changed(tiny: Path, tmp_path: Path) -> Callable[..., Path]:
    """Writes tiny-sd15 with its tensors put through a function."""

    def write(change: Callable[[dict[str, Tensor]], dict[str, Tensor]], name: str = "changed.safetensors") -> Path:
        tensors = change(load_file(tiny))
        path = tmp_path / name
        if path.suffix == ".safetensors":
            save_file({key: value.contiguous() for key, value in tensors.items()}, path)
        else:
            torch.save({"state_dict": tensors}, path)
        return path

    return write
