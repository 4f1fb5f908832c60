"""Two windows of one browser have their own controls, pictures and jobs; the queue panel shows them all."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from modules.engine.engine import Engine
from modules.ui.controls.defaults import KEY
from tests.browser.canvas_driver import Canvas, photo
from tests.browser.conftest import PageApp, open_page, wait_ready
from tests.browser.page_driver import set_number, stage, tab, until, wait_result


@contextmanager
def another_window(page: Page, url: str) -> Iterator[Page]:
    """A further window of the same browser, with the page in it."""
    other = page.context.new_page()
    other.set_default_timeout(180_000)  # a busy machine is slow, not wrong
    open_page(other, url)
    yield other
    other.close()


def rows(page: Page) -> list[str]:
    """What the queue panel says, a line for each job."""
    if page.locator("#queue .q-open").get_attribute("aria-expanded") == "false":
        page.locator("#queue .q-open").click()
    return [" ".join(text.split("\n\n")[:2]) for text in page.locator("#queue li").all_inner_texts()]


def test_two_windows_share_nothing_and_a_reload_finds_its_own(painting: Canvas, page_app: PageApp,
                                                             tmp_path: Path) -> None:
    first = painting.page
    painting.drag([(150, 150), (350, 300)])
    covered = painting.coverage
    tab(first, "txt2img")
    first.fill("#txt2img_prompt textarea", "of the first")
    page_app.brake.allow(2)
    first.locator("#txt2img_generate").click()
    expect(stage(first, "txt2img")).to_contain_text("step 2 of 20")
    with another_window(first, page_app.url) as second:
        expect(second.locator("#inpaint_canvas .mc")).to_have_attribute("data-empty", "true")
        tab(second, "txt2img")
        expect(second.locator("#txt2img_prompt textarea")).to_have_value("")
        expect(second.locator("#txt2img_interrupt")).to_be_hidden()
        second.fill("#txt2img_prompt textarea", "of the second")
        second.locator("#txt2img_generate").click()
        expect(stage(second, "txt2img")).to_contain_text("1 job is before this one")
        for page, said in ((first, "step 2 of 20"), (second, "1 job is before")):
            page.reload()
            wait_ready(page)
            expect(stage(page, "txt2img")).to_contain_text(said)
        page_app.brake.allow(None)
        assert wait_result(first, "txt2img").startswith("of the first\n")
        assert wait_result(second, "txt2img").startswith("of the second\n")
    first.reload()
    wait_ready(first)
    assert wait_result(first, "txt2img").startswith("of the first\n")
    tab(first, "inpaint")
    painting.wait_size(512, 512)
    assert painting.coverage == covered


def test_a_new_window_starts_like_the_last_one_where_that_is_asked_for(painting: Canvas, page_app: PageApp) -> None:
    first = painting.page
    page_app.engine.config.update({KEY: {"new_window": "the last window"}})
    try:
        first.reload()  # which tells the browser
        wait_ready(first)
        painting.wait_size(512, 512)
        first.fill("#inpaint_prompt textarea", "a red boat")
        first.wait_for_function("sessionStorage['inpaint-webui:controls']?.includes('a red boat')")
        with another_window(first, page_app.url) as second:
            expect(second.locator("#inpaint_prompt textarea")).to_have_value("a red boat")
            Canvas(second, [], "#inpaint_canvas").wait_size(512, 512)
            second.fill("#inpaint_prompt textarea", "a blue boat")
            second.wait_for_function("sessionStorage['inpaint-webui:controls']?.includes('a blue boat')")
        first.reload()
        wait_ready(first)
        expect(first.locator("#inpaint_prompt textarea")).to_have_value("a red boat")
    finally:
        page_app.engine.config.update({KEY: {}})


def test_a_duplicated_window_becomes_another_one(web: Page, page_app: PageApp) -> None:
    copied = web.evaluate("({...sessionStorage})")
    with another_window(web, page_app.url) as second:
        second.evaluate("(copied) => Object.assign(sessionStorage, copied)", copied)
        second.reload()
        second.wait_for_function("(id) => inpaintWindow.id !== id", arg=web.evaluate("inpaintWindow.id"))
        wait_ready(second)
        assert second.evaluate("inpaintWindow.from") == web.evaluate("inpaintWindow.id")


def test_the_orphan_of_a_closed_window_is_seen_moved_and_stopped(web: Page, page_app: PageApp, tmp_path: Path) -> None:
    page_app.brake.allow(1)
    with another_window(web, page_app.url) as second:
        canvas = Canvas(second, [], "#inpaint_canvas")
        canvas.open(photo(tmp_path / "photo.png", (256, 256)))
        canvas.drag([(50, 50), (150, 100)])
        for prompt in ("the first orphan", "the second orphan"):
            second.fill("#inpaint_prompt textarea", prompt)
            waiting = len(page_app.queue.pending())
            second.locator("#inpaint_generate").click()
            until(second, lambda waiting=waiting, prompt=prompt: any(  # type: ignore[misc]
                job.name == prompt for job in (page_app.queue.current, *page_app.queue.pending()) if job))
    tab(web, "txt2img")
    web.fill("#txt2img_prompt textarea", "mine")
    web.locator("#txt2img_generate").click()
    until(web, lambda: len(page_app.queue.pending()) == 2)
    assert rows(web) is not None
    entries = web.locator("#queue li")
    expect(entries).to_have_count(3)
    expect(entries.nth(0)).to_contain_text("the first orphan")
    expect(entries.nth(0)).to_contain_text("Another window · inpaint · step 1 of 15")
    expect(entries.nth(1).locator("img")).to_have_attribute("src", re.compile("^data:image/jpeg"))
    expect(entries.nth(2)).to_contain_text("This window · txt2img · place 2")
    entries.nth(2).get_by_role("button", name="Earlier").click()
    expect(entries.nth(1)).to_contain_text("mine")
    assert [job.name for job in page_app.queue.pending()] == ["mine", "the second orphan"]
    entries.nth(2).get_by_role("button", name="Cancel this job").click()
    expect(entries).to_have_count(2)
    running = page_app.queue.current
    assert running is not None
    entries.nth(0).get_by_role("button", name="Cancel this job").click()
    until(web, lambda: running.interrupted)
    page_app.brake.allow(None)
    assert wait_result(web, "txt2img").startswith("mine\n")
    web.keyboard.press("Escape")
    expect(web.locator("#queue_list")).to_be_hidden()


def test_generate_forever_goes_on_until_interrupted(web: Page, page_app: PageApp) -> None:
    tab(web, "txt2img")
    set_number(web, "txt2img_steps", 1)
    forever = web.locator("#txt2img_forever")
    forever.click()
    expect(forever).to_have_attribute("aria-pressed", "true")
    window = web.evaluate("inpaintWindow.id")
    made = lambda: page_app.queue.of(window, "txt2img")  # noqa: E731
    until(web, lambda: len(made()) > 2)
    page_app.brake.allow(0)
    expect(web.locator("#txt2img_interrupt")).to_be_visible()
    until(web, lambda: any(job.state == "running" for job in made()))
    web.locator("#txt2img_interrupt").click()
    expect(forever).to_have_attribute("aria-pressed", "false")
    page_app.brake.allow(None)
    wait_result(web, "txt2img")


TONES = """() => {
    window.tones = 0;
    const make = AudioContext.prototype.createOscillator;
    AudioContext.prototype.createOscillator = function () { window.tones++; return make.call(this); };
}"""
"""Counts the tones that are made."""


def test_the_end_of_jobs_is_told_where_that_is_wanted(web: Page, page_app: PageApp) -> None:
    web.evaluate(TONES)
    tab(web, "txt2img")
    set_number(web, "txt2img_steps", 1)
    window = web.evaluate("inpaintWindow.id")

    def run() -> None:
        page_app.brake.allow(0)
        web.locator("#txt2img_generate").click()
        until(web, lambda: any(job.state == "running" for job in page_app.queue.of(window, "txt2img")))
        expect(web.locator("#queue .q-open b")).to_have_text("1")
        page_app.brake.allow(None)
        expect(web.locator("#queue .q-open b")).to_be_hidden()
        wait_result(web, "txt2img")

    run()
    assert web.evaluate("tones") == 0
    web.locator("#queue .q-open").click()
    web.get_by_label("Tell me when my jobs are done").check()
    web.locator("#queue .q-close").click()
    assert web.evaluate("tones") == 2, "one hears what it will be"
    run()
    web.wait_for_function("tones === 4")
    open_page(web, page_app.url)
    expect(web.get_by_label("Tell me when my jobs are done")).to_be_checked()


def test_the_queue_panel_tells_what_each_worker_does(web: Page, page_app: PageApp,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    lost = {"number": 2, "machine": "attic", "device": "", "state": "lost", "checkpoint": "", "pictures_a_minute": 0,
            "memory": {}, "failure": "It was killed."}
    works = {"number": 1, "machine": "cellar", "device": "cuda", "state": "working", "checkpoint": "first.safetensors",
             "pictures_a_minute": 12, "failure": "",
             "memory": {"ram": {"used": 2**29, "total": 2**34},
                        "cuda": {"system": {"used": 3 * 2**30, "total": 2**33}}}}
    monkeypatch.setattr(Engine, "workers", lambda engine: [works, lost])
    web.locator("#queue .q-open").click()
    workers = web.locator("#queue .q-workers")
    expect(workers.locator("summary")).to_have_text("1 of 2 workers are ready, 1 at work")
    workers.locator("summary").click()
    expect(workers.locator("li").first).to_contain_text("1 · cellar · cuda · first.safetensors")
    expect(workers.locator("li").first).to_contain_text("12 pictures in the last minute")
    expect(workers.locator("li").first).to_contain_text("3.0 of 8.0 GB of memory in use")
    expect(workers.locator("li").last).to_contain_text("It was killed.")
    web.locator("#queue .q-close").click()
