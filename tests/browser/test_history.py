"""The History tab of the whole program, routes and gate included, over a folder of pictures of known colours."""

from __future__ import annotations

import colorsys
import io
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from describers import write_blip, write_tagger
from embedders import write_sentences
from fakes import FakeModel, fake_engine, write_checkpoint
from PIL import Image
from playwright.sync_api import Locator, Page, expect
from serving import serving

import app
from modules.api import create_api
from modules.engine.describing import Describers
from modules.gallery.history import History
from modules.gallery.saving import Saver, save
from modules.jobs.queue import JobQueue
from modules.settings import Settings
from tests.browser.canvas_driver import Canvas
from tests.browser.conftest import Visitors, wait_ready
from tests.browser.page_driver import tab

COUNT = 130
DAY = 24 * 60 * 60
NEWEST = 1_780_000_000
"""The time of the newest picture, in seconds since 1970."""


def colour(number: int) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(number / COUNT, 0.6, 0.9)
    return round(red * 255), round(green * 255), round(blue * 255)


def text(number: int) -> str:
    subject = "红苹果" if number % 10 == 0 else f"a boat number {number}"
    return (f"{subject}, by the lake\nNegative prompt: fog\nSteps: {number % 7 + 1}, Sampler: "
            f"{('DDIM', 'Euler a')[number % 2]}, CFG scale: 7, Seed: {number}, Size: 512x384, "
            f"Model: {('first', 'second')[number % 3 == 0]}, Version: v1.10.1")


@dataclass
class PastApp:
    """The program over a folder of `COUNT` pictures: number 0 is the oldest, and its seed is 0."""

    url: str
    outputs: Path

    def number_of(self, picture: Locator) -> int:
        """Which picture an <img> shows, by its colour."""
        image = Image.open(io.BytesIO(picture.page.request.get(picture.evaluate("(one) => one.src")).body()))
        shown = image.convert("RGB").getpixel((9, 9))
        assert isinstance(shown, tuple)
        return min(range(COUNT), key=lambda number: sum(abs(a - b) for a, b in zip(shown, colour(number), strict=True)))


def fill(outputs: Path) -> None:
    for number in range(COUNT):
        path = save(Image.new("RGB", (64, 48), colour(number)), text(number), outputs / "txt2img-images" / "day",
                    seed=number)
        moment = NEWEST - (COUNT - 1 - number) * DAY / 40
        os.utime(path, (moment, moment))


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PastApp]:
    settings = Settings(data_dir=tmp_path_factory.mktemp("past"))
    write_checkpoint(settings.checkpoint_dirs[0], "first")
    fill(settings.outputs_dir)
    history = History(settings.outputs_dir)
    history.look()
    engine = fake_engine(settings, lambda name: FakeModel(name=name))
    queue = JobQueue(engine, Saver(settings.outputs_dir, history.add))
    page = app.mount_page(create_api(engine, queue, settings), engine, queue, settings, history)
    with serving(page) as address:
        yield PastApp(address, settings.outputs_dir)
    queue.close()
    history.close()


@pytest.fixture
def view(visitors: Visitors, past: PastApp, context_options: dict[str, Any]) -> Iterator[Page]:
    """The History tab, with its first tiles."""
    with visitors.page(past.url, context_options) as page:
        page.goto(past.url)
        wait_ready(page)
        tab(page, "History")
        expect(tiles(page).first).to_be_visible()
        yield page


def tiles(page: Page) -> Locator:
    return page.locator(".hi-tile")


def count(page: Page) -> Locator:
    return page.locator('.hi-line [data-part="count"]')


def big(page: Page) -> Locator:
    return page.get_by_role("dialog", name="Picture and parameters")


def field(page: Page, name: str) -> Locator:
    return page.locator(f'.hi-bar [name="{name}"]')


def expect_seed(page: Page, number: int) -> None:
    row = big(page).locator("dl div", has=page.get_by_text("Seed", exact=True))
    expect(row.locator("dd")).to_have_text(str(number))


def expect_names(view: Page) -> None:
    """Of every control of the tab."""
    unnamed = view.evaluate("""() => [...document.querySelectorAll("#history_view :is(button, a, input, select)")]
        .filter((one) => !one.getAttribute("aria-label") && !one.textContent.trim() && !(one.labels || []).length)
        .map((one) => one.outerHTML.slice(0, 200))""")
    assert unnamed == []


