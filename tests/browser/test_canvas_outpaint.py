"""Outpainting and batches on the page over a fake model."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, Route, expect

from modules.imaging.outpaint import OVERLAP
from tests.browser.canvas_driver import Canvas, photo
from tests.browser.conftest import PageApp
from tests.browser.page_driver import generate, order, set_number, shown_picture, stage, tab, wait_result

BLUR_REACH = 10  # of the mask blur 4: two and a half sigmas


@pytest.fixture
def picture_size() -> tuple[int, int]:
    return 256, 192


def test_outpainting_keeps_the_old_pixels_and_can_be_undone(painting: Canvas, tmp_path: Path) -> None:
    page, root = painting.page, painting.root
    before = np.asarray(Image.open(tmp_path / "photo.png"))
    painting.drag([(100, 100), (140, 100)])
    covered = painting.coverage
    set_number(page, "inpaint_width", 320)
    set_number(page, "inpaint_height", 240)
    page.locator("#inpaint_outpainting > button").click()
    page.locator("#inpaint_extend").click()
    expect(page.get_by_test_id("toast-body")).to_contain_text("at least one side")
    for side in ("right", "up"):
        page.locator("#inpaint_outpaint_sides").get_by_label(side).check()
    set_number(page, "inpaint_outpaint_pixels", 64)
    expect(root).to_have_attribute("data-frame", "320x256")
    scale, left, top = painting.matrix()
    view = root.locator(".mc-view").bounding_box()
    assert view is not None
    assert top - 64 * scale >= view["y"], "the outline is in sight"
    assert left + 320 * scale <= view["x"] + view["width"]

    page.locator("#inpaint_extend").click()
    painting.wait_size(320, 256)
    expect(root).to_have_attribute("data-frame", "")
    expect_size(page, 320, 256)
    new = 320 * 256 - (256 - OVERLAP) * (192 - OVERLAP)
    assert painting.coverage == pytest.approx((new + covered * 256 * 192) / (320 * 256), abs=1e-5)

    set_number(page, "inpaint_steps", 4)
    set_number(page, "inpaint_denoising_strength", 1)
    page.fill("#inpaint_prompt textarea", "a wide view")
    assert "Size: 320x256" in generate(page, "inpaint")
    after = np.asarray(shown_picture(page, "inpaint"))
    kept = np.ones((192, 256), bool)
    kept[:OVERLAP + BLUR_REACH] = kept[:, -OVERLAP - BLUR_REACH:] = False
    kept[50:150, 50:200] = False  # what was painted by hand, with its blur
    assert np.array_equal(after[64:, :256][kept], before[kept])
    assert (after[:40] != np.asarray(Image.open(tmp_path / "photo.png").resize((320, 40)))).any()

    painting.press("undo")
    painting.wait_size(256, 192)
    assert painting.coverage == covered
    expect_size(page, 320, 240)
    painting.press("redo")
    painting.wait_size(320, 256)
    expect_size(page, 320, 256)
    painting.press("undo")
    painting.wait_size(256, 192)
    painting.press("undo")
    assert painting.coverage == 0


def extend_and_hold(painting: Canvas) -> list[Route]:
    """Extends the picture of 256 x 192 to the right; the requests for the extended one, which are not answered."""
    page = painting.page
    for name, value in (("width", 256), ("height", 192)):
        set_number(page, f"inpaint_{name}", value)
    page.locator("#inpaint_outpainting > button").click()
    page.locator("#inpaint_outpaint_sides").get_by_label("right").check()
    held: list[Route] = []
    page.route(re.compile("/gradio_api/file="), lambda route: held.append(route))
    page.locator("#inpaint_extend").click()
    expect_size(page, 384, 192)
    assert painting.root.get_attribute("data-image-size") == "256x192"
    return held


def test_another_picture_while_the_extended_one_is_on_its_way(painting: Canvas, tmp_path: Path) -> None:
    held = extend_and_hold(painting)
    painting.choose(photo(tmp_path / "other.png", (200, 160)))
    painting.wait_size(200, 160)
    for route in held:
        route.continue_()
    expect_size(painting.page, 256, 192)
    assert painting.root.get_attribute("data-image-size") == "200x160"


def test_generate_while_the_extended_picture_is_on_its_way(painting: Canvas) -> None:
    page = painting.page
    set_number(page, "inpaint_steps", 2)
    set_number(page, "inpaint_denoising_strength", 1)
    held = extend_and_hold(painting)
    page.locator("#inpaint_generate").click()
    expect(page.locator("#inpaint_infotext textarea")).to_have_value(re.compile("Size: 384x192"))
    for route in held:
        route.continue_()
    painting.wait_size(384, 192)


def expect_size(page: Page, width: int, height: int) -> None:
    """Of what will be generated."""
    for name, value in (("width", width), ("height", height)):
        expect(page.locator(f"#inpaint_{name} input[type=number]")).to_have_value(str(value))


def test_a_batch_goes_through_all_files_and_names_the_bad_one(painting: Canvas, page_app: PageApp,
                                                              tmp_path: Path) -> None:
    page = painting.page
    painting.drag([(100, 100), (140, 100)])
    files = [photo(tmp_path / "a.png", (128, 128)), tmp_path / "b.png", photo(tmp_path / "c.png", (192, 128))]
    files[1].write_text("no picture")
    mask = Image.new("L", (64, 64))
    mask.paste(255, (0, 0, 64, 8))
    (tmp_path / "masks").mkdir()
    mask.save(tmp_path / "masks" / "c.png")
    for setting, value in (("steps", 2), ("width", 128), ("height", 128), ("seed", 5)):
        set_number(page, f"inpaint_{setting}", value)
    page.fill("#inpaint_prompt textarea", "many of them")
    page.locator("#inpaint_batch > button").click()
    page.locator("#inpaint_batch_generate").click()
    expect(page.get_by_test_id("toast-body")).to_contain_text("Choose the pictures")
    page.locator("#inpaint_batch_files input[type=file]").set_input_files([str(file) for file in files])
    page.locator("#inpaint_batch_masks input[type=file]").set_input_files(str(tmp_path / "masks" / "c.png"))
    expect(page.locator("#inpaint_batch_files").get_by_role("row")).to_have_count(3)
    expect(page.locator("#inpaint_batch_masks").get_by_role("row")).to_have_count(1)
    saved = set(page_app.outputs.rglob("*-5.png"))
    page.locator("#inpaint_batch_generate").click()
    wait_result(page, "inpaint")
    expect(stage(page, "inpaint")).to_contain_text("b.png: This file is not a picture that can be read.")
    made = sorted(set(page_app.outputs.rglob("*-5.png")) - saved)
    assert len(made) == 2
    first, last = (np.asarray(Image.open(path)) for path in made)
    start = np.asarray(Image.open(files[0]))
    assert np.array_equal(first[100:], start[100:]), "the mask that was painted, made smaller"
    assert (first[60:70, 50:70] != start[60:70, 50:70]).any()
    start = np.asarray(Image.open(files[2]))  # larger than 128 x 128: worked on around its mask
    assert np.array_equal(last[32:], start[32:]), "the mask of the same name"
    assert (last[:10] != start[:10]).any()


def test_one_stop_ends_the_whole_batch(web: Page, page_app: PageApp, tmp_path: Path) -> None:
    tab(web, "img2img")
    set_number(web, "img2img_steps", 4)
    set_number(web, "img2img_seed", 6)
    files = [photo(tmp_path / f"{name}.png", (64, 64)) for name in "abc"]
    web.locator("#img2img_batch > button").click()
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "notes.txt").write_text("no picture")
    photo(folder / "d.png", (64, 64))
    web.locator("#img2img_batch_files input[type=file]").set_input_files([str(file) for file in files])
    expect(web.locator("#img2img_batch_files").get_by_role("row")).to_have_count(3)
    with web.expect_file_chooser() as chooser:
        web.locator("#img2img_batch_folder").click()
    chooser.value.set_files(str(folder))
    expect(web.locator("#img2img_batch_files").get_by_role("row")).to_have_count(4)  # the text file is not among them
    page_app.brake.allow(5)
    saved = set(page_app.outputs.rglob("*-6.png"))
    web.locator("#img2img_batch_generate").click()
    expect(stage(web, "img2img")).to_contain_text("batch 2 of 4")
    expect(stage(web, "img2img")).to_contain_text("step")
    order(web, "img2img_interrupt", page_app.queue)
    page_app.brake.allow(None)
    wait_result(web, "img2img")
    expect(stage(web, "img2img")).to_contain_text("Interrupted")
    assert 1 <= len(set(page_app.outputs.rglob("*-6.png")) - saved) <= 2
