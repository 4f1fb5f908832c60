"""Extensions in the page: the tab that lists them, and their controls on the tabs."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from tests.browser.canvas_driver import Canvas
from tests.browser.conftest import PageApp, open_page
from tests.browser.page_driver import generate, set_number, shown_picture, tab, until

SHOTS = os.environ.get("SHOTS")
"""Where pictures of the page are put, for those who want to look at them."""


def shoot(page: Page, name: str) -> None:
    if SHOTS:
        page.screenshot(path=Path(SHOTS) / f"{name}.png", full_page=True)


def control(page: Page, extension: str, name: str) -> Locator:
    """The control called `name` of an extension on the inpaint tab; "title" is its switch."""
    return page.locator(f'#inpaint_extension_{extension} [data-name="{name}"]')


def test_mask_tools_shape_what_is_painted_and_come_back_from_the_text(web: Page, tmp_path: Path) -> None:
    tab(web, "inpaint")
    canvas = Canvas(web, [], "#inpaint_canvas")
    Image.new("RGB", (512, 512), (90, 120, 150)).save(tmp_path / "photo.png")
    canvas.open(tmp_path / "photo.png")
    canvas.drag([(200, 256), (300, 256)])
    for name, value in (("mask_blur", 0), ("steps", 2)):
        set_number(web, f"inpaint_{name}", value)
    generate(web, "inpaint")
    before = changed(shown_picture(web, "inpaint"))
    grow = control(web, "masktools", "grow")
    expect(grow).to_have_count(0)
    control(web, "masktools", "title").locator("input").check()
    grow.locator("input[type=number]").fill("24")
    shoot(web, "masktools")
    web.locator("#inpaint_generate").click()
    parameters = web.locator("#inpaint_infotext textarea")
    expect(parameters).to_have_value(re.compile("Mask tools enabled: True, Mask tools grow: 24"))
    text = parameters.input_value()
    after = changed(shown_picture(web, "inpaint"))
    assert (after[0] - before[0], after[1] - before[1]) == (-24, 24)

    control(web, "masktools", "title").locator("input").uncheck()
    web.fill("#inpaint_prompt textarea", text)
    web.locator("#inpaint_paste").click()
    expect(grow.locator("input[type=number]")).to_have_value("24")
    expect(web.locator("#inpaint_paste_note")).not_to_contain_text("Mask tools")


def changed(picture: Image.Image) -> tuple[int, int]:
    """The first and last changed row of a picture that was of one colour."""
    rows = np.flatnonzero((np.asarray(picture) != (90, 120, 150)).any(axis=(1, 2)))
    return int(rows[0]), int(rows[-1])


def test_the_tab_tells_the_truth_and_remembers(web: Page, page_app: PageApp) -> None:
    extensions = page_app.engine.extensions
    neighbours = web.locator('#extension_counter_settings [data-name="neighbours"] input[type=number]')
    extensions.set("counter", "neighbours", 7)
    tab(web, "Extensions")
    expect(neighbours).to_have_value("7")
    state = web.locator("#extension_broken_state")
    expect(state).to_contain_text("It was not loaded: RuntimeError: the moon is full")
    expect(state).to_contain_text("Not in use")
    expect(web.locator("#extension_masktools_state")).to_contain_text("In use")
    shoot(web, "extensions-light")

    web.locator("#extension_masktools_on input").uncheck()
    expect(web.locator("#extension_masktools_state")).to_contain_text("In use until the next start")
    neighbours.fill("9")
    until(web, lambda: page_app.engine.config.values().get("counter_neighbours") == 9)
    expect(web.locator("#extension_masktools_on input")).not_to_be_checked()
    remembered = json.loads(page_app.engine.settings.config_file.read_text("utf-8"))
    assert remembered["disabled_extensions"] == ["masktools"]
    assert remembered["counter_neighbours"] == 9
    open_page(web, page_app.url)
    tab(web, "Extensions")
    expect(neighbours).to_have_value("9")
    extensions.set("counter", "neighbours", 8)
    tab(web, "Settings")
    tab(web, "Extensions")
    expect(neighbours).to_have_value("8")  # so the tab has said what it has to say
    expect(web.locator("#extension_masktools_on input")).not_to_be_checked()
    web.locator("#extension_masktools_on input").check()
    expect(web.locator("#extension_masktools_state")).not_to_contain_text("until")
    expect(web.locator("#tab_extensions input[type=file], #tab_extensions input[type=text]")).to_have_count(0)


def test_nothing_runs_over_the_edge(web: Page) -> None:
    tab(web, "Extensions")
    expect(web.locator("#extension_broken_state")).to_contain_text("RuntimeError")
    web.evaluate("document.body.classList.add('dark')")
    for width in (1280, 390):
        web.set_viewport_size({"width": width, "height": 844})
        shoot(web, f"extensions-dark-{width}")
        assert web.evaluate("document.documentElement.scrollWidth") <= width
        box = web.locator("#extension_counter_settings").bounding_box()
        assert box
        assert box["x"] + box["width"] <= width
