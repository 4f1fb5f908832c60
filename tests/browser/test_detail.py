"""The detailer's section of a tab, and its way through the parameters text."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from modules.imaging.detectors.find import Find
from modules.imaging.detectors.registry import BUILT_IN
from modules.request.detail import DetailPass
from modules.text import infotext
from tests.browser.canvas_driver import Canvas
from tests.browser.conftest import PageApp
from tests.browser.page_driver import generate, set_number, tab


def control(page: Page, number: int, name: str) -> Locator:
    """The control called `name` of a pass on the inpaint tab; "title" is its switch."""
    return page.locator(f'#inpaint_detail{number} [data-name="{name}"]')


def test_a_new_file_is_offered_at_once(web: Page, page_app: PageApp) -> None:
    folder = page_app.engine.settings.models_dir / "adetailer"
    tab(web, "inpaint")
    web.locator("#inpaint_detail > button").click()
    control(web, 0, "title").locator("input").check()
    choices = control(web, 0, "model").locator("select")
    expect(choices.locator("option", has_text="hand.onnx")).to_have_count(0)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "hand.onnx").write_bytes(b"")
    try:
        choices.focus()
        expect(choices.locator("option", has_text="hand.onnx")).to_have_count(1)
        expect(choices).to_have_value("Face")
        choices.select_option("hand.onnx")
        expect(choices).to_have_value("hand.onnx")
    finally:
        (folder / "hand.onnx").unlink()


def test_the_finds_are_shown(web: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUILT_IN, "Face", lambda: lambda picture, least: [Find((40, 60, 120, 180), 0.9)])
    tab(web, "inpaint")
    web.locator("#inpaint_detail > button").click()
    look, counts = web.locator("#inpaint_detail_look"), web.locator("#inpaint_detail_counts")
    look.click()
    expect(web.get_by_text("Enable a pass of ADetailer first.")).to_be_visible()
    control(web, 0, "title").locator("input").check()
    canvas = Canvas(web, [], "#inpaint_canvas")
    Image.new("RGB", (256, 256), (90, 120, 150)).save(tmp_path / "photo.png")
    canvas.open(tmp_path / "photo.png")
    look.click()
    expect(counts).to_have_text("Face: 1")
    source = web.locator("#inpaint_detail_found img").get_attribute("src")
    shown = Image.open(io.BytesIO(web.request.get(str(source)).body())).convert("RGB")
    assert shown.size == (256, 256)
    assert shown.getpixel((200, 100)) == (90, 120, 150)
    assert shown.getpixel((80, 120)) != (90, 120, 150)


def test_passes_go_into_the_text_and_come_back(web: Page, tmp_path: Path) -> None:
    tab(web, "inpaint")
    canvas = Canvas(web, [], "#inpaint_canvas")
    Image.new("RGB", (256, 256), (90, 120, 150)).save(tmp_path / "photo.png")
    canvas.open(tmp_path / "photo.png")
    canvas.drag([(100, 128), (150, 128)])
    set_number(web, "inpaint_steps", 2)
    web.locator("#inpaint_detail > button").click()
    switch = control(web, 0, "title").locator("input")
    expect(control(web, 0, "prompt")).to_have_count(0)
    switch.focus()
    web.keyboard.press("Space")
    control(web, 0, "model").locator("select").select_option("Eye")
    control(web, 0, "prompt").locator("input").fill("an eye [SEP] [SKIP]")
    web.locator("#inpaint_detail").get_by_role("tab", name="2nd").click()
    control(web, 1, "title").locator("input").check()
    control(web, 1, "confidence").locator("input[type=number]").fill("0.6")
    text = generate(web, "inpaint")
    passes = DetailPass(model="Eye", prompt="an eye [SEP] [SKIP]"), DetailPass(confidence=0.6)
    assert infotext.to_changes(infotext.parse(text)).detail == passes

    control(web, 1, "title").locator("input").uncheck()
    web.locator("#inpaint_detail").get_by_role("tab", name="1st").click()
    control(web, 0, "title").locator("input").uncheck()
    web.fill("#inpaint_prompt textarea", text.replace("ADetailer model: Eye", "ADetailer model: face_yolov8n.pt"))
    web.locator("#inpaint_paste").click()
    expect(control(web, 0, "prompt").locator("input")).to_have_value("an eye [SEP] [SKIP]")
    expect(control(web, 0, "model").locator("select")).to_have_value("Face")
    expect(web.locator("#inpaint_paste_note")).to_contain_text("'face_yolov8n.pt'")
    web.locator("#inpaint_detail").get_by_role("tab", name="2nd").click()
    expect(control(web, 1, "confidence").locator("input[type=number]")).to_have_value("0.6")
