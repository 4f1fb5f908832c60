"""The engine: one model at a time, options in force, seeds drawn once."""

from __future__ import annotations

import dataclasses
import gc
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes import FakeModel, fake_engine, write_checkpoint
from golden.tiny import checkpoint
from PIL import Image

from modules.engine.engine import Engine, resolve
from modules.engine.models import FileLoader, precision_keys
from modules.errors import CheckpointError, InvalidInput, NotFound, UserError
from modules.request import MAX_SEED, Img2Img, Txt2Img
from modules.request.job_context import NullJob
from modules.request.options import Options
from modules.settings import Settings
from modules.text import infotext
from modules.weights.catalog import CheckpointFile


def named(name: str) -> Options:
    return Options(sd_model_checkpoint=name)


def small(**changes: Any) -> Txt2Img:
    return Txt2Img(**{"width": 16, "height": 16, "steps": 2} | changes)


def failing(settings: Settings, bad: str, error: Exception) -> Engine:
    """An engine that cannot load `bad`."""

    def make(name: str) -> FakeModel:
        if name == bad:
            raise error
        return FakeModel(name=name)

    return fake_engine(settings, make)


@pytest.mark.parametrize("error", [CheckpointError("It is cut off."), MemoryError(), RuntimeError("CUDA")])
def test_the_model_in_use_stays_when_another_cannot_be_loaded(settings: Settings, error: Exception) -> None:
    engine = failing(settings, "second", error)
    model = engine.load(named("first"), NullJob())
    with pytest.raises(type(error)):
        engine.generate(small(options=named("second")), NullJob())
    assert engine.model_name == "first"
    assert engine.load(named("first"), NullJob()) is model
    assert engine.generate(small(options=named("first"), seed=3), NullJob()).images[0].seed == 3


def test_a_loaded_model_is_used_again(settings: Settings) -> None:
    loads: list[str] = []

    def make(name: str) -> FakeModel:
        loads.append(name)
        return FakeModel(name=name)

    engine = fake_engine(dataclasses.replace(settings, model_cache=0), make)
    for name in ("first", "first", "second", "second", "first"):
        engine.generate(small(options=named(name)), NullJob())
    assert loads == ["first", "second", "first"]


def test_the_request_decides_which_checkpoint_paints(engine: Engine) -> None:
    """The two models' means differ, and so do their pictures; the option in force is for requests that name none."""
    request = small(width=64, height=64, steps=20, seed=1, cfg_scale=1.0)
    brightness = {}
    for name in ("first", "second"):
        image = engine.generate(Txt2Img(**vars(request) | {"options": named(name)}), NullJob()).images[0]
        brightness[name] = sum(image.image.convert("L").tobytes()) / 64**2
        assert f"Model: {name}" in image.infotext
    assert brightness["first"] > brightness["second"] + 40


@pytest.fixture
def quick_gc() -> Iterator[None]:
    """What the process holds already is left out of collections, which else take a second each late in a run."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("quick_gc")
def test_old_models_are_let_go(settings: Settings) -> None:
    """After a swap nothing holds the old model, its reference cycles included."""
    alive: list[weakref.ref[FakeModel]] = []

    def make(name: str) -> FakeModel:
        model = FakeModel(name=name)
        model.myself = model  # type: ignore[attr-defined]
        alive.append(weakref.ref(model))
        return model

    engine = fake_engine(dataclasses.replace(settings, model_cache=0), make)
    gc.disable()
    try:
        for k in range(20):
            engine.generate(small(options=named(("first", "second")[k % 2])), NullJob())
            assert sum(ref() is not None for ref in alive) == 1
    finally:
        gc.enable()
    assert len(alive) == 20


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


@pytest.mark.usefixtures("quick_gc")
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_twenty_swaps_leave_memory_flat(tmp_path: Path) -> None:
    """With real checkpoints: from the sixth to the twentieth swap the process grows by less than half a model."""
    folder = {checkpoint(name).parent for name in ("tiny-sd15", "tiny-sd15-b")}.pop()
    engine = Engine(Settings(data_dir=tmp_path, ckpt_dir=folder, device="cpu", model_cache=0))
    size = checkpoint("tiny-sd15").stat().st_size * 2 / 2**20  # float16 in the file, float32 in memory
    alive, sizes = [], []
    for k in range(20):
        model = engine.load(named(("tiny-sd15", "tiny-sd15-b")[k % 2]), NullJob())
        alive.append(weakref.ref(model))
        del model
        sizes.append(resident_mb())
    assert sum(ref() is not None for ref in alive) == 1
    assert sizes[-1] - sizes[5] < size / 2


def test_seeds_are_drawn_once(engine: Engine) -> None:
    """The drawn seed is in the result's request, in its images and in its text, and gives the same pictures again."""
    result = engine.generate(small(batch_size=2, n_iter=2), NullJob())
    seed = result.request.seed
    assert 0 <= seed <= MAX_SEED
    assert 0 <= result.request.subseed <= MAX_SEED
    assert [one.seed for one in result.images] == [seed, seed + 1, seed + 2, seed + 3]
    assert f"Seed: {seed}," in result.images[0].infotext
    again = engine.generate(result.request, NullJob())
    assert [one.image.tobytes() for one in again.images] == [one.image.tobytes() for one in result.images]
    assert engine.generate(small(), NullJob()).request.seed != seed


