"""What Undo can take back, over Use, pictures from other tabs and a reload."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.canvas_driver import Canvas, photo
from tests.browser.conftest import PageApp, open_page
from tests.browser.page_driver import generate, set_number, tab

SEEN = """async (root, [act, times]) => {
    const seen = [];
    for (let time = 0; time < times; time++) {
        if (act) root.querySelector(`.mc-bar [data-act="${act}"]`).click();
        const picture = root.querySelector(".mc-picture");
        await picture.decode();
        const paper = new OffscreenCanvas(256, 256).getContext("2d");
        paper.drawImage(picture, 0, 0);
        const words = new Uint32Array(paper.getImageData(0, 0, 256, 256).data.buffer);
        seen.push([root.dataset.maskCoverage, words.reduce((sum, word) => (Math.imul(sum, 31) + word) | 0, 0)]);
    }
    return seen;
}"""
"""What the mask covers, and a number for the picture that is shown, after each press of a button."""


def test_forty_steps_are_undone_and_done_again_after_a_reload(web: Page, page_app: PageApp, tmp_path: Path) -> None:
    tab(web, "inpaint")
    canvas = Canvas(web, [], "#inpaint_canvas")
    canvas.open(photo(tmp_path / "photo.png", (256, 256)))
    canvas.set_brush(8)
    seen = canvas.root.evaluate(SEEN, ["", 1])

    def paint(strokes: int, key: str) -> None:
        canvas.root.locator(".mc-view").focus()
        for _ in range(strokes):
            web.keyboard.press(key)
            web.keyboard.press("Enter")
            seen.extend(canvas.root.evaluate(SEEN, ["", 1]))

    def run(name: str) -> None:
        for field, value in (("width", 256), ("height", 256), ("steps", 1)):
            set_number(web, f"{name}_{field}", value)
        generate(web, name)

    paint(12, "ArrowRight")
    run("inpaint")
    expect(canvas.root).to_have_attribute("data-result", "1")
    web.keyboard.press("u")
    canvas.wait_synced()
    seen.extend(canvas.root.evaluate(SEEN, ["", 1]))
    paint(13, "ArrowDown")
    canvas.wait_synced()
    web.locator("#inpaint_send_to_img2img").click()
    expect(web.locator("#img2img_image .mc")).to_have_attribute("data-image-size", "256x256")
    run("img2img")
    web.locator("#img2img_send_to_inpaint").click()
    expect(canvas.root.locator(".mc-note")).to_contain_text("mask was kept")
    canvas.wait_synced()
    seen.extend(canvas.root.evaluate(SEEN, ["", 1]))
    paint(13, "ArrowLeft")
    assert len(seen) == 41
    assert len({tuple(one) for one in seen}) == 41

    canvas.wait_synced()
    open_page(web, page_app.url)
    canvas.wait_size(256, 256)
    assert canvas.root.evaluate(SEEN, ["", 1]) == seen[-1:]
    assert canvas.root.evaluate(SEEN, ["undo", 40]) == seen[-2::-1]
    canvas.wait_synced()
    open_page(web, page_app.url)
    canvas.wait_size(256, 256)
    assert canvas.root.evaluate(SEEN, ["", 1]) == seen[:1]
    assert canvas.root.evaluate(SEEN, ["redo", 40]) == seen[1:]
