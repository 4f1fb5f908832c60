"""A 16-bit TIFF with a profile, through the page: shown, painted on, inpainted, downloaded in a chosen format."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import numpy as np
import photographs
from photographs import ADOBE_RGB, profile
from PIL import Image
from playwright.sync_api import Page, expect

from modules.gallery.formats import Format
from modules.imaging.photograph import read
from modules.request import Inpaint
from modules.ui.canvas.canvas import MaskCanvas
from tests.browser.canvas_driver import Canvas
from tests.browser.conftest import PageApp, open_page
from tests.browser.page_driver import generate, set_number, tab, wait_result

DEEP = photographs.deep_pixels(photographs.pixels()[900:1100, 800:1100])


def download(page: Page, kind: str) -> Path:
    page.locator("#inpaint_format input").click()
    page.get_by_role("option", name=kind, exact=True).click()
    with page.expect_download() as found:
        page.locator("#inpaint_download").click()
    path = found.value.path()
    return path.rename(path.with_name(found.value.suggested_filename))


def test_a_16_bit_tiff_comes_back_but_for_the_painted_part(web: Page, page_app: PageApp, tmp_path: Path) -> None:
    file = tmp_path / "photo.tif"
    file.write_bytes(photographs.file(DEEP, "TIFF", icc=profile(ADOBE_RGB), exif=photographs.exif()))
    tab(web, "inpaint")
    canvas = Canvas(web, [], "#inpaint_canvas")
    canvas.choose(file)
    canvas.wait_size(300, 200)
    open_page(web, page_app.url)  # after a reload the file itself is there again
    canvas.wait_size(300, 200)
    canvas.set_brush(32)
    canvas.drag([(140, 100), (160, 100)])
    web.locator("#inpaint_full_res").get_by_text("Only masked", exact=True).click()
    set_number(web, "inpaint_width", 128)
    set_number(web, "inpaint_height", 128)
    set_number(web, "inpaint_steps", 1)
    generate(web, "inpaint")
    for kind, ending in (("TIFF", ".tif"), ("PNG", ".png"), ("WebP", ".webp"), ("JPEG", ".jpg")):
        path = download(web, kind)
        found = read(path.read_bytes())
        assert path.suffix == ending
        assert (found.size, found.icc) == ((300, 200), profile(ADOBE_RGB))
        assert photographs.tags(path.read_bytes())[271] == "Kamera"
        if ending in (".tif", ".png"):
            assert np.array_equal(found.pixels[:60], DEEP[:60])
            assert not np.array_equal(found.pixels[90:110, 145:155], DEEP[90:110, 145:155])
        kept = [one for one in page_app.outputs.rglob(f"*{ending}") if one.read_bytes() == path.read_bytes()]
        assert len(kept) == 1, "it is among the outputs"
    expect(web.get_by_text("JPEG is compressed anew")).to_be_visible()
    path = download(web, "Layer (PNG)")
    patch = read(path.read_bytes())
    assert path.name.endswith("-layer.png")
    assert (patch.size, patch.is_deep, patch.has_alpha) == ((300, 200), True, True)
    assert patch.pixels[100, 150, 3] == 65535
    assert not patch.pixels[:60].any()
    path = download(web, "Layers (OpenRaster)")
    assert path.suffix == ".ora"
    with zipfile.ZipFile(path) as archive:
        assert archive.read("mimetype") == b"image/openraster"


def test_only_uploaded_files_are_shown(tmp_path: Path) -> None:
    canvas = MaskCanvas()
    (tmp_path / "photo.tif").write_bytes(photographs.file(DEEP, "TIFF"))
    for path in (str(tmp_path / "photo.tif"), f"{canvas.GRADIO_CACHE}/../x.tif", None, "/etc/passwd"):
        assert "problem" in canvas.as_png({"path": path})
    uploaded = Path(canvas.GRADIO_CACHE) / "photo.tif"
    uploaded.parent.mkdir(parents=True, exist_ok=True)
    uploaded.write_bytes(photographs.file(DEEP, "TIFF"))
    assert read(Path(canvas.as_png({"path": str(uploaded)})["path"]).read_bytes()).size == (300, 200)


def test_the_edits_of_a_picture_are_made_again_on_the_page(web: Page, page_app: PageApp, tmp_path: Path) -> None:
    """The picture is dropped on PNG Info, its source is asked for, one of two edits is changed."""
    (tmp_path / "photo.tif").write_bytes(photographs.file(DEEP, "TIFF", icc=profile(ADOBE_RGB)))
    before = read((tmp_path / "photo.tif").read_bytes(), "photo.tif")
    for number, left in enumerate((20, 200)):
        mask = Image.new("L", before.size)
        mask.paste(255, (left, 80, left + 40, 120))
        request = Inpaint(prompt=f"edit {number}", steps=4, cfg_scale=7.0, seed=number, width=64, height=64,
                          only_masked=True, init_images=(before.image,), photographs=(before,), mask=mask)
        job = page_app.queue.submit(request, save=False)
        assert job.wait(600)
        before = job.result.images[0].photograph
    (tmp_path / "made.png").write_bytes(Format().encode_photograph(before, "text"))
    tab(web, "PNG Info")
    web.locator("#pnginfo_image input[type=file]").set_input_files(str(tmp_path / "made.png"))
    expect(web.locator("#redo_about li")).to_have_text(["edit 0", "edit 1"])
    web.locator("#redo_source input[type=file]").set_input_files(str(tmp_path / "photo.tif"))
    expect(web.locator("#redo_source")).to_contain_text("photo")
    web.locator("#redo_step input").click()
    web.get_by_role("option", name="2. edit 1").click()
    text = web.locator("#redo_text textarea")
    expect(text).to_have_value(re.compile("^edit 1\n"))
    text.fill(text.input_value().replace("edit 1", "another"))
    web.locator("#redo_button").click()
    assert wait_result(web, "inpaint").startswith("another\n")
    newest = max(page_app.outputs.rglob("*.png"), key=lambda path: path.stat().st_mtime_ns)
    again = read(newest.read_bytes())
    changed = (again.pixels != before.pixels).any(-1)
    assert changed[90:110, 210:230].any()
    assert not changed[:, :150].any()
    assert np.array_equal(again.pixels[:70], DEEP[:70])
