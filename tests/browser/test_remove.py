"""Remove on the inpaint tab: paint over a thing, press, and it is gone."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import expect

from tests.browser.canvas_driver import Canvas
from tests.browser.page_driver import shown_picture


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
