"""Merged checkpoints: every tensor's bytes against those that WebUI wrote, and what is refused."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from make_tiny import build, make_tiny
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from modules.errors import InvalidInput, StorageFull
from modules.weights.catalog import Catalog, CheckpointFile
from modules.weights.merge import Recipe, merge

GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "golden"
RECORDED: dict[str, Any] = {}
if (GOLDEN / "json" / "merger.json").exists():
    RECORDED = json.loads((GOLDEN / "json" / "merger.json").read_text("utf-8"))
    RECORDED.pop("_inputs")

Find = Callable[[str], CheckpointFile | None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("merging")
    make_tiny("tiny-sd15", folder / "tiny-sd15.safetensors")
    other = make_tiny("tiny-sd15", folder / "tiny-sd15-b.safetensors", 0xBEEF)
    wide = {key: value.astype(np.float32) * np.float32(1.0001) if value.dtype == np.float16 else value
            for key, value in load_file(other).items()}
    save_file(wide, folder / "tiny-sd15-b32.safetensors")
    make_tiny("tiny-sd15-inpainting", folder / "tiny-sd15-inpainting.safetensors")
    if RECORDED:
        shapes = json.loads((GOLDEN / "shapes" / "tiny-inp2.shapes.json").read_text())
        save_file(build(shapes, 0xCAFE), folder / "tiny-inp2.safetensors")
    return folder


@pytest.fixture
def catalog(folder: Path) -> Catalog:
    return Catalog((folder,), (), None)


@pytest.fixture
def find(catalog: Catalog) -> Find:
    return lambda title: catalog.find(title.split(".safetensors")[0]) if title else None


def recipe_of(arguments: dict[str, Any], find: Find) -> Recipe:
    a = find(arguments["A"])
    assert a is not None
    return Recipe(a, find(arguments["B"]), find(arguments["C"]), arguments["method"], arguments["multiplier"],
                  arguments["save_as_half"], discard=arguments["discard"])


@pytest.mark.parametrize("name", [name for name, case in RECORDED.items() if case["files"]])
def test_every_tensor_is_webuis(name: str, find: Find, catalog: Catalog, tmp_path: Path) -> None:
    case = RECORDED[name]
    path = merge(recipe_of(case["args"], find), tmp_path, catalog.sha256)
    assert path.name.endswith(".inpainting.safetensors") == case["files"][0].endswith(".inpainting.safetensors")
    with safe_open(path, "np") as file:
        made = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
        recipe = json.loads(file.metadata()["sd_merge_recipe"])
    assert made.keys() == case["tensors"].keys()
    wrong = [key for key, wanted in case["tensors"].items()
             if hashlib.sha256(made[key].tobytes()).hexdigest()[:16] != wanted["sha256"]]
    assert wrong == []
    assert (recipe["interp_method"], recipe["multiplier"]) == (case["args"]["method"], case["args"]["multiplier"])
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("name", [name for name, case in RECORDED.items() if not case["files"]])
def test_what_webui_refuses_is_refused_in_words(name: str, find: Find, catalog: Catalog, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"fit together|it must be A|needs a (second|third)"):
        merge(recipe_of(RECORDED[name]["args"], find), tmp_path, catalog.sha256)
    assert list(tmp_path.iterdir()) == []


def test_multiply_is_the_geometric_mean(find: Find, catalog: Catalog, tmp_path: Path, folder: Path) -> None:
    recipe = Recipe(find("tiny-sd15"), find("tiny-sd15-b"), method="Multiply", multiplier=0.25, half=False)
    made = load_file(merge(recipe, tmp_path, catalog.sha256))
    a, b = load_file(folder / "tiny-sd15.safetensors"), load_file(folder / "tiny-sd15-b.safetensors")
    for key in list(a)[::40]:
        if a[key].dtype != np.float16:
            continue
        x, y = a[key].astype(np.float64), b[key].astype(np.float64)
        expected = np.where(np.sign(x) == np.sign(y), np.sign(x) * np.abs(x) ** 0.75 * np.abs(y) ** 0.25,
                            0.75 * x + 0.25 * y)
        np.testing.assert_allclose(made[key], expected, rtol=4e-3, atol=1e-4)


def test_a_baked_vae_takes_the_place_of_the_own_one(find: Find, catalog: Catalog, tmp_path: Path,
                                                    folder: Path) -> None:
    vaes = tmp_path / "vae"
    vaes.mkdir()
    prefix = "first_stage_model."
    other = {key.removeprefix(prefix): value for key, value in load_file(folder / "tiny-sd15-b.safetensors").items()
             if key.startswith(prefix)}
    save_file(other, vaes / "other.safetensors")
    (vae,) = Catalog((), (vaes,), None).vaes()
    path = merge(Recipe(find("tiny-sd15"), method="No interpolation", name="baked", bake_vae=vae), tmp_path,
                 catalog.sha256)
    made, before = load_file(path), load_file(folder / "tiny-sd15.safetensors")
    for key, value in made.items():
        assert np.array_equal(value, other[key.removeprefix(prefix)] if key.startswith(prefix) else before[key])


def test_names_and_stops_lose_nothing(find: Find, catalog: Catalog, tmp_path: Path,
                                      monkeypatch: pytest.MonkeyPatch) -> None:
    plain = find("tiny-sd15")
    for name in ("../evil", "a/b", "a\\b", "a\0b"):
        with pytest.raises(InvalidInput, match="file's name"):
            Recipe(plain, method="No interpolation", name=name)
    (tmp_path / "kept.safetensors").write_bytes(b"mine")
    with pytest.raises(InvalidInput, match="already"):
        merge(Recipe(plain, method="No interpolation", name="kept"), tmp_path, catalog.sha256)
    assert (tmp_path / "kept.safetensors").read_bytes() == b"mine"

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys.modules["os"], "fsync", full)
    with pytest.raises(StorageFull, match="disk is full"):
        merge(Recipe(plain, method="No interpolation", name="new"), tmp_path, catalog.sha256)
    assert [item.name for item in tmp_path.iterdir()] == ["kept.safetensors"]


def test_a_merge_holds_one_tensor_at_a_time(find: Find, catalog: Catalog, tmp_path: Path,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what is made, no more than the largest three tensors are ever asked for at once."""
    asked: list[int] = []
    real = torch.empty

    def empty(*size: Any, **more: Any) -> torch.Tensor:
        tensor = real(*size, **more)
        if tensor.device.type != "meta":
            asked.append(tensor.nbytes)
        return tensor

    monkeypatch.setattr(torch, "empty", empty)
    path = merge(Recipe(find("tiny-sd15"), find("tiny-sd15-b")), tmp_path, catalog.sha256)
    assert max(asked) < path.stat().st_size / 4
