"""The mask that the server gets is the mask that the hand drew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from playwright.sync_api import Page, expect

from modules.ui.canvas.canvas import SAMPLE, MaskData
from tests.browser.canvas_driver import Canvas, ideal, ideal_stroke, iou, photo
from tests.browser.conftest import CanvasApp

ZIGZAG = [(0.2, 0.3), (0.7, 0.35), (0.5, 0.6), (0.8, 0.75)]


@pytest.fixture
def canvas(page: Page, canvas_app: CanvasApp) -> Canvas:
    return Canvas(page, canvas_app.received)


@pytest.fixture
def small(canvas: Canvas, tmp_path: Path) -> Canvas:
    """A canvas with a 640x480 picture."""
    canvas.open(photo(tmp_path / "small.png", (640, 480)))
    return canvas


def along(size: tuple[int, int], points: list[tuple[float, float]] = ZIGZAG) -> list[tuple[float, float]]:
    return [(x * size[0], y * size[1]) for x, y in points]


@pytest.mark.parametrize("size", [(512, 512), (1344, 448), (448, 1344), (2048, 1536)],
                         ids=["square", "wide", "tall", "2048"])
def test_a_stroke_lands_where_the_mouse_was(canvas: Canvas, tmp_path: Path, size: tuple[int, int]) -> None:
    path = photo(tmp_path / "photo.png", size)
    canvas.open(path)
    hit = canvas.drag(along(size))
    data = canvas.get()
    assert data.image is not None
    assert data.mask is not None
    assert data.image.size == data.mask.size == size
    assert data.image.mode == "RGB"
    assert np.array_equal(np.asarray(data.image), np.asarray(Image.open(path)))
    assert iou(np.asarray(data.mask) > 127, ideal_stroke(size, hit, canvas.brush)) > 0.97


@pytest.mark.parametrize("size", [(600, 600), (1344, 448), (448, 1344), (2048, 1536)],
                         ids=["square", "wide", "tall", "large"])
@pytest.mark.parametrize("context_options", [{"viewport": {"width": 390, "height": 844}, "has_touch": True,
                                              "is_mobile": True, "device_scale_factor": 2}])
def test_a_finger_paints_and_two_fingers_zoom(canvas: Canvas, tmp_path: Path, size: tuple[int, int],
                                              context_options: dict[str, Any]) -> None:
    canvas.open(photo(tmp_path / "photo.png", size))
    canvas.root.scroll_into_view_if_needed()
    touch = canvas.page.context.new_cdp_session(canvas.page)

    def send(kind: str, *points: tuple[float, float]) -> None:
        touch.send("Input.dispatchTouchEvent", {
            "type": kind, "touchPoints": [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]})

    def paint() -> list[tuple[float, float]]:
        on_screen, hit = canvas.screen(along(size))
        send("touchStart", on_screen[0])
        for point in on_screen[1:]:
            send("touchMove", point)
        send("touchEnd")
        return hit

    hit = paint()
    drawn = canvas.mask()
    assert iou(drawn, ideal_stroke(size, hit, canvas.brush)) > 0.97

    scale, left, top = canvas.matrix()
    x, y = left + size[0] * scale / 2, top + size[1] * scale / 2
    send("touchStart", (x - 20, y))
    send("touchStart", (x - 20, y), (x + 20, y))
    for apart in (30, 40, 60):
        send("touchMove", (x - apart, y), (x + apart, y))
    send("touchEnd")
    assert canvas.matrix()[0] > 1.5 * scale
    assert np.array_equal(canvas.mask(), drawn), "two fingers must not paint"


def test_eraser_right_button_undo_and_redo(small: Canvas) -> None:
    size = (640, 480)
    first = ideal_stroke(size, small.drag([(100, 100), (500, 100)]), small.brush)
    after_first = small.mask()
    second = ideal_stroke(size, small.drag([(200, 60), (200, 300)]), small.brush)
    after_second = small.mask()
    small.press("eraser")
    third = ideal_stroke(size, small.drag([(400, 60), (400, 160)]), small.brush)
    after_third = small.mask()
    small.press("brush")
    fourth = ideal_stroke(size, small.drag([(120, 60), (120, 160)], button="right"), small.brush)
    after_fourth = small.mask()
    assert iou(after_first, first) > 0.97
    assert iou(after_second, first | second) > 0.97
    assert iou(after_third, (first | second) & ~third) > 0.97
    assert iou(after_fourth, (first | second) & ~third & ~fourth) > 0.97

    small.press("undo")
    assert np.array_equal(small.mask(), after_third)
    small.root.locator(".mc-view").hover()
    small.page.keyboard.press("Control+z")
    assert np.array_equal(small.mask(), after_second)
    small.press("redo")
    assert np.array_equal(small.mask(), after_third)
    small.root.locator(".mc-view").hover()
    small.page.keyboard.press("Control+Shift+Z")
    assert np.array_equal(small.mask(), after_fourth)
    for _ in range(4):
        small.root.locator(".mc-view").hover()
        small.page.keyboard.press("Control+z")
    assert not small.mask().any()
    expect(small.root.locator('[data-act="undo"]')).to_be_disabled()


def test_rectangle_lasso_invert_and_clear(small: Canvas) -> None:
    size = (640, 480)
    small.press("rectangle")
    (ax, ay), (bx, by) = small.drag([(80, 60), (300, 200)])
    rectangle = ideal(size, lambda x, y: (x > ax) & (x < bx) & (y > ay) & (y < by))
    assert iou(small.mask(), rectangle) > 0.97

    small.press("lasso")
    hit = small.drag([(350, 300), (600, 320), (450, 460)])
    assert iou(small.mask(), rectangle | inside_triangle(size, hit)) > 0.97

    before = small.mask()
    hole = inside_triangle(size, small.drag([(100, 80), (280, 90), (180, 180)], button="right"))
    holed = small.mask()
    assert iou(holed, before & ~hole) > 0.97

    small.press("invert")
    assert np.array_equal(small.mask(), ~holed)
    small.press("clear")
    data = small.get()
    assert data.mask is None
    assert data.image is not None
    small.press("undo")
    assert np.array_equal(small.mask(), ~holed)


def inside_triangle(size: tuple[int, int], corners: list[tuple[float, float]]) -> Any:
    def inside(x: Any, y: Any) -> Any:
        sides = [(bx - ax) * (y - ay) - (by - ay) * (x - ax)
                 for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True)]
        return (sides[0] > 0) & (sides[1] > 0) & (sides[2] > 0)

    return ideal(size, inside)


def test_zoom_and_pan_keep_the_brush_in_place(small: Canvas) -> None:
    scale, _, _ = small.matrix()
    on_screen, hit = small.screen([(320, 240)])
    small.page.mouse.move(*on_screen[0])
    small.page.mouse.wheel(0, -600)
    small.page.wait_for_function(f"""() => new DOMMatrix(document.querySelector(".mc-stage").style.transform).a
        > {1.5 * scale}""")
    zoomed, left, top = small.matrix()
    assert (left + hit[0][0] * zoomed, top + hit[0][1] * zoomed) == pytest.approx(on_screen[0], abs=0.1)
    small.page.keyboard.down("Shift")
    small.drag([(320, 240), (300, 220)])
    small.page.keyboard.up("Shift")
    small.drag([(310, 240), (330, 260)], button="middle")
    assert small.coverage == 0
    hit = small.drag([(280, 200), (340, 260)])
    assert iou(small.mask(), ideal_stroke((640, 480), hit, small.brush)) > 0.97


def test_size_keys_and_ring(small: Canvas) -> None:
    small.set_brush(64)
    assert small.brush == 64
    small.root.locator(".mc-view").hover()
    small.page.keyboard.press("]")
    grown = small.brush
    assert grown > 64
    small.page.keyboard.press("[")
    small.page.keyboard.press("[")
    assert small.brush < 64
    scale, _, _ = small.matrix()
    width = small.root.locator(".mc-ring").evaluate("it => it.getBoundingClientRect().width")
    assert width == pytest.approx(small.brush * scale, abs=1)


def test_keyboard_alone_can_paint(small: Canvas) -> None:
    small.root.locator(".mc-view").focus()
    small.page.keyboard.press("ArrowRight")
    small.page.keyboard.press("Enter")
    centre = (320 + small.brush / 2, 240.0)
    assert iou(small.mask(), ideal_stroke((640, 480), [centre, centre], small.brush)) > 0.97


def by_key(canvas: Canvas, *keys: str) -> None:
    canvas.root.locator(".mc-view").focus()
    for key in keys:
        canvas.page.keyboard.press(key)


def test_shapes_by_keyboard_alone(small: Canvas) -> None:
    """The ring begins in the middle and moves by half a brush."""
    small.set_brush(128)
    step = small.brush / 2
    by_key(small, "r", "Enter", "ArrowRight", "ArrowDown", "Enter")
    rectangle = ideal((640, 480), lambda x, y: (x > 320) & (x < 320 + step) & (y > 240) & (y < 240 + step))
    assert iou(small.mask(), rectangle) > 0.97

    by_key(small, "l", "Enter", "ArrowLeft", "ArrowLeft", "Enter", "ArrowUp", "ArrowUp", "Enter", "Enter")
    x, y = 320 + step, 240 + step
    triangle = inside_triangle((640, 480), [(x, y), (x - 2 * step, y), (x - 2 * step, y - 2 * step)])
    assert iou(small.mask(), rectangle | triangle) > 0.97
    before = small.mask()
    by_key(small, "r", "Enter", "ArrowRight", "Escape", "ArrowRight", "Enter", "ArrowDown", "d", "ArrowDown")
    assert np.array_equal(small.mask(), before), "Escape and another tool drop what was begun"
    by_key(small, "r", "Alt+Enter", *["ArrowLeft"] * 2, *["ArrowUp"] * 2, "Alt+Enter")
    assert small.mask().sum() < before.sum()
    by_key(small, "Control+z", "Control+z")
    assert iou(small.mask(), rectangle) > 0.97


def test_pan_by_keyboard(small: Canvas) -> None:
    by_key(small, "+", "+", "h")
    _, left, top = small.matrix()
    by_key(small, "ArrowRight", "ArrowUp")
    assert small.matrix()[1:] == pytest.approx((left + 64, top - 64), abs=1)
    assert not small.mask().any()


def test_mask_survives_tabs_and_reload(small: Canvas) -> None:
    small.drag([(100, 100), (500, 300)])
    drawn = small.mask()
    small.page.get_by_role("tab", name="Other").click()
    small.page.get_by_role("tab", name="Paint").click()
    assert np.array_equal(small.mask(), drawn)
    small.page.reload()
    small.page.wait_for_selector('#canvas .mc[data-ready="true"]')
    small.wait_size(640, 480)
    assert np.array_equal(small.mask(), drawn)


def test_a_stroke_just_before_a_reload_is_kept(small: Canvas) -> None:
    small.drag([(100, 100), (500, 300)])
    covered = small.coverage
    assert covered > 0
    small.page.reload()
    small.page.wait_for_selector('#canvas .mc[data-ready="true"]')
    small.wait_size(640, 480)
    assert small.coverage == covered


def test_send_keeps_the_mask_of_the_same_size_only(small: Canvas, canvas_app: CanvasApp) -> None:
    small.drag([(100, 100), (500, 300)])
    drawn = small.mask()

    def send(value: Any) -> None:
        canvas_app.to_send = value
        small.page.get_by_role("tab", name="Other").click()
        small.page.locator("#send").click()
        small.page.locator(".mc-view").wait_for(state="visible")

    send(Image.new("RGB", (640, 480), "navy"))
    expect(small.root.locator(".mc-note")).to_contain_text("kept")
    small.wait_size(640, 480)
    data = small.get()
    assert data.image is not None
    assert data.image.getpixel((0, 0)) == (0, 0, 128)
    assert np.array_equal(np.asarray(data.mask) > 127, drawn)

    send(Image.new("RGB", (300, 500), "green"))
    expect(small.root.locator(".mc-note")).to_contain_text("cleared")
    small.wait_size(300, 500)
    assert not small.mask().any()
    small.root.get_by_role("button", name="Undo", exact=True).last.click()
    small.wait_size(640, 480)
    assert np.array_equal(small.mask(), drawn)

    painted = Image.new("L", (200, 100))
    painted.paste(200, (10, 10, 90, 60))
    send(MaskData(image=Image.new("RGB", (200, 100)), mask=painted))
    small.wait_size(200, 100)
    sent = small.get().mask
    assert sent is not None
    assert np.array_equal(np.asarray(sent), np.asarray(painted))


def test_mask_files_come_and_go_unchanged(small: Canvas, tmp_path: Path) -> None:
    soft = Image.fromarray((np.arange(640 * 480).reshape(480, 640) % 256).astype(np.uint8))
    soft.save(tmp_path / "soft.png")
    small.choose(tmp_path / "soft.png", "uploadMask")
    expect(small.root).to_have_attribute("data-masked", "true")
    with small.page.expect_download() as download:
        small.press("downloadMask")
    assert download.value.suggested_filename == "small_mask.png"
    assert np.array_equal(np.asarray(Image.open(download.value.path()).convert("L")), np.asarray(soft))
    received = small.get().mask
    assert received is not None
    assert np.array_equal(np.asarray(received), np.asarray(soft))

    half = Image.new("L", (320, 240))
    half.paste(255, (40, 30, 200, 100))
    half.save(tmp_path / "half.png")
    small.choose(tmp_path / "half.png", "uploadMask")
    expect(small.root).to_have_attribute("data-mask-coverage", f"{160 * 70 / (320 * 240):.6f}")
    assert np.array_equal(small.mask(), np.asarray(half.resize((640, 480), Image.Resampling.NEAREST)) > 127)


def test_transparency_is_offered_as_mask(canvas: Canvas, tmp_path: Path) -> None:
    path = photo(tmp_path / "hole.png", (256, 256), "RGBA")
    canvas.open(path)
    expect(canvas.root.locator(".mc-note")).to_contain_text("transparency")
    canvas.root.get_by_role("button", name="Use as mask").click()
    data = canvas.get()
    assert data.image is not None
    assert data.image.mode == "RGBA"
    assert data.mask is not None
    assert np.array_equal(np.asarray(data.mask), 255 - np.asarray(Image.open(path))[..., 3])


def test_text_chunks_and_orientation_are_kept(canvas: Canvas, tmp_path: Path) -> None:
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("parameters", "a lighthouse\nSteps: 20, Sampler: DDIM")
    Image.new("RGB", (96, 64)).save(tmp_path / "chunks.png", pnginfo=chunks)
    canvas.open(tmp_path / "chunks.png")
    data = canvas.get()
    assert data.image is not None
    assert data.image.info["parameters"].startswith("a lighthouse")

    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.new("RGB", (96, 64), "red").save(tmp_path / "turned.jpg", exif=exif)
    canvas.choose(tmp_path / "turned.jpg")
    canvas.wait_size(64, 96)
    canvas.drag([(20, 20), (40, 60)])
    data = canvas.get()
    assert data.image is not None
    assert data.mask is not None
    assert data.image.size == data.mask.size == (64, 96)


def test_remove_can_be_undone(small: Canvas) -> None:
    small.drag([(100, 100), (500, 300)])
    drawn = small.mask()
    small.press("remove")
    expect(small.root).to_have_attribute("data-empty", "true")
    assert small.get() == MaskData()
    small.root.locator(".mc-note").get_by_role("button", name="Undo").click()
    small.wait_size(640, 480)
    assert np.array_equal(small.mask(), drawn)


def test_a_picture_can_be_pasted_and_dropped(canvas: Canvas) -> None:
    for kind, size in (("paste", 48), ("drop", 56)):
        canvas.root.evaluate("""async (root, [kind, size]) => {
            const picture = new OffscreenCanvas(size, size);
            picture.getContext("2d").fillRect(0, 0, size, size);
            const blob = await picture.convertToBlob();
            const data = new DataTransfer();
            data.items.add(new File([blob], "picture.png", {type: "image/png"}));
            const event = kind === "paste" ? new ClipboardEvent("paste", {clipboardData: data, bubbles: true})
                : new DragEvent("drop", {dataTransfer: data, bubbles: true});
            root.dispatchEvent(event);
        }""", [kind, size])
        canvas.wait_size(size, size)


def test_not_a_picture_is_said_in_words(canvas: Canvas, tmp_path: Path) -> None:
    (tmp_path / "fake.png").write_bytes(b"not a picture")
    canvas.choose(tmp_path / "fake.png")
    expect(canvas.root.locator(".mc-note")).to_contain_text("not a picture")
    assert canvas.get() == MaskData()


def test_a_sample_is_there_to_try(canvas: Canvas) -> None:
    canvas.root.get_by_role("button", name="Try it with a sample picture").click()
    canvas.wait_size(768, 512)
    image = canvas.get().image
    assert image is not None
    assert np.array_equal(np.asarray(image), np.asarray(Image.open(SAMPLE).convert("RGB")))
    expect(canvas.root.locator(".mc-try")).to_be_hidden()
    expect(canvas.root.locator(".mc-note")).to_contain_text("a red boat")


def test_every_control_has_a_name(page: Page) -> None:
    unnamed = page.locator("#canvas").evaluate("""it => [...it.querySelectorAll("button, input")]
        .filter((one) => !one.getAttribute("aria-label") && !one.textContent.trim() && !one.hidden
            && !one.closest("[hidden]")).map((one) => one.outerHTML)""")
    assert unnamed == []
