"""One version everywhere, and files of version 0.1.0 that go on being of use."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
import tomllib
from pathlib import Path

import pytest
from fakes import write_checkpoint
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from modules.base.files import sweep
from modules.engine.engine import Engine
from modules.gallery.history import History
from modules.gallery.index import Filter
from modules.gallery.saving import save
from modules.settings import Settings
from modules.text.infotext import VERSION, parse, to_changes
from modules.text.styles import Style, load_styles, save_style

PROJECT = Path(__file__).parents[1]


def test_the_version_is_one() -> None:
    version = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
    assert VERSION.endswith(f" {version}")
    assert f"## {version}" in (PROJECT / "CHANGELOG.md").read_text()


INDEX_OF_0_1_0 = """
CREATE TABLE pictures (id INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT NOT NULL UNIQUE, created INTEGER NOT NULL,
    bytes INTEGER NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL, seed INTEGER, model TEXT NOT NULL,
    sampler TEXT NOT NULL, prompt TEXT NOT NULL, text TEXT NOT NULL);
CREATE INDEX by_date ON pictures (created);
CREATE INDEX by_model ON pictures (model, created);
CREATE INDEX by_sampler ON pictures (sampler, created);
CREATE INDEX by_seed ON pictures (seed, created);
CREATE TABLE IF NOT EXISTS favourites (path TEXT PRIMARY KEY) WITHOUT ROWID;
INSERT INTO sqlite_sequence VALUES ('pictures', 1763700000);
CREATE VIRTUAL TABLE prompts USING fts5 (folded, tokenize = 'trigram case_sensitive 1');
PRAGMA user_version = 1;
"""
TEXT_OF_0_1_0 = ("a red boat\nNegative prompt: fog\nSteps: 20, Sampler: DDIM, Schedule type: Automatic, "
                 "CFG scale: 7.0, Seed: 42, Size: 64x48, Model hash: a7937b64b8, Model: first, "
                 "DDIM loop: classic, RNG: CPU, Version: Inpaint WebUI 0.1.0")
DAY = "txt2img-images/2026-11-21"


@pytest.fixture
def installed(tmp_path: Path) -> Settings:
    """The data of an installation of 0.1.0: options, styles, a favourite picture, a deleted one, and leftovers."""
    (tmp_path / "config.json").write_text('{\n    "sd_model_checkpoint": "first",\n    "eta_ddim": 0.5,\n'
                                          '    "samples_format": "png",\n    "foreign": [1]\n}')
    (tmp_path / ".config.json.123.tmp").write_text("{")
    (tmp_path / "styles.csv").write_bytes(b"\xef\xbb\xbfname,prompt,negative_prompt\r\noil,thick paint,photo\r\n")
    settings = Settings(data_dir=tmp_path)
    write_checkpoint(settings.checkpoint_dirs[0], "first")
    outputs, info = settings.outputs_dir, PngInfo()
    info.add_text("parameters", TEXT_OF_0_1_0)
    for path in (f"{DAY}/00007-42.png", f".trash/20261121-120000-123456/{DAY}/00006-41.png"):
        (outputs / path).parent.mkdir(parents=True)
        Image.new("RGB", (64, 48), "teal").save(outputs / path, pnginfo=info)
    (outputs / DAY / ".99999999-7f00.tmp").write_bytes(b"\x89PNG")
    file = (outputs / DAY / "00007-42.png").stat()
    with contextlib.closing(sqlite3.connect(outputs / ".history.sqlite3", isolation_level=None)) as index:
        index.executescript(INDEX_OF_0_1_0)
        index.execute("INSERT INTO pictures VALUES (1763700001, ?, ?, ?, 64, 48, 42, 'first', 'DDIM', 'a red boat', ?)",
                      (f"{DAY}/00007-42.png", file.st_mtime_ns, file.st_size, TEXT_OF_0_1_0))
        index.execute("INSERT INTO prompts (rowid, folded) VALUES (1763700001, 'a red boat')")
        index.execute("INSERT INTO favourites VALUES (?)", (f"{DAY}/00007-42.png",))
    return settings


def test_options_and_styles_of_the_first_version_go_on_being_used(installed: Settings) -> None:
    sweep(installed.data_dir, time.time())
    assert not (installed.data_dir / ".config.json.123.tmp").exists()
    engine = Engine(installed)
    assert (engine.options.sd_model_checkpoint, engine.options.eta_ddim) == ("first", 0.5)
    engine.set_options({"eta_ddim": 0.25})
    kept = json.loads((installed.data_dir / "config.json").read_text())
    assert (kept["eta_ddim"], kept["foreign"], kept["samples_format"]) == (0.25, [1], "png")
    assert load_styles(installed.styles_file) == (Style("oil", "thick paint", "photo"),)
    save_style(installed.styles_file, Style("ink", "ink drawing"))
    assert [style.name for style in load_styles(installed.styles_file)] == ["oil", "ink"]


def test_history_and_outputs_of_the_first_version_go_on_being_used(installed: Settings) -> None:
    """The picture keeps its number and its heart, the deletion can be undone, and new pictures are numbered on."""
    history = History(installed.outputs_dir)
    history.look()
    assert history.wait(60)
    (picture,) = history.page(Filter(words="boat", sampler="DDIM", seed=42))
    assert (picture.id, picture.favourite, picture.text) == (1763700001, True, TEXT_OF_0_1_0)
    assert history.can_undo()
    assert history.undo() == 1
    assert history.count(Filter()) == 2
    assert (installed.outputs_dir / DAY / "00006-41.png").is_file()
    saved = save(Image.new("RGB", (8, 8)), "", installed.outputs_dir / DAY, seed=1)
    assert saved.name == "00008-1.png"
    assert not (installed.outputs_dir / DAY / ".99999999-7f00.tmp").exists()
    history.close()


def test_a_picture_of_the_first_version_can_be_made_again(installed: Settings) -> None:
    changes = to_changes(parse(TEXT_OF_0_1_0))
    assert changes.fields["sampler"] == "DDIM"
    assert (changes.fields["seed"], changes.fields["steps"], changes.fields["width"]) == (42, 20, 64)
    assert changes.options["ddim_loop"] == "classic"
