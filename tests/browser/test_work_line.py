"""A photograph on the inpaint tab with the defaults: what is said, framed and done before and after Generate."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from fakes import ASTRONAUT
from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.canvas_driver import Canvas
from tests.browser.conftest import PageApp
from tests.browser.page_driver import generate, set_number, shown_picture, tab

SIZE = 2048, 1365
BLUR_REACH = 12
"""Pixels by which a blur of 4 goes beyond the mask, with some to spare."""


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    path = tmp_path / "photograph.png"
    Image.open(ASTRONAUT).resize(SIZE, Image.Resampling.LANCZOS).save(path)
    return path


@pytest.fixture
def painting(web: Page, photograph: Path) -> Canvas:
    tab(web, "inpaint")
    canvas = Canvas(web, [], "#inpaint_canvas")
    canvas.open(photograph)
    return canvas


def line(page: Page) -> str:
    return page.locator("#inpaint_work_line .work-line p").first.inner_text()


def frame(canvas: Canvas) -> tuple[int, int, int, int]:
    """The frame on the canvas: left, top, right, bottom."""
    found = re.fullmatch(r"(\d+)x(\d+)\+(\d+)\+(\d+)", canvas.root.get_attribute("data-crops") or "")
    assert found is not None
    width, height, left, top = map(int, found.groups())
    return left, top, left + width, top + height


def test_a_photograph_comes_back_with_its_size_and_unchanged_outside(painting: Canvas, photograph: Path) -> None:
    page = painting.page
    hit = painting.drag([(700, 500), (900, 620)])
    expect(painting.root).to_have_attribute("data-crops", re.compile(r"\d"))
    left, top, right, bottom = frame(painting)
    reach = painting.brush / 2
    assert left <= min(x for x, _ in hit) - reach
    assert right >= max(x for x, _ in hit) + reach
    said = re.fullmatch(r"Works on (\d+) x (\d+) around the mask, at (\d+) x (\d+); the rest stays\.",
                        line(page).strip())
    assert said is not None
    assert (int(said[1]), int(said[2])) == (right - left, bottom - top)
    drawn = page.locator("#inpaint_canvas .mc-crop").bounding_box()
    scale, x, y = painting.matrix()
    assert drawn is not None
    assert (drawn["x"], drawn["y"]) == pytest.approx((x + left * scale, y + top * scale), abs=2)
    assert (drawn["width"], drawn["height"]) == pytest.approx(((right - left) * scale, (bottom - top) * scale), abs=2)

    set_number(page, "inpaint_steps", 2)
    page.fill("#inpaint_prompt textarea", "a silver ring")
    text = generate(page, "inpaint")
    assert f"Size: {said[3]}x{said[4]}" in text
    assert "Inpaint area: Only masked" in text
    before, after = np.asarray(Image.open(photograph)), np.asarray(shown_picture(page, "inpaint"))
    assert after.shape == before.shape == (SIZE[1], SIZE[0], 3)
    changed = (before != after).any(axis=-1)
    rows, columns = np.nonzero(changed)
    assert left <= columns.min() <= columns.max() < right
    assert top <= rows.min() <= rows.max() < bottom
    (ax, ay), (bx, by) = hit[0], hit[-1]
    row, column = np.mgrid[:SIZE[1], :SIZE[0]] + 0.5
    along = np.clip(((column - ax) * (bx - ax) + (row - ay) * (by - ay)) / ((bx - ax) ** 2 + (by - ay) ** 2), 0, 1)
    away = np.hypot(column - ax - along * (bx - ax), row - ay - along * (by - ay))
    assert not changed[away > reach + BLUR_REACH].any()
    assert changed[away < reach / 2].mean() > 0.9


def test_the_frame_follows_the_mask_can_be_dragged_and_follows_again(painting: Canvas, page_app: PageApp) -> None:
    page = painting.page
    painting.drag([(700, 500), (800, 500)])
    expect(painting.root).to_have_attribute("data-crops", re.compile(r"\d"))
    first = frame(painting)
    before = painting.root.get_attribute("data-crops") or ""
    painting.drag([(800, 500), (1200, 900)])  # the same spot, larger
    expect(painting.root).to_have_attribute("data-crops", re.compile(rf"^(?!{re.escape(before)}$)\d"))
    second = frame(painting)
    assert second[2] > first[2]
    assert second[3] > first[3]
    covered = painting.coverage

    corner = page.locator('#inpaint_canvas [data-corner="x0y0"]').bounding_box()
    assert corner is not None
    x, y = corner["x"] + corner["width"] / 2, corner["y"] + corner["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 30, y - 40, steps=4)
    page.mouse.up()
    again = page.locator("#inpaint_work_line").get_by_role("button", name="Follow the mask")
    expect(again).to_be_visible()
    dragged = frame(painting)
    scale, _, _ = painting.matrix()
    assert dragged[0] <= second[0] - 30 / scale + 3
    assert dragged[1] <= second[1] - 40 / scale + 3
    assert painting.coverage == covered, "dragging the frame paints nothing"
    set_number(page, "inpaint_steps", 1)
    assert "Masked area frame: " in generate(page, "inpaint")
    assert page_app.queue.current is None

    again.click()
    expect(again).to_have_count(0)
    assert frame(painting) == second


def test_the_frame_and_its_corners_move_by_keyboard(painting: Canvas) -> None:
    page = painting.page
    painting.drag([(900, 600), (1000, 700)])
    expect(painting.root).to_have_attribute("data-crops", re.compile(r"\d"))
    left, top, right, bottom = frame(painting)
    again = page.locator("#inpaint_work_line").get_by_role("button", name="Follow the mask")
    page.locator("#inpaint_canvas .mc-view").focus()
    page.keyboard.press("Tab")
    expect(page.locator('#inpaint_canvas [data-corner="all"]')).to_be_focused()
    for key in ("Shift+ArrowRight", "Shift+ArrowRight", "Shift+ArrowUp"):
        page.keyboard.press(key)
    moved = left + 2, top - 1, right + 2, bottom - 1
    expect(painting.root).to_have_attribute("data-crops", text_of(moved))
    expect(again).to_be_visible()
    for _ in range(3):
        page.keyboard.press("Enter")
    expect(page.locator('#inpaint_canvas [data-corner="x1y1"]')).to_be_focused()
    page.keyboard.press("ArrowRight")
    step = round(8 / painting.matrix()[0])
    assert step > 1
    width = right - left + step
    expect(painting.root).to_have_attribute("data-crops", re.compile(rf"^{width}x\d+\+{moved[0]}\+"))
    expect(page.locator('#inpaint_canvas [data-corner="x1y1"]')).to_be_focused()
    page.keyboard.press("Tab")
    assert not page.locator("#inpaint_canvas .mc-crops").evaluate("(it) => it.contains(document.activeElement)")


def text_of(box: tuple[int, int, int, int]) -> str:
    """The frame as the canvas names it."""
    left, top, right, bottom = box
    return f"{right - left}x{bottom - top}+{left}+{top}"


def test_the_whole_picture_keeps_its_proportions_and_just_resize_is_warned_of(painting: Canvas) -> None:
    page = painting.page
    painting.drag([(700, 500), (900, 620)])
    page.locator("#inpaint_full_res").get_by_text("Whole picture").click()
    sentence = page.locator("#inpaint_work_line .work-line p").first
    expect(sentence).to_have_text("Works on the whole picture; 640 x 427 comes out.")
    expect(painting.root).to_have_attribute("data-crops", "")
    page.locator("#inpaint_resize_mode").get_by_text("Just resize", exact=True).click()
    expect(page.locator("#inpaint_work_line .warn")).to_contain_text("Just resize squashes the picture.")
    page.locator("#inpaint_work_line").get_by_role("button", name="Keep proportions").click()
    expect(page.locator("#inpaint_work_line .warn")).to_have_count(0)
    set_number(page, "inpaint_steps", 1)
    generate(page, "inpaint")
    assert shown_picture(page, "inpaint").size == (640, 427)
