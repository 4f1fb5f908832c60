"""ControlNet's section: a control picture, its map, what reaches the engine, and what a parameters text brings back."""

from __future__ import annotations

import base64
import dataclasses
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from modules.annotate.preprocessor import Values
from modules.annotate.registry import find
from modules.request import ControlMode, ControlResize, ControlUnit, Txt2Img
from tests.browser.canvas_driver import Canvas, ideal_stroke, iou, photo
from tests.browser.conftest import PageApp
from tests.browser.page_driver import set_number, tab, until

TEXT = ('a boat\nSteps: 5, Sampler: DDIM, CFG scale: 7, Seed: 1, Size: 128x64, ControlNet 0: "Module: threshold, '
        "Model: control_canny, Weight: 0.6, Resize Mode: Resize and Fill, Processor Res: 256, Threshold A: 90.0, "
        "Threshold B: 0.5, Guidance Start: 0.0, Guidance End: 0.75, Pixel Perfect: False, "
        'Control Mode: Balanced"')


class Unit:
    """One unit of a tab."""

    def __init__(self, page: Page, name: str, number: int = 0) -> None:
        self.page, self.name, self.start = page, name, f"#{name}_control{number}"
        self.canvas = Canvas(page, [], f"{self.start}_picture")
        self.title = page.locator(f"#{name}_control > button > span").first

    def open(self) -> None:
        self.page.locator(f"#{self.name}_control > button").click()
        expect(self.page.locator(f"{self.start}_picture .mc")).to_have_attribute("data-ready", "true")

    def control(self, name: str) -> Locator:
        return self.page.locator(f'{self.start}_settings [data-name="{name}"]')

    def choose(self, name: str, label: str) -> None:
        self.control(name).locator("select").select_option(label)

    def options(self, name: str) -> list[str]:
        return self.control(name).locator("option").all_inner_texts()

    def enable(self) -> None:
        self.page.locator(f"{self.start}_enabled input").check()

    def preview(self) -> np.ndarray:
        """The map that is shown after a press on the button."""
        shown = self.page.locator(f"{self.start}_map img")
        before = shown.get_attribute("src") if shown.count() else None
        self.page.locator(f"{self.start}_preview").click()
        if before:
            expect(shown).not_to_have_attribute("src", before)
        source = shown.get_attribute("src") or ""
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))))


@pytest.fixture
def asked(page_app: PageApp, monkeypatch: pytest.MonkeyPatch) -> list[Txt2Img]:
    """The requests that reach the engine, which carries them out without their units."""
    requests: list[Txt2Img] = []
    generate = page_app.engine.generate

    def noting(request: Txt2Img, job: Any) -> Any:
        requests.append(request)
        return generate(dataclasses.replace(request, control_units=()), job)

    monkeypatch.setattr(page_app.engine, "generate", noting)
    return requests


@pytest.fixture
def control_file(page_app: PageApp) -> Iterator[str]:
    file = page_app.engine.settings.control_dirs[0] / "control_canny.safetensors"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"")
    yield "control_canny [e3b0c442]"
    file.unlink()
    page_app.engine.control_files.titles(refresh=True)


def made(name: str, picture: np.ndarray, *values: float) -> np.ndarray:
    compute = find(name).compute
    assert compute
    return compute(picture, Values(int(values[0]), *values[1:]))


def wait_for(page: Page, requests: list[Txt2Img]) -> ControlUnit:
    until(page, lambda: bool(requests))
    (unit,) = requests[-1].control_units
    return unit


def test_a_picture_its_map_and_what_the_engine_gets(web: Page, asked: list[Txt2Img], control_file: str,
                                                    tmp_path: Path) -> None:
    tab(web, "txt2img")
    unit = Unit(web, "txt2img")
    expect(unit.title).to_have_text("ControlNet")
    unit.open()
    path = photo(tmp_path / "control.png", (160, 96))
    picture = np.asarray(Image.open(path))
    unit.canvas.open(path)

    # the lists follow the type, and the sliders the preprocessor
    unit.choose("control_type", "Canny")
    assert unit.options("module") == ["none", "canny", "invert (from white bg & black line)"]
    expect(unit.control("model").locator("select")).to_have_value(control_file)
    expect(unit.control("threshold_a").locator("input[type=number]")).to_have_value("100")
    unit.choose("control_type", "Reference")
    expect(unit.control("model")).to_have_count(0)
    expect(unit.control("threshold_a")).to_contain_text("Style Fidelity")
    unit.choose("control_type", "IP-Adapter")
    expect(unit.control("module").locator("select")).to_have_value("ip-adapter-auto")
    expect(unit.control("control_mode")).to_have_count(0)
    expect(unit.control("guidance_end")).to_have_count(1)
    unit.choose("control_type", "All")
    unit.choose("module", "threshold")
    unit.choose("model", control_file)
    slider = unit.control("threshold_a").locator("input[type=number]")
    expect(slider).to_have_value("127")
    slider.fill("90")
    unit.control("processor_res").locator("input[type=number]").fill("192")
    unit.control("weight").locator("input[type=number]").fill("0.6")
    unit.control("control_mode").get_by_text("ControlNet is more important").click()
    np.testing.assert_array_equal(unit.preview(), made("threshold", picture, 192, 90))

    # nothing of it counts until the unit is on
    web.locator("#txt2img_generate").click()
    until(web, lambda: bool(asked))
    assert asked.pop().control_units == ()
    unit.enable()
    expect(unit.title).to_have_text("ControlNet: threshold")
    web.locator("#txt2img_generate").click()
    got = wait_for(web, asked)
    assert got.image is not None
    np.testing.assert_array_equal(np.asarray(got.image.convert("RGB")), picture)
    assert dataclasses.replace(got, image=None) == ControlUnit(
        module="threshold", model=control_file, weight=0.6, processor_res=192, threshold_a=90,
        control_mode=ControlMode.CONTROL, control_type="All")

    # the size of the control picture becomes the size that is drawn
    web.locator("#txt2img_control0_size").click()
    expect(web.locator("#txt2img_width input[type=number]")).to_have_value("160")
    expect(web.locator("#txt2img_height input[type=number]")).to_have_value("96")
    unit.control("pixel_perfect").locator("input").check()
    expect(unit.control("processor_res")).to_have_count(0)
    np.testing.assert_array_equal(unit.preview(), made("threshold", picture, 96, 90))

    # a map without contrast is pointed out
    Image.new("RGB", (64, 64), "grey").save(tmp_path / "flat.png")
    unit.canvas.open(tmp_path / "flat.png")
    unit.preview()
    expect(web.locator("#txt2img_control0_map figcaption")).to_contain_text("hardly any contrast")


