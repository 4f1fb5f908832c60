"""Every control says what it does, in every language of the page."""

from __future__ import annotations

import json
import re
from pathlib import Path

import gradio as gr
import pytest
from gradio.components import Component, FormComponent

from modules import ui
from modules.engine.engine import Engine
from modules.gallery.history import History
from modules.hooks.forms import Form, Input
from modules.jobs.queue import JobQueue
from modules.request.fields import declared
from modules.request.options import Options
from modules.settings import Settings
from modules.ui.controls.defaults import Defaults
from modules.ui.page.help import explained
from modules.ui.page.language import HERE

CANVAS = Path(ui.__file__).parent / "canvas"
TABLES = sorted((HERE / "languages").glob("*.json"))


@pytest.fixture
def page(engine: Engine, queue: JobQueue, settings: Settings) -> gr.Blocks:
    return ui.build(engine, queue, settings, History(settings.outputs_dir))


def forms(engine: Engine) -> list[Form]:
    return [*engine.scripts.of(img2img=False), *engine.scripts.of(img2img=True),
            *(form for tab in ("txt2img", "img2img", "inpaint") for form in engine.extensions.controls(tab).values())]


def inputs(engine: Engine) -> list[Input]:
    """The inputs that the page shows, those of the extensions' settings too."""
    found = [one for form in forms(engine) for one in form.inputs]
    found += [one for extension in engine.extensions.extensions for one in extension.settings]
    return [one for one in found if not one.hidden and one.kind != "note"]


def is_control(block: object) -> bool:
    """Whether a person enters something here. The API's endpoints have widgets that nobody sees."""
    shown = isinstance(block, Component) and block.visible != "hidden" and bool(block.elem_id)
    return shown and isinstance(block, FormComponent | gr.Image | gr.File)


def test_every_control_has_a_help_text(page: gr.Blocks, engine: Engine) -> None:
    texts = explained(page)
    controls = [block for block in page.blocks.values() if is_control(block)]
    assert len(controls) > 150
    assert not [block.elem_id for block in controls if not texts.get(str(block.elem_id))]
    assert not [one.label for one in inputs(engine) if not one.help]
    assert not [item.name for table in (Options, Defaults) for item in declared(table) if not item.help]


def test_no_two_controls_have_the_same_id(page: gr.Blocks) -> None:
    ids = [block.elem_id for block in page.blocks.values() if is_control(block)]
    assert len(ids) == len(set(ids))


def test_every_tool_of_the_canvas_has_a_title() -> None:
    html, words = ((CANVAS / name).read_text("utf-8") for name in ("canvas.html", "words.js"))
    names = set(re.findall(r'(?:data-act|data-set)="(\w+)"', html))
    assert len(names) > 30
    assert not {name for name in names if not re.search(rf"\b{name}(Title)?: ", words)}


def test_every_key_of_the_canvas_is_in_the_list() -> None:
    keys = re.search(r"const KEYS = \{(.*?)\};", (CANVAS / "commands.js").read_text("utf-8"), re.S)
    listed = re.search(r"const LIST = \{(.*?)\n\t\};", (HERE / "help.js").read_text("utf-8"), re.S)
    assert keys
    assert listed
    names = [name.strip('"') for name in re.findall(r'("?[\w+=-]+"?): "', keys[1])]
    assert len(names) > 15
    assert not [name for name in names if f'"{name.capitalize()}"' not in listed[1]]


@pytest.mark.parametrize("table", TABLES, ids=lambda file: file.stem)
def test_help_is_in_the_table(table: Path, page: gr.Blocks, engine: Engine) -> None:
    said = {*explained(page).values(), *(one.help for one in inputs(engine)),
            *(item.help for kind in (Options, Defaults) for item in declared(kind))}
    script = (HERE / "help.js").read_text("utf-8")
    said |= set(re.findall(r'\], "([^"]+)"\]', script)) | set(re.findall(r'gesture: "([^"]+)"', script))
    missing = said - json.loads(table.read_text("utf-8")).keys()
    assert not missing, "\n".join(sorted(missing))
