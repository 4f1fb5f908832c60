"""The small pictures of what the sampler starts from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fakes import TO_IMAGE, FakeModel
from PIL import Image

from modules.ui.controls.content_previews import GREY, latent_content, starts


@pytest.mark.parametrize("model", [None, FakeModel()], ids=["drawn", "model"])
def test_only_the_mask_changes_and_each_mode_shows_its_content(model: FakeModel | None) -> None:
    image = Image.new("RGB", (60, 48), (200, 30, 40))
    mask = Image.new("L", image.size)
    mask.paste(255, (18, 12, 42, 36))
    pictures = {mode: np.asarray(one) for mode, one in starts(image, mask, model).items()}
    outside = np.asarray(mask) == 0
    assert all((one[outside] == (200, 30, 40)).all() for one in pictures.values())
    assert (pictures["original"] == (200, 30, 40)).all()
    assert (pictures["latent nothing"][20:30, 24:36] == (GREY if model is None else 128)).all()
    assert pictures["latent noise"][~outside].std() > 20


def test_noise_and_nothing_are_what_the_model_makes_of_them() -> None:
    noise, nothing = latent_content(FakeModel(), (5, 3))
    latent = torch.randn((4, 3, 5), generator=torch.Generator().manual_seed(0)).double()
    colours = (torch.einsum("cl,lhw->hwc", TO_IMAGE, latent) / 2 + 0.5).clamp(0, 1) * 255
    assert np.abs(np.asarray(noise, float) - colours.numpy()).max() <= 0.51
    assert np.asarray(nothing).tolist() == np.full((3, 5, 3), 128).tolist()
