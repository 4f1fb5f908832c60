"""The door's own few decisions; that it really serves is in test_offline.py."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

import app


def test_old_uploads_are_forgotten_and_new_ones_kept(tmp_path: Path) -> None:
    for name, age in (("old", 2 * app.UPLOAD_SECONDS), ("new", 60)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "picture.png").touch()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    app.forget_old(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    app.forget_old(tmp_path / "nowhere")


@pytest.mark.parametrize("argv", [["--no-such-flag"], ["--port", "x"]])
def test_a_wrong_flag_ends_the_program_with_a_sentence(argv: list[str], monkeypatch: pytest.MonkeyPatch,
                                                       capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["app.py", *argv])
    assert app.main() == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
