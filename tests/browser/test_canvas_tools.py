"""The canvas's row of tools and its menu, and the tools that change the outline of the mask."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import expect

from modules.imaging.snap import snapped
from tests.browser.canvas_driver import Canvas, ideal_stroke, iou, photo
from tests.browser.conftest import CanvasApp

PLACES = """(root) => {
    const of = (selector) => root.querySelector(selector).getBoundingClientRect();
    return {row: of('[role="toolbar"]').height, view: of(".mc-view").top, wide: of('[role="toolbar"]').width,
        inside: root.querySelector('[role="toolbar"]').scrollWidth};
}"""
SMALL = """(root) => [...root.querySelectorAll('[role="toolbar"] button, .mc-more button')]
    .map((tool) => [tool.dataset.act, tool.getBoundingClientRect()])
    .filter(([_, {width, height}]) => width && (width < 44 || height < 44)).map(([name]) => name)"""
SCREENS = {width: {"viewport": {"width": width, "height": 900}, "has_touch": width < 1000}
           for width in (320, 390, 820, 1440)}


@pytest.fixture
def canvas(page, canvas_app: CanvasApp, tmp_path: Path) -> Canvas:  # type: ignore[no-untyped-def]
    canvas = Canvas(page, canvas_app.received)
    canvas.open(photo(tmp_path / "photo.png", (320, 240)))
    return canvas


@pytest.mark.parametrize("context_options", SCREENS.values(), ids=SCREENS.keys())
def test_the_tools_are_one_row_and_no_panel_moves_the_picture(canvas: Canvas) -> None:
    """Each tool is in the row or in the menu. A finger finds 44 pixels."""
    root, before = canvas.root, canvas.root.evaluate(PLACES)
    assert before["row"] <= 54
    assert before["inside"] <= before["wide"]
    for panel in ("select", "inColour", "more"):
        if panel == "more":
            root.locator('[data-act="more"]').click()
        else:
            canvas.press(panel)
            assert_reachable(canvas, {"select": "select", "inColour": "colours"}[panel])
        assert root.evaluate(PLACES) == before
    expect(root.locator(".mc-more")).to_be_visible()
    for tool in root.locator('[role="toolbar"] [data-act], .mc-more [data-act]').all():
        expect(tool).to_be_visible()
    if canvas.page.evaluate("matchMedia('(pointer: coarse)').matches"):
        assert root.evaluate(SMALL) == []
    box = root.locator(".mc-more").bounding_box()
    assert box is not None
    assert box["y"] + box["height"] <= 900


def assert_reachable(canvas: Canvas, name: str) -> None:
    """A panel lies inside the view, and on a phone it is one line; each of its tools can be brought into sight."""
    panel, view = canvas.root.locator(f'[data-panel="{name}"]'), canvas.root.locator(".mc-view").bounding_box()
    inside = panel.bounding_box()
    assert view
    assert inside
    assert inside["x"] >= view["x"]
    assert inside["x"] + inside["width"] <= view["x"] + view["width"]
    if view["width"] < 640:
        assert inside["height"] <= 56
    for tool in panel.locator("button:visible, input:visible").all():
        tool.scroll_into_view_if_needed()
        at = tool.bounding_box()
        assert at
        assert inside["x"] <= at["x"] + 1
        assert at["x"] + at["width"] <= inside["x"] + inside["width"] + 1


def test_the_row_follows_the_width(canvas: Canvas) -> None:
    lasso = canvas.root.locator('[role="toolbar"] [data-act="lasso"]')
    expect(lasso).to_be_visible()
    canvas.page.set_viewport_size({"width": 320, "height": 900})
    expect(lasso).to_have_count(0)
    canvas.press("lasso")
    expect(canvas.root).to_have_attribute("data-tool", "lasso")
    canvas.page.set_viewport_size({"width": 1440, "height": 900})
    expect(lasso).to_have_attribute("aria-pressed", "true")
    tools = canvas.root.locator('[role="toolbar"] [data-act]')
    order = tools.evaluate_all("(all) => all.map((one) => one.dataset.act)")
    assert order[:2] == ["brush", "eraser"]
    assert order[-1] == "more"
    assert order.index("lasso") < order.index("inColour") < order.index("fit")


def slide(canvas: Canvas, name: str, *values: int) -> None:
    """Moves a slider of the menu over values, as a hand does."""
    for value in values:
        canvas.root.locator(f'[data-set="{name}"]').evaluate(
            "(it, value) => { it.value = value; it.dispatchEvent(new Event('input')); }", value)
    canvas.wait_synced()


def grey(canvas: Canvas) -> NDArray[np.uint8]:
    mask = canvas.get().mask
    assert mask is not None
    return np.asarray(mask)


def disc(radius: int) -> NDArray[np.uint8]:
    y, x = np.mgrid[-radius:radius + 1, -radius:radius + 1]
    return (x * x + y * y <= radius * radius).astype(np.uint8)


@pytest.fixture
def shape(canvas: Canvas, tmp_path: Path) -> NDArray[np.uint8]:
    """A mask with corners, a speck, a hole, and a part at the border."""
    drawn = np.zeros((240, 320), np.uint8)
    drawn[60:140, 80:200] = 255
    drawn[100:103, 120:123] = 0
    drawn[200:202, 40:42] = 255
    drawn[180:, 250:] = 255
    Image.fromarray(drawn).save(tmp_path / "mask.png")
    canvas.choose(tmp_path / "mask.png", "uploadMask")
    expect(canvas.root).to_have_attribute("data-masked", "true")
    canvas.wait_synced()
    return drawn


def test_grow_and_shrink_are_those_of_opencv_and_one_step(canvas: Canvas, shape: NDArray[np.uint8]) -> None:
    slide(canvas, "grow", 3, 9, 17)
    assert np.array_equal(grey(canvas), cv2.dilate(shape, disc(17)))
    slide(canvas, "grow", -7)
    assert np.array_equal(grey(canvas), cv2.erode(shape, disc(7), borderType=cv2.BORDER_REPLICATE))
    canvas.press("undo")
    assert np.array_equal(grey(canvas), shape)
    expect(canvas.root.locator('[data-of="grow"]')).to_have_text("0 px")
    canvas.press("redo")
    assert np.array_equal(grey(canvas), cv2.erode(shape, disc(7), borderType=cv2.BORDER_REPLICATE))


def test_a_new_stroke_ends_the_step(canvas: Canvas, shape: NDArray[np.uint8]) -> None:
    slide(canvas, "grow", 5)
    canvas.set_brush(8)
    canvas.drag([(20, 20), (40, 20)])
    expect(canvas.root.locator('[data-of="grow"]')).to_have_text("0 px")
    with_stroke = grey(canvas)
    slide(canvas, "grow", 4, 0)
    assert np.array_equal(grey(canvas), with_stroke)
    slide(canvas, "grow", 4)
    assert np.array_equal(grey(canvas), cv2.dilate(with_stroke, disc(4)))


@pytest.mark.parametrize("sigma", [2, 9])
def test_feather_and_smooth_are_a_gaussian(canvas: Canvas, shape: NDArray[np.uint8], sigma: int) -> None:
    blurred = cv2.GaussianBlur(shape, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    slide(canvas, "feather", sigma)
    assert np.abs(grey(canvas).astype(int) - blurred).max() <= 20
    slide(canvas, "feather", 0)
    assert np.array_equal(grey(canvas), shape)
    slide(canvas, "smooth", sigma)
    smooth = grey(canvas)
    assert set(np.unique(smooth)) == {0, 255}
    assert np.mean((smooth > 127) != (blurred > 127)) < 0.002
    assert not smooth[195:205, 35:45].any()


def soft_stroke(points: list[tuple[float, float]], radius: float, softness: float) -> NDArray[np.float64]:
    """The grey levels of a soft brush along a line: full inside, and smoothly down to 0 at the radius."""
    (ax, ay), (bx, by) = points
    x, y = np.meshgrid(np.arange(320) + 0.5, np.arange(240) + 0.5)
    along = np.clip(((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / ((bx - ax) ** 2 + (by - ay) ** 2), 0, 1)
    distance = np.hypot(x - ax - along * (bx - ax), y - ay - along * (by - ay))
    share = np.clip((1 - distance / radius) / softness, 0, 1)
    return np.asarray(255 * share * share * (3 - 2 * share))


def test_a_soft_brush_paints_and_erases_grey(canvas: Canvas) -> None:
    slide(canvas, "softness", 60)
    canvas.set_brush(64)
    first = soft_stroke(canvas.drag([(100, 120), (200, 120)]), canvas.brush / 2, 0.6)
    assert np.abs(grey(canvas) - first).max() <= 1
    canvas.drag([(100, 120), (200, 120)])
    assert np.abs(grey(canvas) - first).max() <= 1, "one can go over it twice"
    hit = canvas.drag([(150, 60), (150, 180)], button="right")
    erased = np.minimum(first, 255 - soft_stroke(hit, canvas.brush / 2, 0.6))
    assert np.abs(grey(canvas) - erased).max() <= 1
    canvas.press("undo")
    assert np.abs(grey(canvas) - first).max() <= 1


def test_the_pressure_of_a_pen_is_the_width_of_the_line(canvas: Canvas) -> None:
    canvas.set_brush(64)
    pen = canvas.page.context.new_cdp_session(canvas.page)
    on_screen, hit = canvas.screen([(100, 120), (200, 120)])
    for kind, (x, y) in (("mousePressed", on_screen[0]), ("mouseMoved", on_screen[1]), ("mouseReleased", on_screen[1])):
        pen.send("Input.dispatchMouseEvent", {"type": kind, "x": x, "y": y, "button": "left", "buttons": 1,
                                              "clickCount": 1, "pointerType": "pen", "force": 0.5})
    canvas.wait_synced()
    assert iou(canvas.mask(), ideal_stroke((320, 240), hit, canvas.brush / 2)) > 0.98


def shown(canvas: Canvas) -> NDArray[np.uint8]:
    """The alpha of the mask on the screen."""
    canvas.page.evaluate("() => new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))")
    alpha = canvas.root.locator(".mc-mask").evaluate("""(paper) => [...paper.getContext("2d").getImageData(
        0, 0, paper.width, paper.height).data.filter((_, i) => i % 4 === 3)]""")
    return np.array(alpha, np.uint8).reshape(240, 320)


def test_invert_is_undone_and_survives_a_reload(canvas: Canvas, shape: NDArray[np.uint8]) -> None:
    """On a mask with grey levels, over other steps, and on the screen."""
    slide(canvas, "feather", 4)
    soft = grey(canvas)
    canvas.press("invert")
    assert np.array_equal(grey(canvas), 255 - soft)
    assert np.array_equal(shown(canvas), 255 - soft)
    assert canvas.coverage == pytest.approx(np.mean(soft != 255), abs=1e-6)
    canvas.set_brush(64)
    canvas.drag([(140, 100), (142, 100)])
    painted = grey(canvas)
    canvas.press("invert")
    canvas.wait_synced()
    canvas.page.reload()
    canvas.wait_size(320, 240)
    assert np.array_equal(shown(canvas), 255 - painted)
    for wanted in (painted, 255 - soft, soft, shape):
        canvas.press("undo")
        assert np.array_equal(grey(canvas), wanted)
        assert np.array_equal(shown(canvas), wanted)
        assert canvas.coverage == pytest.approx(np.mean(wanted != 0), abs=1e-6)
    for wanted in (soft, 255 - soft, painted, 255 - painted):
        canvas.press("redo")
        assert np.array_equal(grey(canvas), wanted)


def test_an_empty_mask_is_inverted(canvas: Canvas) -> None:
    canvas.press("invert")
    assert canvas.mask().all()
    assert (shown(canvas) == 255).all()
    canvas.press("undo")
    assert not canvas.mask().any()


def test_the_outline_snaps_to_the_edges_of_the_picture(canvas: Canvas, tmp_path: Path) -> None:
    y, x = np.mgrid[:240, :320]
    noise = np.random.default_rng(0).normal(0, 8, (240, 320, 3))
    disk = (x - 160) ** 2 + (y - 120) ** 2 < 70**2
    pixels = np.where(disk[..., None], (210, 120, 30), (40, 90, 170)) + noise
    picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    mask = Image.fromarray(np.where((x - 163) ** 2 + (y - 118) ** 2 < 73**2, 255, 0).astype(np.uint8))
    picture.save(tmp_path / "disk.png")
    mask.save(tmp_path / "mask.png")
    canvas.open(tmp_path / "disk.png")
    canvas.choose(tmp_path / "mask.png", "uploadMask")
    expect(canvas.root).to_have_attribute("data-masked", "true")
    canvas.wait_synced()
    for reaches, expected in (((3, 30, 8), snapped(picture, mask, 8)), ((0,), mask), ((6,), snapped(picture, mask, 6))):
        slide(canvas, "snap", *reaches)
        expect(canvas.root).to_have_attribute("data-pointing", "false")
        canvas.wait_synced()
        assert np.array_equal(grey(canvas), np.asarray(expected)), reaches
    expect(canvas.root.locator('[data-of="snap"]')).to_have_text("6 px")
    canvas.press("undo")
    assert np.array_equal(grey(canvas), np.asarray(mask)), "however it was moved, it is one step"
    expect(canvas.root.locator('[data-of="snap"]')).to_have_text("0 px")
