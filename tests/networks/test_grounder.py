"""Networks for words with tiny random weights against transformers' own processors, models and pipeline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from grounders import write_clipseg, write_dino, write_owlv2
from PIL import Image

from modules.engine.clicking import Clicking
from modules.engine.grounding import Grounding, listed
from modules.errors import CheckpointError, InvalidInput, NotFound
from modules.networks.grounder import MOST_FINDS, Grounder
from modules.settings import Settings

PICTURE = Image.effect_noise((90, 60), 80).resize((180, 120)).convert("RGB")
WORDS = ["the dog", "bench"]
Boxes = list[tuple[list[float], float]]


def apart(found: Boxes) -> list[tuple[list[int], float]]:
    """The surest first, without those that overlap a surer one by more than 0.7 of what both cover."""
    kept: Boxes = []
    for box, score in sorted(found, key=lambda one: -one[1]):
        for other, _ in kept:
            sides = [min(box[k + 2], other[k + 2]) - max(box[k], other[k]) for k in (0, 1)]
            both = max(sides[0], 0) * max(sides[1], 0)
            areas = [(it[2] - it[0]) * (it[3] - it[1]) for it in (box, other)]
            if both > 0.7 * (sum(areas) - both):
                break
        else:
            kept.append((box, score))
    edges = (180, 120, 180, 120)
    rounded = [([min(max(round(at), 0), edge) for at, edge in zip(box, edges, strict=True)], score)
               for box, score in kept[:MOST_FINDS]]
    return [(box, score) for box, score in rounded if box[0] < box[2] and box[1] < box[3]]


def ours(folder: Path, least: float) -> list[tuple[list[int], float]]:
    return [(list(one.box), one.score) for one in Grounder(folder, "cpu").boxes(PICTURE, WORDS, least)]


def same(found: list[tuple[list[int], float]], expected: list[tuple[list[int], float]]) -> bool:
    return [box for box, _ in found] == [box for box, _ in expected] and \
        [score for _, score in found] == pytest.approx([score for _, score in expected], abs=1e-5)


@pytest.mark.parametrize("least", [0.1, 0.4])
def test_owlv2_is_what_transformers_pipeline_makes_of_each_word(tmp_path: Path, least: float) -> None:
    from transformers import Owlv2ForObjectDetection, Owlv2Processor, pipeline

    folder = write_owlv2(tmp_path / "owl")
    network, processor = Owlv2ForObjectDetection.from_pretrained(folder).eval(), Owlv2Processor.from_pretrained(folder)
    theirs = pipeline("zero-shot-object-detection", model=network, tokenizer=processor.tokenizer,
                      image_processor=processor.image_processor, device="cpu")
    scores = [one["score"] for one in theirs(PICTURE, candidate_labels=WORDS, threshold=least)]
    best: dict[int, tuple[list[float], float]] = {}
    for word in WORDS:
        with torch.no_grad():
            answer = network(**processor(images=PICTURE, text=[[word]], return_tensors="pt"))
        (found,) = processor.post_process_grounded_object_detection(answer, threshold=-1, target_sizes=[(120, 180)])
        for number, (box, score) in enumerate(zip(found["boxes"].tolist(), found["scores"].tolist(), strict=True)):
            best[number] = max(best.get(number, (box, -1.0)), (box, score), key=lambda one: one[1])
    expected = apart([one for one in best.values() if one[1] > least])
    assert len(expected) > 3
    assert same(ours(folder, least), expected)
    assert expected[0][1] == pytest.approx(max(scores), abs=1e-5)


@pytest.mark.parametrize("least", [0.1, 0.9])
def test_grounding_dino_is_what_its_processor_makes_of_it(tmp_path: Path, least: float) -> None:
    from transformers import GroundingDinoForObjectDetection, GroundingDinoProcessor

    folder = write_dino(tmp_path / "dino")
    network = GroundingDinoForObjectDetection.from_pretrained(folder).eval()
    processor = GroundingDinoProcessor.from_pretrained(folder)
    inputs = processor(images=PICTURE, text="the dog. bench.", return_tensors="pt")
    with torch.no_grad():
        answer = network(**inputs)
    (found,) = processor.post_process_grounded_object_detection(answer, inputs.input_ids, threshold=least,
                                                                target_sizes=[(120, 180)])
    expected = apart(list(zip(found["boxes"].tolist(), found["scores"].tolist(), strict=True)))
    assert len(expected) > 3
    assert same(ours(folder, least), expected)


@pytest.mark.parametrize("least", [0.3, 0.5])
def test_clipseg_is_what_its_model_makes_of_each_word(tmp_path: Path, least: float) -> None:
    from transformers import CLIPSegForImageSegmentation, CLIPSegProcessor

    folder = write_clipseg(tmp_path / "clipseg")
    network, processor = CLIPSegForImageSegmentation.from_pretrained(folder).eval(), CLIPSegProcessor.from_pretrained(
        folder)
    shares = []
    for word in WORDS:
        with torch.no_grad():
            logits = network(**processor(images=[PICTURE], text=[word], return_tensors="pt")).logits
        large = Image.fromarray(logits.reshape(64, 64).numpy()).resize((180, 120), Image.Resampling.BILINEAR)
        shares.append(1 / (1 + np.exp(-np.asarray(large))))
    expected = np.maximum(*shares) > least
    assert (shares[0] > least).mean() != (shares[1] > least).mean()
    found = np.asarray(Grounder(folder, "cpu").mask(PICTURE, WORDS, least)) > 0
    assert 0 < expected.mean() < 1
    assert (found != expected).mean() < 0.02, "they differ in how they enlarge alone"


def test_large_and_flat_pictures_are_shown_smaller_and_on_black(tmp_path: Path) -> None:
    """Boxes and masks are those of what is shown, in pixels of the picture."""
    flat = Image.new("RGB", (320, 80))
    flat.paste(PICTURE.resize((320, 5)))
    owl, clipseg = Grounder(write_owlv2(tmp_path / "owl"), "cpu"), Grounder(write_clipseg(tmp_path / "clipseg"), "cpu")
    twice = PICTURE.resize((3200, 1600), Image.Resampling.BICUBIC)
    small, big = (owl.boxes(one, WORDS, 0.4) for one in (twice.resize((1600, 800), Image.Resampling.BILINEAR), twice))
    assert len(big) == len(small) > 3
    assert np.allclose([one.box for one in big], np.array([one.box for one in small]) * 2, atol=2)
    box = (0, 0, 320, 5)
    mask = clipseg.mask(flat.crop(box), WORDS, 0.4)
    assert mask.size == (320, 5)
    assert np.array_equal(np.asarray(mask), np.asarray(clipseg.mask(flat, WORDS, 0.4).crop(box)))


@pytest.fixture
def grounding(settings: Settings) -> Grounding:
    return Grounding(settings, Clicking(settings))


@pytest.mark.parametrize("write", [write_owlv2, write_dino])
def test_boxes_become_masks_as_the_segmenter_cuts_them(grounding: Grounding, settings: Settings,
                                                       write: Callable[[Path], Path]) -> None:
    folder = write(settings.models_dir / "grounding" / "tiny")
    expected = np.zeros((120, 180), bool)
    for box, _ in ours(folder, 0.4):
        expected |= np.asarray(Clicking(settings).mask(("a",), lambda: PICTURE, (), tuple(box))) > 0
    mask = grounding.mask(("b",), lambda: PICTURE, "the dog; bench", 0.4)
    assert (mask.mode, mask.size) == ("L", PICTURE.size)
    assert set(np.unique(np.asarray(mask))) <= {0, 255}
    assert np.array_equal(np.asarray(mask) > 0, expected)


def test_the_mask_of_a_network_that_draws_is_its_own(grounding: Grounding, settings: Settings) -> None:
    folder = write_clipseg(settings.models_dir / "grounding" / "tiny")
    expected = Grounder(folder, "cpu").mask(PICTURE, WORDS, 0.4)
    assert grounding.mask(("a",), lambda: PICTURE, "the dog, bench").tobytes() == expected.tobytes()
    with pytest.raises(InvalidInput, match="Nothing in the picture was taken for 'the dog'"):
        grounding.mask(("a",), lambda: PICTURE, "the dog", 0.999999)


def test_without_a_network_it_says_where_to_put_one(grounding: Grounding, settings: Settings) -> None:
    with pytest.raises(NotFound, match="put Grounding DINO, OWLv2 or CLIPSeg") as found:
        grounding.mask(("a",), lambda: PICTURE, "the dog")
    assert str(settings.models_dir / "grounding") in str(found.value)
    folder = settings.models_dir / "grounding" / "other"
    folder.mkdir(parents=True)
    for config in ("no", '{"model_type": "bert"}', '{"model_type": "clipseg"}'):
        (folder / "config.json").write_text(config)
        with pytest.raises(CheckpointError, match="other in models/grounding is no network for words"):
            grounding.mask(("a",), lambda: PICTURE, "the dog")


def test_the_list_of_things_is_bounded() -> None:
    assert listed(" the dog,, the bench\n a tree。") == ["the dog", "the bench", "a tree"]
    for text in ("", " , ", "a" * 501, "a," * 21):
        with pytest.raises(InvalidInput):
            listed(text)
