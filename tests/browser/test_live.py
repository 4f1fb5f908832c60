"""Live painting on the real page: each stroke is answered, the newest wins, others come first, and nothing is left."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from modules.jobs.job import Job
from modules.request import Inpaint, Txt2Img
from tests.browser.canvas_driver import Canvas, photo
from tests.browser.conftest import PageApp
from tests.browser.page_driver import generate, set_number, shown_picture, tab, until
from tests.browser.test_windows import another_window


@pytest.fixture
def live(painting: Canvas, page_app: PageApp) -> Iterator[Canvas]:
    """The canvas with the switch on, for two steps."""
    set_number(painting.page, "inpaint_steps", 2)
    painting.page.locator("#inpaint_live input").check()
    expect(painting.page.locator("#inpaint_seed input")).not_to_have_value("-1")
    yield painting
    painting.page.locator("#inpaint_live input").uncheck()
    expect(painting.root).not_to_have_attribute("data-live", "shown")


def seen(canvas: Canvas) -> tuple[Image.Image, tuple[int, int, int, int]]:
    """What live painting shows, and the box of it in the picture."""
    preview = canvas.root.locator(".mc-preview")
    expect(preview).to_be_visible()
    data = base64.b64decode((preview.get_attribute("src") or "").partition(",")[2])
    left, top, width, height = preview.evaluate(
        "(it) => ['left', 'top', 'width', 'height'].map((name) => parseInt(it.style[name]))")
    return Image.open(io.BytesIO(data)), (left, top, left + width, top + height)


def files(page_app: PageApp) -> set[Path]:
    return {path for path in page_app.outputs.rglob("*") if path.suffix == ".png"}


def running(page: Page, page_app: PageApp) -> Job:
    """The job that runs, once there is one with a request."""
    found: list[Job] = []

    def there() -> bool:
        job = page_app.queue.current
        if job and job.request:
            found.append(job)
        return bool(found)

    until(page, there)
    return found[0]


def test_a_stroke_shows_what_generate_makes_and_saves_nothing(live: Canvas, page_app: PageApp) -> None:
    page, before = live.page, files(page_app)
    live.drag([(150, 150), (350, 300)])
    expect(live.root).to_have_attribute("data-live", "shown")
    covered = live.coverage
    preview, box = seen(live)
    assert files(page_app) == before
    expect(page.locator("#inpaint_gallery img")).to_have_count(0)
    generate(page, "inpaint")
    expect(live.root).not_to_have_attribute("data-live", "shown")
    made = shown_picture(page, "inpaint").convert("RGB").crop(box).resize(preview.size)
    apart = np.abs(np.asarray(made, np.int16) - np.asarray(preview, np.int16))
    assert apart.mean() < 6  # a JPEG
    assert len(files(page_app) - before) == 1
    assert live.coverage == covered


def test_the_newest_mask_wins_and_an_empty_one_shows_nothing(live: Canvas, page_app: PageApp) -> None:
    page_app.brake.allow(0)
    live.drag([(150, 150), (250, 150)])
    first = running(live.page, page_app)
    live.drag([(150, 350), (250, 350)])
    until(live.page, lambda: first.interrupted)
    assert len(page_app.queue.pending()) <= 1
    page_app.brake.allow(None)
    expect(live.root).to_have_attribute("data-live", "shown")
    _, (_, top, _, bottom) = seen(live)
    assert top < 170  # both strokes
    assert bottom > 330
    assert isinstance(first.request, Inpaint)
    assert first.request.mask.getbbox()[3] < 250  # type: ignore[index]
    live.press("clear")
    expect(live.root).not_to_have_attribute("data-live", "shown")


def test_other_jobs_come_first(live: Canvas, page_app: PageApp) -> None:
    page_app.brake.allow(0)
    live.drag([(150, 150), (250, 150)])
    mine = running(live.page, page_app)
    other = page_app.queue.submit(Txt2Img(steps=2, width=64, height=64), save=False)
    assert mine.interrupted
    page_app.brake.allow(1)
    until(live.page, lambda: page_app.queue.current is other)
    until(live.page, lambda: [job.name for job in page_app.queue.pending()] == ["Live painting"])
    expect(live.root).not_to_have_attribute("data-live", "shown")
    page_app.brake.allow(None)
    expect(live.root).to_have_attribute("data-live", "shown")
    assert other.state == "done"


def test_a_closed_window_leaves_no_job(web: Page, page_app: PageApp, tmp_path: Path) -> None:
    page_app.brake.allow(0)
    with another_window(web, page_app.url) as second:
        tab(second, "inpaint")
        canvas = Canvas(second, [], "#inpaint_canvas")
        canvas.open(photo(tmp_path / "photo.png", (256, 256)))
        second.locator("#inpaint_live input").check()
        canvas.drag([(50, 50), (150, 100)])
        job = running(second, page_app)
        assert not job.interrupted
    until(web, lambda: job.interrupted)
    page_app.brake.allow(None)
    until(web, lambda: page_app.queue.current is None and not page_app.queue.pending())
