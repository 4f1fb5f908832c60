"""What a checkpoint predicts, said by an option or remembered of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from golden.tiny import checkpoint

from modules.engine.completion import Completion
from modules.engine.engine import Engine
from modules.errors import InvalidInput
from modules.request import Txt2Img
from modules.request.job_context import NullJob
from modules.request.options import Options
from modules.settings import Settings
from modules.text import infotext
from modules.ui.controls.cards import answers


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    """With tiny-sd15-v, and the same file without the YAML file that says that it predicts v."""
    folder = tmp_path / "models" / "Stable-diffusion"
    folder.mkdir(parents=True)
    told = checkpoint("tiny-sd15-v")
    shutil.copy(told, folder / "told.safetensors")
    shutil.copy(told.with_suffix(".yaml"), folder / "told.yaml")
    shutil.copy(told, folder / "silent.safetensors")
    return Engine(Settings(data_dir=tmp_path, device="cpu"))


def made(engine: Engine, name: str, **options: str) -> tuple[np.ndarray, str]:
    chosen = Options().replaced({"sd_model_checkpoint": name, **options})
    image = engine.generate(Txt2Img(prompt="a cat", steps=2, width=64, height=64, seed=5, subseed=0, options=chosen),
                            NullJob()).images[0]
    return np.asarray(image.image), image.infotext


def test_the_option_says_it_and_the_text_repeats_it(engine: Engine) -> None:
    right, text = made(engine, "told")
    assert "Prediction type" not in text
    wrong, _ = made(engine, "silent")
    assert not np.array_equal(right, wrong)
    said, text = made(engine, "silent", prediction_type="v")
    assert np.array_equal(said, right)
    assert "Prediction type: v" in text
    as_noise, _ = made(engine, "told", prediction_type="eps")
    assert np.array_equal(as_noise, wrong)
    assert np.array_equal(made(engine, "told")[0], right)  # nothing of it stays


def test_it_is_remembered_of_a_checkpoint_by_its_hash(engine: Engine, tmp_path: Path) -> None:
    right, _ = made(engine, "told")
    shutil.copy(checkpoint("tiny-sd15"), tmp_path / "models" / "Stable-diffusion" / "other.safetensors")
    engine.catalog.refresh()
    other, _ = made(engine, "other")
    engine.predictions.remember(engine.catalog.find("silent"), "v")
    again = Engine(engine.settings)
    picture, text = made(again, "silent")
    assert np.array_equal(picture, right)
    assert text.count("Prediction type: v") == 1
    assert np.array_equal(made(again, "other")[0], other)
    assert made(again, "silent", prediction_type="eps")[1].count("Prediction type: eps") == 1
    again.predictions.remember(again.catalog.find("silent"), "Automatic")
    assert "Prediction type" not in made(again, "silent")[1]
    with pytest.raises(InvalidInput, match="predicts Automatic, eps, v, not 'flow'"):
        again.predictions.remember(again.catalog.find("silent"), "flow")


def test_the_card_of_a_checkpoint_sets_it(engine: Engine, tmp_path: Path) -> None:
    shutil.copy(checkpoint("tiny-sd3"), tmp_path / "models" / "Stable-diffusion" / "flow.safetensors")
    engine.catalog.refresh()
    completion = Completion(engine.settings, engine.networks, engine.wildcards, lambda: ())
    ask = {function.__name__: function for function in answers(engine, completion)}
    cards = {card["name"]: card["id"] for card in ask["list"]({"kind": "checkpoints"})["cards"]}
    assert ask["about"]({"id": cards["silent"]})["prediction"] == "Automatic"
    assert ask["about"]({"id": cards["flow"]})["prediction"] is None
    assert ask["predict"]({"id": cards["silent"], "prediction": "v"}) == {}
    assert ask["about"]({"id": cards["silent"]})["prediction"] == "v"
    assert "problem" in ask["predict"]({"id": cards["silent"], "prediction": "brown"})
    assert "problem" in ask["predict"]({"id": "nothing", "prediction": "v"})


def test_a_flow_stays_a_flow(engine: Engine, tmp_path: Path) -> None:
    shutil.copy(checkpoint("tiny-sd3"), tmp_path / "models" / "Stable-diffusion" / "flow.safetensors")
    engine.catalog.refresh()
    assert np.array_equal(made(engine, "flow")[0], made(engine, "flow", prediction_type="eps")[0])


def test_a_damaged_entry_counts_as_none(engine: Engine) -> None:
    for entry in ([1], "v", {"x": 5}):
        engine.config.update({"prediction_types": entry})
        assert engine.predictions.of(engine.catalog.find("silent"), Options()) == "Automatic"


def test_the_text_is_read_back() -> None:
    read = infotext.to_changes(infotext.parse("a cat\nSteps: 20, Sampler: Euler, Prediction type: v"))
    assert read.options["prediction_type"] == "v"
