"""What the program says in its code is in every table of the page's languages."""

from __future__ import annotations

import ast
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from modules.ui.page.language import HERE

PROJECT = Path(__file__).parents[2]
TABLES = sorted((HERE / "languages").glob("*.json"))

ELSEWHERE = ("modules/api/", "modules/cli.py")
"""Files whose sentences only programs and the command line get to see."""

FLAGS = {"COMMANDLINE_ARGS cannot be read: {0}.", "{0}{1} (--help lists the flags).",
         "--cpu-engine openvino: OpenVINO is not installed; pip install -r requirements-openvino.txt installs it."}
"""What `modules/settings.py` says on the command line."""


def trees() -> dict[str, ast.Module]:
    """Every file of the program, parsed, by its path in the project."""
    files = [file for folder in ("modules", "extensions") for file in (PROJECT / folder).rglob("*.py")]
    return {file.relative_to(PROJECT).as_posix(): ast.parse(file.read_bytes()) for file in files}


def errors(code: dict[str, ast.Module]) -> set[str]:
    """The names of UserError and of all classes that derive from it."""
    bases = {node.name: {ast.unparse(base).rpartition(".")[2] for base in node.bases}
             for tree in code.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    names = {"UserError"}
    while more := {name for name, above in bases.items() if above & names} - names:
        names |= more
    return names


def literals(node: ast.expr) -> Iterator[str]:
    """The texts that `node` can be, each expression in an f-string as a place of the tables: {0}, {1}, ..."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        places = (f"{{{number}}}" for number in itertools.count())
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else next(places) for part in node.values)
    elif isinstance(node, ast.IfExp):
        yield from literals(node.body)
        yield from literals(node.orelse)


def sentences() -> Iterator[str]:
    """What errors say, and with three dots what is being done."""
    code = trees()
    names = errors(code)
    for path, tree in code.items():
        for node in ast.walk(tree):
            if path.startswith(ELSEWHERE) or not isinstance(node, ast.Call) or not node.args:
                continue
            called = ast.unparse(node.func).rpartition(".")[2]
            if called in names:
                yield from literals(node.args[0])
            elif called == "stage":
                yield from (f"{text}…" for text in literals(node.args[0]))


@pytest.mark.parametrize("table", TABLES, ids=lambda file: file.stem)
def test_errors_and_stages_are_in_the_table(table: Path) -> None:
    said = {text for text in sentences() if re.search(r"[A-Za-z]", re.sub(r"\{\d\}", "", text))} - FLAGS
    assert {"Choose a picture first.", "{0} is empty.", "The server is stopping.", "Loading {0}: {1}…"} <= said
    missing = said - json.loads(table.read_text("utf-8")).keys()
    assert not missing, "\n".join(sorted(missing))
