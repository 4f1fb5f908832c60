"""Weights that stay in half precision, as in the file, and are widened a layer at a time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from networks.loading import load, said

from modules.networks import loader
from modules.networks.packing import weight_bytes
from modules.networks.widening import LARGE
from modules.sampling.levels import Level


def test_the_answers_are_those_of_the_wide_model(tiny: Path) -> None:
    wide, narrow = load(tiny, keep_half=False), load(tiny, keep_half=True)
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    level = Level(500, 0.5, 0.5)
    words = said(wide, "a cat")
    assert torch.equal(said(narrow, "a cat").tokens, words.tokens)
    torch.testing.assert_close(narrow.predict(x, level, words), wide.predict(x, level, words), atol=1e-4, rtol=1e-4)
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    latent = wide.encode_image(image)
    torch.testing.assert_close(narrow.encode_image(image), latent, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(narrow.decode_latent(latent), wide.decode_latent(latent), atol=1e-4, rtol=1e-4)


def test_large_weights_take_half_and_small_ones_stay_exact(tiny: Path) -> None:
    wide, narrow = load(tiny, keep_half=False), load(tiny, keep_half=True)
    for name, part in narrow.parts.items():
        large = sum(p.numel() for p in part.parameters() if p.numel() >= LARGE)
        small = sum(p.numel() for p in part.parameters() if p.numel() < LARGE)
        assert weight_bytes(part) <= 2 * large + 4 * small + 4 * LARGE * 4, name
        assert next(part.parameters()).dtype == torch.float32 or name == "text"
    assert sum(narrow.part_bytes.values()) < 0.75 * sum(wide.part_bytes.values())


def test_it_is_chosen_where_the_weights_would_not_fit(tiny: Path) -> None:
    usual = sum(load(tiny, keep_half=False).part_bytes.values())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loader, "free_memory", lambda device: int(usual * 1.1))
        assert sum(load(tiny).part_bytes.values()) < usual
        patch.setattr(loader, "free_memory", lambda device: usual * 2)
        assert sum(load(tiny).part_bytes.values()) == usual
