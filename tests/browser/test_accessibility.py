"""The page for people who use it by keyboard or with a screen reader: axe-core finds nothing, and the way is short."""

from __future__ import annotations

from pathlib import Path

import axe_playwright_python
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from modules.training.folders import Folders
from tests.browser.canvas_driver import Canvas, photo
from tests.browser.conftest import PageApp, Visitors, open_page
from tests.browser.page_driver import set_number, tab

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text("utf-8")
TABS = ("txt2img", "img2img", "inpaint", "PNG Info", "Extras", "Checkpoint Merger", "Train", "History", "Extensions",
        "Settings")
FOUND = """async () => (await axe.run(document, {resultTypes: ["violations"]})).violations.flatMap((rule) =>
    rule.nodes.map((node) => `${rule.id}: ${node.html.slice(0, 200)}`))"""
FOCUSED = "document.activeElement.id"


def open_picture(page: Page) -> None:
    """Shows all that the Train tab has: a picture that is marked in the table and on the canvas, and all settings."""
    expect(page.locator("#train_go")).to_be_visible()
    page.select_option("#train_folder", "seen")
    page.get_by_role("button", name="Mask and crop of one.png").click()
    expect(page.locator(".tr-mark")).to_have_count(2)
    Canvas(page, [], "#train_canvas").wait_size(192, 128)
    page.locator(".tr summary").click()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_on_any_tab(visitors: Visitors, page_app: PageApp, theme: str) -> None:
    folders = Folders(page_app.engine.settings.datasets_dir)
    folders.add("seen")
    photo(folders.path("seen") / "one.png", (192, 128))
    folders.write_mask("seen", "one.png", Image.new("L", (192, 128), 255))
    folders.write_crop("seen", "one.png", (0, 0, 96, 96))
    with visitors.page(page_app.url, {"viewport": {"width": 1280, "height": 900}}) as page:
        open_page(page, f"{page_app.url}?__theme={theme}")
        page.evaluate(AXE)
        found = {}
        for name in TABS:
            tab(page, name)
            if name == "Train":
                open_picture(page)
            found[name] = page.evaluate(FOUND)
        page.locator("#queue .q-open").click()
        expect(page.locator("#queue_list")).to_be_visible()
        found["queue"] = page.evaluate(FOUND)
        page.locator("#help_list button").click()
        found["keys"] = page.evaluate(FOUND)
    assert not {name: problems for name, problems in found.items() if problems}


def presses_until(page: Page, elem_id: str, most: int) -> int:
    """How often Tab is pressed until the control has the focus; `most` + 1 if that is not enough."""
    for presses in range(1, most + 1):
        page.keyboard.press("Tab")
        if page.evaluate(FOCUSED) == elem_id:
            return presses
    return most + 1


@pytest.mark.parametrize("name", ["txt2img", "img2img", "inpaint"])
def test_generate_is_within_twelve_tab_stops(web: Page, name: str) -> None:
    tab(web, name)
    web.evaluate("document.activeElement.blur()")
    web.locator("h1").click()
    web.keyboard.press("Tab")
    link = web.locator(".skip-link")
    if not link.evaluate("(link) => link === document.activeElement"):  # the click on the title was behind it
        link.focus()
    web.keyboard.press("Enter")
    expect(web.locator(f"#{name}_prompt textarea")).to_be_focused()
    assert 2 + presses_until(web, f"{name}_generate", 12) <= 12


def test_the_canvas_tools_are_one_tab_stop_with_arrow_keys_inside(painting: Canvas) -> None:
    page, bar = painting.page, painting.root.get_by_role("toolbar")
    stops = bar.locator(':is(button, input)[tabindex="0"]')
    act = "document.activeElement.dataset.act"
    bar.locator('[data-act="brush"]').focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate(act) == "eraser"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    last = page.evaluate(act)
    assert last not in ("brush", "eraser"), "the row is a circle"
    page.keyboard.press("ArrowRight")
    assert page.evaluate(act) == "brush"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Tab")
    assert not bar.evaluate("(bar) => bar.contains(document.activeElement)")
    assert stops.count() == 1
    page.keyboard.press("Shift+Tab")
    assert page.evaluate(act) == "eraser", "one comes back to the tool that was used last"


def test_the_main_job_by_keyboard_alone(web: Page, page_app: PageApp) -> None:
    """A sample, a mask, a prompt, Generate, and the result as the picture: without mouse or finger."""
    tab(web, "inpaint")
    canvas = Canvas(web, [], "#inpaint_canvas")
    keys = web.keyboard
    canvas.root.locator(".mc-try").focus()
    keys.press("Enter")
    canvas.wait_size(768, 512)
    canvas.root.locator(".mc-view").focus()
    for key in ("]", "]", "ArrowLeft", "Enter", "ArrowRight", "Enter"):
        keys.press(key)
    canvas.wait_synced()
    assert canvas.coverage > 0
    web.locator(".skip-link").focus()
    keys.press("Enter")
    expect(web.locator("#inpaint_prompt textarea")).to_be_focused()
    keys.type("a red apple")
    set_number(web, "inpaint_steps", 1)
    keys.press("Control+Enter")
    expect(canvas.root).to_have_attribute("data-result", "1")
    keys.press("Escape")
    canvas.root.locator(".mc-view").focus()
    keys.press("u")
    expect(canvas.root).to_have_attribute("data-result", "")
    keys.press("Control+z")
    expect(canvas.root.locator('[data-act="redo"]')).to_be_enabled()
