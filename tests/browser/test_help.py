"""Help texts by mouse, finger and keyboard, and the list of keys and gestures."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import PageApp
from tests.browser.page_driver import settle, stage, tab

STEPS = "How often the picture is refined. 20 to 30 are usually enough; more cost time and change little."


def test_the_mouse_shows_a_text_and_takes_it_away(web: Page) -> None:
    tab(web, "txt2img")
    tip = web.locator("#help_tip")
    web.locator("#txt2img_steps .help-mark").hover()
    expect(tip).to_have_text(STEPS)
    tip.hover()
    expect(tip, "the pointer may rest on it").to_be_visible()
    web.locator("h1").hover()
    expect(tip).to_be_hidden()
    lock = web.locator("#txt2img_lock_seed")
    lock.locator(".help-mark").click()
    expect(tip).to_contain_text("Keeps the seed")
    expect(lock.locator("input"), "a press on the mark is none on the control").not_to_be_checked()


def test_the_keyboard_shows_the_text_of_each_control(web: Page, page_app: PageApp) -> None:
    tab(web, "txt2img")
    tip, prompt = web.locator("#help_tip"), web.locator("#txt2img_prompt textarea")
    prompt.click()
    expect(tip, "who clicks did not ask").to_be_hidden()
    page_app.brake.allow(1)
    prompt.press("Control+Enter")
    expect(stage(web, "txt2img")).to_contain_text("step 1 of")
    web.locator("#txt2img_token_counter summary").focus()
    web.keyboard.press("Shift+Tab")
    expect(tip).to_contain_text("What the picture should show")
    expect(prompt).to_have_attribute("aria-describedby", "help_tip")
    expect(prompt).to_be_focused()
    prompt.press("Escape")
    expect(tip).to_be_hidden()
    expect(prompt).not_to_have_attribute("aria-describedby", "help_tip")
    job = page_app.queue.current
    assert job is not None
    assert not job.interrupted, "Escape closes what is open first"
    web.locator("#txt2img_styles input").focus()
    web.keyboard.press("Tab")
    expect(tip).to_have_text("Apply the chosen styles to the prompts")
    web.set_viewport_size({"width": 1280, "height": 400})
    settle(web)
    steps = web.locator("#txt2img_steps")
    steps.locator("input[type=number]").focus()
    expect(tip).to_have_text(STEPS)
    steps.locator("input[type=number]").press("Tab")  # what has the focus comes into sight
    expect(steps.locator("input[type=range]")).to_be_focused()
    expect(tip).to_be_visible()
    web.mouse.wheel(0, 60)
    web.evaluate("new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
    expect(tip, "it goes with its control").to_be_visible()


@pytest.mark.parametrize("context_options", [{"viewport": {"width": 390, "height": 844}, "has_touch": True,
                                              "is_mobile": True}])
def test_a_finger_shows_the_text(web: Page, context_options: dict[str, Any]) -> None:
    tab(web, "txt2img")
    tip, mark = web.locator("#help_tip"), web.locator("#txt2img_steps .help-mark")
    mark.tap()
    expect(tip).to_have_text(STEPS)
    box = tip.bounding_box()
    assert box
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    mark.tap()
    expect(tip).to_be_hidden()


def test_the_inputs_of_scripts_have_marks(web: Page) -> None:
    tab(web, "txt2img")
    form = web.locator("#txt2img_script")
    form.locator("select").first.select_option("X/Y/Z plot")
    form.locator('[data-name="draw_legend"] .help-mark').hover()
    expect(web.locator("#help_tip")).to_contain_text("Writes the values beside the grid.")


def test_the_list_of_keys_can_be_searched(web: Page) -> None:
    tab(web, "txt2img")
    prompt = web.locator("#txt2img_prompt textarea")
    prompt.press("?")
    expect(prompt).to_have_value("?")
    web.locator("h1").click()
    web.keyboard.press("?")
    dialog = web.locator("#shortcuts")
    rows = dialog.locator("dd:visible")
    expect(dialog).to_be_visible()
    assert rows.count() > 25
    web.keyboard.type("undo")
    expect(rows).to_have_text(["Undo"])
    web.keyboard.type("xyz")
    expect(dialog.get_by_text("Nothing of that name.")).to_be_visible()
    web.keyboard.press("Escape")
    if dialog.is_visible():  # the first Escape empties a search box
        web.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    web.locator("#help_list button").click()
    assert rows.count() > 25
