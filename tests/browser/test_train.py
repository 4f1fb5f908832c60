"""From pictures that are dropped to a LoRA among the cards, in the page."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from golden.tiny import checkpoint
from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.canvas_driver import Canvas, ideal_stroke, iou, photo
from tests.browser.conftest import PageApp, Visitors, open_page
from tests.browser.page_driver import tab

LONG = 600_000


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Two pictures that look alike, another one, and a caption."""
    first, second = photo(tmp_path / "one.png", (96, 64)), photo(tmp_path / "two.png", (192, 128))
    (tmp_path / "one.txt").write_text("a red robot")
    return [first, second, tmp_path / "one.txt"]


def captions(page: Page) -> list[str]:
    return page.locator(".tr-table textarea").evaluate_all("(all) => all.map((one) => one.value)")


@pytest.mark.parametrize("spoken", ["en", "zh-CN"])
def test_from_pictures_to_a_card(visitors: Visitors, page_app: PageApp, pictures: list[Path], spoken: str,
                                 tmp_path: Path) -> None:
    engine = page_app.engine
    settings = engine.settings
    shutil.copy(checkpoint("tiny-sd15"), settings.checkpoint_dirs[0] / "tiny.safetensors")
    name, folder = f"robot-{spoken}", settings.datasets_dir / f"set-{spoken}"
    with visitors.page(page_app.url, {"viewport": {"width": 1280, "height": 900}, "locale": spoken}) as page:
        open_page(page, page_app.url)
        page.locator("#tab_train-button").click()
        expect(page.locator("#train_go")).to_be_visible()
        page.fill("#train_new", folder.name)
        page.locator('.tr [data-act="create"]').click()
        expect(page.locator("#train_folder")).to_have_value(folder.name)
        page.set_input_files("#train_files", pictures)
        expect(page.locator(".tr-table img")).to_have_count(2)
        assert captions(page) == ["a red robot", ""]
        expect(page.locator(".tr-table")).to_contain_text(
            {"en": "It looks like one.png.", "zh-CN": "它与 one.png 相似。"}[spoken])
        page.locator(".tr-table textarea").nth(1).fill("a RED cat")
        page.locator(".tr-table textarea").nth(1).blur()
        page.fill("#train_find", "red")
        page.fill("#train_instead", "blue")
        page.locator('.tr [data-act="replace"]').click()
        expect(page.locator('.tr [data-part="note"]')).to_contain_text("2")
        assert captions(page) == ["a blue robot", "a blue cat"]
        assert (folder / "two.txt").read_text() == "a blue cat"
        page.select_option("#train_settings_checkpoint", "tiny")
        page.fill("#train_settings_name", "../x")
        page.locator("#train_go").click()
        expect(page.locator("#train_said")).to_contain_text("../x")
        page.fill("#train_settings_name", name)
        page.fill("#train_settings_steps", "3")
        page.fill("#train_settings_rank", "2")
        page.fill("#train_dataset_trigger", "rbt")
        page.fill("#train_samples", "a robot")
        page.locator(".tr summary").click()
        page.fill("#train_settings_size", "64")
        page.locator('.tr [data-act="toml"]').click()
        expect(page.locator('.tr [data-part="file"]')).to_contain_text('trigger = "rbt"')
        page.locator("#train_go").click()
        expect(page.locator("#train_said")).to_contain_text(
            {"en": f"{name} is there, among the cards.", "zh-CN": f"{name} 已完成，在卡片中。"}[spoken], timeout=LONG)
        expect(page.locator(".tr-samples img")).to_have_count(1)
        expect(page.locator(".tr polyline").first).to_be_attached()
        expect(page.locator(".tr-samples img")).to_have_js_property("naturalWidth", 64)
        page.screenshot(path=tmp_path / "train.png", full_page=True)
    assert name in [card.name for card in engine.cards.of("loras")]
    assert (settings.trainings_dir / name / f"{name}.toml").read_text().count("trigger") == 1


def test_the_tab_costs_nothing_before_it_is_shown(web: Page) -> None:
    assert web.locator(".tr").count() == 0
    tab(web, "Train")
    expect(web.locator("#train_go")).to_be_visible()


def test_a_mask_is_painted_and_a_crop_is_drawn_with_the_mouse(web: Page, page_app: PageApp) -> None:
    folder, size = page_app.engine.settings.datasets_dir / "marked", (240, 160)
    folder.mkdir(parents=True)
    before = photo(folder / "one.png", size).read_bytes()
    tab(web, "Train")
    expect(web.locator("#train_go")).to_be_visible()
    web.select_option("#train_folder", "marked")
    opens = web.get_by_role("button", name="Mask and crop of one.png")
    opens.click()
    canvas = Canvas(web, [], "#train_canvas")
    canvas.wait_size(*size)
    expect(canvas.root.locator(".mc-crop")).to_have_count(1)
    canvas.set_brush(24)
    brush, stroke = canvas.brush, canvas.drag([(100, 80), (180, 80), (180, 120)])
    corner = canvas.drag([(0, 0), (64, 32)])[-1]
    expect(canvas.root).not_to_have_attribute("data-crops", "240x160+0+0")
    web.locator("#train_keep").click()
    expect(web.locator("#train_canvas")).to_be_hidden()
    expect(web.locator(".tr-mark")).to_have_count(2)
    expect(opens).to_be_focused()
    with Image.open(folder / "masks" / "one.png") as mask:
        assert set(np.unique(np.asarray(mask))) == {0, 255}
        assert iou(np.asarray(mask) > 127, ideal_stroke(size, stroke, brush)) > 0.95
    text = (folder / "crops" / "one.txt").read_text().strip()
    width, height, left, top = (int(number) for number in text.replace("x", "+").split("+"))
    assert (left + width, top + height) == size
    assert abs(left - corner[0]) <= 1
    assert abs(top - corner[1]) <= 1
    assert (folder / "one.png").read_bytes() == before
    opens.click()
    canvas.wait_size(*size)
    expect(canvas.root).to_have_attribute("data-crops", text)
    expect(canvas.root).to_have_attribute("data-masked", "true")
    web.locator('[data-act="whole"]').click()
    web.locator("#train_keep").click()
    expect(web.locator(".tr-mark")).to_have_count(1)
    web.get_by_role("button", name="Take away the mask of one.png").click()
    expect(web.locator(".tr-mark")).to_have_count(0)
    assert not (folder / "masks" / "one.png").exists()
    assert not (folder / "crops" / "one.txt").exists()
    assert (folder / "one.png").read_bytes() == before
