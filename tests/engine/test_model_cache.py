"""Checkpoints kept warm: who stays, who goes, and what a swap of the autoencoder reads."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes import FakeModel, write_checkpoint
from golden.tiny import checkpoint
from safetensors.torch import load_file, save_file

from modules.base import free_memory
from modules.engine.engine import Engine
from modules.engine.model_cache import Loaded, ModelCache
from modules.errors import CheckpointError
from modules.request import Txt2Img
from modules.request.job_context import NullJob
from modules.request.options import Options
from modules.settings import Settings

SIZE = 1000


class Shelf:
    """An engine over checkpoints a to e of `SIZE` bytes each, and the list of what it had to read."""

    def __init__(self, folder: Path, budget: int | None, free: int = 0) -> None:
        self.read: list[str] = []
        settings = Settings(data_dir=folder, model_cache=budget)
        for name in "abcde":
            write_checkpoint(settings.checkpoint_dirs[0], name)
        write_checkpoint(settings.vae_dirs[0], "other")
        self.engine = Engine(settings, load_file=self._load)
        self.engine.models.cache = ModelCache(budget, lambda: free)

    def _load(self, checkpoint: Any, vae: Any, settings: Settings, on_progress: Any) -> FakeModel:
        if checkpoint.name == "e":
            raise CheckpointError("e.safetensors is damaged.")
        self.read.append(checkpoint.name + ("+" + vae.path.stem if vae else "") )
        return FakeModel(name=checkpoint.name, part_bytes={hash(checkpoint.name): SIZE})

    def use(self, names: str, vae: str = "None") -> list[str]:
        """What is read while the checkpoints are asked for one after the other."""
        self.read.clear()
        for name in names:
            assert self.engine.load(Options(sd_model_checkpoint=name, sd_vae=vae), NullJob()).name == name
            assert self.engine.model_name == name
        return self.read


@pytest.mark.parametrize(("budget", "read"), [
    (0, "abacab"),  # nothing but what is in use, however large that is
    (SIZE, "abacab"),
    (2 * SIZE, "abcb"),  # a b [a warm] c, which sends b away, [a warm], b
    (3 * SIZE, "abc"),
])
def test_as_many_as_the_budget_holds(tmp_path: Path, budget: int, read: str) -> None:
    assert "".join(Shelf(tmp_path, budget).use("abacab")) == read


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, 3 * SIZE)
    shelf.use("abcab")
    assert shelf.use("d") == ["d"]  # c goes: a and b were in use after it
    assert shelf.use("ab") == []
    assert shelf.use("c") == ["c"]  # and now d goes
    assert shelf.use("ab") == []


def test_a_file_that_was_replaced_is_read_again(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, 3 * SIZE)
    shelf.use("ab")
    for name in "ab":
        path = shelf.engine.catalog.find(name).path
        os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    assert shelf.use("ba") == ["b", "a"]  # the one in use, and a warm one
    assert shelf.use("ba") == []
    path.unlink()
    assert shelf.use("ba") == [], "what is in memory needs no file"


def test_it_says_when_something_was_let_go(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, 2 * SIZE)
    models = {name: Loaded(FakeModel(part_bytes={hash(name): SIZE}), file, None)
              for name in "abc" for file in [shelf.engine.catalog.find(name)]}
    warm = ModelCache(2 * SIZE, lambda: 0)
    assert not warm.swap(models["a"], None)
    assert not warm.swap(models["b"], models["a"])
    assert not warm.swap(models["a"], models["b"])
    assert warm.swap(models["c"], models["a"])  # b does not fit
    assert warm.swap(dataclasses.replace(models["c"], vae=shelf.engine.catalog.vaes()[0]), models["c"])


def test_left_to_itself_it_takes_negative_of_the_free_memory(tmp_path: Path) -> None:
    """3500 bytes are free beside a full one: (3500 + 1000) / 2 is enough for two, (3500 + 3000) / 2 for three."""
    shelf = Shelf(tmp_path, None, free=3500)
    shelf.use("abcd")
    assert shelf.use("abc") == []
    tight = Shelf(tmp_path, None, free=SIZE - 1)
    assert "".join(tight.use("aba")) == "aba"


def test_a_part_that_models_share_counts_once(tmp_path: Path) -> None:
    """Three checkpoints with one text encoder of half their size: 500 + 3 * 500 bytes hold them all."""
    shelf = Shelf(tmp_path, 0)
    models = {name: Loaded(FakeModel(part_bytes={hash(name): SIZE // 2, 0: SIZE // 2}), file, None)
              for name in "abc" for file in [shelf.engine.catalog.find(name)]}
    for budget, let_go in ((2 * SIZE, False), (2 * SIZE - 1, True)):
        cache = ModelCache(budget, lambda: 0)
        assert not cache.swap(models["a"], None)
        assert not cache.swap(models["b"], models["a"])
        assert cache.swap(models["c"], models["b"]) == let_go


def test_a_checkpoint_that_fails_costs_nothing(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, 2 * SIZE)
    shelf.use("ab")
    with pytest.raises(CheckpointError):
        shelf.use("e")
    assert shelf.engine.model_name == "b"
    assert shelf.use("ba") == []


def test_another_autoencoder_is_another_model(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, 2 * SIZE)
    shelf.use("ab")
    assert shelf.use("b", vae="other") == ["b+other"]
    assert shelf.use("a", vae="other") == ["a+other"]  # of a warm one, too
    assert shelf.use("b", vae="other") == []
    assert shelf.use("b") == ["b"]


def test_unloaded_is_gone(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, 9 * SIZE)
    shelf.use("ab")
    shelf.engine.models.unload()
    assert shelf.engine.model_name is None
    assert shelf.use("ab") == ["a", "b"]


def test_a_run_tiles_if_it_is_asked_to_and_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each model tiles while it is in use: a second pass by another checkpoint, and back for the next picture."""
    shelf, told = Shelf(tmp_path, 2 * SIZE), []

    @contextlib.contextmanager
    def tiled(model: FakeModel) -> Iterator[None]:
        told.append("+" + model.name)
        try:
            yield
        finally:
            told.append("-" + model.name)

    monkeypatch.setattr(FakeModel, "tiled", tiled)
    plain = Txt2Img(prompt="a hill", width=16, height=16, steps=2, options=Options(sd_model_checkpoint="a"))
    shelf.engine.generate(plain, NullJob())
    assert told == []
    tiling = dataclasses.replace(plain, options=dataclasses.replace(plain.options, tiling=True))
    shelf.engine.generate(tiling, NullJob())
    assert told == ["+a", "-a"]
    twice = dataclasses.replace(tiling, enable_hr=True, hr_scale=1, hr_checkpoint="b", n_iter=2)
    shelf.engine.generate(twice, NullJob())
    assert told[2:] == ["+a", "-a", "+b", "-b"] * 2
    broken = dataclasses.replace(tiling, enable_hr=True, hr_scale=1, hr_checkpoint="e")
    with pytest.raises(CheckpointError):
        shelf.engine.generate(broken, NullJob())
    assert told[-2:] == ["+a", "-a"]


