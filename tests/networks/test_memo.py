"""A second run of the same inpaint with another seed encodes neither the photograph nor the words again."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch
from networks.loading import load
from PIL import Image, ImageDraw
from torch import nn

from modules.engine.engine import resolve
from modules.generation import recipes
from modules.networks.memo import Memo, fingerprint
from modules.networks.model import DiffusionModel
from modules.request import Inpaint, Txt2Img
from modules.request.job_context import NullJob


def request(seed: int) -> Txt2Img:
    mask = Image.new("L", (64, 64))
    ImageDraw.Draw(mask).ellipse((16, 16, 48, 48), fill=255)
    picture = Image.linear_gradient("L").resize((64, 64)).convert("RGB")
    return resolve(Inpaint(prompt="a dog", negative_prompt="a cat", seed=seed, subseed=0, steps=3, width=64, height=64,
                           init_images=(picture,), mask=mask))


def picture(model: DiffusionModel, wanted: Txt2Img) -> Image.Image:
    (made,) = recipes.generate(lambda *_: model, wanted, NullJob()).pictures
    return made.image


def count_calls(module: nn.Module) -> list[None]:
    calls: list[None] = []
    module.register_forward_hook(lambda *_: calls.append(None))
    return calls


def test_a_new_seed_encodes_nothing_again_and_gives_the_same_picture(tiny: Path) -> None:
    model = load(tiny)
    encodes, words = count_calls(model.vae.get_submodule("encoder")), count_calls(model.text.clip)
    picture(model, request(1))
    assert encodes
    assert words
    del encodes[:], words[:]
    again = picture(model, request(2))
    assert (encodes, words) == ([], [])
    assert np.array_equal(again, picture(load(tiny), request(2)))


def test_what_changes_the_answer_is_asked_again(tiny: Path) -> None:
    model = load(tiny)
    encodes, words = count_calls(model.vae.get_submodule("encoder")), count_calls(model.text.clip)
    picture(model, request(1))
    seen, read = len(encodes), len(words)
    with model.tiled():
        tiled = picture(model, request(1))
    assert len(encodes) > seen
    fresh = load(tiny)
    with fresh.tiled():
        assert np.array_equal(tiled, picture(fresh, request(1)))
    assert not np.array_equal(tiled, picture(fresh, request(1)))
    skipped = dataclasses.replace(request(1).options, CLIP_stop_at_last_layers=2)
    picture(model, dataclasses.replace(request(1), options=skipped))
    assert len(words) > read


def test_the_least_recently_used_is_forgotten_first() -> None:
    memo, made = Memo(budget=2 * 40), []

    def ask(key: str) -> torch.Tensor:
        return memo.get(key, lambda: made.append(key) or torch.zeros(10))  # 40 bytes

    for key in ("a", "b", "a", "c", "a", "b"):
        ask(key)
    assert made == ["a", "b", "c", "b"]


def test_equal_tensors_have_equal_fingerprints() -> None:
    values = torch.arange(12.0)
    assert fingerprint(values.view(4, 3).t()) == fingerprint(values.view(4, 3).t().contiguous())
    assert fingerprint(values.view(3, 4)) != fingerprint(values.view(4, 3))
    assert fingerprint(values) != fingerprint(values + 1e-6)
