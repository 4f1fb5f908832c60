"""An extension that changes faces in finished pictures, as docs/guests.md expects it: with consent, never unseen."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import fake_engine
from PIL import Image

from modules.engine.engine import Engine
from modules.errors import InvalidInput
from modules.imaging.detectors.find import Find
from modules.imaging.detectors.registry import BUILT_IN
from modules.request import ScriptCall, Txt2Img
from modules.request.job_context import NullJob
from modules.request.result import Result
from modules.settings import Settings

BOX = (16, 8, 40, 32)


@pytest.fixture
def engine(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """An engine with the guest and one portrait, whose pictures have one face."""
    folder = settings.data_dir / "extensions" / "face_guest"
    shutil.copytree(Path(__file__).parent / "face_guest", folder)
    (folder / "portraits").mkdir()
    Image.new("RGB", (10, 10), (10, 250, 30)).save(folder / "portraits" / "anna.png")
    monkeypatch.setitem(BUILT_IN, "Face", lambda: lambda picture, least: [Find(BOX, 0.9)])
    return fake_engine(settings)


def made(engine: Engine, *arguments: Any) -> Result:
    on = (ScriptCall("Face guest", arguments),) if arguments else ()
    return engine.generate(Txt2Img(prompt="x", width=64, height=48, steps=2, seed=3, always_on=on), NullJob())


def agree(engine: Engine) -> None:
    engine.extensions.set("face_guest", "consent", True)


def test_the_face_is_changed_and_the_text_says_so(engine: Engine) -> None:
    agree(engine)
    plain, changed = made(engine).images[0], made(engine, "anna.png", 0.5).images[0]
    before, after = np.asarray(plain.image).astype(int), np.asarray(changed.image).astype(int)
    left, top, right, bottom = BOX
    assert np.allclose(after[20, 28], (before[20, 28] + (10, 250, 30)) / 2, atol=1.5)
    outside = np.ones(before.shape[:2], bool)
    outside[top:bottom, left:right] = False
    assert np.array_equal(before[outside], after[outside])
    assert "Face guest enabled: True, Face guest portrait: anna.png, Face guest blend: 0.5" in changed.infotext
    assert "Face guest" not in plain.infotext


def test_without_consent_no_face_is_changed(engine: Engine) -> None:
    plain, result = made(engine), made(engine, "anna.png")
    assert result.images[0].image.tobytes() == plain.images[0].image.tobytes()
    assert any("everybody agrees" in warning for warning in result.warnings)
    assert "Face guest" not in result.images[0].infotext


def test_only_its_own_portraits_are_read(engine: Engine) -> None:
    agree(engine)
    for name in ("../__init__.py", "/etc/passwd", "anna"):
        with pytest.raises(InvalidInput, match="Portrait"):
            made(engine, name)
