"""What the controls begin with, out of a file that others write too."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from modules.base.config import Config
from modules.errors import InvalidInput
from modules.settings import Settings
from modules.ui.controls.defaults import KEY, Defaults, entries, remembered


@pytest.mark.parametrize(("kept", "named"), [
    ({"steps": 33, "from_another_program": [1], "width": "wide", "cfg_scale": 99, "tab": "elsewhere", "batch_size": 8,
      "mask_blur": {}}, ["width", "cfg_scale", "tab", "batch_size", "mask_blur"]),
    ([], []), ("steps", []), (None, [])])
def test_defaults_of_controls_that_fit_no_more_are_named_and_left_out(
        settings: Settings, caplog: pytest.LogCaptureFixture, kept: Any, named: list[str]) -> None:
    settings = replace(settings, max_batch=4)
    settings.config_file.write_text(json.dumps({KEY: kept}))
    config = Config(settings.config_file)
    fitting = {"steps": 33} if named else {}
    assert remembered(config, settings) == Defaults(**fitting)
    assert [record.getMessage().split("option ")[1].split()[0] for record in caplog.records] == named
    before = kept if isinstance(kept, dict) else {}
    assert entries(config, settings, {"width": 640}) == {**before, "width": 640}
    with pytest.raises(InvalidInput, match="batch_size is at most 4"):
        entries(config, settings, {"batch_size": 5})
