"""A torchvision for another torch is named at the start, with a line to type."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from modules.base import optional
from modules.base.optional import WrongTorchvision, check_torchvision, install_line


@pytest.mark.parametrize(("torch", "line"), [
    ("2.13.0+cpu", '"torchvision==0.28.0+cpu" --index-url INDEX_OF_TORCH && pip install spandrel'),
    ("2.8.1", "torchvision==0.23.1 && pip install spandrel")])
def test_the_line_fits_the_torch_that_is_there(torch: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: torch)
    assert install_line() == f"pip install {line}"


def test_a_torchvision_that_does_not_fit_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    with pytest.raises(WrongTorchvision, match="pip uninstall -y torchvision"):
        check_torchvision()


def test_without_one_and_with_one_that_fits_all_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optional.importlib.util, "find_spec", lambda name: None)
    check_torchvision()
    monkeypatch.setattr(optional.importlib.util, "find_spec", lambda name: ModuleSpec(name, None))
    monkeypatch.setattr(optional.importlib, "import_module", lambda name: None)
    check_torchvision()