def test_search_by_meaning(view: Page, past: PastApp) -> None:
    """With a network of random weights, to which equal prompts are nearest."""
    meaning = field(view, "meaning")
    expect(meaning).to_be_hidden()
    folder = past.outputs.parent / "models" / "embedders" / "tiny"
    write_sentences(folder)
    try:
        view.get_by_role("button", name="Refresh").click()
        field(view, "words").fill("红苹果, by the lake")
        expect(count(view)).to_have_text("13 pictures")
        meaning.check()
        expect(count(view)).to_have_text(f"{COUNT} pictures, the nearest in meaning first")
        assert [past.number_of(tiles(view).nth(place).locator("img")) % 10 for place in range(13)] == [0] * 13
        expect(view.locator(".hi-day")).to_have_count(0)
        expect_names(view)
        meaning.uncheck()
        expect(count(view)).to_have_text("13 pictures")
        expect(view.locator(".hi-day").first).to_be_visible()
    finally:
        shutil.rmtree(folder)


def test_words_for_a_picture(view: Page, past: PastApp) -> None:
    settings = Settings(data_dir=past.outputs.parent)
    tiles(view).first.locator(".hi-open").click()
    words = big(view).locator('[data-part="words"]')
    expect(words).to_be_hidden()
    big(view).get_by_role("button", name="Tags").click()
    expect(words).to_contain_text("There is no tagger here")
    write_tagger(settings.models_dir / "taggers")
    write_blip(settings.models_dir / "captioners" / "tiny")
    try:
        big(view).get_by_role("button", name="Tags").click()
        expect(words).to_have_text(r"rem \(re:zero\), long hair")
        picture = Image.new("RGB", (64, 48), colour(COUNT - 1))
        sentence = Describers(settings).describe(picture, "tiny", 0.5, lambda: None)
        big(view).get_by_role("button", name="Describe").click()
        expect(words).to_have_text(sentence)
        view.keyboard.press("ArrowRight")
        expect(words).to_be_hidden()
    finally:
        shutil.rmtree(settings.models_dir / "taggers")
        shutil.rmtree(settings.models_dir / "captioners")


def test_find_look_and_send(view: Page, past: PastApp) -> None:
    expect(count(view)).to_have_text(f"{COUNT} pictures")
    assert past.number_of(tiles(view).first.locator("img")) == COUNT - 1
    for number in (60, 120):
        view.locator(".hi-end").scroll_into_view_if_needed()
        expect(tiles(view).nth(number)).to_be_attached()
    expect(tiles(view)).to_have_count(COUNT)
    source = tiles(view).first.locator("img").evaluate("(one) => one.src")
    assert Image.open(io.BytesIO(view.request.get(source).body())).format == "WEBP"

    # search and filters
    field(view, "words").fill("红苹果 LAKE")
    expect(tiles(view)).to_have_count(13)
    expect(count(view)).to_have_text("13 pictures")
    field(view, "model").select_option("second")
    field(view, "sampler").select_option("DDIM")
    expected = [number for number in range(COUNT) if number % 10 == 0 and number % 3 == 0 and number % 2 == 0]
    expect(tiles(view)).to_have_count(len(expected))
    assert sorted(past.number_of(tile.locator("img")) for tile in tiles(view).all()) == expected
    field(view, "words").fill("no such thing")
    expect(view.get_by_text("No picture fits these filters.")).to_be_visible()
    view.get_by_role("button", name="Clear filters").click()
    expect(count(view)).to_have_text(f"{COUNT} pictures")
    field(view, "seed").fill("77")
    expect(tiles(view)).to_have_count(1)
    field(view, "seed").fill("seventy")
    expect(view.locator('.hi-line [data-part="note"]')).to_contain_text("not a whole number")
    field(view, "seed").fill("")
    expect(count(view)).to_have_text(f"{COUNT} pictures")

    # the big view, by keyboard
    tiles(view).first.locator(".hi-open").click()
    expect_seed(view, COUNT - 1)
    expect_names(view)
    view.keyboard.press("ArrowRight")
    expect_seed(view, COUNT - 2)
    assert past.number_of(big(view).locator("img")) == COUNT - 2
    expect(big(view)).to_contain_text(f"a boat number {COUNT - 2}, by the lake")
    view.keyboard.press("f")
    expect(big(view).get_by_role("button", name="Favourite")).to_have_attribute("aria-pressed", "true")
    view.keyboard.press("ArrowLeft")
    expect(big(view).get_by_role("button", name="Favourite")).to_have_attribute("aria-pressed", "false")
    view.keyboard.press("Escape")
    expect(big(view)).to_be_hidden()
    expect(tiles(view).first.locator(".hi-open")).to_be_focused()
    view.keyboard.press("ArrowRight")
    view.keyboard.press("Enter")
    expect_seed(view, COUNT - 2)
    view.keyboard.press("Escape")
    field(view, "favourites").check()
    expect(tiles(view)).to_have_count(1)
    assert past.number_of(tiles(view).locator("img")) == COUNT - 2

    # to another tab, picture and parameters
    tiles(view).locator(".hi-open").click()
    big(view).get_by_role("button", name="Send to img2img").click()
    canvas = Canvas(view, [], "#img2img_image")
    canvas.wait_size(64, 48)
    expect(view.locator("#img2img_prompt textarea")).to_have_value(f"a boat number {COUNT - 2}, by the lake")
    expect(view.locator("#img2img_seed input")).to_have_value(str(COUNT - 2))