def test_real_networks_with_another_autoencoder(tmp_path: Path) -> None:
    """The UNet is the same object, the autoencoder that of the file; the way back leads to the same pictures."""
    path = checkpoint("tiny-sd15")
    settings = Settings(data_dir=tmp_path, ckpt_dir=path.parent, device="cpu")
    own = {k: v for k, v in load_file(path).items() if k.startswith("first_stage_model.")}
    settings.vae_dirs[0].mkdir(parents=True)
    save_file({key: -value for key, value in own.items()}, settings.vae_dirs[0] / "negative.safetensors")
    engine = Engine(settings)
    options = Options(sd_model_checkpoint="tiny-sd15", sd_vae="None")
    first: Any = engine.load(options, NullJob())
    negative: Any = engine.load(dataclasses.replace(options, sd_vae="negative.safetensors"), NullJob())
    assert negative.unet is first.unet
    assert negative.text.clip is first.text.clip
    theirs = dict(first.vae.named_parameters())
    assert all(torch.equal(value, -theirs[name]) for name, value in negative.vae.named_parameters())
    back: Any = engine.load(options, NullJob())
    assert back.unet is first.unet
    latent = torch.randn(1, 4, 3, 3)
    assert torch.equal(back.decode_latent(latent), first.decode_latent(latent))
    assert back.part_bytes == first.part_bytes
    assert sum(first.part_bytes.values()) == sum(p.nbytes for m in (first.unet, first.vae, first.text.clip)
                                                 for p in m.parameters())


@pytest.mark.parametrize(("files", "left"), [
    ({}, None), ({"memory.max": "max", "memory.current": "5"}, None),
    ({"memory.max": "1000", "memory.current": "700", "memory.stat": "file 400\ninactive_file 200\n"}, 500),
    ({"memory.max": "1000", "memory.current": "1100", "memory.stat": ""}, 0),
])
def test_a_container_leaves_less(tmp_path: Path, files: dict[str, str], left: int | None) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert free_memory._left_in_container(tmp_path) == (float("inf") if left is None else left)
