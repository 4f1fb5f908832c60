"""The Settings tab: what it changes holds at once, for the page, for programs and for the next run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from modules.request.options import Options
from modules.text.infotext import VERSION
from modules.ui.controls.defaults import KEY, Defaults, remembered
from tests.browser.canvas_driver import photo
from tests.browser.conftest import PageApp, wait_ready
from tests.browser.page_driver import generate, set_number, settle, shown_picture, tab, wait_result


@pytest.fixture
def settings_tab(web: Page, page_app: PageApp) -> Iterator[Page]:
    """The tab, open; afterwards everything is at its default again."""
    open_settings(web)
    yield web
    page_app.engine.set_options({**vars(Options(sd_model_checkpoint=page_app.engine.options.sd_model_checkpoint)),
                                 KEY: {}})


def open_settings(page: Page) -> None:
    tab(page, "Settings")
    page.wait_for_selector(".st-row")


def row(page: Page, name: str) -> Locator:
    return page.locator(f".st-row[data-name={name}]")


def write(page: Page, name: str, value: str) -> None:
    box = row(page, name).locator("input[type=number]")
    box.fill(value)
    box.press("Tab")


def number(page: Page, tab: str, name: str) -> Locator:
    """A control's number, in its tab, which is shown for that: what is in a tab is not there before."""
    page.locator(f"#tab_{tab}-button").click()
    settle(page)
    return page.locator(f"#{tab}_{name} input[type=number]")


def test_a_change_holds_at_once_everywhere(settings_tab: Page, page_app: PageApp) -> None:
    page, engine = settings_tab, page_app.engine
    write(page, "eta_ddim", "0.25")
    write(page, "steps", "33")
    row(page, "masked_content").locator("select").select_option("latent noise")
    row(page, "samples_save").locator("input").uncheck()
    expect(row(page, "samples_save")).to_have_class("st-row st-check st-changed")
    expect(number(page, "txt2img", "steps")).to_have_value("33")
    expect(number(page, "inpaint", "steps")).to_have_value("33")
    expect(page.locator("#inpaint_fill").get_by_label("latent noise")).to_be_checked()
    assert (engine.options.eta_ddim, engine.options.samples_save) == (0.25, False)
    kept = json.loads(engine.settings.config_file.read_text("utf-8"))
    assert kept["eta_ddim"] == 0.25
    assert kept[KEY] == {"steps": 33, "masked_content": "latent noise"}

    engine.set_options({"eta_ddim": 0.5})  # as a program does
    open_settings(page)
    expect(row(page, "eta_ddim").locator("input[type=number]")).to_have_value("0.5")
    row(page, "steps").get_by_role("button").click()
    expect(number(page, "txt2img", "steps")).to_have_value("20")
    assert remembered(engine.config, engine.settings) == Defaults(masked_content="latent noise")


def test_controls_start_at_the_settings_and_keep_what_was_done_to_them(settings_tab: Page, page_app: PageApp) -> None:
    page = settings_tab
    for name, value in (("steps", "7"), ("cfg_scale", "9")):
        box = number(page, "txt2img", name)
        box.fill(value)
        box.press("Tab")
    stored = "JSON.parse(sessionStorage['inpaint-webui:controls'] ?? '{}')"
    page.wait_for_function(f"{stored}['txt2img/cfg_scale']?.[1] === 9")
    kept = page.evaluate(f"Object.keys({stored})")
    assert kept == ["txt2img/steps", "txt2img/cfg_scale"], "and nothing that only looking at a tab fills"
    number(page, "txt2img", "n_iter").fill("3")
    expect(page.locator("#txt2img_n_iter input[type=range]")).to_have_value("3")  # and the page is left at once
    page_app.engine.set_options({KEY: {"steps": 40, "hr_denoising_strength": 0.3, "tab": "img2img"}, "tiling": True})
    page.goto(page_app.url)
    expect(page.locator("#txt2img_prompt")).to_be_visible()
    expect(number(page, "txt2img", "steps")).to_have_value("40")
    expect(number(page, "txt2img", "cfg_scale")).to_have_value("9")
    expect(number(page, "txt2img", "n_iter")).to_have_value("3")
    expect(number(page, "txt2img", "denoising_strength")).to_have_value("0.3")
    page.locator(".area-settings:visible").get_by_role("button", name="Advanced").click()
    expect(page.locator("#txt2img_tiling input")).to_be_checked()
    expect(number(page, "inpaint", "denoising_strength")).to_have_value("0.75")
    other = page.context.new_page()
    other.goto(page_app.url)
    expect(other.locator("#img2img_prompt")).to_be_visible()
    wait_ready(other)
    other.close()


