"""Prompts, parameters and their controls on the real page."""

from __future__ import annotations

import base64
import re
from pathlib import Path

from playwright.sync_api import Page, expect

from modules.text.styles import load_styles
from tests.browser.canvas_driver import Canvas, photo
from tests.browser.conftest import PageApp, open_page
from tests.browser.page_driver import generate, set_number, shown_picture, tab, with_text

TEXT = """a lighthouse, [dawn:dusk:0.5]
Negative prompt: fog
Steps: 3, Sampler: DPM++ 2M Karras, CFG scale: 5.5, Seed: 4242, Size: 256x320, Model hash: 879db523c3, Model: faraway, \
ENSD: 31337, Face restoration: CodeFormer, Version: v1.10.1"""


def drop(page: Page, selector: str, file: Path) -> None:
    """Drops a file as a person does from the desktop."""
    page.evaluate("""([selector, data]) => {
        const bytes = Uint8Array.from(atob(data), (sign) => sign.charCodeAt(0));
        const files = new DataTransfer();
        files.items.add(new File([bytes], "dropped.jpg", {type: "image/jpeg"}));
        const box = document.querySelector(selector);
        for (const type of ["dragover", "drop"])
            box.dispatchEvent(new DragEvent(type, {bubbles: true, cancelable: true, dataTransfer: files}));
    }""", [selector, base64.b64encode(file.read_bytes()).decode()])


def prompt(page: Page, name: str = "txt2img") -> str:
    return page.locator(f"#{name}_prompt textarea").input_value()


def test_the_counter_follows_the_prompt_and_shows_where_it_is_cut(web: Page) -> None:
    tab(web, "txt2img")
    counter = web.locator("#txt2img_token_counter")
    web.locator("#txt2img_prompt textarea").fill("a red dog <lora:x:1> # not this")
    expect(counter.locator("summary")).to_have_text("3/75")
    counter.locator("summary").click()
    web.locator("#txt2img_prompt textarea").fill("a lighthouse, " * 30)
    expect(counter.locator("summary")).to_have_text("90/150")
    expect(counter.locator("li")).to_have_count(2)
    expect(counter.locator("li").last).to_have_text(re.compile("^(a lighthouse , ?){5}$"))
    web.locator("#txt2img_neg_prompt textarea").fill("fog AND rain")
    expect(web.locator("#txt2img_negative_token_counter summary")).to_have_text("3/75")


def test_keys_weigh_words_and_undo_takes_it_back(web: Page) -> None:
    tab(web, "txt2img")
    box = web.locator("#txt2img_prompt textarea")

    def weigh(text: str, first: int, last: int, *keys: str) -> str:
        box.fill(text)
        box.evaluate("(box, [first, last]) => box.setSelectionRange(first, last)", [first, last])
        for key in keys:
            web.keyboard.press(f"Control+{key}")
        return prompt(web)

    assert weigh("a red dog", 4, 4, "ArrowUp") == "a (red:1.1) dog"
    assert weigh("a red dog", 4, 4, "ArrowUp", "ArrowUp", "ArrowDown", "ArrowDown") == "a red dog"
    assert weigh("a red dog", 2, 9, "ArrowDown") == "a (red dog:0.9)"
    assert weigh("a ((red)) dog", 5, 5, "ArrowUp") == "a (red:1.3) dog"
    assert weigh("a (red dog:1.9)", 5, 5, "ArrowUp") == "a (red dog:2.0)"
    assert weigh("<lora:name:0.8> x", 7, 7, "ArrowUp") == "<lora:name:0.85> x"
    assert weigh("a red dog", 4, 4, "ArrowUp", "z") == "a red dog"


