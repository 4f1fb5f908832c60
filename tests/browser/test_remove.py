"""Remove on the inpaint tab: paint over a thing, press, and it is gone."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import expect

from modules.imaging.photograph import read
from modules.jobs import replay
from modules.text.edits import from_json
from tests.browser.canvas_driver import Canvas
from tests.browser.conftest import PageApp
from tests.browser.page_driver import generate, set_number, shown_picture


def test_what_is_painted_over_goes_and_the_rest_stays(painting: Canvas, tmp_path: Path) -> None:
    page = painting.page
    page.locator("#inpaint_remove").click()
    expect(page.get_by_test_id("toast-body")).to_contain_text("The mask is empty: paint over what is to be removed.")
    painting.drag([(150, 150), (200, 180)])
    page.locator("#inpaint_remove").click()
    expect(page.locator("#inpaint_infotext textarea")).to_have_value(re.compile("^Remove with: PatchMatch, Seed: "))
    before = np.asarray(Image.open(tmp_path / "photo.png").convert("RGB"))
    after = np.asarray(shown_picture(page, "inpaint"))
    changed = (before != after).any(axis=-1)
    assert changed[155:175, 160:190].mean() > 0.8
    assert not changed[:100].any()
    assert not changed[:, 300:].any()
    starts = page.locator("#inpaint_starts button")
    expect(starts).to_have_count(5)
    starts.last.click()
    expect(page.get_by_label("surroundings", exact=True)).to_be_checked()


def test_remove_and_what_is_painted_after_it_are_in_the_saved_picture(painting: Canvas, page_app: PageApp,
                                                                      tmp_path: Path) -> None:
    page, file = painting.page, tmp_path / "photo.png"
    painting.drag([(150, 150), (200, 180)])
    page.locator("#inpaint_remove").click()
    expect(painting.root).to_have_attribute("data-result", "1")
    page.keyboard.press("u")
    expect(painting.root).to_have_attribute("data-result", "")
    painting.wait_synced()
    set_number(page, "inpaint_steps", 2)
    page.fill("#inpaint_prompt textarea", "a silver ring")
    generate(page, "inpaint")
    made = read(max(page_app.outputs.rglob("*.png"), key=lambda path: path.stat().st_mtime_ns).read_bytes())
    edits = from_json(made.record)
    assert edits is not None
    assert edits.source.nbytes == file.stat().st_size
    assert [(step.removes, step.text[:13]) for step in edits.steps] == [(True, "Remove with: "),
                                                                       (False, "a silver ring")]
    job = page_app.queue.submit_steps(replay.steps(edits, lambda: read(file.read_bytes()), page_app.engine.remove),
                                      save=False)
    assert job.wait(600)
    assert job.result is not None
    (again,) = job.result.images
    assert again.photograph is not None
    assert np.array_equal(again.photograph.pixels, made.pixels)
