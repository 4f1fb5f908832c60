"""LoRAs in jobs of a real, tiny checkpoint: each client has its own set, and nothing is left behind."""

from __future__ import annotations

import contextlib
import gc
import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import torch
from golden.tiny import checkpoint
from networks.patches.files import KINDS, write
from safetensors.torch import load_file, save_file

from modules.engine.engine import Engine
from modules.errors import BadResult, Interrupted
from modules.jobs.queue import JobQueue
from modules.request import Txt2Img
from modules.request.job_context import NullJob, Preview
from modules.settings import Settings

MANY = int(os.environ.get("NETWORK_JOBS", "12"))
"""Jobs of each test; 200 and more show that nothing grows."""

STRANGERS = MANY * 5 if MANY > 20 else 20
SETS = ("", "<lora:lora:0.8>", "<lora:boft:0.5> <lora:lora:-0.4>", "<lora:dora:1> <lora:full:0.3>")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    settings = Settings(data_dir=tmp_path_factory.mktemp("jobs"), ckpt_dir=checkpoint("tiny-sd15").parent, device="cpu")
    made = Engine(settings)
    model = made.load(made.options.replaced({"sd_model_checkpoint": "tiny-sd15"}), NullJob())
    folder = settings.models_dir / "Lora"
    folder.mkdir(parents=True)
    for kind in KINDS:
        write(folder / f"{kind}.safetensors", model, kind)  # type: ignore[arg-type]
    made.networks.refresh()
    return made


def asked(engine: Engine, tags: str, seed: int = 1, steps: int = 2) -> Txt2Img:
    return Txt2Img(prompt=f"a boat {tags}", width=64, height=64, steps=steps, seed=seed, sampler="Euler",
                   options=engine.options.replaced({"sd_model_checkpoint": "tiny-sd15"}))


def pixels(engine: Engine, tags: str, seed: int = 1) -> bytes:
    return engine.generate(asked(engine, tags, seed), NullJob()).images[0].image.tobytes()


@pytest.fixture(scope="module")
def pictures(engine: Engine) -> dict[str, bytes]:
    """What each set makes alone."""
    return {tags: pixels(engine, tags) for tags in SETS}


def test_clients_at_once_get_their_own_sets(engine: Engine, pictures: dict[str, bytes]) -> None:
    assert len(set(pictures.values())) == len(SETS)
    queue = JobQueue(engine, lambda made, request: Path())

    def client(number: int) -> list[bool]:
        chance, right = random.Random(number), []
        for _ in range(MANY // 2):
            tags = chance.choice(SETS)
            job = queue.submit(asked(engine, tags))
            assert job.wait(600)
            assert job.result is not None
            right.append(job.result.images[0].image.tobytes() == pictures[tags])
        return right

    try:
        with ThreadPoolExecutor(2) as pool:
            assert all(all(right) for right in pool.map(client, range(2)))
    finally:
        queue.close()


class Stopping(NullJob):
    """A job that is stopped at its first step."""

    def step(self, step: int, total: int, preview: Preview) -> None:
        raise Interrupted


def test_what_stops_or_fails_leaves_nothing(engine: Engine, pictures: dict[str, bytes],
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    for tags in SETS[1:]:
        assert engine.generate(asked(engine, tags), Stopping()).interrupted
        assert pixels(engine, "") == pictures[""]
        with monkeypatch.context() as patch:
            patch.setattr("modules.generation.batch.sample", lambda *args: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                engine.generate(asked(engine, tags), NullJob())
        assert pixels(engine, "") == pictures[""]
        assert pixels(engine, tags) == pictures[tags]


def test_changing_sets_leave_memory_flat(engine: Engine, pictures: dict[str, bytes]) -> None:
    chance = random.Random(3)

    def tensors() -> int:
        assert engine.loaded is not None
        engine.loaded.model.clear_caches()  # it keeps conditionings of prompts up to a budget
        gc.collect()
        return sum(issubclass(type(one), torch.Tensor) for one in gc.get_objects())

    def some(count: int) -> None:
        for _ in range(count):
            engine.generate(asked(engine, " ".join(f"<lora:{kind}:{chance.random():.2f}>" for kind in chance.sample(
                list(KINDS), chance.randint(0, 3))), steps=1), NullJob())
        pixels(engine, "")

    some(10)
    count, memory = tensors(), psutil.Process().memory_info().rss
    some(MANY)
    assert tensors() <= count + 20
    assert psutil.Process().memory_info().rss < memory + 100 * 2**20
    assert pixels(engine, "") == pictures[""]


def strangers(folder: Path, count: int) -> Iterator[str]:
    """Files with LoRA-like names: cut short, NaN, rank 0, huge numbers, keys of other families, noise."""
    good = {kind: load_file(folder / f"{kind}.safetensors") for kind in KINDS}
    chance = random.Random(5)
    for number in range(count):
        tensors = dict(good[chance.choice(list(KINDS))])
        for key in chance.sample(sorted(tensors), 4):
            spoil, value = chance.choice(["nan", "huge", "cut", "rank 0", "rename", "flat", "alpha"]), tensors.pop(key)
            rows = value if value.dim() else value[None]
            renamed = chance.choice([f"lora_te2_{key}", key.replace("unet", "transformer"), f"x.{key}"])
            tensors[renamed if spoil == "rename" else key] = {
                "nan": value.float() * float("nan"), "huge": value.float() * 1e30, "cut": rows[:1], "rank 0": rows[:0],
                "rename": value, "flat": value.flatten(), "alpha": torch.tensor(1e30)}[spoil].contiguous()
        path = folder / f"stranger{number}.safetensors"
        save_file(tensors, path)
        if chance.random() < 0.3:
            content = path.read_bytes()
            path.write_bytes(chance.choice([content[: chance.randrange(len(content))], chance.randbytes(200)]))
        yield path.stem


def test_files_of_strangers_never_change_a_later_picture(engine: Engine, pictures: dict[str, bytes]) -> None:
    folder = engine.settings.models_dir / "Lora"
    for number, name in enumerate(strangers(folder, STRANGERS)):
        with contextlib.suppress(BadResult):  # huge numbers may make a picture that is none
            assert len(engine.generate(asked(engine, f"<lora:{name}:1>", steps=1), NullJob()).images) == 1
        if number % 10 == 0:
            assert pixels(engine, "") == pictures[""]
        (folder / f"{name}.safetensors").unlink()
    for tags in SETS:
        assert pixels(engine, tags) == pictures[tags]
