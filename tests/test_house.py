"""The plan of the rooms: every module has a floor, no files import in a circle, and few lie loose at the top."""

from __future__ import annotations

import tomllib
from pathlib import Path

import grimp
import pytest

PROJECT = Path(__file__).parents[1]
TOP = PROJECT / "modules"


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """Who imports whom in `modules`, imports for type checking included."""
    return grimp.build_graph("modules", cache_dir=None)


def circles(graph: grimp.ImportGraph) -> list[set[str]]:
    """The files that reach each other, by Tarjan's strongly connected components."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[set[str]] = []

    def visit(file: str) -> None:
        index[file] = low[file] = len(index)
        stack.append(file)
        for imported in graph.find_modules_directly_imported_by(file):
            if imported not in index:
                visit(imported)
            if imported in stack:
                low[file] = min(low[file], low[imported])
        if low[file] == index[file]:
            circle = set(stack[stack.index(file):])
            del stack[stack.index(file):]
            if len(circle) > 1:
                found.append(circle)

    for file in sorted(graph.modules):
        if file not in index:
            visit(file)
    return found


def test_no_files_import_in_a_circle(graph: grimp.ImportGraph) -> None:
    assert circles(graph) == []


def test_a_circle_would_be_found() -> None:
    graph = grimp.ImportGraph()
    for importer, imported in (("a", "b"), ("b", "c"), ("c", "a"), ("c", "d")):
        graph.add_import(importer=importer, imported=imported)
    assert circles(graph) == [{"a", "b", "c"}]


def test_every_module_has_a_floor() -> None:
    linter = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["importlinter"]
    assert not linter.get("exclude_type_checking_imports")
    layers = next(one for one in linter["contracts"] if one["type"] == "layers")["layers"]
    named = [name.strip(" ()") for layer in layers for name in layer.replace("|", ":").split(":")]
    there = {path.stem for path in TOP.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert {name.partition(".")[0] for name in named} == there - {"__init__"}
    for room in {name.partition(".")[0] for name in named if "." in name}:
        files = {f"{room}.{path.stem}" for path in (TOP / room).glob("*.py")}
        assert {name for name in named if name.startswith(f"{room}.")} == files - {f"{room}.__init__"}


def test_few_files_lie_loose() -> None:
    assert len(list(TOP.glob("*.py"))) <= 8


@pytest.mark.parametrize("path", ["modules.hookspecs", "modules.request", "modules.errors", "modules.imaging.mask"])
def test_the_paths_that_extensions_import_stay(path: str) -> None:
    assert (TOP.parent / path.replace(".", "/")).with_suffix(".py").exists() or \
        (TOP.parent / path.replace(".", "/") / "__init__.py").exists()
