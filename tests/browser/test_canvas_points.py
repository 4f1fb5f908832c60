"""Masks by clicks, boxes and words on the canvas: mouse, keyboard and touch, and how the masks are joined."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from modules.imaging.click_mask import Click, ClickMasks
from tests.browser.canvas_driver import Bits, Canvas, Point, iou
from tests.browser.conftest import CanvasApp, PageApp
from tests.browser.page_driver import tab

SIZE = (320, 240)
LEFT, RIGHT = (80, 120), (240, 120)


def disk(at: Point) -> Bits:
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    return (x - at[0]) ** 2 + (y - at[1]) ** 2 < 40**2


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """Two orange discs on noisy blue."""
    noise = np.random.default_rng(0).normal(0, 8, (SIZE[1], SIZE[0], 3))
    pixels = np.where((disk(LEFT) | disk(RIGHT))[..., None], (210, 120, 30), (40, 90, 170)) + noise
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def canvas(page: Page, canvas_app: CanvasApp, photo: Path) -> Canvas:
    canvas = Canvas(page, canvas_app.received)
    canvas.open(photo)
    canvas.press("select")
    canvas.press("point")
    return canvas


def click(canvas: Canvas, at: Point, **how: object) -> Point:
    """Clicks and waits for the mask. Returns the place in the picture."""
    ((x, y),), (hit,) = canvas.screen([at])
    held = how.pop("key", None)
    if held:
        canvas.page.keyboard.down(str(held))
    canvas.page.mouse.click(x, y, **how)  # type: ignore[arg-type]
    if held:
        canvas.page.keyboard.up(str(held))
    answered(canvas)
    return hit


def answered(canvas: Canvas) -> None:
    expect(canvas.root).to_have_attribute("data-pointing", "false")
    canvas.wait_synced()


def dots(canvas: Canvas) -> list[str | None]:
    return [dot.get_attribute("data-meant") for dot in canvas.root.locator(".mc-dots i").all()]


def test_clicks_say_what_is_meant_and_what_is_not(canvas: Canvas, photo: Path) -> None:
    expected = ClickMasks(Image.open(photo))
    first = click(canvas, LEFT)
    assert np.array_equal(canvas.mask(), np.asarray(expected.by_clicks([Click(*first)])) > 0)
    assert iou(canvas.mask(), disk(LEFT)) > 0.95
    second = click(canvas, RIGHT)
    assert iou(canvas.mask(), disk(LEFT) | disk(RIGHT)) > 0.95
    third = click(canvas, (RIGHT[0], RIGHT[1] + 20), key="Shift")
    clicks = [Click(*first), Click(*second), Click(*third, meant=False)]
    assert np.array_equal(canvas.mask(), np.asarray(expected.by_clicks(clicks)) > 0)
    assert dots(canvas) == ["true", "true", "false"]
    canvas.press("undo")
    assert not canvas.mask().any(), "however many clicks, it is one step"
    assert dots(canvas) == []


def test_right_button_and_leave_out_say_what_is_not_meant(canvas: Canvas) -> None:
    click(canvas, LEFT)
    click(canvas, (LEFT[0] + 20, LEFT[1]), button="right")
    canvas.press("notMeant")
    click(canvas, (LEFT[0], LEFT[1] + 20))
    assert dots(canvas) == ["true", "false", "false"]
    mask = canvas.mask()
    assert mask[LEFT[1], LEFT[0]]
    assert not mask[LEFT[1], LEFT[0] + 20]
    assert not mask[LEFT[1] + 20, LEFT[0]]


def test_masks_are_added_subtracted_and_intersected(canvas: Canvas) -> None:
    click(canvas, LEFT)
    canvas.page.keyboard.press("n")
    assert dots(canvas) == []
    click(canvas, RIGHT)
    assert dots(canvas) == ["true"]
    both = canvas.mask()
    assert iou(both, disk(LEFT) | disk(RIGHT)) > 0.95
    canvas.press("nextThing")
    canvas.press("subtract")
    click(canvas, LEFT)
    assert iou(canvas.mask(), disk(RIGHT)) > 0.95
    canvas.press("rectangle")
    canvas.drag([(RIGHT[0], 0), (319, 239)])
    half = canvas.mask()
    canvas.press("point")
    canvas.press("intersect")
    click(canvas, RIGHT)
    assert np.array_equal(canvas.mask(), half & both & (np.arange(SIZE[0]) > 160))


def test_by_keyboard_alone(page: Page, canvas_app: CanvasApp, photo: Path) -> None:
    canvas = Canvas(page, canvas_app.received)
    canvas.open(photo)
    canvas.set_brush(80)
    canvas.root.locator(".mc-view").focus()
    for key in ("m", "ArrowLeft", "ArrowLeft", "Enter"):
        page.keyboard.press(key)
    answered(canvas)
    assert iou(canvas.mask(), disk(LEFT)) > 0.95
    canvas.root.locator(".mc-view").focus()
    for key in ("ArrowRight", "Alt+Enter"):
        page.keyboard.press(key)
    answered(canvas)
    assert dots(canvas) == ["true", "false"]


def test_a_box_by_keyboard(canvas: Canvas, photo: Path) -> None:
    expected = ClickMasks(Image.open(photo))
    canvas.set_brush(120)
    canvas.root.locator(".mc-view").focus()
    brush = canvas.brush
    for key in ("ArrowLeft", "ArrowUp", "Shift+Enter"):
        canvas.page.keyboard.press(key)
    expect(canvas.root.locator(".mc-note")).to_contain_text("Go to the other corner")
    for key in ("ArrowLeft", "ArrowLeft", "ArrowDown", "ArrowDown", "Shift+Enter"):
        canvas.page.keyboard.press(key)
    answered(canvas)
    right, top = SIZE[0] / 2 - brush / 2, SIZE[1] / 2 - brush / 2
    box = (max(right - brush, 0), top, right, top + brush)
    assert np.array_equal(canvas.mask(), np.asarray(expected.by_clicks([], box)) > 0)
    expect(canvas.root.locator(".mc-note")).to_be_hidden()


PHONE = pytest.mark.parametrize("context_options", [{"viewport": {"width": 390, "height": 844}, "has_touch": True,
                                                     "is_mobile": True}], ids=["phone"])


@pytest.fixture
def fingers(page: Page) -> Callable[..., None]:
    """Sends a touch event: its kind, and where on the screen a finger is then, (x, y) each."""
    touch = page.context.new_cdp_session(page)

    def send(kind: str, *places: Point) -> None:
        touch.send("Input.dispatchTouchEvent", {
            "type": kind, "touchPoints": [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(places)]})

    return send


@PHONE
def test_by_finger(canvas: Canvas, fingers: Callable[..., None]) -> None:
    """A finger has no Shift: Leave out says that what is tapped is not meant."""
    for at, button in ((LEFT, ""), (RIGHT, ""), ((RIGHT[0], RIGHT[1] + 20), "notMeant")):
        if button:
            canvas.root.locator(f'.mc-bar [data-act="{button}"]').tap()
        ((x, y),), _ = canvas.screen([at])
        canvas.page.touchscreen.tap(x, y)
        answered(canvas)
    assert dots(canvas) == ["true", "true", "false"]
    mask = canvas.mask()
    assert mask[LEFT[1], LEFT[0]]
    assert mask[RIGHT[1], RIGHT[0]]
    assert not mask[RIGHT[1] + 20, RIGHT[0]]

    scale = canvas.matrix()[0]
    ((x, y),), _ = canvas.screen([LEFT])
    fingers("touchStart", (x - 10, y))
    fingers("touchStart", (x - 10, y), (x + 10, y))
    fingers("touchMove", (x - 40, y), (x + 40, y))
    fingers("touchEnd")
    assert canvas.matrix()[0] > 1.5 * scale
    assert len(dots(canvas)) == 3, "two fingers point at nothing"


@PHONE
def test_a_box_by_finger(canvas: Canvas, photo: Path, fingers: Callable[..., None]) -> None:
    """A finger draws a box around the thing; a second finger that comes in between drops it."""
    canvas.root.scroll_into_view_if_needed()
    on_screen, hit = canvas.screen([(LEFT[0] - 55, LEFT[1] - 55), LEFT, (LEFT[0] + 55, LEFT[1] + 55)])
    for kind, at in zip(("touchStart", "touchMove", "touchMove"), on_screen, strict=True):
        fingers(kind, at)
    expect(canvas.root.locator(".mc-shape:not(.mc-frame) polygon").last).not_to_have_attribute("points", "")
    fingers("touchEnd")
    answered(canvas)
    box = (*hit[0], *hit[-1])
    mask = canvas.mask()
    assert np.array_equal(mask, np.asarray(ClickMasks(Image.open(photo)).by_clicks([], box)) > 0)
    assert iou(mask, disk(LEFT)) > 0.95
    expect(canvas.root.locator(".mc-dots b")).to_have_count(1)

    (start, end), _ = canvas.screen([(RIGHT[0] - 55, RIGHT[1] - 55), (RIGHT[0] + 55, RIGHT[1] + 55)])
    fingers("touchStart", start)
    fingers("touchMove", end)
    fingers("touchStart", end, start)
    fingers("touchEnd")
    assert np.array_equal(canvas.mask(), mask), "two fingers draw no box"


@PHONE
def test_subject_sizes_and_words_by_finger(canvas: Canvas, photo: Path) -> None:
    expected = ClickMasks(Image.open(photo))

    def tap(name: str) -> None:
        canvas.root.locator(f'.mc-bar [data-act="{name}"]').tap()

    tap("replace")
    tap("subject")
    answered(canvas)
    assert np.array_equal(canvas.mask(), np.asarray(expected.in_the_middle()) > 0)
    ((x, y),), (hit,) = canvas.screen([LEFT])
    canvas.page.touchscreen.tap(x, y)
    answered(canvas)
    tap("nextSize")
    answered(canvas)
    assert np.array_equal(canvas.mask(), np.asarray(expected.by_clicks([Click(*hit)], candidate=0)) > 0)

    canvas.root.locator('[data-set="said"]').fill("10 20 110 70")
    tap("takeWords")
    answered(canvas)
    assert canvas.mask().sum() == 100 * 50


def test_what_is_not_meant_alone_is_told(canvas: Canvas) -> None:
    ((x, y),), _ = canvas.screen([LEFT])
    view, note = canvas.root.locator(".mc-view"), canvas.root.locator(".mc-note")
    before = view.bounding_box()
    canvas.page.keyboard.down("Shift")
    canvas.page.mouse.click(x, y)
    canvas.page.keyboard.up("Shift")
    expect(note).to_contain_text("Click what is meant first.")
    after, said = view.bounding_box(), note.bounding_box()
    assert after
    assert said
    assert after == before, "a note moves nothing"
    assert said["y"] >= after["y"] + after["height"], "it lies below the picture"
    assert not canvas.mask().any()


def test_on_the_inpaint_tab_and_nowhere_else(web: Page, page_app: PageApp, photo: Path) -> None:
    tab(web, "inpaint")
    canvas = Canvas(web, [], "#inpaint_canvas")
    canvas.open(photo)
    canvas.press("select")
    canvas.press("point")
    click(canvas, LEFT)
    assert abs(canvas.coverage - disk(LEFT).mean()) < 0.01
    folder = page_app.engine.settings.models_dir / "sam" / "broken"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("no")
    try:
        before = canvas.coverage
        click(canvas, RIGHT)
        expect(canvas.root.locator(".mc-note")).to_contain_text("broken in models/sam is no Segment Anything network")
        assert canvas.coverage == before
    finally:
        (folder / "config.json").unlink()
    canvas.root.locator('[data-set="said"]').fill("the dog")
    canvas.press("takeWords")
    expect(canvas.root.locator(".mc-note")).to_contain_text("There is no model here that finds words in pictures")
    tab(web, "img2img")
    sketch = Canvas(web, [], "#img2img_image")
    sketch.open(photo)
    expect(sketch.root.locator('[data-act="point"]')).to_be_hidden()


def test_the_subject_and_the_background(canvas: Canvas, photo: Path) -> None:
    expected = np.asarray(ClickMasks(Image.open(photo)).in_the_middle()) > 0
    canvas.press("subject")
    answered(canvas)
    assert np.array_equal(canvas.mask(), expected)
    canvas.press("replace")
    canvas.press("background")
    answered(canvas)
    assert np.array_equal(canvas.mask(), ~expected)
    canvas.press("undo")
    assert np.array_equal(canvas.mask(), expected)


def test_a_box_around_the_thing(canvas: Canvas, photo: Path) -> None:
    expected = ClickMasks(Image.open(photo))
    (left, top), (right, bottom) = canvas.drag([(LEFT[0] + 55, LEFT[1] - 55), (LEFT[0] - 55, LEFT[1] + 55)])
    answered(canvas)
    box = right, top, left, bottom
    assert np.array_equal(canvas.mask(), np.asarray(expected.by_clicks([], box)) > 0)
    assert iou(canvas.mask(), disk(LEFT)) > 0.95
    expect(canvas.root.locator(".mc-dots b")).to_have_count(1)
    hit = click(canvas, (LEFT[0] + 20.5, LEFT[1] - 2.5), key="Shift")
    assert np.array_equal(canvas.mask(), np.asarray(expected.by_clicks([Click(*hit, meant=False)], box)) > 0)
    canvas.press("undo")
    assert not canvas.mask().any(), "box and clicks are one step"
    expect(canvas.root.locator(".mc-dots b")).to_have_count(0)


def test_the_next_of_three_sizes(canvas: Canvas, photo: Path) -> None:
    expected = ClickMasks(Image.open(photo))
    canvas.press("replace")
    hit = click(canvas, (LEFT[0] + 2.5, LEFT[1] - 2.5))
    for candidate in (0, 1, 2, 0):
        canvas.press("nextSize")
        answered(canvas)
        assert np.array_equal(canvas.mask(), np.asarray(expected.by_clicks([Click(*hit)], candidate=candidate)) > 0)
    assert dots(canvas) == ["true"]
    canvas.press("undo")
    assert not canvas.mask().any(), "the sizes are one step"


def test_a_mask_by_words(canvas: Canvas) -> None:
    said = canvas.root.locator('[data-set="said"]')
    said.fill("10 20 110 70, 200 30 300 90")
    said.press("Enter")
    answered(canvas)
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    both = ((x >= 10) & (x < 110) & (y >= 20) & (y < 70)) | ((x >= 200) & (x < 300) & (y >= 30) & (y < 90))
    assert np.array_equal(canvas.mask(), both)
    said.fill("0 0 50 240")
    canvas.press("subtract")
    canvas.press("takeWords")
    answered(canvas)
    assert np.array_equal(canvas.mask(), both & (x >= 50))
    said.fill("")
    canvas.press("takeWords")
    expect(canvas.root.locator(".mc-note")).to_contain_text("Say in words what the mask should cover")
    assert np.array_equal(canvas.mask(), both & (x >= 50))
