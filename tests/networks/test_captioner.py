"""Captioners with tiny random weights against transformers' own pipeline."""

from __future__ import annotations

import pytest
from describers import write_blip
from PIL import Image

from modules.engine.describing import Describers
from modules.errors import CheckpointError, Interrupted, NotFound
from modules.settings import Settings

PICTURE = Image.radial_gradient("L").convert("RGB")


@pytest.fixture
def describers(settings: Settings) -> Describers:
    write_blip(settings.models_dir / "captioners" / "tiny")
    return Describers(settings)


def nothing() -> None: ...


@pytest.mark.parametrize("picture", [PICTURE, Image.new("RGB", (50, 20), (200, 0, 90)), Image.new("L", (1, 1))])
def test_the_words_are_those_of_the_pipeline(describers: Describers, settings: Settings, picture: Image.Image) -> None:
    from transformers import pipeline

    theirs = pipeline("image-text-to-text", model=str(settings.models_dir / "captioners" / "tiny"), device="cpu")
    expected = theirs(images=picture.convert("RGB"), text="", max_new_tokens=48, do_sample=False)[0]["generated_text"]
    assert expected.strip()
    assert describers.describe(picture, "clip", 0.5, nothing) == expected.strip()
    assert describers.describe(picture, "TINY", 0.5, nothing) == expected.strip()


def test_it_can_be_stopped_at_each_word(describers: Describers) -> None:
    asked = 0

    def stops() -> None:
        nonlocal asked
        asked += 1
        if asked == 3:
            raise Interrupted

    with pytest.raises(Interrupted):
        describers.describe(PICTURE, "clip", 0.5, stops)
    assert asked == 3


def test_what_is_no_captioner_is_refused(settings: Settings) -> None:
    describers = Describers(settings)
    with pytest.raises(NotFound, match=r"describes pictures \(clip\): put a captioner such as BLIP"):
        describers.named("clip")
    folder = settings.models_dir / "captioners" / "other"
    folder.mkdir(parents=True)
    for config in ("no", '{"model_type": "bert"}', '{"auto_map": {"AutoProcessor": "x.Y"}, "model_type": "blip"}'):
        (folder / "config.json").write_text(config)
        with pytest.raises(CheckpointError, match="other in models/captioners is no captioner that can be used"):
            describers.describe(PICTURE, "clip", 0.5, nothing)


def test_pickles_are_not_read(describers: Describers, settings: Settings) -> None:
    folder = settings.models_dir / "captioners" / "tiny"
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError):
        describers.describe(PICTURE, "clip", 0.5, nothing)


def test_a_folder_that_changes_is_read_again(describers: Describers, settings: Settings) -> None:
    before = describers.describe(PICTURE, "clip", 0.5, nothing)
    write_blip(settings.models_dir / "captioners" / "tiny", seed=7)
    assert describers.describe(PICTURE, "clip", 0.5, nothing) != before
