"""Browser tests drive the real page in Chromium. No Chromium is a failure, not a reason to skip."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["GRADIO_TEMP_DIR"] = tempfile.mkdtemp(prefix="browser-tests-")
os.environ["HF_HUB_OFFLINE"] = "1"

import gradio as gr
import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from modules.ui.canvas import MaskCanvas, MaskData

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync"]


@dataclass
class CanvasApp:
    """A page with nothing but the canvas. `received` is what the server got; `to_send` is what "Send" gives back."""

    url: str = ""
    received: list[MaskData] = field(default_factory=list)
    to_send: MaskData | Image.Image | Path | None = None


@pytest.fixture(scope="session")
def canvas_app() -> Iterator[CanvasApp]:
    app = CanvasApp()

    def get(data: MaskData) -> str:
        app.received.append(data)
        return str(len(app.received))

    with gr.Blocks() as demo:
        with gr.Tabs() as tabs:
            with gr.Tab("Paint", id="paint"):
                canvas = MaskCanvas(canvas_id="test", elem_id="canvas")
                get_button = gr.Button("Get", elem_id="get")
                count = gr.Textbox(label="Count", elem_id="count")
            with gr.Tab("Other", id="other"):
                send = gr.Button("Send", elem_id="send")
        get_button.click(get, canvas, count)
        send.click(lambda: (app.to_send, gr.Tabs(selected="paint")), None, [canvas, tabs])
    _, url, _ = demo.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, ssr_mode=False,
                            run_history=False, show_error=True)
    app.url = url
    yield app
    demo.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if not Path(CHROMIUM).exists():
        pytest.fail(f"The browser tests need Chromium at {CHROMIUM} (or name it in the variable CHROMIUM).")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def watched(context: BrowserContext, allowed: str) -> tuple[Page, list[str]]:
    """A page and a list in which its errors and its requests to other hosts gather."""
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(f"page error: {error}"))
    page.on("console", lambda message: problems.append(f"console: {message.text}")
            if message.type == "error" and "404" not in message.text else None)
    page.on("request", lambda request: None if request.url.startswith((allowed, "blob:", "data:"))
            else problems.append(f"request to {request.url}"))
    return page, problems


@pytest.fixture
def context_options() -> dict[str, Any]:
    """Overridden where a test wants another screen."""
    return {"viewport": {"width": 1280, "height": 900}}


@pytest.fixture
def page(browser: Browser, canvas_app: CanvasApp, context_options: dict[str, Any]) -> Iterator[Page]:
    context = browser.new_context(**context_options)
    page, problems = watched(context, canvas_app.url)
    page.goto(canvas_app.url)
    page.wait_for_selector('#canvas .mc[data-ready="true"]')
    yield page
    context.close()
    assert not problems
