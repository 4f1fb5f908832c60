"""The Script dropdown: its controls, and a whole plot through the page, watched, stopped, saved and read back."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import PageApp, open_page
from tests.browser.page_driver import order, set_number, stage, tab


def form(page: Page, name: str) -> Locator:
    """The control of the chosen script that is called `name`."""
    return page.locator(f'#txt2img_script [data-name="{name}"]')


def set_up_plot(page: Page) -> None:
    """3 x 3 x 2: steps, prompt search and replace, and both VAE choices that are there."""
    tab(page, "txt2img")
    page.fill("#txt2img_prompt textarea", "a red boat")
    set_number(page, "txt2img_seed", 40)
    for name in ("width", "height"):
        set_number(page, f"txt2img_{name}", 128)
    form(page, "title").locator("select").select_option("X/Y/Z plot")
    form(page, "x_type").locator("select").select_option("Prompt S/R")
    form(page, "x_values").locator("input").fill("red,blue,green")
    form(page, "y_type").locator("select").select_option("Steps")
    form(page, "y_values").locator("input").fill("2-4")
    form(page, "z_type").locator("select").select_option("VAE")
    page.locator('#txt2img_script [data-axis="z"] .sf-fill').click()
    expect(form(page, "z_chosen").locator("input:checked")).to_have_count(2)
    page.locator('#txt2img_script [data-swap="xy"]').click()
    expect(form(page, "x_type").locator("select")).to_have_value("Steps")
    expect(form(page, "y_values").locator("input")).to_have_value("red,blue,green")


def run_to_the_end(page: Page, app: PageApp) -> None:
    app.brake.allow(0)
    page.locator("#txt2img_generate").click()
    expect(page.locator("#txt2img_interrupt")).to_be_visible()
    app.brake.allow(None)
    expect(page.locator("#txt2img_interrupt")).to_be_hidden()


def newest(outputs: Path, count: int) -> Image.Image:
    """The last of so many saved sheets."""
    sheets = sorted((outputs / "txt2img-grids").rglob("xyz_grid-*-40.png"))
    assert len(sheets) == count
    return Image.open(sheets[-1])


def test_a_plot_is_watched_stopped_saved_and_made_again(web: Page, page_app: PageApp) -> None:
    set_up_plot(web)
    # The bar counts the batches of the whole plot; an interrupted one leaves a sheet with what there was.
    page_app.brake.allow(2 + 4 + 1)  # DDIM makes four steps of three
    web.locator("#txt2img_generate").click()
    expect(stage(web, "txt2img")).to_contain_text("batch 3 of 18")
    order(web, "txt2img_interrupt", page_app.queue)
    page_app.brake.allow(None)
    parameters = web.locator("#txt2img_infotext textarea")
    expect(parameters).to_have_value(re.compile("Script: X/Y/Z plot"))
    expect(stage(web, "txt2img")).to_contain_text("Interrupted")
    text = parameters.input_value()
    assert ('X Type: Steps, X Values: "2,3,4", Y Type: Prompt S/R, Y Values: "red,blue,green", '
            'Z Type: VAE, Z Values: "Automatic,None"') in text
    partial = np.asarray(newest(page_app.outputs, 1))

    run_to_the_end(web, page_app)
    sheet = newest(page_app.outputs, 2)
    assert sheet.info["parameters"] == text
    whole = np.asarray(sheet)
    assert whole.shape == partial.shape
    cells = sorted(page_app.outputs.glob("txt2img-images/*/*-40.png"))
    assert len(cells) == 3 + 18, "every picture is saved by itself too"
    first, last = (np.asarray(Image.open(cells[number])) for number in (3, -1))
    left, top = 96, np.flatnonzero((whole[:, 100] == first[0, 4]).all(-1))[0]
    assert np.array_equal(whole[top : top + 128, left : left + 128], first)
    assert np.array_equal(partial[top : top + 128, left : left + 128], first)
    assert np.array_equal(whole[-128:, -128:], last)
    assert not partial[-128:, -128:].any(), "what was not reached is black"

    # Its parameters alone bring it back.
    open_page(web, page_app.url)
    tab(web, "txt2img")
    form(web, "title").locator("select").select_option("Prompt matrix")
    web.fill("#txt2img_prompt textarea", text)
    web.locator("#txt2img_paste").click()
    expect(form(web, "title").locator("select")).to_have_value("X/Y/Z plot")
    expect(form(web, "z_chosen").locator("input:checked")).to_have_count(2)
    expect(web.locator("#txt2img_prompt textarea")).to_have_value("a red boat")
    run_to_the_end(web, page_app)
    assert np.array_equal(np.asarray(newest(page_app.outputs, 3)), whole)