def test_a_scribble_is_drawn_on_a_blank_canvas(web: Page, asked: list[Txt2Img]) -> None:
    tab(web, "txt2img")
    set_number(web, "txt2img_width", 256)
    set_number(web, "txt2img_height", 128)
    unit = Unit(web, "txt2img")
    unit.open()
    web.locator("#txt2img_control0_preview").click()
    expect(web.locator(".toast-body")).to_contain_text("Choose a control picture first.")
    web.locator("#txt2img_control0_blank").click()
    unit.canvas.wait_size(256, 128)
    unit.canvas.root.scroll_into_view_if_needed()
    unit.canvas.set_brush(16)
    hit = unit.canvas.drag([(40, 30), (200, 100)])
    unit.canvas.wait_synced()
    drawn = unit.preview()
    assert drawn.shape == (128, 256, 3)
    assert iou(drawn[:, :, 0] > 127, ideal_stroke((256, 128), hit, unit.canvas.brush)) > 0.9
    assert (drawn[:, :, :1] == drawn).all()


def test_in_inpaint_the_photograph_is_the_control_picture(web: Page, asked: list[Txt2Img], tmp_path: Path) -> None:
    path = photo(tmp_path / "photo.png", (128, 128))
    picture = np.asarray(Image.open(path))
    canvas = Canvas(web, [], "#inpaint_canvas")
    canvas.open(path)
    canvas.drag([(40, 40), (80, 60)])
    canvas.wait_synced()
    unit = Unit(web, "inpaint")
    unit.open()
    unit.choose("module", "invert (from white bg & black line)")
    np.testing.assert_array_equal(unit.preview(), 255 - picture)
    unit.choose("module", "inpaint_only")
    shown = unit.preview()
    np.testing.assert_array_equal(shown[:, :, :3], picture)
    assert sorted(np.unique(shown[:, :, 3])) == [128, 255]
    assert shown[50, 60, 3] == 128
    unit.enable()
    unit.control("crop_input_image").locator("input").uncheck()
    web.locator("#inpaint_generate").click()
    got = wait_for(web, asked)
    assert (got.module, got.image, got.mask, got.crop_input_image) == ("inpaint_only", None, None, False)


def test_a_parameters_text_brings_the_unit_back(web: Page, asked: list[Txt2Img], control_file: str,
                                                tmp_path: Path) -> None:
    tab(web, "txt2img")
    web.fill("#txt2img_prompt textarea", TEXT)
    web.locator("#txt2img_paste").click()
    unit = Unit(web, "txt2img")
    expect(unit.title).to_have_text("ControlNet: threshold")
    expect(web.locator("#txt2img_paste_note")).to_contain_text("choose those that ControlNet is to follow again")
    unit.open()
    expect(web.locator("#txt2img_control0_enabled input")).to_be_checked()
    expect(unit.control("model").locator("select")).to_have_value(control_file)
    expect(unit.control("threshold_a").locator("input[type=number]")).to_have_value("90")
    expect(unit.control("threshold_b")).to_have_count(0)
    unit.canvas.open(photo(tmp_path / "control.png", (64, 64)))
    web.locator("#txt2img_generate").click()
    got = wait_for(web, asked)
    assert dataclasses.replace(got, image=None) == ControlUnit(
        module="threshold", model=control_file, weight=0.6, processor_res=256, threshold_a=90, guidance_end=0.75,
        resize_mode=ControlResize.RESIZE_AND_FILL)
    web.fill("#txt2img_prompt textarea", re.sub(r", ControlNet.*", "", TEXT))
    web.locator("#txt2img_paste").click()
    expect(unit.title).to_have_text("ControlNet")


@pytest.mark.parametrize("context_options", [{"viewport": {"width": 390, "height": 844}}])
def test_it_fits_a_phone(web: Page, context_options: dict[str, Any]) -> None:
    unit = Unit(web, "inpaint")
    unit.open()
    for number in (1, 2):
        web.locator("#inpaint_control").get_by_role("tab", name=f"Unit {number}").click()
        expect(web.locator(f"#inpaint_control{number}_settings select").first).to_be_visible()
    assert web.evaluate("document.documentElement.scrollWidth") <= 390