def test_given_seeds_stay() -> None:
    resolved = resolve(small(seed=0, subseed=MAX_SEED))
    assert (resolved.seed, resolved.subseed) == (0, MAX_SEED)


def test_names_are_spelt_out() -> None:
    resolved = resolve(small(sampler="k_euler_a", scheduler="sgm_uniform"))
    assert (resolved.sampler, resolved.scheduler) == ("Euler a", "SGM Uniform")
    resolved = resolve(small(sampler="DPM++ 2M Exponential"))
    assert (resolved.sampler, resolved.scheduler) == ("DPM++ 2M", "Exponential")
    resolved = resolve(small(sampler="DPM++ 2M Karras"))  # the sampler's usual schedule
    assert (resolved.sampler, resolved.scheduler) == ("DPM++ 2M", "Automatic")


def test_the_batch_is_as_large_as_its_pictures() -> None:
    pictures = (Image.new("RGB", (8, 8)),) * 3
    assert resolve(Img2Img(init_images=pictures)).batch_size == 3
    assert resolve(Img2Img(init_images=pictures[:1], batch_size=5)).batch_size == 5


BAD: list[tuple[Callable[[], Txt2Img], type[UserError], str | None]] = [
    (lambda: small(sampler="Nonesuch"), InvalidInput, "sampler_name"),
    (lambda: small(scheduler="Nonesuch"), InvalidInput, "scheduler"),
    (lambda: small(options=named("nonesuch")), NotFound, None),
    (lambda: small(options=Options(sd_vae="nonesuch")), NotFound, None),
    (lambda: small(width=10_000_000), InvalidInput, "width"),
    (lambda: small(steps=100_000), InvalidInput, "steps"),
    (lambda: small(batch_size=1000), InvalidInput, "batch_size"),
]


@pytest.mark.parametrize(("make", "error", "named_field"), BAD, ids=range(len(BAD)))
def test_bad_requests_get_a_sentence_and_change_nothing(engine: Engine, make: Callable[[], Txt2Img],
                                                        error: type[UserError], named_field: str | None) -> None:
    engine.load(named("second"), NullJob())
    with pytest.raises(error) as caught:
        engine.generate(make(), NullJob())
    assert caught.value.message.endswith(".")
    if named_field:
        assert caught.value.field == named_field
    assert engine.model_name == "second"


def test_options_are_changed_whole_or_not_at_all(engine: Engine) -> None:
    before = engine.options
    for bad in ({"eta_ddim": 0.5, "sd_model_checkpoint": "nonesuch"}, {"eta_ddim": 0.5, "ddim_loop": "modern"},
                {"CLIP_stop_at_last_layers": 99}):
        with pytest.raises(UserError):
            engine.set_options(bad)
        assert engine.options == before
    engine.set_options({"eta_ddim": 0.5, "sd_model_checkpoint": "second"})
    assert (engine.options.eta_ddim, engine.options.sd_model_checkpoint) == (0.5, "second")
    assert engine.loaded is None  # naming a checkpoint loads nothing yet


