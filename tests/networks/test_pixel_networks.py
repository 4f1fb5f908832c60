"""Files of upscalers and of networks for faces: read without running code, given to spandrel, and used on pixels."""

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
from modules.networks.pixel_networks import load_face_restorer, load_inpainter, load_upscaler

CPU = "cpu"
PHOTO = Image.effect_noise((24, 16), 60).convert("RGB")


class UnsupportedModelError(Exception):
    """spandrel's."""


class Doubler(torch.nn.Module):
    """What spandrel calls an ImageModelDescriptor: a network that repeats pixels and multiplies them."""

    input_channels = output_channels = 3
    supports_half = False
    purpose = "SR"
    device, dtype = torch.device(CPU), torch.float32

    def __init__(self, factor: Tensor) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, pixels: Tensor) -> Tensor:
        assert 0 <= float(pixels.min()) <= float(pixels.max()) <= 1
        return torch.nn.functional.interpolate(pixels, scale_factor=2) * self.factor


class Fader(torch.nn.Module):
    """What spandrel makes of a file for faces: pixels in [-1, 1] come out times a factor, as the first of two."""

    input_channels = output_channels = 3
    supports_half = True
    purpose = "FaceSR"
    device = torch.device(CPU)

    def __init__(self, factor: Tensor) -> None:
        super().__init__()
        self.factor = factor
        self.model = self._faces

    def _faces(self, pixels: Tensor, *, return_rgb: bool, randomize_noise: bool) -> tuple[Tensor, list[Tensor]]:
        assert -1 <= float(pixels.min()) < 0 < float(pixels.max()) <= 1
        assert (return_rgb, randomize_noise) == (False, False)
        return pixels * self.factor, []


class Filler(torch.nn.Module):
    """What spandrel makes of a file of LaMa: the hole comes out in one grey."""

    input_channels = output_channels = 3
    supports_half = False
    purpose = "Inpainting"
    device = torch.device(CPU)

    def __init__(self, grey: Tensor) -> None:
        super().__init__()
        self.grey = grey

    def forward(self, pixels: Tensor, hole: Tensor) -> Tensor:
        assert 0 <= float(pixels.min()) <= float(pixels.max()) <= 1
        assert set(hole.unique().tolist()) == {0, 1}
        return pixels * (1 - hole) + self.grey * hole


class ModelLoader:
    """Knows each kind of network by its only tensor."""

    def load_from_state_dict(self, state: Mapping[str, Tensor]) -> Doubler | Fader | Filler:
        if "misshapen" in state:
            raise RuntimeError("size mismatch")
        if "lama" in state:
            return Filler(state["lama"])
        if "face" in state:
            return Fader(state["face"])
        if "factor" not in state:
            raise UnsupportedModelError
        return Doubler(state["factor"])


@pytest.fixture
def spandrel(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library, as far as it is used."""
    monkeypatch.setitem(sys.modules, "spandrel", SimpleNamespace(
        ModelLoader=ModelLoader, ImageModelDescriptor=(Doubler, Fader), UnsupportedModelError=UnsupportedModelError))


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
    made = load_upscaler(saved(tmp_path / name, content), CPU)(PHOTO)
    expected = np.asarray(PHOTO.resize((48, 32), Image.Resampling.NEAREST), int)
    assert np.abs(np.asarray(made, int) * 2 - expected).max() <= 2


@pytest.mark.usefixtures("spandrel")
def test_faces_go_through_their_network_in_its_own_range(tmp_path: Path) -> None:
    file = saved(tmp_path / "x.pth", {"params_ema": {"face": torch.tensor([0.5])}})
    made = load_face_restorer(file, CPU)(PHOTO)
    expected = (np.asarray(PHOTO, float) - 127.5) * 0.5 + 127.5
    assert np.abs(np.asarray(made, float) - expected).max() <= 1
    with pytest.raises(CheckpointError, match=r"y\.pth does not restore faces"):
        load_face_restorer(saved(tmp_path / "y.pth", {"factor": torch.ones(1)}), CPU)


@pytest.mark.usefixtures("spandrel")
def test_the_hole_goes_through_its_network(tmp_path: Path) -> None:
    file = saved(tmp_path / "big-lama.pt", {"lama": torch.tensor([0.25])})
    holed = PHOTO.copy()
    holed.putalpha(255)
    holed.paste((9, 9, 9, 0), (4, 4, 12, 10))
    expected = PHOTO.copy()
    expected.paste((64, 64, 64), (4, 4, 12, 10))
    assert np.abs(np.asarray(load_inpainter(file, CPU)(holed), int) - np.asarray(expected)).max() <= 1
    with pytest.raises(CheckpointError, match=r"y\.pth does not fill holes"):
        load_inpainter(saved(tmp_path / "y.pth", {"factor": torch.ones(1)}), CPU)
    with pytest.raises(CheckpointError, match=r"big-lama\.pt does not turn an RGB picture into another"):
        load_upscaler(file, CPU)


class Code:
    """A pickle that would call a function."""

    def __reduce__(self) -> Any:
        return print, ("ran",)


@pytest.mark.usefixtures("spandrel")
@pytest.mark.parametrize(("content", "words"), [
    ({"params": Code()}, "asks to run print"), ({"other": torch.zeros(2)}, "no network that is known"),
    ({"misshapen": torch.zeros(2)}, "does not have the weights"), ({"face": torch.zeros(1)}, "restores faces")])
def test_other_files_are_refused(tmp_path: Path, content: Any, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CheckpointError, match=words):
        load_upscaler(saved(tmp_path / "x.pth", content), CPU)
    assert capsys.readouterr().out == ""


def test_without_the_library_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(CheckpointError, match=r"x\.pth needs the library spandrel"):
        load_upscaler(tmp_path / "x.pth", CPU)
