"""Presets bring all settings of a tab back, and the present settings become the defaults."""

from __future__ import annotations

import json

from playwright.sync_api import Page, expect

from tests.browser.conftest import PageApp, open_page
from tests.browser.page_driver import set_number, tab, until


def number(page: Page, name: str) -> str:
    return page.locator(f"#txt2img_{name} input[type=number]").input_value()


def test_a_preset_is_saved_applied_after_a_reload_and_deleted(web: Page, page_app: PageApp) -> None:
    file = page_app.engine.settings.config_file.with_name("presets.json")
    tab(web, "txt2img")
    web.locator("#txt2img_prompt textarea").fill("a quiet lake")
    for name, value in (("steps", 33), ("cfg_scale", 4), ("batch_size", 3)):
        set_number(web, f"txt2img_{name}", value)
    script = web.locator("#txt2img_script")
    script.locator("select").first.select_option(label="Prompt matrix")
    box = web.locator("#txt2img_preset input")
    box.fill("lakes")
    box.press("Enter")
    web.locator("#txt2img_preset_save").click()
    until(web, file.is_file)
    kept = json.loads(file.read_text("utf-8"))["txt2img"]["lakes"]
    assert {name: kept[name] for name in ("prompt", "steps", "cfg_scale", "batch_size")} == {
        "prompt": "a quiet lake", "steps": 33, "cfg_scale": 4, "batch_size": 3}

    web.locator("#txt2img_prompt textarea").fill("something else")
    for name in ("steps", "cfg_scale", "batch_size"):
        set_number(web, f"txt2img_{name}", 1)
    script.locator("select").first.select_option(label="None")
    open_page(web, page_app.url)
    tab(web, "txt2img")
    box.click()
    web.get_by_role("option", name="lakes").click()
    web.locator("#txt2img_preset_apply").click()
    expect(web.locator("#txt2img_prompt textarea")).to_have_value("a quiet lake")
    assert [number(web, name) for name in ("steps", "cfg_scale", "batch_size")] == ["33", "4", "3"]
    expect(script.locator("select").first).to_have_value("Prompt matrix")
    web.locator("#txt2img_preset_delete").click()
    until(web, lambda: json.loads(file.read_text("utf-8"))["txt2img"] == {})


def test_the_present_settings_become_the_defaults(web: Page, page_app: PageApp) -> None:
    engine = page_app.engine
    before = engine.options
    tab(web, "txt2img")
    set_number(web, "txt2img_steps", 27)
    web.locator("#txt2img_make_defaults").click()
    try:
        until(web, lambda: (engine.config.values().get("ui_defaults") or {}).get("steps") == 27)
        web.evaluate("sessionStorage.clear()")
        open_page(web, page_app.url)
        tab(web, "txt2img")
        assert number(web, "steps") == "27"
        assert engine.options == before, "the other settings are what they were"
    finally:
        engine.set_options({"ui_defaults": {}})
