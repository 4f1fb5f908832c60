"""What a person does on the real page, and what they see."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image
from playwright.sync_api import Page, expect
from playwright.sync_api import TimeoutError as OutOfTime

from modules.jobs.queue import JobQueue


def tab(page: Page, name: str) -> None:
    """Opens a tab of the page; those that a narrow screen has no room for are in a menu.

    Which those are may change while one looks, when Gradio measures the bar: then it is looked for again.
    """
    shown = page.get_by_role("tab", name=name, exact=True)
    menu = page.locator(".overflow-menu > button").first
    entry = page.locator(".overflow-dropdown").first.get_by_role("button", name=name, exact=True)
    for _ in range(100):
        found = next((one for one in (shown, entry, menu) if one.is_visible()), None)
        try:
            if found:
                found.click(timeout=2000)
            settle(page)
        except OutOfTime:
            continue
        if found in (shown, entry):
            return
    raise AssertionError(f"There is no tab {name}.")


def settle(page: Page) -> None:
    """Waits until Gradio has measured the bar of tabs and, where a tab was opened for the first time, has written the
    values of its controls once more; both it does in the next frames."""
    page.evaluate("""async () => {
        for (let frames = 0; frames < 3; frames++) await new Promise(requestAnimationFrame);
    }""")


def set_number(page: Page, elem_id: str, value: int) -> None:
    box = page.locator(f"#{elem_id} input[type=number]")
    box.fill(str(value))
    box.press("Tab")


def order(page: Page, button: str, queue: JobQueue) -> None:
    """Presses Interrupt or Skip while a job stands still, and waits until it has heard it."""
    page.locator(f"#{button}").click()
    job = queue.current
    assert job is not None
    until(page, lambda: job.interrupted or job.skipped)


def until(page: Page, holds: Callable[[], bool]) -> None:
    """Waits, while the page goes on, for something on the server that what was done there brings about."""
    for _ in range(5000):
        if holds():
            return
        page.evaluate("new Promise(requestAnimationFrame)")
    raise AssertionError("That did not reach the server.")


def generate(page: Page, name: str) -> str:
    """Presses Generate and waits until there is a new picture; its parameters text."""
    picture = page.locator(f"#{name}_gallery img").first
    address = "data-picture" if name == "inpaint" else "src"
    before = picture.get_attribute(address) if picture.count() else None
    page.locator(f"#{name}_generate").click()
    if before:
        expect(picture).not_to_have_attribute(address, before)  # every picture has a file of its own
    return wait_result(page, name)


def wait_result(page: Page, name: str) -> str:
    expect(page.locator(f"#{name}_infotext textarea")).to_have_value(re.compile("Steps: "))
    expect(page.locator(f"#{name}_interrupt")).to_be_hidden()
    return page.locator(f"#{name}_infotext textarea").input_value()


def shown_picture(page: Page, name: str) -> Image.Image:
    """What the gallery shows, as the server sends it."""
    shown = page.locator(f"#{name}_gallery img").first
    source = shown.get_attribute("data-picture") or shown.get_attribute("src")
    assert source is not None
    return Image.open(io.BytesIO(page.request.get(source).body()))


def stage(page: Page, name: str) -> Any:
    return page.locator(f"#{name}_stage [role=status]")


def with_text(path: Path, text: str) -> Path:
    """A JPEG that says in its EXIF how it was made, as WebUI writes it."""
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = b"UNICODE\0" + text.encode("utf-16-be")
    Image.linear_gradient("L").convert("RGB").save(path, "JPEG", exif=exif)
    return path
