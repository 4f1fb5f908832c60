"""Ultimate SD upscale over a model in closed form: its parts, what each of them is, and what programs send."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scripts.test_scripts import Keeping, img2img, picture, pixels, run

from modules.engine.engine import Engine
from modules.errors import Interrupted, InvalidInput
from modules.imaging.mask import blur, crop_region
from modules.request import ControlUnit, Img2Img, Inpaint, MaskedContent, Txt2Img
from modules.request.job_context import JobContext, NullJob, Preview
from modules.request.result import Result
from modules.scripts.context import as_inpaint
from modules.scripts.ultimate_upscale import Pass, surroundings, target_size, tile_size, unit_inside
from modules.text import infotext

TITLE = "Ultimate SD upscale"
SMALL: dict[str, Any] = {"tile_width": 64, "tile_height": 64, "padding": 16, "mask_blur": 2,
                         "target_size": "Scale from image size", "custom_scale": 2.0}


@pytest.fixture
def drawn(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[Inpaint]:
    """The inner requests, in their order."""
    asked: list[Inpaint] = []
    generate_one = engine.generate_one

    def noting(request: Txt2Img, job: JobContext, **how: Any) -> Result:
        assert isinstance(request, Inpaint)
        asked.append(request)
        return generate_one(request, job, **how)

    monkeypatch.setattr(engine, "generate_one", noting)
    return asked


def whole(image: Image.Image, requests: Sequence[Img2Img], engine: Engine, boxes: Sequence[tuple[int, int, int, int]],
          **changes: Any) -> Image.Image:
    """`image` with each box inpainted in the whole of it, one after another."""
    for box in boxes:
        mask = Image.new("L", image.size)
        mask.paste(255, box)
        request = replace(as_inpaint(requests[0], mask), init_images=(image,), masked_content=MaskedContent.ORIGINAL,
                          only_masked=True, **changes)
        image = engine.generate(request, NullJob()).images[0].image
    return image


@pytest.mark.parametrize("redraw", ["Linear", "Chess"])
def test_each_tile_is_inpainted_as_in_the_whole_picture(engine: Engine, redraw: str) -> None:
    request = img2img(denoising_strength=0.5)
    (made,) = run(engine, request, TITLE, **SMALL, redraw=redraw).images
    assert made.image.size == (192, 128)
    cells = [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1)]
    if redraw == "Chess":
        cells = [(0, 0), (2, 0), (1, 1), (1, 0), (0, 1), (2, 1)]
    boxes = [(64 * x, 64 * y, 64 * x + 64, 64 * y + 64) for x, y in cells]
    large = picture().resize((192, 128), Image.Resampling.LANCZOS)
    expected = whole(large, [request], engine, boxes, width=128, height=128, only_masked_padding=16, mask_blur_x=2,
                     mask_blur_y=2)
    assert np.array_equal(pixels(made.image), pixels(expected))
    assert not np.array_equal(pixels(made.image), pixels(large))


def test_without_tiles_and_seams_it_is_only_enlarged(engine: Engine, drawn: list[Inpaint]) -> None:
    (made,) = run(engine, img2img(), TITLE, **SMALL, redraw="None", upscaler="Nearest").images
    assert not drawn
    assert np.array_equal(pixels(made.image), np.repeat(np.repeat(pixels(picture()), 2, axis=0), 2, axis=1))
    assert "Ultimate SD upscale upscaler: Nearest" in made.infotext


def painted(drawn: list[Inpaint]) -> np.ndarray:
    """How white the masks are together, in the whole picture; only for pieces that are the whole picture."""
    assert {request.mask.size for request in drawn} == {(192, 128)}
    return np.sum([pixels(request.mask) for request in drawn], axis=0)


SEAMS: dict[str, Any] = {"redraw": "None", "padding": 16, "seams_padding": 100, "seams_denoising": 0.2,
                         "tile_width": 64, "tile_height": 64, "target_size": "Custom size", "custom_width": 192,
                         "custom_height": 128, "upscaler": "Nearest"}
"""With so much in view, each piece is the whole picture."""


def test_bands_go_over_all_seams_and_fade_to_their_sides(engine: Engine, drawn: list[Inpaint]) -> None:
    run(engine, img2img(), TITLE, **SEAMS, seams="Band pass", seams_width=16)
    assert len(drawn) == 2 * 2 + 1 * 3
    assert {request.denoising_strength for request in drawn} == {0.2}
    assert {request.mask_blur_x for request in drawn} == {0}
    columns = painted(drawn[:4])
    assert (columns[:, [63, 64, 127, 128]] > 220).all()
    assert (columns[:, [*range(56), *range(72, 120), *range(136, 192)]] == 0).all()
    assert (np.diff(columns[10, 56:64]) > 0).all()
    rows = painted(drawn[4:])
    assert (rows[[63, 64]] > 220).all()
    assert (rows[[*range(56), *range(72, 128)]] == 0).all()


@pytest.mark.parametrize(("kind", "count"), [("Half tile offset pass", 3 + 4), (
    "Half tile offset pass + intersections", 3 + 4 + 2)])
def test_half_tiles_lie_on_two_tiles_each(engine: Engine, drawn: list[Inpaint], kind: str, count: int) -> None:
    run(engine, img2img(), TITLE, **SEAMS, seams=kind, seams_blur=3)
    assert len(drawn) == count
    assert {(request.width, request.height, request.mask_blur_x) for request in drawn} == {(64, 64, 3)}
    rows, columns = painted(drawn[:3]), painted(drawn[3:7])
    assert (rows[[63, 64]] > 240).all()
    assert rows[:32].max() == rows[96:].max() == 0
    assert (columns[:, [63, 64, 127, 128]] > 240).all()
    assert columns[:, :32].max() == columns[:, 160:].max() == 0
    if count == 9:
        discs = painted(drawn[7:])
        assert (discs[[63, 64]][:, [63, 64, 127, 128]] > 240).all()
        assert discs[:32].max() == discs[:, :32].max() == 0
        assert discs[34, 34] == discs[34, 90] == 0


def test_both_pictures_come_and_those_that_are_asked_for_are_saved(engine: Engine) -> None:
    job = Keeping()
    result = run(engine, img2img(steps=1), TITLE, job, **SMALL, seams="Band pass", save_upscaled=False)
    assert len(result.images) == 2
    assert [one.image for one in job.kept] == [result.images[1].image]
    assert not np.array_equal(*(pixels(one.image) for one in result.images))
    assert job.told[-1][1] == 6 + 7
    call = engine.scripts.recall(infotext.parse(result.images[0].infotext))
    assert call is not None
    bound = engine.bound_script(img2img(), call)[1]
    assert (bound["tile_width"], bound["seams"], bound["save_upscaled"]) == (64, "Band pass", False)


def test_an_interruption_leaves_the_other_tiles_as_they_were_enlarged(engine: Engine) -> None:
    class Stopping(Keeping):
        steps = 0

        def check(self) -> None:
            if self.steps >= 5:  # in the second of six tiles
                raise Interrupted

        def step(self, step: int, total: int, preview: Preview) -> None:
            self.steps += 1
            self.check()

    result = run(engine, img2img(denoising_strength=0.9), TITLE, Stopping(), **SMALL | {"mask_blur": 0},
                 seams="Band pass")
    assert result.interrupted
    (made,) = result.images
    large = pixels(picture().resize((192, 128), Image.Resampling.LANCZOS))
    assert np.array_equal(pixels(made.image)[64:], large[64:])
    assert np.array_equal(pixels(made.image)[:, 128:], large[:, 128:])
    assert not np.array_equal(pixels(made.image)[:64, :64], large[:64, :64])


def test_a_large_picture_is_worked_on_in_small_pieces(engine: Engine, drawn: list[Inpaint]) -> None:
    run(engine, img2img(steps=1), TITLE, **SMALL | {"custom_scale": 8.0})
    assert len(drawn) == 12 * 8
    assert max(request.mask.width for request in drawn) <= 64 + 4 * (16 + 7)


@pytest.mark.parametrize("box", [(0, 0, 64, 64), (400, 300, 464, 364), (936, 900, 1000, 910), (500, 0, 510, 64)])
@pytest.mark.parametrize("size", [(128, 128), (256, 64), (64, 192)])
def test_a_piece_holds_all_that_only_masked_sees(box: tuple[int, int, int, int], size: tuple[int, int]) -> None:
    one = Pass((), size, 5, 20, 0.5)
    mask = Image.new("L", (1000, 910))
    mask.paste(255, box)
    region = crop_region(blur(mask, 5, 5), 20, size)
    assert region
    left, top, right, bottom = surroundings(box, one, mask.size)
    piece = Image.new("L", (right - left, bottom - top))
    piece.paste(255, (box[0] - left, box[1] - top, box[2] - left, box[3] - top))
    inside = crop_region(blur(piece, 5, 5), 20, size)
    assert inside
    assert (inside.box[0] + left, inside.box[1] + top, inside.box[2] + left, inside.box[3] + top) == region.box


def test_control_pictures_are_cut_like_the_piece_unless_they_are_looked_at_whole() -> None:
    unit = ControlUnit(module="canny", image=picture(100, 50), effective_region_mask=picture(200, 100))
    cut = unit_inside(unit, (50, 0, 100, 50), (200, 100))
    assert cut.image is not None
    assert cut.effective_region_mask is not None
    assert np.array_equal(pixels(cut.image), pixels(picture(100, 50))[:25, 25:50])
    assert np.array_equal(pixels(cut.effective_region_mask), pixels(picture(200, 100))[:50, 50:100])
    for module in ("reference_only", "ip-adapter-auto"):
        whole = unit_inside(replace(unit, module=module), (50, 0, 100, 50), (200, 100))
        assert whole.image is unit.image


@pytest.mark.parametrize(("changes", "size"), [
    ({"target_size": "From img2img settings"}, (64, 64)), ({"target_size": "Custom size"}, (2048, 2048)),
    ({"target_size": "Scale from image size", "custom_scale": 1.5}, (192, 128))])
def test_the_size_comes_from_where_it_is_said(changes: dict[str, Any], size: tuple[int, int], engine: Engine) -> None:
    found = next(one for one in engine.scripts.scripts if one.title == TITLE)
    arguments = found.bind((), engine.available) | changes
    assert target_size((96, 64), img2img(), arguments) == size
    assert tile_size(arguments | {"tile_width": 0, "tile_height": 96}) == (96, 96)
    with pytest.raises(InvalidInput, match="needs a tile's width"):
        tile_size(arguments | {"tile_width": 0})
    for wanted in ({"custom_width": 0}, {"custom_width": 20_000, "custom_height": 20_000}):
        with pytest.raises(InvalidInput, match="picture of"):
            target_size((96, 64), img2img(), arguments | {"target_size": "Custom size"} | wanted)
