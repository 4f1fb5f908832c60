"""Resizing, filling, pasting back and tensors, pixel by pixel against what is written here."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from modules.imaging import tensors
from modules.imaging.fill import fill
from modules.imaging.mask import CropRegion
from modules.imaging.overlay import apply_overlay, make_overlay, uncrop
from modules.imaging.resize import flatten, pad_to_multiple, resize
from modules.request import ResizeMode


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8))


# ---------------------------------------------------------------- resize


def test_just_resize_is_pillows_lanczos() -> None:
    image = noise(40, 30)
    expected = image.resize((17, 51), Image.Resampling.LANCZOS)
    assert resize(ResizeMode.JUST_RESIZE, image, (17, 51)).tobytes() == expected.tobytes()


def test_the_same_size_is_left_alone() -> None:
    for mode in ResizeMode:
        assert resize(mode, noise(24, 16), (24, 16)).tobytes() == noise(24, 16).tobytes()


def test_crop_covers_and_cuts_the_middle_out() -> None:
    """200 x 100 to 60 x 60: scaled to 120 x 60, columns 30 to 90 remain."""
    image = noise(200, 100)
    scaled = image.resize((120, 60), Image.Resampling.LANCZOS)
    assert resize(ResizeMode.CROP_AND_RESIZE, image, (60, 60)).tobytes() == scaled.crop((30, 0, 90, 60)).tobytes()


def test_fill_fits_it_in_and_stretches_the_edges() -> None:
    """200 x 100 to 60 x 60: scaled to 60 x 30, with rows 0 and 29 repeated 15 times above and below.

    The outer rows are alike here, because the stretch itself is bicubic and looks at two.
    """
    pixels = np.asarray(noise(200, 100)).copy()
    pixels[:30], pixels[70:] = pixels[0], pixels[99]
    image = Image.fromarray(pixels)
    scaled = np.asarray(image.resize((60, 30), Image.Resampling.LANCZOS))
    expected = np.concatenate([np.repeat(scaled[:1], 15, 0), scaled, np.repeat(scaled[-1:], 15, 0)])
    assert (np.asarray(resize(ResizeMode.RESIZE_AND_FILL, image, (60, 60))) == expected).all()
    turned = image.transpose(Image.Transpose.TRANSPOSE)
    scaled = np.asarray(turned.resize((30, 60), Image.Resampling.LANCZOS))
    expected = np.concatenate([np.repeat(scaled[:, :1], 15, 1), scaled, np.repeat(scaled[:, -1:], 15, 1)], 1)
    assert (np.asarray(resize(ResizeMode.RESIZE_AND_FILL, turned, (60, 60))) == expected).all()


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 90), st.integers(1, 90), st.sampled_from(ResizeMode))
def test_any_picture_to_any_size(width: int, height: int, to_width: int, to_height: int, mode: ResizeMode) -> None:
    """The size asked for, whole: a white picture stays white to its corners."""
    result = resize(mode, Image.new("RGB", (width, height), "white"), (to_width, to_height))
    assert result.size == (to_width, to_height)
    assert result.getextrema() == ((255, 255),) * 3


def test_flatten_lays_transparency_on_the_background() -> None:
    image = Image.new("RGBA", (2, 1), (100, 0, 50, 255))
    image.putpixel((1, 0), (100, 0, 50, 0))
    flat = flatten(image, "#204060")
    assert [flat.getpixel((x, 0)) for x in (0, 1)] == [(100, 0, 50), (0x20, 0x40, 0x60)]
    half = flatten(Image.new("RGBA", (1, 1), (255, 255, 255, 128)), "#000000").getpixel((0, 0))
    assert half == (128, 128, 128)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "I", "CMYK", "RGB"])
def test_flatten_takes_any_mode(mode: str) -> None:
    flat = flatten(Image.new("RGB", (3, 2), (255, 255, 255)).convert(mode), "#000000")
    assert flat.mode == "RGB"
    assert flat.getpixel((1, 1)) == (255, 255, 255)


def test_palette_transparency_is_flattened() -> None:
    image = Image.new("P", (1, 1))
    image.putpalette([9, 9, 9])
    image.info["transparency"] = 0
    assert flatten(image, "#ffffff").getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (9, 15), (63, 8)])
def test_pad_repeats_the_last_row_and_column(size: tuple[int, int]) -> None:
    image = noise(*size)
    padded = np.asarray(pad_to_multiple(image))
    width, height = size
    assert padded.shape[0] % 8 == padded.shape[1] % 8 == 0
    assert padded.shape[0] - height < 8
    assert padded.shape[1] - width < 8
    for y in range(padded.shape[0]):
        for x in range(padded.shape[1]):
            assert tuple(padded[y, x]) == image.getpixel((min(x, width - 1), min(y, height - 1)))
    assert pad_to_multiple(image.convert("L")).mode == "L"


# ---------------------------------------------------------------- fill


def test_fill_keeps_what_is_kept_and_takes_colours_from_around() -> None:
    """A red and a blue half with a hole across: the hole is red to the left, blue to the right, nothing of its own."""
    image = Image.new("RGB", (64, 32), (255, 0, 0))
    image.paste((0, 0, 255), (32, 0, 64, 32))
    image.paste((0, 255, 0), (24, 8, 40, 24))  # what is to vanish
    mask = Image.new("L", (64, 32))
    mask.paste(255, (24, 8, 40, 24))
    filled, hole = np.asarray(fill(image, mask)).astype(int), np.asarray(mask) > 0
    assert (filled[~hole] == np.asarray(image)[~hole]).all()
    assert filled[..., 1].max() <= 1
    assert filled[16, 25, 0] > 200 > 55 > filled[16, 25, 2]
    assert filled[16, 38, 2] > 200 > 55 > filled[16, 38, 0]


def test_fill_of_everything_is_black_and_of_nothing_is_the_picture() -> None:
    assert fill(noise(16, 16), Image.new("L", (16, 16), 255)).getextrema() == ((0, 0),) * 3
    assert fill(noise(16, 16), Image.new("L", (16, 16))).tobytes() == noise(16, 16).tobytes()


# ---------------------------------------------------------------- overlay


def test_overlay_mixes_by_the_mask_and_keeps_bytes_where_it_is_black() -> None:
    """out = original * (1 - m) + result * m, within rounding; equal bytes where m is 0 and where it is 1."""
    original, result = noise(256, 4, 1), noise(256, 4, 2)
    mask = Image.fromarray(np.repeat(np.arange(256, dtype=np.uint8)[None], 4, 0))
    out = np.asarray(apply_overlay(result, make_overlay(original, mask))).astype(float)
    m = np.asarray(mask)[..., None] / 255
    expected = np.asarray(original) * (1 - m) + np.asarray(result) * m
    assert np.abs(out - expected).max() < 3
    assert (out[:, 0] == np.asarray(original)[:, 0]).all()
    assert (out[:, 255] == np.asarray(result)[:, 255]).all()


def test_uncrop_puts_the_result_in_its_place() -> None:
    result, region = noise(32, 32), CropRegion((10, 4, 26, 20))
    canvas = uncrop(result, region, (40, 30))
    small = result.resize((16, 16), Image.Resampling.LANCZOS)
    assert canvas.crop(region.box).convert("RGB").tobytes() == small.tobytes()
    alpha = np.asarray(canvas.getchannel("A")).copy()
    alpha[4:20, 10:26] = 0
    assert not alpha.any()


def test_only_masked_pastes_on_the_original_file() -> None:
    original, result = noise(40, 30, 1), noise(32, 32, 2)
    mask = Image.new("L", (40, 30))
    mask.paste(255, (12, 6, 20, 14))
    out = apply_overlay(uncrop(result, CropRegion((10, 4, 26, 20)), (40, 30)), make_overlay(original, mask))
    small = np.asarray(result.resize((16, 16), Image.Resampling.LANCZOS))
    expected = np.asarray(original).copy()
    expected[6:14, 12:20] = small[2:10, 2:10]
    assert (np.asarray(out) == expected).all()


# ---------------------------------------------------------------- tensors


def test_to_tensor_is_contiguous_channels_first_from_minus_1_to_1() -> None:
    image = noise(5, 3)
    tensor = tensors.to_tensor([image, image])
    assert tensor.shape == (2, 3, 3, 5)
    assert tensor.is_contiguous()
    for y, x, channel in ((0, 0, 0), (2, 4, 1), (1, 3, 2)):
        expected = image.getpixel((x, y))[channel] / 255 * 2 - 1
        assert float(tensor[1, channel, y, x]) == pytest.approx(expected, abs=1e-6)


def test_to_image_clamps_and_cuts_off() -> None:
    """127.9 becomes 127, not 128; below 0 and above 1 are 0 and 255 (WebUI casts to uint8)."""
    values = torch.tensor([127.9 / 127.5 - 1, -1.4, 3.0]).view(3, 1, 1)
    assert tensors.to_image(values).getpixel((0, 0)) == (127, 0, 255)


def test_latent_mask_is_bicubic_and_rounds_half_to_even() -> None:
    mask = Image.new("L", (64, 64))
    mask.paste(255, (0, 0, 28, 64))  # ends half-way into the fourth cell
    soft = tensors.latent_mask(mask, (8, 8), hard=False)[0, 0]
    expected = np.asarray(mask.resize((8, 8), Image.Resampling.BICUBIC)) / 255
    np.testing.assert_allclose(soft, expected, atol=1e-6)
    assert 0.3 < float(soft[4, 3]) < 0.7
    hard = tensors.latent_mask(mask, (8, 8), hard=True)[0, 0]
    assert set(hard.flatten().tolist()) <= {0.0, 1.0}
    np.testing.assert_array_equal(hard, np.around(expected.astype(np.float32)))


def test_pixel_mask_keeps_its_size() -> None:
    mask = Image.fromarray(np.array([[0, 100, 200]], np.uint8))
    assert tensors.pixel_mask(mask, hard=True).tolist() == [[[[0, 0, 1]]]]
    assert tensors.pixel_mask(mask, hard=False)[0, 0, 0, 1] == pytest.approx(100 / 255)


# ---------------------------------------------------------------- colour


def test_colour_correction_brings_the_targets_colours_and_keeps_the_pictures_light() -> None:
    """Histograms are matched in LAB; the luminosity blend takes its light from the uncorrected picture."""
    from modules.imaging.colour import match_colours

    blue = noise(32, 32, 3).point(lambda v: v // 2)
    red = Image.merge("RGB", [band.point(table) for band, table in zip(
        noise(32, 32, 4).split(), ([min(255, 120 + i // 2) for i in range(256)], [i // 3 for i in range(256)],
                                   [i // 3 for i in range(256)]), strict=True)])
    corrected = match_colours(blue, red)

    def lab(image: Image.Image) -> np.ndarray:
        return cv2.cvtColor(np.asarray(image), cv2.COLOR_RGB2LAB).reshape(-1, 3).astype(float).mean(0)

    assert abs(lab(corrected)[1] - lab(red)[1]) < abs(lab(blue)[1] - lab(red)[1]) / 2
    luma = [float(np.asarray(image.convert("L")).mean()) for image in (blue, corrected)]
    assert luma[0] == pytest.approx(luma[1], abs=8)