def test_a_file_of_styles_that_is_none_is_said(web: Page, page_app: PageApp) -> None:
    file = page_app.engine.settings.styles_file
    before = file.read_bytes() if file.exists() else None
    try:
        file.write_text("prompt,negative_prompt\nfine,blur\n", "utf-8")
        tab(web, "txt2img")
        web.locator("#txt2img_style_refresh").click()
        expect(web.get_by_test_id("toast-body")).to_contain_text('cannot be read: the first line has no column "name".')
    finally:
        file.unlink()
        if before is not None:
            file.write_bytes(before)


def test_styles_are_saved_chosen_written_out_and_used(web: Page, page_app: PageApp) -> None:
    tab(web, "txt2img")
    file = page_app.engine.settings.styles_file
    web.locator("#txt2img_prompt textarea").fill("fine {prompt}, sharp")
    web.locator("#txt2img_neg_prompt textarea").fill("blur")
    web.locator("#txt2img_style_create").click()
    web.locator("#txt2img_style_name textarea, #txt2img_style_name input").fill("Fine, sharp")
    web.locator("#txt2img_style_save").click()
    expect(web.locator("#txt2img_style_name")).to_be_hidden()
    assert [(style.name, style.prompt, style.negative_prompt) for style in load_styles(file)] == [
        ("Fine, sharp", "fine {prompt}, sharp", "blur")]
    web.locator("#txt2img_prompt textarea").fill("boat")
    web.locator("#txt2img_neg_prompt textarea").fill("")
    web.locator("#txt2img_styles input").click()
    web.get_by_role("option", name="Fine, sharp").click()
    web.keyboard.press("Escape")
    expect(web.locator("#txt2img_token_counter summary")).to_have_text("4/75")
    set_number(web, "txt2img_steps", 1)
    assert generate(web, "txt2img").startswith("fine boat, sharp\nNegative prompt: blur\nSteps: 1")
    web.locator("#txt2img_style_apply").click()
    expect(web.locator("#txt2img_prompt textarea")).to_have_value("fine boat, sharp")
    expect(web.locator("#txt2img_neg_prompt textarea")).to_have_value("blur")


def test_parameters_are_read_from_the_prompt_from_a_dropped_picture_and_after_a_reload(
        web: Page, page_app: PageApp, tmp_path: Path) -> None:
    tab(web, "txt2img")
    web.locator("#txt2img_prompt textarea").fill(TEXT)
    web.locator("#txt2img_paste").click()
    note = web.locator("#txt2img_paste_note")
    for words in ("faraway [879db523c3]", "Face restoration: CodeFormer", "ENSD: 31337"):
        expect(note).to_contain_text(words)
    made = generate(web, "txt2img")
    assert made.startswith("a lighthouse, [dawn:dusk:0.5]\nNegative prompt: fog\nSteps: 3, Sampler: DPM++ 2M, "
                           "Schedule type: Karras, CFG scale: 5.5, Seed: 4242, Size: 256x320")
    picture = shown_picture(web, "txt2img")

    open_page(web, page_app.url)
    tab(web, "txt2img")
    expect(web.locator("#txt2img_prompt textarea")).to_have_value("a lighthouse, [dawn:dusk:0.5]")
    expect(web.locator("#txt2img_width input[type=number]")).to_have_value("256")
    expect(web.locator("#txt2img_sampling input")).to_have_value("DPM++ 2M")
    tab(web, "img2img")
    expect(web.locator("#img2img_prompt textarea")).to_have_value("")
    drop(web, "#img2img_prompt textarea", with_text(tmp_path / "said.jpg", TEXT.replace("lighthouse", "tower")))
    expect(web.locator("#img2img_prompt textarea")).to_have_value("a tower, [dawn:dusk:0.5]")
    expect(web.locator("#img2img_seed input")).to_have_value("4242")
    tab(web, "txt2img")
    web.locator("#txt2img_prompt textarea").fill("")
    set_number(web, "txt2img_steps", 9)
    web.locator("#txt2img_paste").click()
    expect(web.locator("#txt2img_prompt textarea")).to_have_value("a lighthouse, [dawn:dusk:0.5]")
    expect(web.locator("#txt2img_steps input[type=number]")).to_have_value("3")
    assert generate(web, "txt2img") == made
    assert shown_picture(web, "txt2img").tobytes() == picture.tobytes()


