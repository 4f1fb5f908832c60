"""What the page's job of making edits again holds while it waits."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import photographs
import pytest

from modules.engine import redo
from modules.errors import InvalidInput
from modules.gallery.history import History
from modules.imaging import photograph
from modules.request.photograph import Photograph
from modules.text.edits import Edits, Source, Step
from modules.ui.tabs.redo import Redo

DATA = photographs.file(photographs.pixels()[:64, :64], "PNG")


def test_a_waiting_job_holds_no_pixels_and_looks_again_at_the_file(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "photo.png"
    file.write_bytes(DATA)
    source = photograph.read(DATA)
    edits = Edits(Source(source.sha256, len(DATA), *source.size, ""), (Step("a dog\nSteps: 2", ""),))
    history = History(tmp_path / "outputs")
    view: Any = Redo(history, 10**6, *[None] * 8)  # type: ignore[arg-type]
    seen: list[weakref.ref[Photograph]] = []
    read = photograph.read

    def noting(*arguments: Any) -> Photograph:
        made = read(*arguments)
        seen.append(weakref.ref(made))
        return made

    monkeypatch.setattr(photograph, "read", noting)
    monkeypatch.setattr(redo, "request_of", lambda step, before: before)
    [step] = view._steps(edits, file, None)
    gc.collect()
    assert [one() for one in seen] == [None]
    assert step.make(())[0].sha256 == source.sha256
    file.write_bytes(photographs.file(photographs.pixels()[:32, :32], "PNG"))
    with pytest.raises(InvalidInput, match="not the photograph"):
        step.make(())
    file.unlink()
    with pytest.raises(InvalidInput, match="no longer there"):
        step.make(())
    history.close()
