"""Cards under the prompt, completion in it, and wildcards, on the real page."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect
from safetensors.numpy import save_file

from modules.text import infotext
from tests.browser.conftest import PageApp, Visitors, open_page
from tests.browser.page_driver import generate, set_number, settle, tab, until

MANY = 3000
SCREENS: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1280, "height": 1000}, "color_scheme": "light"},
    "dark-chinese": {"viewport": {"width": 1280, "height": 1000}, "color_scheme": "dark", "locale": "zh-CN"},
    "phone-chinese": {"viewport": {"width": 390, "height": 844}, "has_touch": True, "locale": "zh-CN"}}
PICTURES = os.environ.get("SCREENSHOTS", "")
"""A folder for screenshots; none are kept without it."""


@pytest.fixture(scope="module")
def files(page_app: PageApp) -> Iterator[PageApp]:
    """The page with many LoRAs, an embedding, wildcards and tags."""
    settings, engine = page_app.engine.settings, page_app.engine
    folder = settings.models_dir / "Lora"
    (folder / "styles").mkdir(parents=True, exist_ok=True)
    for number in range(MANY):
        sub = "styles" if number % 2 else ""
        save_file({"x": np.zeros(1, np.float32)}, folder / sub / f"paint {number:04}.safetensors")
    (folder / "paint 0000.json").write_text(json.dumps({
        "description": "Broad strokes", "activation text": "brushwork", "preferred weight": 0.7,
        "negative text": "photo"}))
    Image.new("RGB", (60, 90), "teal").save(folder / "styles" / "paint 0001.preview.png")
    settings.embeddings_dir.mkdir(parents=True, exist_ok=True)
    save_file({"emb_params": np.zeros((2, 768), np.float32)}, settings.embeddings_dir / "oldpaint.safetensors")
    for name in ("wildcards", "tags"):
        (settings.data_dir / name).mkdir(exist_ok=True)
    (settings.data_dir / "wildcards" / "cats.txt").write_text("tabby\nginger\n")
    (settings.data_dir / "tags" / "some.csv").write_text("zebra_stripes,0,70,\n")
    for one in (engine.networks, engine.wildcards):
        one.refresh()
    yield page_app
    for path in [*folder.rglob("paint*"), settings.embeddings_dir / "oldpaint.safetensors"]:
        path.unlink()
    for one in (engine.networks, engine.wildcards):
        one.refresh()


@pytest.fixture(params=SCREENS)
def screen(request: pytest.FixtureRequest, visitors: Visitors, files: PageApp) -> Iterator[tuple[Page, str]]:
    with visitors.page(files.url, SCREENS[request.param]) as page:
        open_page(page, files.url)
        yield page, request.param


def show(page: Page) -> None:
    """Opens txt2img in any language."""
    page.locator("#tab_txt2img-button").click()
    settle(page)


def keep(page: Page, name: str) -> None:
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / f"{name}.png")


def value(page: Page, name: str) -> str:
    return page.locator(f"#txt2img_{name} textarea").input_value()


def test_cards_are_found_used_and_weighed(screen: tuple[Page, str]) -> None:
    page, name = screen
    show(page)
    view = page.locator("#txt2img_cards")
    view.locator("[data-kind=loras]").click()
    card = view.locator(".card", has_text="paint 0000")
    expect(card).to_be_visible()
    assert view.locator(".card").count() < 60  # only those in sight
    card.locator(".card-use").click()
    assert (value(page, "prompt"), value(page, "neg_prompt")) == ("<lora:paint 0000:0.7> brushwork", "photo")
    expect(card.locator(".card-use")).to_have_attribute("aria-pressed", "true")
    keep(page, f"cards-{name}")
    card.locator("input").fill("0.4")
    card.locator("input").press("Tab")
    assert value(page, "prompt") == "<lora:paint 0000:0.4> brushwork"
    card.locator(".card-use").click()
    assert (value(page, "prompt"), value(page, "neg_prompt")) == ("", "")

    view.locator("[data-part=search]").fill("0001")
    expect(view.locator(".card")).to_have_count(1)
    expect(view.locator(".card img")).to_have_js_property("complete", True)
    assert view.locator(".card img").evaluate("image => image.naturalWidth") == 60
    view.locator("[data-part=search]").fill("broad strokes")  # a description
    expect(view.locator(".card .name")).to_have_text("paint 0000")
    view.locator("[data-part=search]").fill("")
    view.locator("[data-folder=styles]").click()
    expect(view.locator(".card .name").first).to_have_text("paint 0001")
    view.locator(".card-about").first.click()
    expect(view.locator("dialog dd").first).to_have_text("paint 0001.safetensors")
    keep(page, f"about-{name}")
    page.keyboard.press("Escape")
    view.locator("[data-kind=embeddings]").click()
    view.locator(".card-use", has_text="oldpaint").click()
    assert value(page, "prompt") == "oldpaint"
    view.locator("[data-kind=embeddings]").click()
    expect(view.locator("section")).to_be_hidden()


def test_thousands_of_cards_open_without_holding_the_page_up(files: PageApp, web: Page) -> None:
    tab(web, "txt2img")
    drawn = web.evaluate("""async () => {
        const view = document.querySelector("#txt2img_cards"), most = {};
        view.querySelector("[data-kind=loras]").click();
        while (!view.querySelector(".card")) await new Promise(requestAnimationFrame);
        const grid = view.querySelector(".cards-grid");
        for (const share of [0.5, 1]) {
            grid.scrollTop = grid.scrollHeight * share;
            await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
            most[share] = view.querySelectorAll(".card").length;
        }
        return {most, last: [...view.querySelectorAll(".card .name")].some((one) => one.textContent === "paint 2999")};
    }""")
    assert max(drawn["most"].values()) < 60
    assert drawn["last"]


def test_this_tabs_picture_becomes_a_preview(files: PageApp, web: Page) -> None:
    tab(web, "txt2img")
    set_number(web, "txt2img_steps", 2)
    generate(web, "txt2img")
    view = web.locator("#txt2img_cards")
    view.locator("[data-kind=loras]").click()
    view.locator("[data-part=search]").fill("paint 0010")
    view.locator(".card-about").click()
    view.locator("[data-act=usePicture]").click()
    made = files.engine.settings.models_dir / "Lora" / "paint 0010.preview.png"
    until(web, made.exists)
    expect(view.locator(".card img")).to_have_js_property("complete", True)


@pytest.mark.parametrize("screen", ["dark-chinese"], indirect=True)
def test_the_prompt_is_completed_by_keyboard(screen: tuple[Page, str]) -> None:
    page, name = screen
    show(page)
    box, entries = page.locator("#txt2img_prompt textarea"), page.locator("#completions")
    box.click()
    page.keyboard.type("a zebra")
    expect(entries.locator("li")).to_have_count(1)
    keep(page, f"completion-{name}")
    page.keyboard.press("Tab")
    assert value(page, "prompt") == "a zebra stripes, "
    page.keyboard.type("<lora:paint 00")
    expect(entries.locator("li").first).to_contain_text("paint 0000")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert value(page, "prompt") == "a zebra stripes, <lora:paint 0001:1>"
    page.keyboard.type(" __ca")
    expect(entries.locator("li").first).to_contain_text("cats")
    page.keyboard.press("Escape")
    expect(entries).to_be_hidden()
    assert value(page, "prompt").endswith(" __ca")
    page.keyboard.press("Tab")  # without a list it moves the focus
    expect(box).not_to_be_focused()


def test_escape_closes_the_list_and_stops_no_job(files: PageApp, web: Page) -> None:
    tab(web, "txt2img")
    files.brake.allow(0)
    try:
        web.locator("#txt2img_generate").click()
        until(web, lambda: files.queue.current is not None)
        job = files.queue.current
        assert job is not None
        web.locator("#txt2img_prompt textarea").click()
        web.keyboard.type("zebra")
        expect(web.locator("#completions li")).to_have_count(1)
        web.keyboard.press("Escape")
        expect(web.locator("#completions")).to_be_hidden()
        assert not job.interrupted
        expect(web.locator("#txt2img_interrupt")).to_be_visible()
        web.keyboard.press("Escape")
        until(web, lambda: job.interrupted)
    finally:
        files.brake.allow(None)


@pytest.mark.parametrize("screen", ["phone-chinese"], indirect=True)
def test_wildcards_are_drawn_for_the_page(screen: tuple[Page, str]) -> None:
    page, name = screen
    show(page)
    page.locator("#txt2img_prompt textarea").fill("a __cats__ in {red|blue}")
    page.keyboard.press("Escape")
    set_number(page, "txt2img_steps", 2)
    read = infotext.parse(generate(page, "txt2img"))
    assert read["Template"] == "a __cats__ in {red|blue}"
    assert read["Prompt"] in {f"a {cat} in {colour}" for cat in ("tabby", "ginger") for colour in ("red", "blue")}
    keep(page, f"wildcards-{name}")
