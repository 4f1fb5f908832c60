"""Results on the canvas: chosen, compared, used, discarded, and undone."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import photographs
from photographs import ADOBE_RGB, profile
from PIL import Image
from playwright.sync_api import Page, expect

from modules.imaging.photograph import Photograph, read
from modules.text.edits import from_json
from tests.browser.canvas_driver import Canvas
from tests.browser.conftest import PageApp
from tests.browser.page_driver import generate, set_number, tab

DEEP = photographs.deep_pixels(photographs.pixels()[900:1100, 800:1100])


def sent(page: Page, number: int) -> bytes:
    """The file of a result in the strip."""
    address = page.locator(f'#inpaint_gallery .rs-one[data-index="{number}"] img').get_attribute("data-picture")
    assert address is not None
    return page.request.get(address).body()


def seen(canvas: Canvas, x: float, y: float) -> tuple[int, ...]:
    """The colour on the screen at a place of the picture."""
    (place,), _ = canvas.screen([(x, y)])
    image = Image.open(io.BytesIO(canvas.page.screenshot()))
    return image.convert("RGB").getpixel(place)  # type: ignore[return-value]


def newest(app: PageApp) -> Photograph:
    path = max(app.outputs.rglob("*.png"), key=lambda path: path.stat().st_mtime_ns)
    return read(path.read_bytes())


def test_results_are_chosen_compared_used_and_undone(web: Page, page_app: PageApp, tmp_path: Path) -> None:
    """With a 16-bit photograph: what is used has all of its values, its profile, and the record of its edits."""
    (tmp_path / "photo.png").write_bytes(photographs.file(DEEP, "PNG", icc=profile(ADOBE_RGB), exif=photographs.exif()))
    tab(web, "inpaint")
    canvas = Canvas(web, [], "#inpaint_canvas")
    canvas.open(tmp_path / "photo.png")
    canvas.set_brush(32)
    canvas.drag([(140, 100), (160, 100)])
    covered = canvas.coverage
    for name, value in (("width", 128), ("height", 128), ("steps", 1), ("batch_size", 2)):
        set_number(web, f"inpaint_{name}", value)
    web.locator("#inpaint_full_res").get_by_text("Only masked", exact=True).click()
    generate(web, "inpaint")
    expect(canvas.root).to_have_attribute("data-result", "1")
    first, second = (read(sent(web, number)) for number in (0, 1))
    assert not np.array_equal(first.pixels, second.pixels)
    assert np.array_equal(first.pixels[:60], DEEP[:60])

    of_first, beside = seen(canvas, 150, 100), seen(canvas, 20, 20)
    web.keyboard.press("2")
    expect(canvas.root).to_have_attribute("data-result", "2")
    of_second = seen(canvas, 150, 100)
    assert of_first != of_second
    web.keyboard.down("o")
    expect(canvas.root).to_have_attribute("data-held", "true")
    original = seen(canvas, 150, 100)
    assert original not in (of_first, of_second)
    assert seen(canvas, 20, 20) == beside
    web.keyboard.up("o")
    web.keyboard.press("x")
    slider = canvas.root.locator(".mc-slider")
    middle = slider.bounding_box()
    assert middle is not None
    assert seen(canvas, 143, 100) != seen(canvas, 157, 100)
    (place,), _ = canvas.screen([(165, 100)])
    web.mouse.move(middle["x"] + middle["width"] / 2, middle["y"] + middle["height"] / 2)
    web.mouse.down()
    web.mouse.move(*place)
    web.mouse.up()
    assert seen(canvas, 150, 100) == original
    web.keyboard.press("x")
    assert seen(canvas, 150, 100) == of_second

    web.keyboard.press("u")
    expect(canvas.root).to_have_attribute("data-result", "")
    canvas.wait_synced()
    assert canvas.coverage == covered
    generate(web, "inpaint")
    made = newest(page_app)
    assert np.array_equal(made.pixels[:60], DEEP[:60])
    assert made.icc == profile(ADOBE_RGB)
    edits = from_json(made.record)
    assert edits is not None
    assert len(edits.steps) == 2
    assert edits.source.sha256 == read((tmp_path / "photo.png").read_bytes()).sha256

    expect(canvas.root).to_have_attribute("data-result", "1")
    web.locator("#inpaint_gallery").get_by_role("button", name="Discard").click()
    expect(web.locator("#inpaint_gallery .rs-one img")).to_have_count(1)
    canvas.root.locator(".mc-note").get_by_role("button", name="Undo").click()
    expect(web.locator("#inpaint_gallery .rs-one img")).to_have_count(2)
    web.locator("#inpaint_gallery .rs-original").click()
    expect(canvas.root).to_have_attribute("data-result", "")
    canvas.root.locator(".mc-view").hover()
    web.keyboard.press("Control+z")
    canvas.wait_synced()
    generate(web, "inpaint")
    edits = from_json(newest(page_app).record)
    assert edits is not None
    assert len(edits.steps) == 1, "it was made from the first picture again"
    canvas.root.locator(".mc-view").hover()
    web.keyboard.press("Control+z")
    assert canvas.coverage == 0
    canvas.press("redo")
    canvas.press("redo")
    assert canvas.coverage == covered
