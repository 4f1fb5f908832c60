"""Masked content "surroundings": the sampler starts from what Remove made of the picture."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import FakeModel
from PIL import Image

from modules.engine.engine import Engine
from modules.generation.recipes import inpaint
from modules.imaging.fill import fill
from modules.imaging.mask import prepare
from modules.imaging.remove import Removers
from modules.request import Inpaint, MaskedContent
from modules.request.job_context import NullJob
from modules.request.options import Options

SIZE = (96, 64)


def stripes() -> Image.Image:
    """Upright stripes with something red on them."""
    image = Image.fromarray(np.tile((np.arange(SIZE[0]) // 8 % 2 * 160 + 40).astype(np.uint8)[None, :, None],
                                    (SIZE[1], 1, 3)))
    image.paste((250, 0, 0), (40, 24, 56, 40))
    return image


def request(**changes: object) -> Inpaint:
    mask = Image.new("L", SIZE)
    mask.paste(255, (38, 22, 58, 42))
    return Inpaint(**{"init_images": (stripes(),), "mask": mask, "mask_blur_x": 0, "mask_blur_y": 0, "seed": 5,
                      "masked_content": MaskedContent.SURROUNDINGS, "width": SIZE[0], "height": SIZE[1], **changes})


@pytest.mark.parametrize("area", [{}, {"only_masked": True, "only_masked_padding": 8, "mask_blur_x": 1}])
def test_the_latent_is_that_of_the_picture_without_the_thing(area: dict[str, object]) -> None:
    asked = request(**area)
    hole = prepare(asked.mask, invert=False, blur_x=asked.mask_blur_x, blur_y=0, hard=True)
    prepared = inpaint(FakeModel(), asked, NullJob())
    removed = Removers().remove(stripes(), hole.point(lambda value: 255 if value else 0), seed=5)
    expected = inpaint(FakeModel(), request(init_images=(removed,), masked_content=MaskedContent.ORIGINAL, **area),
                       NullJob())
    other = inpaint(FakeModel(), request(masked_content=MaskedContent.ORIGINAL, **area), NullJob())
    assert prepared.source
    assert expected.source
    assert other.source
    assert (prepared.source.latent - expected.source.latent).abs().max() < 1e-6
    assert (prepared.source.latent - other.source.latent).abs().max() > 0.1


def test_where_the_mask_leaves_too_little_it_is_fill() -> None:
    full = Image.new("L", SIZE, 255)
    prepared = inpaint(FakeModel(), request(mask=full), NullJob())
    filled = fill(stripes(), full)
    expected = inpaint(FakeModel(), request(mask=full, init_images=(filled,), masked_content=MaskedContent.ORIGINAL),
                       NullJob())
    assert prepared.source
    assert expected.source
    assert (prepared.source.latent == expected.source.latent).all()


def test_the_text_says_what_filled(engine: Engine) -> None:
    text = engine.generate(request(steps=1), NullJob()).images[0].infotext
    assert "Masked content: surroundings, Remove with: PatchMatch," in text
    plain = request(steps=1, masked_content=MaskedContent.ORIGINAL, options=Options(remove_model="PatchMatch"))
    assert "Remove with" not in engine.generate(plain, NullJob()).images[0].infotext
