"""Upscalers' files: read without running code, given to spandrel, and used on pixels in [0, 1]."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from modules.errors import CheckpointError
from modules.weights.upscaler import load_network

CPU = torch.device("cpu")
PHOTO = Image.effect_noise((24, 16), 60).convert("RGB")


class UnsupportedModelError(Exception):
    """spandrel's."""


class Doubler(torch.nn.Module):
    """What spandrel calls an ImageModelDescriptor: a network that repeats pixels and multiplies them."""

    input_channels = output_channels = 3
    supports_half = False
    device, dtype = CPU, torch.float32

    def __init__(self, factor: Tensor) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, pixels: Tensor) -> Tensor:
        assert 0 <= float(pixels.min()) <= float(pixels.max()) <= 1
        return torch.nn.functional.interpolate(pixels, scale_factor=2) * self.factor


class ModelLoader:
    """Knows one kind of network by its only tensor."""

    def load_from_state_dict(self, state: Mapping[str, Tensor]) -> Doubler:
        if "factor" not in state:
            raise UnsupportedModelError
        return Doubler(state["factor"])


@pytest.fixture
def spandrel(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library, as far as it is used."""
    monkeypatch.setitem(sys.modules, "spandrel", SimpleNamespace(
        ModelLoader=ModelLoader, ImageModelDescriptor=Doubler, UnsupportedModelError=UnsupportedModelError))


def saved(path: Path, content: Any) -> Path:
    if path.suffix == ".safetensors":
        save_file(content, path)
    else:
        torch.save(content, path)
    return path


@pytest.mark.usefixtures("spandrel")
@pytest.mark.parametrize(("name", "content"), [
    ("x.safetensors", {"factor": torch.tensor([0.5])}), ("x.pth", {"params_ema": {"factor": torch.tensor([0.5])}}),
    ("x.pth", {"params": {"factor": torch.tensor([0.5])}}), ("x.pt", {"factor": torch.tensor([0.5]).half()})])
def test_pixels_go_through_the_network(tmp_path: Path, name: str, content: Any) -> None:
    made = load_network(saved(tmp_path / name, content), CPU)(PHOTO)
    expected = np.asarray(PHOTO.resize((48, 32), Image.Resampling.NEAREST), int)
    assert np.abs(np.asarray(made, int) * 2 - expected).max() <= 2


class Code:
    """A pickle that would call a function."""

    def __reduce__(self) -> Any:
        return print, ("ran",)


@pytest.mark.usefixtures("spandrel")
@pytest.mark.parametrize(("content", "words"), [
    ({"params": Code()}, "asks to run print"), ({"other": torch.zeros(2)}, "no upscaler that is known")])
def test_other_files_are_refused(tmp_path: Path, content: Any, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CheckpointError, match=words):
        load_network(saved(tmp_path / "x.pth", content), CPU)
    assert capsys.readouterr().out == ""


def test_without_the_library_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(CheckpointError, match=r"x\.pth needs the library spandrel"):
        load_network(tmp_path / "x.pth", CPU)
