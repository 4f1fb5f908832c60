"""One version everywhere, and files of version 0.1.0 that go on being of use."""

from __future__ import annotations

import tomllib
from pathlib import Path

from fakes import write_checkpoint

from modules.engine.engine import Engine
from modules.gallery.history import History
from modules.settings import Settings
from modules.text.infotext import VERSION
from modules.text.styles import Style, load_styles

PROJECT = Path(__file__).parents[1]


def test_the_version_is_one() -> None:
    version = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
    assert VERSION.endswith(f" {version}")
    assert f"## {version}" in (PROJECT / "CHANGELOG.md").read_text()


def test_files_of_the_first_version_go_on_being_read(tmp_path: Path) -> None:
    """config.json and styles.csv as 0.1.0 wrote them, with a leftover of each."""
    (tmp_path / "config.json").write_text('{\n    "sd_model_checkpoint": "first",\n    "eta_ddim": 0.5,\n'
                                          '    "samples_format": "png",\n    "foreign": [1]\n}')
    (tmp_path / ".config.json.123.tmp").write_text("{")
    (tmp_path / "styles.csv").write_bytes(b"\xef\xbb\xbfname,prompt,negative_prompt\r\noil,thick paint,photo\r\n")
    settings = Settings(data_dir=tmp_path)
    write_checkpoint(settings.checkpoint_dirs[0], "first")
    engine = Engine(settings)
    assert (engine.options.sd_model_checkpoint, engine.options.eta_ddim) == ("first", 0.5)
    assert engine.config.values()["foreign"] == [1]
    assert load_styles(settings.styles_file) == (Style("oil", "thick paint", "photo"),)
    history = History(settings.outputs_dir)
    history.look()
    history.close()