def test_pictures_that_are_not_saved_are_shown_all_the_same(settings_tab: Page, page_app: PageApp,
                                                            tmp_path: Path) -> None:
    page = settings_tab
    row(page, "samples_save").locator("input").uncheck()
    expect(row(page, "samples_save")).to_have_class("st-row st-check st-changed")
    before = set(page_app.outputs.rglob("*.png"))
    tab(page, "txt2img")
    set_number(page, "txt2img_steps", 2)
    set_number(page, "txt2img_seed", 91)
    text = generate(page, "txt2img")
    shown = shown_picture(page, "txt2img")
    assert shown.info["parameters"] == text
    tab(page, "img2img")
    set_number(page, "img2img_steps", 2)
    page.locator("#img2img_batch > button").click()
    files = [photo(tmp_path / f"{name}.png", (64, 64)) for name in "ab"]
    page.locator("#img2img_batch_files input[type=file]").set_input_files(files)
    expect(page.locator("#img2img_batch_files").get_by_role("row")).to_have_count(2)
    page.locator("#img2img_batch_generate").click()
    wait_result(page, "img2img")
    assert set(page_app.outputs.rglob("*.png")) == before

    page_app.engine.set_options({"samples_save": True})
    tab(page, "txt2img")
    assert generate(page, "txt2img") == text
    (saved,) = set(page_app.outputs.rglob("*.png")) - before
    assert np.array_equal(np.asarray(Image.open(saved)), np.asarray(shown))


def test_wrong_values_are_said_in_words_and_stay_to_be_corrected(settings_tab: Page, page_app: PageApp) -> None:
    page = settings_tab
    for value, sentence in (("151", "The option steps lies between 1 and 150, not 151."),
                            ("2.5", "The option steps cannot be 2.5."), ("", "The option steps cannot be ''.")):
        write(page, "steps", value)
        expect(row(page, "steps").get_by_role("alert")).to_have_text(sentence)
        expect(row(page, "steps").locator("input[type=number]")).to_have_value(value)
    write(page, "width", "4096")
    expect(row(page, "width").get_by_role("alert")).to_have_text("The option width is at most 2048, not 4096.")
    row(page, "face_restoration").locator("input").click()
    expect(row(page, "face_restoration").get_by_role("alert")).to_contain_text("Faces cannot be restored")
    assert not page_app.engine.options.face_restoration
    assert KEY not in page_app.engine.config.values() or page_app.engine.config.values()[KEY] == {}
    expect(number(page, "txt2img", "steps")).to_have_value("20")
    open_settings(page)
    write(page, "steps", "25")
    expect(row(page, "steps").get_by_role("alert")).to_be_hidden()
    expect(number(page, "txt2img", "steps")).to_have_value("25")


def test_all_are_there_search_reset_and_undo(settings_tab: Page, page_app: PageApp) -> None:
    page, engine = settings_tab, page_app.engine
    shown: list[Any] = page.locator(".st-row").evaluate_all("(rows) => rows.map((row) => row.dataset.name)")
    options = [name for name in vars(Options()) if name not in ("sd_model_checkpoint", "sd_vae")]
    assert shown == [*vars(Defaults()), *options]
    page.get_by_placeholder("Search settings").fill("denois strength")
    expect(page.locator(".st-row:visible")).to_have_count(2)
    page.get_by_placeholder("Search settings").fill("nothing of the kind")
    expect(page.get_by_text("No setting fits these words.")).to_be_visible()
    page.get_by_placeholder("Search settings").fill("")
    write(page, "rho", "7")
    write(page, "steps", "12")
    expect(number(page, "inpaint", "steps")).to_have_value("12")
    open_settings(page)
    page.get_by_role("button", name="Reset all to default").click()
    expect(page.get_by_text("All settings are at their defaults.")).to_be_visible()
    expect(page.locator(".st-changed")).to_have_count(0)
    assert engine.options.rho == 0
    page.get_by_role("button", name="Undo", exact=True).click()
    expect(page.locator(".st-changed")).to_have_count(2)
    assert engine.options.rho == 7
    assert remembered(engine.config, engine.settings) == Defaults(steps=12)


def test_the_version_is_shown(settings_tab: Page) -> None:
    expect(settings_tab.locator("#version")).to_have_text(VERSION)
