"""What is remembered between runs: written whole, read again, and put aside when it is broken."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest
from fakes import fake_engine

from modules.base.config import Config
from modules.errors import InvalidInput
from modules.request.options import Options
from modules.settings import Settings


def test_what_is_set_is_there_in_the_next_run(settings: Settings) -> None:
    fake_engine(settings).set_options({"eta_ddim": "0.5", "sd_model_checkpoint": "second", "theirs": {"deep": [1]}})
    assert json.loads(settings.config_file.read_text("utf-8")) == {
        "eta_ddim": 0.5, "sd_model_checkpoint": "second", "theirs": {"deep": [1]}}
    engine = fake_engine(settings)
    assert engine.options == Options(eta_ddim=0.5, sd_model_checkpoint="second")
    assert engine.config.values()["theirs"] == {"deep": [1]}


def test_the_flag_for_the_checkpoint_goes_before_what_is_remembered(settings: Settings) -> None:
    fake_engine(settings).set_options({"sd_model_checkpoint": "second"})
    flagged = Settings(data_dir=settings.data_dir, ckpt="first")
    assert fake_engine(flagged).options.sd_model_checkpoint == "first"
    assert fake_engine(settings).options.sd_model_checkpoint == "second"


def test_an_option_that_fits_no_more_is_named_and_left_out(settings: Settings,
                                                           caplog: pytest.LogCaptureFixture) -> None:
    settings.config_file.write_text(json.dumps(
        {"sd_model_checkpoint": "gone", "CLIP_stop_at_last_layers": 99, "eta_ddim": 0.25}))
    assert fake_engine(settings).options == Options(eta_ddim=0.25)
    assert "gone" in caplog.text
    assert "CLIP_stop_at_last_layers" in caplog.text


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe", b"", b"[" * 100_000])
def test_a_broken_file_gives_one_warning_and_is_kept(settings: Settings, caplog: pytest.LogCaptureFixture,
                                                     content: bytes) -> None:
    settings.config_file.write_bytes(content)
    engine = fake_engine(settings)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "config.json.broken" in caplog.text
    engine.set_options({"eta_ddim": 0.5})
    assert (settings.data_dir / "config.json.broken").read_bytes() == content
    assert fake_engine(settings).options == Options(eta_ddim=0.5)


@pytest.mark.parametrize("wrong", [{"a": float("nan")}, {"a": "x" * 2**20}, {"a": "\ud800"}, {"a": object()}])
def test_what_cannot_be_written_changes_nothing(tmp_path: Path, wrong: dict[str, Any]) -> None:
    config = Config(tmp_path / "config.json")
    config.update({"kept": 1})
    with pytest.raises(InvalidInput):
        config.update({"kept": 2, **wrong})
    assert config.values() == {"kept": 1} == json.loads((tmp_path / "config.json").read_text())


def test_the_old_file_stays_whole_until_the_new_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                       caplog: pytest.LogCaptureFixture) -> None:
    config = Config(tmp_path / "config.json")
    config.update({"kept": 1})

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    config.update({"kept": 2})
    assert config.values() == {"kept": 2}  # until the program ends
    assert "No space left" in caplog.text
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("config.json", '{\n    "kept": 1\n}')]