def test_png_info_shows_the_parameters_and_sends_them_with_the_picture(web: Page, tmp_path: Path) -> None:
    tab(web, "PNG Info")
    web.locator("#pnginfo_image input[type=file]").set_input_files(with_text(tmp_path / "said.jpg", TEXT))
    details = web.locator("#pnginfo_details")
    expect(details).to_contain_text("DPM++ 2M Karras")
    expect(details.locator("dt").first).to_have_text("Steps")
    expect(web.locator("#pnginfo_text textarea")).to_have_value(TEXT)
    web.locator("#pnginfo_send_to_inpaint").click()
    canvas = Canvas(web, [], "#inpaint_canvas")
    canvas.wait_size(256, 256)
    expect(web.locator("#inpaint_prompt textarea")).to_have_value("a lighthouse, [dawn:dusk:0.5]")
    tab(web, "PNG Info")
    web.locator("#pnginfo_send_to_txt2img").click()
    expect(web.locator("#txt2img_prompt textarea")).to_have_value("a lighthouse, [dawn:dusk:0.5]")

    tab(web, "PNG Info")
    (tmp_path / "text.png").write_text("no picture")
    web.locator("#pnginfo_image").get_by_label("Remove Image").click()
    web.locator("#pnginfo_image input[type=file]").set_input_files(tmp_path / "text.png")
    expect(web.get_by_test_id("toast-body")).to_contain_text("This file is not a picture that can be read.")
    expect(details).to_have_text("")
    expect(web.locator("#pnginfo_text textarea")).to_have_value("")
    expect(web.locator("#pnginfo_send_to_inpaint")).to_be_disabled()


def test_hires_fix_and_refiner(web: Page) -> None:
    tab(web, "txt2img")
    expect(web.locator("#txt2img_hr_scale")).to_be_hidden()
    for name, value in (("width", 256), ("height", 192), ("steps", 4)):
        set_number(web, f"txt2img_{name}", value)
    web.locator("#txt2img_enable_hr input").check()
    size = web.locator("#txt2img_hires_size")
    expect(size).to_have_text("from 256x192 to 512x384")
    set_number(web, "txt2img_hr_scale", 3)
    expect(size).to_have_text("from 256x192 to 768x576")
    set_number(web, "txt2img_hr_resize_x", 384)
    expect(size).to_have_text("from 256x192 to 384x288")
    web.locator("#txt2img_refiner input").check()
    web.locator("#txt2img_refiner_checkpoint input").click()
    web.get_by_role("option", name=re.compile("second")).click()
    text = generate(web, "txt2img")
    for part in ("Size: 256x192", "Denoising strength: 0.7", "Hires resize: 384x0", "Hires upscaler: Latent",
                 "Refiner: second", "Refiner switch at: 0.8"):
        assert part in text
    assert shown_picture(web, "txt2img").size == (384, 288)


def test_soft_inpainting_shows_what_it_paints_when(web: Page, tmp_path: Path) -> None:
    tab(web, "inpaint")
    canvas = Canvas(web, [], "#inpaint_canvas")
    canvas.open(photo(tmp_path / "photo.png", (512, 512)))
    canvas.drag([(150, 150), (350, 300)])
    web.locator("#inpaint_soft input").check()
    view = web.locator("#inpaint_soft_view")
    expect(view.locator("figcaption")).to_have_text(["start", "middle", "end"])
    before = view.locator("img").first.get_attribute("src")
    set_number(web, "inpaint_mask_blur", 32)
    expect(view.locator("img").first).not_to_have_attribute("src", before or "")
    set_number(web, "inpaint_steps", 3)
    text = generate(web, "inpaint")
    assert "Soft inpainting enabled: True, Soft inpainting schedule bias: 1, " in text
    assert "Mask blur: 32" in text