def test_other_options_may_change_while_the_checkpoint_is_gone(engine: Engine) -> None:
    engine.set_options({"sd_model_checkpoint": "second"})
    engine.catalog.find("second").path.unlink()
    engine.catalog.refresh()
    engine.set_options({"eta_ddim": 0.5})
    assert engine.options.eta_ddim == 0.5
    with pytest.raises(NotFound):
        engine.set_options({"sd_vae": "Automatic"})


def test_a_file_that_is_gone_is_missed_before_sampling(engine: Engine) -> None:
    """Its hash would be needed for the picture's text, after all steps."""
    model = engine.load(named("second"), NullJob())
    engine.catalog.find("second").path.unlink()
    with pytest.raises(NotFound):
        engine.generate(small(options=named("second")), NullJob())
    assert not model.calls  # type: ignore[attr-defined]


def test_a_new_file_that_sorts_first_does_not_change_the_checkpoint(engine: Engine) -> None:
    """Whether the one in force was ever used or not; only when it goes away another one takes its place."""
    named = [engine.files_of(engine.options)[0]]
    write_checkpoint(engine.settings.checkpoint_dirs[0], "aaa")
    engine.catalog.refresh()
    named.append(engine.files_of(engine.options)[0])
    assert [file.name for file in named if file] == ["first", "first"]
    (engine.settings.checkpoint_dirs[0] / "first.safetensors").unlink()
    engine.catalog.refresh()
    checkpoint, _ = engine.files_of(engine.options)
    assert checkpoint is not None
    assert checkpoint.name == "aaa"


def test_no_checkpoint_says_where_to_put_one(tmp_path: Path) -> None:
    engine = fake_engine(Settings(data_dir=tmp_path))
    with pytest.raises(NotFound, match="Stable-diffusion"):
        engine.generate(small(), NullJob())
    write_checkpoint(engine.settings.checkpoint_dirs[0], "late")
    engine.catalog.refresh()
    assert engine.generate(small(), NullJob()).images


def test_a_checkpoint_named_on_the_command_line_must_exist(settings: Settings) -> None:
    with pytest.raises(NotFound):
        Engine(dataclasses.replace(settings, ckpt="nonesuch"))
    assert Engine(dataclasses.replace(settings, ckpt="second")).options.sd_model_checkpoint


@pytest.mark.parametrize(("device", "flags", "dtype", "denoiser", "told"), [
    ("cpu", {}, torch.float32, torch.float32, None),
    ("cpu", {"precision": "fp32"}, torch.float32, torch.float32, None),
    ("cpu", {"precision": "bf16"}, torch.float32, torch.bfloat16, "bf16"),
    ("cuda", {}, torch.float16, torch.float16, None),
    ("cuda", {"precision": "fp16"}, torch.float16, torch.float16, None),
    ("cuda", {"no_half": True}, torch.float32, torch.float32, None),
    ("cuda", {"precision": "fp32"}, torch.float32, torch.float32, "fp32"),
    ("cuda", {"precision": "bf16", "no_half": True}, torch.bfloat16, torch.bfloat16, "bf16"),
])
def test_a_gpu_computes_with_16_bits_unless_told_otherwise(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, flags: dict[str, Any], dtype: torch.dtype,
        denoiser: torch.dtype, told: str | None) -> None:
    asked: list[tuple[torch.dtype, torch.dtype]] = []
    monkeypatch.setattr("modules.networks.loader.load_model",
                        lambda *_, **how: asked.append((how["dtype"], how["denoiser_dtype"])))
    settings = Settings(data_dir=tmp_path, device=device, **flags)
    FileLoader()(CheckpointFile(tmp_path / "x.safetensors", "x.safetensors"), None, settings, lambda done: None)
    assert asked == [(dtype, denoiser)]
    assert precision_keys(settings) == ({"Precision": told} if told else {})


def test_another_precision_stands_in_the_parameters_text(settings: Settings) -> None:
    settings = dataclasses.replace(settings, device="cpu", precision="bf16")
    text = fake_engine(settings).generate(small(options=named("first")), NullJob()).images[0].infotext
    assert ", Precision: bf16, " in text
    assert infotext.to_changes(infotext.parse(text)).unsupported == ()
