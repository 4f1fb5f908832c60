"""Colours painted on the canvas, and masks selected by colour: what the server gets, pixel for pixel."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.canvas_driver import Bits, Canvas, ideal, ideal_stroke, iou
from tests.browser.conftest import CanvasApp, PageApp
from tests.browser.page_driver import generate, set_number, shown_picture, tab

SIZE = (320, 240)


def blobs(path: Path, seed: int = 5) -> Path:
    """Smooth coloured noise: regions with ragged edges, at every tolerance another."""
    small = np.random.default_rng(seed).integers(0, 256, (12, 16, 3)).astype(np.uint8)
    Image.fromarray(small).resize(SIZE, Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture
def canvas(page: Page, canvas_app: CanvasApp, tmp_path: Path) -> Canvas:
    """A canvas with a picture of many colours."""
    canvas = Canvas(page, canvas_app.received)
    canvas.open(blobs(tmp_path / "blobs.png"))
    canvas.set_brush(24)
    return canvas


def paint(canvas: Canvas) -> np.ndarray:
    """The colour layer as the server gets it, (height, width, 4)."""
    data = canvas.get().paint
    return np.zeros((SIZE[1], SIZE[0], 4), np.uint8) if data is None else np.asarray(data)


def set_slider(canvas: Canvas, name: str, value: int) -> None:
    canvas.root.locator(f'[data-set="{name}"]').evaluate(
        "(it, value) => { it.value = value; it.dispatchEvent(new Event('input')); }", str(value))


def test_strokes_have_their_colour_and_share_the_history_with_the_mask(canvas: Canvas) -> None:
    root = canvas.root
    masked = ideal_stroke(SIZE, canvas.drag([(40, 200), (280, 200)]), canvas.brush)
    canvas.press("inColour")
    root.locator('[data-ink="#3fa34d"]').click()
    green = ideal_stroke(SIZE, canvas.drag([(40, 60), (280, 60)]), canvas.brush)
    root.locator('[data-ink="#111111"]').click()
    set_slider(canvas, "inkOpacity", 60)
    canvas.press("rectangle")
    (ax, ay), (bx, by) = canvas.drag([(100, 100), (160, 150)])
    box = ideal(SIZE, lambda x, y: (x > ax) & (x < bx) & (y > ay) & (y < by))

    layer = paint(canvas)
    assert iou(layer[..., 3] > 0, green | box) > 0.97
    assert (layer[green] == (0x3f, 0xa3, 0x4d, 255)).mean() > 0.98
    assert (layer[(layer[..., 3] > 0) & ~green][:, 3] == 153).all(), "60 % of 255"
    assert iou(canvas.mask(), masked) > 0.97, "colours are no mask to the canvas"

    canvas.press("eraser")
    canvas.press("freehand")
    gone = ideal_stroke(SIZE, canvas.drag([(200, 20), (200, 230)]), canvas.brush)
    assert iou(paint(canvas)[..., 3] > 0, (green | box) & ~gone) > 0.97
    assert iou(canvas.mask(), masked & ~gone) > 0.97, "the eraser takes both"
    canvas.press("undo")
    assert np.array_equal(paint(canvas), layer)
    assert iou(canvas.mask(), masked) > 0.97
    for _ in range(2):
        canvas.press("undo")
    assert not paint(canvas).any()
    assert canvas.mask().any()
    canvas.press("redo")
    canvas.press("redo")
    assert np.array_equal(paint(canvas), layer)

    canvas.page.reload()
    canvas.page.wait_for_selector('#canvas .mc[data-ready="true"]')
    canvas.wait_size(*SIZE)
    restored = paint(canvas)
    assert np.array_equal(restored[..., 3], layer[..., 3])
    assert np.abs(restored.astype(int) - layer).max() <= 2, "a browser keeps half transparent colours only nearly"


def test_a_colour_is_taken_from_the_picture_and_from_what_is_painted(canvas: Canvas, tmp_path: Path) -> None:
    picture = np.asarray(Image.open(tmp_path / "blobs.png"))
    ink = canvas.root.locator('[data-set="ink"]')
    canvas.press("inColour")
    canvas.page.keyboard.down("Alt")
    (x, y), = canvas.drag([(210, 90)])
    canvas.page.keyboard.up("Alt")
    expect(ink).to_have_value("#" + bytes(picture[int(y), int(x)]).hex())
    assert not paint(canvas).any()
    canvas.drag([(40, 40), (80, 40)])
    canvas.root.locator('[data-ink="#ffffff"]').click()
    canvas.root.locator('[data-act="eyedropper"]').click()
    canvas.drag([(60, 40)])
    expect(ink).to_have_value("#" + bytes(picture[int(y), int(x)]).hex())


def like(picture: np.ndarray, at: tuple[int, int], tolerance: int) -> Bits:
    """Where every channel lies within `tolerance` of the pixel at (x, y)."""
    return (np.abs(picture.astype(int) - picture[at[1], at[0]]) <= tolerance).all(-1)


def opencv_flood(picture: np.ndarray, at: tuple[int, int], tolerance: int) -> Bits:
    found = np.zeros((SIZE[1] + 2, SIZE[0] + 2), np.uint8)
    cv2.floodFill(picture.copy(), found, at, 0, (tolerance,) * 3, (tolerance,) * 3,
                  4 | cv2.FLOODFILL_FIXED_RANGE | cv2.FLOODFILL_MASK_ONLY | (255 << 8))
    return found[1:-1, 1:-1] > 0


def test_flood_fill_and_colour_range_agree_with_opencv_and_numpy(canvas: Canvas, tmp_path: Path) -> None:
    picture = np.asarray(Image.open(tmp_path / "blobs.png"))
    canvas.press("select")
    set_slider(canvas, "tolerance", 40)
    canvas.root.locator('[data-act="flood"]').click()
    first = np.zeros(SIZE[::-1], bool)
    canvas.press("select")  # the tool stays, and its panel covers no corner of the picture
    for point in ((60, 60), (200, 150), (316, 4)):
        (x, y), = canvas.drag([point])
        first |= opencv_flood(picture, (int(x), int(y)), 40)
        assert np.array_equal(canvas.mask(), first)

    canvas.press("select")
    canvas.root.locator('[data-act="range"]').click()
    (x, y), = canvas.drag([(60, 180)])
    at = int(x), int(y)
    assert np.array_equal(canvas.mask(), first | like(picture, at, 40))
    set_slider(canvas, "tolerance", 70)
    assert np.array_equal(canvas.mask(), first | like(picture, at, 70)), "the tolerance tunes the last selection"
    canvas.press("undo")
    assert np.array_equal(canvas.mask(), first), "however often it was tuned, it is one step"

    canvas.press("redo")
    canvas.root.locator('[data-act="subtract"]').click()
    (x, y), = canvas.drag([(200, 60)])
    assert np.array_equal(canvas.mask(), (first | like(picture, at, 70)) & ~like(picture, (int(x), int(y)), 70))
    canvas.root.locator('[data-act="replace"]').click()
    (x, y), = canvas.drag([(100, 100)])
    assert np.array_equal(canvas.mask(), like(picture, (int(x), int(y)), 70))


def test_difference_and_transparency(canvas: Canvas, tmp_path: Path) -> None:
    picture = np.asarray(Image.open(tmp_path / "blobs.png"))
    other = picture.copy()
    other[50:90, 100:180] = np.clip(other[50:90, 100:180].astype(int) + 30, 0, 255).astype(np.uint8)
    other[0, 0, 2] ^= 128
    Image.fromarray(other).save(tmp_path / "other.png")
    canvas.press("select")
    set_slider(canvas, "tolerance", 24)
    canvas.choose(tmp_path / "other.png", "other")
    expect(canvas.root).to_have_attribute("data-masked", "true")
    assert np.array_equal(canvas.mask(), (np.abs(other.astype(int) - picture) > 24).any(-1))
    Image.new("RGB", (10, 20)).save(tmp_path / "small.png")
    canvas.choose(tmp_path / "small.png", "other")
    expect(canvas.root.locator(".mc-note")).to_contain_text("10x20")

    canvas.press("clear")
    canvas.root.locator('[data-act="alpha"]').click()
    expect(canvas.root.locator(".mc-note")).to_contain_text("nothing of that kind")
    holed = np.dstack([picture, np.where(like(picture, (60, 60), 60), 100, 255).astype(np.uint8)])
    Image.fromarray(holed).save(tmp_path / "holed.png")
    canvas.open(tmp_path / "holed.png")
    canvas.root.locator('[data-act="alpha"]').click()
    mask = canvas.get().mask
    assert mask is not None
    assert np.array_equal(np.asarray(mask), 255 - holed[..., 3])


def test_mask_files_white_on_black_transparent_and_of_another_size(canvas: Canvas, tmp_path: Path) -> None:
    note = canvas.root.locator(".mc-note")
    white = Image.new("RGB", SIZE)
    white.paste("white", (30, 40, 90, 100))
    white.save(tmp_path / "white.png")
    canvas.choose(tmp_path / "white.png", "uploadMask")
    expect(canvas.root).to_have_attribute("data-mask-coverage", f"{3600 / (320 * 240):.6f}")
    assert np.array_equal(canvas.mask(), np.asarray(white)[..., 0] > 0)
    expect(note).to_be_hidden()

    clear = Image.new("RGBA", (160, 120))
    clear.paste((0, 0, 0, 255), (10, 10, 50, 60))
    clear.save(tmp_path / "clear.png")
    canvas.choose(tmp_path / "clear.png", "uploadMask")
    expect(note).to_contain_text("The mask has 160x120 pixels; it was resized")
    assert np.array_equal(canvas.mask(), np.asarray(clear.resize(SIZE, Image.Resampling.NEAREST))[..., 3] > 0)
    Image.new("L", SIZE).save(tmp_path / "black.png")
    canvas.choose(tmp_path / "black.png", "uploadMask")
    expect(note).to_contain_text("all black")
    (tmp_path / "text.png").write_text("no picture")
    canvas.choose(tmp_path / "text.png", "uploadMask")
    expect(note).to_contain_text("not a picture")


def test_sketch_is_generated_from_and_inpaint_sketch_is_its_own_mask(web: Page, page_app: PageApp,
                                                                     tmp_path: Path) -> None:
    """Denoising strength 0 gives the start back, but for a little noise: so it can be seen."""
    blue = 0x2F, 0x7F, 0xD6

    Image.new("RGB", (256, 256), (90, 90, 90)).save(tmp_path / "grey.png")
    for name, selector in (("img2img", "#img2img_image"), ("inpaint", "#inpaint_canvas")):
        tab(web, name)
        canvas = Canvas(web, [], selector)
        canvas.open(tmp_path / "grey.png")
        for setting, value in (("width", 256), ("height", 256), ("steps", 4), ("denoising_strength", 0)):
            set_number(web, f"{name}_{setting}", value)
        if name == "inpaint":
            canvas.press("inColour")
        canvas.press("rectangle")
        canvas.root.locator('[data-ink="#2f7fd6"]').click()
        canvas.drag([(64, 64), (160, 160)])
        tab(web, "txt2img")
        tab(web, name)
        generate(web, name)
        result = np.asarray(shown_picture(web, name).convert("RGB")).astype(int)
        assert np.abs(result[80:144, 80:144].mean((0, 1)) - blue).max() < 3
        assert np.abs(result[200:].mean((0, 1)) - 90).max() < 3
    set_number(web, "inpaint_denoising_strength", 1)
    web.fill("#inpaint_prompt textarea", "something else")
    generate(web, "inpaint")
    result = np.asarray(shown_picture(web, "inpaint").convert("RGB")).astype(int)
    assert (result[200:] == 90).all(), "only where colours were painted is anything made anew"
    assert np.abs(result[80:144, 80:144].mean((0, 1)) - blue).max() > 3


def test_selections_and_the_eyedropper_by_keyboard_alone(canvas: Canvas, tmp_path: Path) -> None:
    with Image.open(tmp_path / "blobs.png") as file:
        pixels = np.asarray(file.convert("RGB")).astype(int)
    middle = pixels[SIZE[1] // 2, SIZE[0] // 2]
    canvas.press("select")
    canvas.press("range")
    canvas.root.locator(".mc-view").focus()
    canvas.page.keyboard.press("Enter")
    tolerance = int(canvas.root.locator('[data-set="tolerance"]').input_value())
    assert np.array_equal(canvas.mask(), (abs(pixels - middle) <= tolerance).all(axis=2))
    canvas.press("undo")
    canvas.press("flood")
    canvas.root.locator(".mc-view").focus()
    canvas.page.keyboard.press("Enter")
    _, parts = cv2.connectedComponents((abs(pixels - middle) <= tolerance).all(axis=2).astype(np.uint8), connectivity=4)
    assert np.array_equal(canvas.mask(), parts == parts[SIZE[1] // 2, SIZE[0] // 2])
    canvas.root.locator(".mc-view").focus()
    for key in ("k", "Enter"):
        canvas.page.keyboard.press(key)
    ink = canvas.root.locator('[data-set="ink"]')
    expect(ink).to_have_value("#" + "".join(f"{part:02x}" for part in middle))
