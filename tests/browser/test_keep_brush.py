"""The keep-brush: parts of the original and of another result are painted into a result, at full depth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import photographs
from photographs import ADOBE_RGB, profile
from playwright.sync_api import Page, expect

from modules.imaging.photograph import read
from modules.text.edits import from_json
from tests.browser.canvas_driver import Canvas
from tests.browser.conftest import PageApp, open_page
from tests.browser.page_driver import generate, set_number, settle, tab
from tests.browser.test_results import DEEP, newest, seen, sent


def alike(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """The browser rounds a picture with a colour profile anew for each element."""
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) <= 1


def comes(canvas: Canvas, colour: tuple[int, ...]) -> bool:
    """Waits until the canvas shows `colour` at (100, 100); False if it does not."""
    for _ in range(1000):
        if alike(seen(canvas, 100, 100), colour):
            return True
        settle(canvas.page)
    return False


def test_parts_of_other_pictures_are_painted_in_undone_and_used(web: Page, page_app: PageApp, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(photographs.file(DEEP, "PNG", icc=profile(ADOBE_RGB), exif=photographs.exif()))
    tab(web, "inpaint")
    canvas = Canvas(web, [], "#inpaint_canvas")
    canvas.open(tmp_path / "photo.png")
    canvas.set_brush(64)
    canvas.drag([(90, 100), (210, 100)])
    covered = canvas.coverage
    for name, value in (("width", 128), ("height", 128), ("steps", 1), ("batch_size", 2)):
        set_number(web, f"inpaint_{name}", value)
    web.locator("#inpaint_full_res").get_by_text("Only masked", exact=True).click()
    generate(web, "inpaint")
    expect(canvas.root).to_have_attribute("data-result", "1")
    original = read((tmp_path / "photo.png").read_bytes())
    first, second = (read(sent(web, number)) for number in (0, 1))
    of_first = seen(canvas, 100, 100)
    web.keyboard.press("2")
    expect(canvas.root).to_have_attribute("data-result", "2")
    of_second = seen(canvas, 100, 100)
    web.keyboard.press("1")
    expect(canvas.root).to_have_attribute("data-result", "1")
    assert not alike(of_first, of_second)

    strip = web.locator("#inpaint_gallery")
    strip.get_by_role("button", name="Keep-brush").click()
    expect(canvas.root.locator(".mc-what")).to_have_text("Paints the original into result 1")
    canvas.set_brush(32)
    canvas.drag([(200, 80), (200, 120)])
    strip.get_by_role("button", name="Result 2").click()
    expect(canvas.root.locator(".mc-what")).to_have_text("Paints result 2 into result 1")
    canvas.drag([(100, 80), (100, 120)])
    assert comes(canvas, of_second)
    canvas.press("undo")
    assert comes(canvas, of_first)
    canvas.press("redo")
    assert comes(canvas, of_second)
    assert canvas.coverage == covered, "the mask is not painted on"
    expect(canvas.root.locator('[data-act="invert"]')).to_be_disabled()

    open_page(web, page_app.url)
    expect(canvas.root.locator(".mc-what")).to_have_text("Paints result 2 into result 1")
    assert comes(canvas, of_second), "a reload keeps the strokes"
    canvas.press("undo")
    assert comes(canvas, of_first)
    canvas.press("redo")
    assert comes(canvas, of_second)

    strip.get_by_role("button", name="Done").click()
    expect(strip.locator(".rs-one img")).to_have_count(3)
    expect(canvas.root).to_have_attribute("data-result", "1")
    expect(canvas.root.locator(".mc-what")).to_have_text("Result 1 of 3")
    kept = read(sent(web, 0))
    assert np.array_equal(kept.pixels, newest(page_app).pixels)
    assert (kept.is_deep, kept.icc) == (True, original.icc)
    x, y = np.meshgrid(np.arange(300), np.arange(200))
    for (picture, column) in ((original, 200), (second, 100)):
        inside = (np.abs(x - column) < 8) & (y > 75) & (y < 125)
        assert np.array_equal(kept.pixels[inside], picture.pixels[inside])
    apart = (np.abs(x - 200) > 26) & (np.abs(x - 100) > 26)
    assert np.array_equal(kept.pixels[apart], first.pixels[apart])
    edits = from_json(kept.record)
    assert edits is not None
    assert [len(step.kept) for step in edits.steps] == [0, 2]

    web.keyboard.press("u")
    canvas.wait_synced()
    assert canvas.coverage == covered
    canvas.root.locator(".mc-view").hover()
    web.keyboard.press("Control+z")
    canvas.wait_synced()
    expect(strip.locator(".rs-one img")).to_have_count(3)


def test_cancel_leaves_the_result_as_it_was(web: Page, page_app: PageApp, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(photographs.file(photographs.pixels()[:128, :128], "PNG"))
    tab(web, "inpaint")
    canvas = Canvas(web, [], "#inpaint_canvas")
    canvas.open(tmp_path / "photo.png")
    canvas.set_brush(64)
    canvas.drag([(40, 60), (90, 60)])
    for name, value in (("width", 128), ("height", 128), ("steps", 1)):
        set_number(web, f"inpaint_{name}", value)
    generate(web, "inpaint")
    expect(canvas.root).to_have_attribute("data-result", "1")
    before = seen(canvas, 60, 60)
    web.keyboard.press("p")
    canvas.drag([(40, 60), (90, 60)])
    assert seen(canvas, 60, 60) != before
    web.locator("#inpaint_gallery").get_by_role("button", name="Cancel").click()
    assert seen(canvas, 60, 60) == before
    expect(web.locator("#inpaint_gallery .rs-one img")).to_have_count(1)
    canvas.drag([(20, 20), (30, 20)])
    expect(canvas.root).to_have_attribute("data-result", "")
