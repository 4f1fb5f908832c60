"""The buttons that put words for the picture into the prompt."""

from __future__ import annotations

from pathlib import Path

import pytest
from describers import write_tagger
from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.canvas_driver import Canvas
from tests.browser.conftest import PageApp
from tests.browser.page_driver import tab


@pytest.mark.parametrize("name", ["img2img", "inpaint"])
def test_words_are_added_to_the_prompt(web: Page, page_app: PageApp, tmp_path: Path, name: str) -> None:
    tab(web, name)
    prompt, tags = web.locator(f"#{name}_prompt textarea"), web.locator(f"#{name}_describe_tags")
    tags.click()
    expect(web.locator(".toast-body").last).to_contain_text("Choose a picture first.")
    Image.new("RGB", (64, 64), (90, 120, 150)).save(tmp_path / "photo.png")
    Canvas(web, [], {"img2img": "#img2img_image"}.get(name, "#inpaint_canvas")).open(tmp_path / "photo.png")
    web.locator(f"#{name}_describe").click()
    expect(web.locator(".toast-body").last).to_contain_text("put a captioner such as BLIP")
    write_tagger(page_app.engine.settings.models_dir / "taggers")
    prompt.fill("a girl,")
    tags.focus()
    web.keyboard.press("Enter")
    expect(prompt).to_have_value(r"a girl, rem \(re:zero\), long hair")
    tags.click()
    expect(prompt).to_have_value(r"a girl, rem \(re:zero\), long hair")
