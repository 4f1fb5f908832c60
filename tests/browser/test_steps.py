"""Look inside: the recorded steps of a run under its result."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeModel, fake_engine
from playwright.sync_api import Page, expect
from safetensors.numpy import load
from serving import serving

import app
from modules.api import create_api
from modules.gallery.history import History
from modules.gallery.saving import Saver
from modules.jobs.queue import JobQueue
from modules.jobs.recordings import Recordings
from modules.settings import Settings

from .canvas_driver import Canvas, photo
from .conftest import Visitors, open_page, write_checkpoint
from .page_driver import generate, tab

PIXELS = """async (image) => {
    await image.decode();
    const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight), context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    return [...context.getImageData(0, 0, canvas.width, canvas.height).data].filter((_, place) => place % 4 !== 3);
}"""
"""The red, green and blue values of a picture."""


@pytest.fixture
def page(visitors: Visitors, tmp_path: Path, context_options: dict[str, Any]) -> Iterator[Page]:
    settings = Settings(data_dir=tmp_path)
    write_checkpoint(settings.checkpoint_dirs[0] / "first.safetensors")
    engine, history = fake_engine(settings, lambda name: FakeModel(name=name)), History(settings.outputs_dir)
    queue = JobQueue(engine, Saver(settings.outputs_dir), recordings=Recordings(settings.recordings_dir))
    whole = app.mount_page(create_api(engine, queue, settings), engine, queue, settings, history)
    with serving(whole) as address, visitors.page(address, context_options) as page:
        open_page(page, address)
        yield page
    queue.close()
    history.close()


def test_the_steps_of_an_inpainting_are_looked_into(page: Page, tmp_path: Path) -> None:
    tab(page, "inpaint")
    canvas = Canvas(page, [], "#inpaint_canvas")
    canvas.open(photo(tmp_path / "photo.png", (256, 256)))
    canvas.drag([(100, 100), (150, 150)])
    canvas.wait_synced()
    levels = page.locator("#inpaint_timetable")
    levels.locator("summary").click()
    expect(levels).to_contain_text("only the last 15 steps are left: 15 calls of the network.")
    levels.locator("summary").click()
    panel = page.locator("#inpaint_look_inside .st")
    generate(page, "inpaint")
    expect(panel).to_be_hidden()

    page.locator(".area-settings:visible").get_by_role("button", name="Advanced").click()
    page.locator("#inpaint_record_steps input").check()
    text = generate(page, "inpaint")
    expect(panel).to_be_visible()
    panel.locator("summary").click()
    level = panel.locator(".st-level")
    expect(level).to_contain_text("call 15 of 15")  # 20 steps at strength 0.75
    names = ["Before the blend", "What is kept", "What the network sees", "Its guess", "The noise it sees",
             "What guidance adds"]
    assert panel.locator("figcaption b").all_inner_texts() == names
    slider = panel.get_by_role("slider")
    slider.focus()
    page.keyboard.press("ArrowLeft")
    expect(level).to_contain_text("call 14 of 15")

    address = panel.get_by_role("link", name="Latents").evaluate("(link) => link.href")
    kept = load(page.request.get(address).body())
    image = panel.locator(".st-frame img").nth(3)
    expect(image).to_have_attribute("src", re.compile(r"/13/x0\.png"))
    width, height = kept["x0"].shape[4], kept["x0"].shape[3]
    assert image.evaluate("async (it) => { await it.decode(); return [it.naturalWidth, it.naturalHeight]; }") == [
        width, height]

    panel.get_by_label("Drawn by").select_option("Autoencoder")
    expect(panel.locator("img.st-fine")).to_have_count(5)  # all but what guidance adds, which is no latent
    cells = "async (it) => { await it.decode(); return it.naturalWidth; }"
    assert image.evaluate(cells) == 8 * width
    panel.get_by_label("Drawn by").select_option("Rough pictures")
    expect(panel.locator("img.st-fine")).to_have_count(0)

    frame = panel.locator(".st-frame").nth(3)
    frame.scroll_into_view_if_needed()
    box = frame.bounding_box()
    assert box is not None
    cell = (width * 3 // 4, height // 4)
    at = (box["x"] + box["width"] * (cell[0] + 0.5) / width, box["y"] + box["height"] * (cell[1] + 0.5) / height)
    page.mouse.move(*at)
    page.mouse.wheel(0, -100)
    transforms = panel.locator(".st-frame img").evaluate_all("(all) => all.map((one) => one.style.transform)")
    assert len(set(transforms)) == 1
    assert "scale(1.2)" in transforms[0]
    page.mouse.click(*at)  # the point under the pointer stays where it was
    caption = panel.locator(".st-plot figcaption")
    expect(caption).to_contain_text(f"cell {cell[0]}, {cell[1]}:")
    values = kept["x0"][:, 0, :, cell[1], cell[0]]
    expect(caption).to_contain_text(f"from {values.min():.2f} to {values.max():.2f}")
    assert np.isfinite(values).all()
    assert "Steps: 20" in text

    page.get_by_label("Prompt", exact=True).locator("visible=true").fill("another ending")
    slider.focus()
    page.keyboard.press("Home")
    go_on = panel.get_by_role("button", name="Go on from here")
    expect(go_on).to_be_disabled()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    go_on.click()
    parameters = page.locator("#inpaint_infotext textarea")
    expect(parameters).to_have_value(re.compile("Go on after: 5, Then prompt: another ending"))

    expect(panel.locator("summary")).to_be_visible()
    panel.locator("summary").click()
    expect(level).to_contain_text("call 15 of 15")
    against = panel.get_by_label("Compare with")
    against.select_option(index=1)
    expect(panel.locator(".st-against")).to_be_visible()
    compared = panel.locator(".st-frame img").nth(3)
    expect(compared).to_have_attribute("src", re.compile(r"/14/x0\.png\?image=0&minus="))
    assert len(set(compared.evaluate(PIXELS))) > 1, "another prompt made another picture"
    slider.focus()
    page.keyboard.press("Home")
    expect(compared).to_have_attribute("src", re.compile(r"/0/x0\.png"))
    assert set(compared.evaluate(PIXELS)) == {128}, "the first calls are those of the run before"