def test_what_was_wrong_with_a_search_is_not_said_of_the_next(view: Page) -> None:
    note = view.locator('.hi-line [data-part="note"]')
    for end in (lambda: field(view, "seed").fill("3"), lambda: view.get_by_text("Clear filters").click()):
        field(view, "seed").fill("many")
        expect(note).not_to_have_text("")
        end()
        expect(note).to_have_text("")


def test_what_is_made_appears_and_what_is_deleted_comes_back(view: Page, past: PastApp) -> None:
    tab(view, "txt2img")
    view.fill("#txt2img_prompt textarea", "something quite new")
    view.locator("#txt2img_steps input[type=number]").fill("1")
    view.locator("#txt2img_generate").click()
    expect(view.locator("#txt2img_infotext textarea")).to_have_value(re.compile("Steps: "))
    tab(view, "History")
    expect(count(view)).to_have_text(f"{COUNT + 1} pictures")
    expect(tiles(view).first.locator(".hi-open")).to_have_attribute("title", "something quite new")

    # deleting it and undoing that, in the big view
    files = {file.name for file in past.outputs.rglob("*.png")}
    tiles(view).first.locator(".hi-open").click()
    expect(big(view)).to_contain_text("something quite new")
    view.keyboard.press("Delete")
    expect_seed(view, COUNT - 1)
    assert len(list((past.outputs / ".trash").rglob("*.png"))) == 1
    big(view).get_by_role("button", name="Undo delete").click()
    expect(big(view).locator('[data-part="position"]')).to_have_text(f"2 / {COUNT + 1}")
    assert {file.name for file in past.outputs.rglob("*.png")} == files
    assert not list((past.outputs / ".trash").rglob("*.png"))
    view.keyboard.press("ArrowLeft")
    big(view).get_by_role("button", name="Delete", exact=True).dblclick()
    expect(big(view).locator('[data-part="position"]')).to_have_text(f"1 / {COUNT}")
    view.keyboard.press("Escape")

    # two at once, from the tiles
    expect(count(view)).to_have_text(f"{COUNT} pictures")
    for number in (0, 2):
        tiles(view).nth(number).locator(".hi-pick").check()
    expect(view.locator(".hi-selection p")).to_have_text("2 selected")
    view.get_by_role("toolbar", name="Selected pictures").get_by_role("button", name="Delete").dblclick()
    expect(count(view)).to_have_text(f"{COUNT - 2} pictures")
    expect(view.locator('.hi-line [data-part="note"]')).to_have_text("2 pictures were moved to the trash folder.")
    assert past.number_of(tiles(view).first.locator("img")) == COUNT - 2
    view.get_by_role("button", name="Undo delete").click()
    expect(count(view)).to_have_text(f"{COUNT} pictures")
    old = tiles(view).first.get_attribute("data-id")
    assert old is not None
    view.get_by_role("button", name="Rebuild").click()
    expect(view.locator(f'[data-id="{old}"]')).to_have_count(0)
    expect(count(view)).to_have_text(f"{COUNT} pictures")
    assert past.number_of(tiles(view).first.locator("img")) == COUNT - 1


