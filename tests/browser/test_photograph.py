"""A 16-bit TIFF with a profile, through the page: shown, painted on, inpainted, downloaded in a chosen format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import photographs
from photographs import ADOBE_RGB, profile
from playwright.sync_api import Page, expect

from modules.gallery import saving
from modules.gallery.formats import Format
from modules.imaging.photograph import read
from modules.ui.canvas.canvas import MaskCanvas
from tests.browser.canvas_driver import Canvas
from tests.browser.conftest import PageApp, open_page
from tests.browser.page_driver import generate, set_number, tab

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


def test_the_history_shows_a_tiff(web: Page, page_app: PageApp) -> None:
    original = read(photographs.file(DEEP, "TIFF", icc=profile(ADOBE_RGB)))
    saving.save(original.image, "a tiff\nSteps: 1, Seed: 7", page_app.outputs / "img2img-images" / "2026-01-31",
                seed=7, form=Format("TIFF"), photograph=original)
    tab(web, "History")
    web.get_by_role("button", name="a tiff").first.click()
    web.wait_for_function("() => document.querySelector('#history_view dialog img')?.naturalWidth === 300")


def test_only_uploaded_files_are_shown(tmp_path: Path) -> None:
    canvas = MaskCanvas()
    (tmp_path / "photo.tif").write_bytes(photographs.file(DEEP, "TIFF"))
    for path in (str(tmp_path / "photo.tif"), f"{canvas.GRADIO_CACHE}/../x.tif", None, "/etc/passwd"):
        assert "problem" in canvas.as_png({"path": path})
    uploaded = Path(canvas.GRADIO_CACHE) / "photo.tif"
    uploaded.parent.mkdir(parents=True, exist_ok=True)
    uploaded.write_bytes(photographs.file(DEEP, "TIFF"))
    assert read(Path(canvas.as_png({"path": str(uploaded)})["path"]).read_bytes()).size == (300, 200)
