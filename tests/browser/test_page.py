"""The page over a fake model: generate, watch, stop, come back, send, swap."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, Route, expect

from tests.browser.canvas_driver import Canvas, photo
from tests.browser.conftest import EXAMPLES, PageApp, Visitors, open_page, wait_ready
from tests.browser.page_driver import (
    generate,
    order,
    set_number,
    settle,
    shown_picture,
    stage,
    tab,
    until,
    wait_result,
    with_text,
)


def test_txt2img_by_keyboard(web: Page, page_app: PageApp) -> None:
    tab(web, "txt2img")
    set_number(web, "txt2img_steps", 3)
    set_number(web, "txt2img_seed", 77)
    web.fill("#txt2img_prompt textarea", "a lighthouse <lora:x:1>")
    web.keyboard.press("Control+Enter")
    text = wait_result(web, "txt2img")
    assert text.startswith("a lighthouse <lora:x:1>\nSteps: 3, Sampler: DDIM")
    for place in (web.get_by_test_id("toast-body"), stage(web, "txt2img")):
        expect(place).to_contain_text("Lora not found: x.")
    assert "Seed: 77" in text
    picture = shown_picture(web, "txt2img")
    assert picture.format == "PNG"
    assert picture.info["parameters"] == text
    saved = max(page_app.outputs.rglob("*-77.png"))
    assert np.array_equal(np.asarray(Image.open(saved)), np.asarray(picture))


def test_only_the_painted_part_changes(painting: Canvas, tmp_path: Path) -> None:
    page = painting.page
    painting.drag([(150, 150), (350, 300)])
    set_number(page, "inpaint_steps", 4)
    page.fill("#inpaint_prompt textarea", "a cat")
    text = generate(page, "inpaint")
    assert "Denoising strength: 0.75" in text
    assert "Mask blur: 4" in text
    before = np.asarray(Image.open(tmp_path / "photo.png"))
    after = np.asarray(shown_picture(page, "inpaint"))
    changed = (before != after).any(axis=-1)
    assert changed[200:250, 220:280].any()
    assert not changed[:100].any()
    assert not changed[:, 400:].any()


def test_send_carries_picture_and_parameters_and_keeps_the_mask(painting: Canvas) -> None:
    page = painting.page
    painting.drag([(150, 150), (350, 300)])
    covered = painting.coverage
    set_number(page, "inpaint_steps", 5)
    page.fill("#inpaint_prompt textarea", "a green hill")
    text = generate(page, "inpaint")
    seed = re.search(r"Seed: (\d+)", text)
    assert seed is not None
    page.locator("#inpaint_send_to_inpaint").click()
    expect(painting.root.locator(".mc-note")).to_contain_text("kept")
    painting.wait_synced()
    assert painting.coverage == covered
    page.locator("#inpaint_send_to_img2img").click()
    other = Canvas(page, [], "#img2img_image")
    other.wait_size(512, 512)
    expect(page.locator("#img2img_prompt textarea")).to_have_value("a green hill")
    expect(page.locator("#img2img_steps input[type=number]")).to_have_value("5")
    expect(page.locator("#img2img_seed input")).to_have_value(seed[1])
    assert f"Seed: {seed[1]}," in generate(page, "img2img"), "what was carried over can be generated from"
    page.get_by_role("tab", name="inpaint", exact=True).click()
    assert painting.coverage == covered


def test_interrupt_keeps_the_partial_picture(web: Page, page_app: PageApp) -> None:
    tab(web, "txt2img")
    page_app.brake.allow(3)
    web.locator("#txt2img_generate").click()
    expect(stage(web, "txt2img")).to_contain_text("step 3 of 20")
    assert (web.locator("#txt2img_stage img").get_attribute("src") or "").startswith("data:image/jpeg")
    order(web, "txt2img_interrupt", page_app.queue)
    page_app.brake.allow(None)
    wait_result(web, "txt2img")
    expect(stage(web, "txt2img")).to_contain_text("Interrupted")
    page_app.brake.allow(2)
    web.locator("#txt2img_prompt textarea").press("Control+Enter")
    expect(stage(web, "txt2img")).to_contain_text("step 2 of 20")
    web.locator("#txt2img_prompt textarea").press("Escape")
    job = page_app.queue.current
    assert job is not None
    until(web, lambda: job.interrupted)
    page_app.brake.allow(None)
    expect(stage(web, "txt2img")).to_contain_text("Interrupted")
    assert shown_picture(web, "txt2img").size == (512, 512)


def test_generate_adds_while_a_job_runs_and_with_shift_it_stops_that(web: Page, page_app: PageApp) -> None:
    tab(web, "txt2img")
    prompt = web.locator("#txt2img_prompt textarea")
    prompt.fill("the first")
    page_app.brake.allow(2)
    prompt.press("Control+Enter")
    expect(stage(web, "txt2img")).to_contain_text("step 2 of 20")
    first = page_app.queue.current
    assert first is not None
    prompt.fill("the second")
    set_number(web, "txt2img_steps", 3)
    web.locator("#txt2img_generate").click()
    until(web, lambda: len(page_app.queue.pending()) == 1)
    assert not first.interrupted
    prompt.fill("the third")
    prompt.press("Control+Shift+Enter")
    until(web, lambda: first.interrupted and len(page_app.queue.pending()) == 2)
    page_app.brake.allow(None)
    expect(web.locator("#txt2img_infotext textarea")).to_have_value(re.compile("^the third\nSteps: 3,"))
    wait_result(web, "txt2img")
    made = [job.name for job in page_app.queue.of(web.evaluate("inpaintWindow.id"), "txt2img")]
    assert made == ["the first", "the second", "the third"]


def test_skip_goes_on_with_the_next_batch(web: Page, page_app: PageApp) -> None:
    tab(web, "txt2img")
    set_number(web, "txt2img_n_iter", 2)
    page_app.brake.allow(2)
    web.locator("#txt2img_generate").click()
    expect(stage(web, "txt2img")).to_contain_text("batch 1 of 2")
    expect(stage(web, "txt2img")).to_contain_text("step 2 of 20")
    order(web, "txt2img_skip", page_app.queue)
    page_app.brake.allow(3)
    expect(stage(web, "txt2img")).to_contain_text("batch 2 of 2")
    page_app.brake.allow(None)
    wait_result(web, "txt2img")


def test_a_reload_finds_the_running_job_and_its_result(web: Page, page_app: PageApp) -> None:
    tab(web, "txt2img")
    web.fill("#txt2img_prompt textarea", "found again")
    page_app.brake.allow(4)
    web.locator("#txt2img_generate").click()
    expect(stage(web, "txt2img")).to_contain_text("step 4 of 20")
    open_page(web, page_app.url)
    tab(web, "txt2img")
    expect(stage(web, "txt2img")).to_contain_text("step 4 of 20")
    expect(web.locator("#txt2img_interrupt")).to_be_visible()
    page_app.brake.allow(None)
    assert wait_result(web, "txt2img").startswith("found again")
    open_page(web, page_app.url)
    tab(web, "txt2img")
    assert wait_result(web, "txt2img").startswith("found again")


def test_a_window_comes_back_with_the_tab_that_was_open(web: Page, page_app: PageApp) -> None:
    open_tab = web.locator("#tabs > .tab-wrapper [role=tab][aria-selected=true]")
    expect(open_tab).to_have_text("inpaint")
    tab(web, "PNG Info")
    web.reload()
    wait_ready(web)
    expect(open_tab).to_have_text("PNG Info")
    other = web.context.new_page()
    open_page(other, page_app.url)
    expect(other.locator("#tabs > .tab-wrapper [role=tab][aria-selected=true]")).to_have_text("inpaint")
    other.close()


def test_a_tab_that_is_chosen_while_the_page_loads_stays_open(visitors: Visitors, page_app: PageApp,
                                                             context_options: dict[str, Any]) -> None:
    held: list[Route] = []
    go_on: list[bool] = []
    with visitors.page(page_app.url, context_options) as page:
        page.route("**/gradio_api/run/**", lambda route: route.continue_() if go_on else held.append(route))
        page.goto(page_app.url)
        page.get_by_role("tab", name="txt2img", exact=True).click()
        go_on.append(True)
        for route in held:
            route.continue_()
        wait_ready(page)
        expect(page.locator("#tabs > .tab-wrapper [role=tab][aria-selected=true]")).to_have_text("txt2img")


SEEN = """(() => {
    const seen = (window.seen = new Map());
    const look = () => {
        for (const one of document.querySelectorAll("#tabs :is(input[type=number], input[role=combobox], textarea)")) {
            if (!one.checkVisibility({visibilityProperty: true})) continue;
            if (getComputedStyle(one).color === "rgba(0, 0, 0, 0)") continue;
            const id = one.closest("[id]").id, values = seen.get(id) ?? [];
            if (values.at(-1) !== one.value) seen.set(id, [...values, one.value]);
        }
        if (!window.enough) requestAnimationFrame(look);
    };
    look();
})()"""


def test_no_control_shows_a_value_that_then_changes(visitors: Visitors, page_app: PageApp,
                                                    context_options: dict[str, Any]) -> None:
    page_app.engine.config.update({"ui_defaults": {"steps": 31}})
    try:
        with visitors.page(page_app.url, context_options) as page:
            page.add_init_script(SEEN)
            open_page(page, page_app.url)
            seen = page.evaluate("(window.enough = true) && [...seen]")
    finally:
        page_app.engine.config.update({"ui_defaults": {}})
    assert ["inpaint_steps", ["31"]] in seen
    assert len(seen) > 8
    assert not [(name, values) for name, values in seen if len(values) > 1]


def test_a_second_person_sees_the_place_in_the_queue(web: Page, visitors: Visitors, page_app: PageApp) -> None:
    tab(web, "txt2img")
    page_app.brake.allow(1)
    web.locator("#txt2img_generate").click()
    expect(stage(web, "txt2img")).to_contain_text("step 1 of 20")
    with visitors.page(page_app.url, {}) as other:
        open_page(other, page_app.url)
        tab(other, "txt2img")
        other.locator("#txt2img_generate").click()
        expect(stage(other, "txt2img")).to_contain_text("1 job is before this one")
        other.locator("#txt2img_interrupt").click()
        expect(stage(other, "txt2img")).to_contain_text("Interrupted")
    expect(web.locator("#txt2img_interrupt")).to_be_visible()
    page_app.brake.allow(None)
    wait_result(web, "txt2img")


def test_swap_of_the_checkpoint(web: Page, page_app: PageApp) -> None:
    def choose(name: str) -> None:
        web.locator("#setting_sd_model_checkpoint input").click()
        web.get_by_role("option", name=re.compile(name)).click()

    choose("second")
    expect(web.locator("#model_status")).to_contain_text("second is ready")
    assert page_app.engine.model_name == "second"
    choose("third-broken")
    expect(web.get_by_test_id("toast-body")).to_contain_text("ends too early")
    expect(web.locator("#setting_sd_model_checkpoint input")).to_have_value(re.compile("^second"))
    assert page_app.engine.model_name == "second"
    tab(web, "txt2img")
    set_number(web, "txt2img_steps", 1)
    expect(web.locator("#txt2img_width input[type=number]")).to_have_value("256")
    text = generate(web, "txt2img")
    assert "Model: second" in text
    assert "Size: 256x256" in text, "the size follows what the checkpoint is made for"
    assert "CFG scale: 4," in text, "and so does the guidance"
    choose("first")
    expect(web.locator("#model_status")).to_contain_text("first is ready")


def test_a_locked_seed_stays(web: Page) -> None:
    tab(web, "txt2img")
    set_number(web, "txt2img_steps", 1)
    set_number(web, "txt2img_seed", 123)
    web.locator("#txt2img_lock_seed input").check()
    seed = web.locator("#txt2img_seed input")
    expect(seed).to_be_disabled()
    web.locator("#txt2img_random_seed").click()
    assert "Seed: 123," in generate(web, "txt2img")
    assert "Seed: 123," in generate(web, "txt2img")
    expect(seed).to_have_value("123")
    web.locator("#txt2img_lock_seed input").uncheck()
    web.locator("#txt2img_random_seed").click()
    expect(seed).to_have_value("-1")
    web.locator("#txt2img_reuse_seed").click()
    expect(seed).to_have_value("123")


def test_mistakes_are_said_in_words_and_lose_nothing(painting: Canvas) -> None:
    page = painting.page
    painting.drag([(150, 150), (350, 300)])
    covered = painting.coverage
    page.locator("#inpaint_sampling input").fill("No such sampler")
    page.locator("#inpaint_sampling input").press("Tab")
    page.locator("#inpaint_generate").click()
    toast = page.get_by_test_id("toast-body")
    expect(toast).to_contain_text("No such sampler")
    expect(toast).not_to_contain_text("Traceback")
    assert painting.coverage == covered
    tab(page, "img2img")
    page.locator("#img2img_generate").click()
    expect(toast.filter(has_text="Choose a picture first.")).to_be_visible()


def test_numbers_are_refused_by_name_and_not_while_they_are_typed(painting: Canvas) -> None:
    page = painting.page
    toast = page.get_by_test_id("toast-body")
    width = page.locator("#inpaint_width input[type=number]")
    painting.drag([(150, 150), (350, 300)])
    page.locator("#inpaint_soft input").check()
    blend = page.locator("#inpaint_soft_view img")
    expect(blend).to_have_count(3)
    before = blend.first.get_attribute("src") or ""
    width.press("ControlOrMeta+a")
    for digit in "25":
        width.press(digit)
        expect(blend).to_have_count(0)  # each answer comes, and none refuses
    width.press("6")
    expect(blend).to_have_count(3)
    expect(blend.first).not_to_have_attribute("src", before)
    expect(toast).to_have_count(0)
    for text in ("", "9999"):
        width.fill(text)
        page.keyboard.press("Control+Enter")
        expect(toast).to_contain_text("Width must be a number between 64 and 2048.")
        page.get_by_test_id("toast-close").click()
        expect(toast).to_have_count(0)
    width.fill("320")
    width.press("Enter")
    for key in ("End", "Backspace", "Backspace", "Backspace", "Tab"):
        width.press(key)
    expect(width).to_have_value("320")
    page.locator("#inpaint_seed input").fill("9999999999999999")
    page.locator("#inpaint_generate").click()
    expect(toast).to_contain_text("Seed must be a number between -1 and 9007199254740991.")


def test_a_file_that_is_cut_off_is_refused_once_and_only_when_it_is_needed(painting: Canvas, tmp_path: Path) -> None:
    page = painting.page
    whole = photo(tmp_path / "whole.png", (512, 512)).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[:len(whole) // 2])
    painting.drag([(150, 150), (350, 300)])
    page.locator("#inpaint_soft input").check()
    previews = page.locator("#inpaint_starts img, #inpaint_soft_view img")
    expect(previews).to_have_count(8)
    painting.open(tmp_path / "cut.png")
    expect(previews).to_have_count(0)
    toast = page.get_by_test_id("toast-body")
    expect(toast).to_have_count(0)
    page.locator("#inpaint_generate").click()
    expect(toast.get_by_text("This file is not a picture that can be read.")).to_have_count(1)


def test_a_result_can_be_dragged_to_the_canvas_and_to_the_prompt(painting: Canvas) -> None:
    page = painting.page
    painting.drag([(150, 150), (350, 300)])
    set_number(page, "inpaint_steps", 2)
    page.get_by_role("radio", name="Whole picture").locator("visible=true").check()
    page.get_by_role("radio", name="Just resize", exact=True).locator("visible=true").check()
    set_number(page, "inpaint_width", 256)
    set_number(page, "inpaint_height", 192)
    page.fill("#inpaint_prompt textarea", "a lighthouse")
    generate(page, "inpaint")
    result = page.locator("#inpaint_gallery img").first
    result.drag_to(painting.root.locator(".mc-view"))
    painting.wait_size(256, 192)
    page.fill("#inpaint_prompt textarea", "")
    result.drag_to(page.locator("#inpaint_prompt textarea"))
    expect(page.locator("#inpaint_prompt textarea")).to_have_value("a lighthouse")
    page.fill("#inpaint_prompt textarea", "")
    page.evaluate("document.body.prepend(inpaintPage.make('a', {id: 'link', href: 'https://example.org/x'}, 'there'))")
    page.locator("#link").drag_to(page.locator("#inpaint_prompt textarea"))
    expect(page.locator("#inpaint_prompt textarea")).to_have_value("https://example.org/x")


def test_an_empty_mask_is_said_in_words(painting: Canvas) -> None:
    set_number(painting.page, "inpaint_steps", 2)
    generate(painting.page, "inpaint")
    expect(stage(painting.page, "inpaint")).to_contain_text("mask is empty")


def test_masked_content_shows_what_it_starts_from(painting: Canvas) -> None:
    painting.drag([(150, 150), (350, 300)])
    starts = painting.page.locator("#inpaint_starts .starts button")
    expect(starts).to_have_count(5)
    starts.filter(has_text="latent noise").click()
    expect(painting.page.get_by_role("radio", name="latent noise")).to_be_checked()
    expect(starts.filter(has_text="latent noise")).to_have_attribute("aria-pressed", "true")


def test_sizes(painting: Canvas, tmp_path: Path) -> None:
    page = painting.page
    painting.open(photo(tmp_path / "wide.png", (640, 480)))
    width, height = (page.locator(f"#inpaint_{name} input[type=number]") for name in ("width", "height"))
    page.locator("#inpaint_take_size").click()
    expect(width).to_have_value("640")
    expect(height).to_have_value("480")
    page.locator("#inpaint_swap_size").click()
    expect(width).to_have_value("480")
    expect(height).to_have_value("640")
    proportions = page.get_by_role("group", name="Proportions").locator("visible=true")
    for name, size in (("1:1", (544, 544)), ("16:9", (736, 416)), ("3:2", (672, 448)), ("1:1", (544, 544))):
        proportions.get_by_role("button", name=name).click()
        expect(width).to_have_value(str(size[0]))
        expect(height).to_have_value(str(size[1]))


def test_examples_of_the_checkpoint_fill_the_prompt(web: Page) -> None:
    tab(web, "txt2img")
    strip = web.locator("#txt2img_examples")
    expect(strip.get_by_text("Things")).to_be_visible()
    strip.locator("img").first.scroll_into_view_if_needed()
    web.wait_for_function("document.querySelector('#txt2img_examples img').naturalWidth === 40")
    strip.get_by_role("button", name=EXAMPLES[1]).click()
    expect(web.locator("#txt2img_prompt textarea")).to_have_value(EXAMPLES[1])
    web.locator("#txt2img_examples").get_by_role("button", name="boat").click()
    expect(web.locator("#txt2img_prompt textarea")).to_have_value(f"{EXAMPLES[1]} boat")
    web.locator("#txt2img_examples").get_by_role("button", name="Surprise me").click()
    expect(web.locator("#txt2img_prompt textarea")).to_have_value(re.compile("^a (red|blue) (boat|bird)$"))


def test_tabs_that_have_room_are_not_in_the_menu(visitors: Visitors, page_app: PageApp,
                                                context_options: dict[str, Any]) -> None:
    held: list[Route] = []
    go_on: list[bool] = []
    with visitors.page(page_app.url, context_options) as page:
        page.add_init_script("""new MutationObserver((_, watch) => {
            if (!document.head) return;
            document.head.append(Object.assign(document.createElement("style"), {
                textContent: "html:not([data-ready]) .tab-container button { padding: 0 99px !important; }"}));
            watch.disconnect();
        }).observe(document, {childList: true, subtree: true})""")
        page.route("**/gradio_api/run/**", lambda route: route.continue_() if go_on else held.append(route))
        page.goto(page_app.url)
        expect(page.get_by_role("button", name="More tabs")).to_be_visible()
        go_on.append(True)
        for route in held:
            route.continue_()
        wait_ready(page)
        expect(page.get_by_role("tab", name="Settings")).to_be_visible()


LATE_END = """(() => {
    const get = window.fetch;
    let began, asked;
    window.ending = new Promise((resolve) => (began = resolve));
    const next = new Promise((resolve) => (asked = resolve));
    window.fetch = async (...question) => {
        const answer = await get(...question);
        const url = question[0].url ?? String(question[0]);
        if (window.next && url.includes("/queue/join")) asked();
        if (!url.includes("/queue/data")) return answer;
        const late = new TransformStream({async transform(text, stream) {
            const end = text.includes("close_stream") ? text.lastIndexOf("data:") : text.length;
            stream.enqueue(text.slice(0, end));
            if (end === text.length) return;
            began();
            await next;
            for (let frames = 0; frames < 10; frames++) await new Promise(requestAnimationFrame);
            stream.enqueue(text.slice(end));
        }});
        const body = answer.body.pipeThrough(new TextDecoderStream()).pipeThrough(late);
        return new Response(body.pipeThrough(new TextEncoderStream()), answer);
    };
})()"""


def test_what_is_asked_while_the_stream_of_answers_ends_is_answered(visitors: Visitors, page_app: PageApp,
                                                                    context_options: dict[str, Any]) -> None:
    with visitors.page(page_app.url, context_options) as page:
        page.add_init_script(LATE_END)
        open_page(page, page_app.url)
        tab(page, "txt2img")
        set_number(page, "txt2img_steps", 2)
        page.evaluate("ending.then(() => (window.next = true))")
        assert "Steps: 2" in generate(page, "txt2img")


QUIET = """async () => {
    asked = 0;
    for (let frame = 0; frame < 20; frame++) await new Promise(everyFrame);
    return !asked;
}"""


def test_an_open_page_that_does_nothing_asks_for_no_frames(visitors: Visitors, page_app: PageApp,
                                                           context_options: dict[str, Any]) -> None:
    with visitors.page(page_app.url, context_options) as page:
        page.add_init_script("""window.asked = 0;
            window.everyFrame = window.requestAnimationFrame.bind(window);
            window.requestAnimationFrame = (callback) => (asked++, everyFrame(callback));""")
        open_page(page, page_app.url)
        assert any(page.evaluate(QUIET) for _ in range(100))


def test_what_follows_the_mask_is_asked_once_a_change(painting: Canvas) -> None:
    """Gradio can have two events that follow one control ask each other for ever."""
    page, asked = painting.page, list[str]()
    page.on("request", lambda request: asked.append(request.url) if "/queue/join" in request.url else None)
    painting.drag([(150, 150), (350, 300)])
    for _ in range(60):
        settle(page)
    assert 2 <= len(asked) < 10


def test_every_control_has_a_name(web: Page) -> None:
    for name in ("txt2img", "img2img", "inpaint"):
        tab(web, name)
        unnamed = web.evaluate("""() => [...document.querySelectorAll("button, input, textarea, select")].filter(
            (one) => one.offsetParent && !one.getAttribute("aria-label") && !one.textContent.trim() && !one.title
            && !(one.labels || []).length).map((one) => one.outerHTML.slice(0, 200))""")
        assert unnamed == []


@pytest.mark.parametrize("context_options", [{"viewport": {"width": 390, "height": 844}, "has_touch": True,
                                              "is_mobile": True}])
def test_a_phone_needs_no_sideways_scrolling(web: Page, context_options: dict[str, Any], tmp_path: Path) -> None:
    for name in ("txt2img", "img2img", "inpaint", "PNG Info"):
        tab(web, name)
        if name == "PNG Info":
            file = with_text(tmp_path / "said.jpg", "a lighthouse\nSteps: 3, Sampler: Euler, Model: faraway, Seed: 4")
            web.locator("#pnginfo_image input[type=file]").set_input_files(file)
            expect(web.locator("#pnginfo_details")).to_contain_text("faraway")
        assert web.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_double_click_is_one_press(web: Page, page_app: PageApp) -> None:
    tab(web, "txt2img")
    page_app.brake.allow(1)
    buttons = web.locator("#txt2img_generate").bounding_box()
    assert buttons
    x, y = buttons["x"] + 20, buttons["y"] + 10
    web.mouse.click(x, y)
    expect(stage(web, "txt2img")).to_contain_text("step 1 of 20")
    web.mouse.down(click_count=2)
    web.mouse.up(click_count=2)
    assert not page_app.queue.pending()
    page_app.brake.allow(None)
    wait_result(web, "txt2img")
    expect(stage(web, "txt2img"), "Interrupted is not said").to_have_count(0)


def test_an_empty_result_says_what_to_do_and_no_note_lies_on_a_picture(web: Page) -> None:
    hint, gallery = web.locator("#txt2img_nothing_yet"), web.locator("#txt2img_gallery")
    tab(web, "txt2img")
    expect(hint).to_be_visible()
    expect(hint).to_contain_text("Write what should be in the picture and press Generate.")
    web.fill("#txt2img_prompt textarea", "a cat <lora:nothing of that name:1>")
    set_number(web, "txt2img_steps", 2)
    generate(web, "txt2img")
    said = stage(web, "txt2img")
    expect(said).to_contain_text("nothing of that name")
    expect(hint).to_be_hidden()
    picture, note = gallery.bounding_box(), said.bounding_box()
    assert picture
    assert note
    assert note["y"] >= picture["y"] + picture["height"]


def test_send_to_inpaint_says_before_what_happens_to_size_and_mask(web: Page) -> None:
    for name, button in (("txt2img", "#txt2img_send_to_inpaint"), ("PNG Info", "#pnginfo_send_to_inpaint"),
                         ("History", '#history_view [data-target="inpaint"]')):
        tab(web, name)
        expect(web.locator(button)).to_have_attribute("data-help", re.compile(r"The mask there stays if .* same size"))
        expect(web.locator(f"{button} .help-mark")).to_have_count(1)