def shown_at(page: Page, part: float) -> tuple[int, ...]:
    """The colour of the comparison, at `part` of its width, as it is on the screen."""
    shot = Image.open(io.BytesIO(page.locator(".hi-pair").screenshot())).convert("RGB")
    pixel = shot.getpixel((int(part * (shot.width - 1)), shot.height // 4))
    assert isinstance(pixel, tuple)
    return pixel


def close(pixel: tuple[int, ...], number: int) -> bool:
    return all(abs(a - b) <= 3 for a, b in zip(pixel, colour(number), strict=True))


def wait_drawn(page: Page) -> None:
    """Until both pictures of the comparison can be drawn."""
    page.evaluate("Promise.all([...document.querySelectorAll('.hi-pair img')].map((one) => one.decode()))")


def compare_first_and(page: Page, other: int) -> Locator:
    for number in (0, other):
        tiles(page).nth(number).locator(".hi-pick").check()
    page.get_by_role("toolbar", name="Selected pictures").get_by_role("button", name="Compare").click()
    pair = page.locator(".hi-pair")
    expect(page.locator(".hi-differences")).to_contain_text("Seed")
    wait_drawn(page)
    return pair


def test_two_are_compared_with_a_slider(view: Page) -> None:
    left, right = COUNT - 1, COUNT - 6
    box = compare_first_and(view, 5).bounding_box()
    assert box is not None
    assert abs(box["width"] / box["height"] - 64 / 48) < 0.01
    assert close(shown_at(view, 0.25), left)
    assert close(shown_at(view, 0.75), right)
    middle = box["y"] + box["height"] / 3
    view.mouse.move(box["x"] + box["width"] * 0.5, middle)
    view.mouse.down()
    view.mouse.move(box["x"] + box["width"] * 0.9, middle, steps=4)
    view.mouse.up()
    assert close(shown_at(view, 0.85), left)
    assert close(shown_at(view, 0.95), right)
    view.keyboard.press("Home")
    assert close(shown_at(view, 0.05), right)
    view.get_by_role("button", name="Swap").click()
    wait_drawn(view)
    assert close(shown_at(view, 0.05), left)
    rows = view.locator(".hi-differences tr")
    expect(rows.filter(has_text="Seed").locator("td")).to_have_text([str(right), str(left)])
    expect(rows.filter(has_text="Negative prompt")).to_have_count(0)


PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


@pytest.mark.parametrize("context_options", [PHONE])
def test_on_a_phone(view: Page, past: PastApp, context_options: dict[str, Any]) -> None:
    assert view.evaluate("document.documentElement.scrollWidth") <= 390
    tiles(view).nth(1).locator(".hi-open").tap()
    expect_seed(view, COUNT - 2)
    touch = view.context.new_cdp_session(view)

    def drag(start: tuple[float, float], end: tuple[float, float]) -> None:
        for kind, (x, y) in (("touchStart", start), ("touchMove", end)):
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    drag((300, 200), (120, 205))
    expect_seed(view, COUNT - 3)
    drag((100, 200), (300, 205))
    expect_seed(view, COUNT - 2)
    big(view).get_by_role("button", name="Close").click()
    box = compare_first_and(view, 5).bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    drag((box["x"] + box["width"] * 0.5, y), (box["x"] + box["width"] * 0.1, y))
    assert close(shown_at(view, 0.2), COUNT - 6)
    assert close(shown_at(view, 0.05), COUNT - 1)


def test_no_number_leads_elsewhere(past: PastApp) -> None:
    for name in ("0", "-1", "99999999999999999999", "1e3", "..%2f..%2fconfig.json", "%2e%2e/x"):
        for kind in ("thumbnails", "pictures"):
            answer = httpx.get(f"{past.url}/history/{kind}/{name}", timeout=120)
            assert answer.status_code in (404, 422)
            assert "Traceback" not in answer.text
