"""Browser tests drive the real page in Chromium. No Chromium is a failure, not a reason to skip."""

from __future__ import annotations

import base64
import io
import json
import os
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["GRADIO_TEMP_DIR"] = tempfile.mkdtemp(prefix="browser-tests-")
os.environ["HF_HUB_OFFLINE"] = "1"

import gradio as gr
import pytest
from fakes import FakeModel, fake_engine
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Error, Page, expect, sync_playwright
from playwright.sync_api import TimeoutError as OutOfTime

from modules import ui
from modules.api import cards, datasets
from modules.engine.engine import Engine
from modules.engine.grounding import listed
from modules.errors import CheckpointError
from modules.gallery.history import History
from modules.gallery.saving import Saver
from modules.gallery.thumbnails import Thumbnails
from modules.imaging.click_mask import Box, Click, ClickMasks
from modules.jobs.queue import JobQueue
from modules.settings import Settings
from modules.ui.canvas.canvas import MaskCanvas, MaskData
from tests.browser.canvas_driver import Canvas, photo
from tests.browser.page_driver import settle, tab

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync"]
expect.set_options(timeout=120_000)  # a busy machine is slow, not wrong

ASKS_ITS_PAGE = False
"""Gradio would ask its page first and give up if a busy machine needs more than 3 seconds to answer."""

MORE = """if (!localStorage.getItem("inpaint-webui:more")) localStorage.setItem("inpaint-webui:more", "true")"""
"""The rarer controls are shown, as after a press on More."""

LEAVING = ("AbortError", "Unexpected error Connection errored out", "Unexpected error 404: Not Found",
           "TypeError: network error")
"""What Gradio's script says when a page that waits for the server is left. The last two are of a stream that the page
opened after it had closed the one before: the server ends it, for with the first one it has forgotten the window."""


@dataclass
class CanvasApp:
    """A page with nothing but the canvas. `received` is what the server got; `to_send` is what "Send" gives back."""

    url: str = ""
    received: list[MaskData] = field(default_factory=list)
    to_send: MaskData | Image.Image | Path | None = None


class Masks:
    """As the program makes them without networks; words name boxes like "10 10 80 80"."""

    def by_clicks(self, file: Path, opened: Callable[[], Image.Image], clicks: Sequence[Click], box: Box | None,
                  candidate: int | None) -> Image.Image:
        return ClickMasks(opened()).by_clicks(clicks, box, candidate)

    def by_words(self, file: Path, opened: Callable[[], Image.Image], words: str) -> Image.Image:
        mask = Image.new("L", opened().size)
        for box in listed(words):
            mask.paste(255, tuple(map(int, box.split())))
        return mask

    def subject(self, file: Path, opened: Callable[[], Image.Image]) -> Image.Image:
        return ClickMasks(opened()).in_the_middle()


@pytest.fixture(scope="session")
def canvas_app() -> Iterator[CanvasApp]:
    app = CanvasApp()

    def get(data: MaskData) -> str:
        app.received.append(data)
        return str(len(app.received))

    page_script = "".join((ui.HERE / name).read_text("utf-8") for name in ("windows.js", "page.js"))
    with gr.Blocks() as demo:
        with gr.Tabs() as tabs:
            with gr.Tab("Paint", id="paint"):
                canvas = MaskCanvas(canvas_id="test", elem_id="canvas", masks=Masks())
                get_button = gr.Button("Get", elem_id="get")
                count = gr.Textbox(label="Count", elem_id="count")
            with gr.Tab("Other", id="other"):
                send = gr.Button("Send", elem_id="send")
        get_button.click(get, canvas, count)
        send.click(lambda: (app.to_send, gr.Tabs(selected="paint")), None, [canvas, tabs])
    _, url, _ = demo.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, ssr_mode=False,
                            run_history=False, _frontend=ASKS_ITS_PAGE, show_error=True,
                            head=f"<script>{page_script}</script>")
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


class Visitors:
    """Browsers' contexts that stay from test to test, one for each kind of screen: the scripts of the page are in their
    caches then, and it loads sooner."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: dict[str, BrowserContext] = {}

    @contextmanager
    def page(self, url: str, options: dict[str, Any]) -> Iterator[Page]:
        """An empty page of a visitor of whom `url` knows nothing. At the end nothing went wrong in the browser."""
        kind = json.dumps(options)
        if kind not in self._contexts:
            self._contexts[kind] = self._browser.new_context(**options)
        page, problems = watched(self._contexts[kind], url)
        page.add_init_script(MORE)
        page.context.new_cdp_session(page).send(
            "Storage.clearDataForOrigin", {"origin": url.rstrip("/"), "storageTypes": "local_storage,indexeddb"})
        try:
            yield page
        finally:
            page.close()
        assert not problems


@pytest.fixture(scope="session")
def visitors(browser: Browser) -> Visitors:
    return Visitors(browser)


def watched(context: BrowserContext, allowed: str) -> tuple[Page, list[str]]:
    """A page and a list in which its errors and its requests to other hosts gather."""
    page = context.new_page()
    page.set_default_timeout(180_000)  # for the same reason
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(f"page error: {error}"))
    page.on("console", lambda message: problems.append(f"console: {message.text}")
            if message.type == "error" and not message.text.startswith(LEAVING)
            and not is_gone(message) and not is_ended(message) else None)
    page.on("request", lambda request: None if request.url.startswith((allowed, "blob:", "data:"))
            else problems.append(f"request to {request.url}"))
    return page, problems


def is_gone(message: ConsoleMessage) -> bool:
    """Whether it is of a picture of the history that the page still loads when it is deleted, or that has no route."""
    return "404 (Not Found)" in message.text and "/history/" in message.location["url"]


def is_ended(message: ConsoleMessage) -> bool:
    """Whether it is what Chromium says of a stream of Gradio's that the server ended, as LEAVING says."""
    return "ERR_INCOMPLETE_CHUNKED_ENCODING" in message.text and "/queue/data" in message.location["url"]


@pytest.fixture
def context_options() -> dict[str, Any]:
    """Overridden where a test wants another screen."""
    return {"viewport": {"width": 1280, "height": 900}}


@pytest.fixture
def page(visitors: Visitors, canvas_app: CanvasApp, context_options: dict[str, Any]) -> Iterator[Page]:
    with visitors.page(canvas_app.url, context_options) as page:
        page.goto(canvas_app.url)
        page.wait_for_selector('#canvas .mc[data-ready="true"]')
        yield page


EXAMPLES = ["a red apple", "two cats on the grass"]
SURPRISE = "{a red|a blue} {boat|bird}"
CHINESE_EXAMPLES = ["红色的苹果"]


class Brake:
    """Stops the fake model between steps, so that a test can look at a running job for as long as it likes."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._left: int | None = None

    def allow(self, steps: int | None) -> None:
        """Lets so many more steps happen; None lets all."""
        with self._changed:
            self._left = steps
            self._changed.notify_all()

    def step(self) -> None:
        """Called by the model."""
        with self._changed:
            self._changed.wait_for(lambda: self._left is None or self._left > 0)
            if self._left is not None:
                self._left -= 1


@dataclass
class PageApp:
    """The real page over a model in closed form. Its checkpoints are "first", "second" and "third-broken"."""

    url: str
    engine: Engine
    queue: JobQueue
    brake: Brake
    outputs: Path


@pytest.fixture(scope="session")
def page_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageApp]:
    settings = Settings(data_dir=tmp_path_factory.mktemp("page"))
    for name in ("first", "second", "third-broken"):
        write_checkpoint(settings.checkpoint_dirs[0] / f"{name}.safetensors")
    write_extension(settings, "counter", COUNTER)
    write_extension(settings, "broken", "raise RuntimeError('the moon is full')")
    brake = Brake()

    class Braked(FakeModel):
        def predict(self, *args: Any, **kwargs: Any) -> Any:
            brake.step()
            return super().predict(*args, **kwargs)

    def make_model(name: str) -> FakeModel:
        if name == "third-broken":
            raise CheckpointError("The file third-broken.safetensors ends too early.")
        return Braked(name=name)

    engine = fake_engine(settings, make_model)
    history = History(settings.outputs_dir)
    queue = JobQueue(engine, Saver(settings.outputs_dir, history.add))
    demo = ui.build(engine, queue, settings, history)
    _, url, _ = demo.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, ssr_mode=False,
                            run_history=False, _frontend=ASKS_ITS_PAGE, show_error=False, footer_links=[],
                            allowed_paths=[str(settings.outputs_dir)], **ui.look(demo, settings))
    routes = demo.app.router.routes  # those of Gradio answer whatever comes
    first = len(routes)
    thumbnails = Thumbnails(settings.cache_dir / "thumbnails")
    demo.app.include_router(cards.router(engine.cards, thumbnails))
    demo.app.include_router(datasets.router(settings, thumbnails))
    routes[:] = routes[first:] + routes[:first]
    yield PageApp(url, engine, queue, brake, settings.outputs_dir)
    brake.allow(None)
    queue.close()
    demo.close()


def write_checkpoint(path: Path) -> None:
    """A file that the catalog lists, with words in its metadata as a real one has; nothing ever loads it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    thumbnail = io.BytesIO()
    Image.new("RGB", (40, 40), "red").save(thumbnail, "WEBP")
    made_for = {"native_size": "256", "guidance": "4"} if path.stem == "second" else {"native_size": "512"}
    metadata = {"name": path.stem, **made_for,
                "words": json.dumps({"objects": ["boat"], "examples": {"Things": EXAMPLES},
                                     "surprise": SURPRISE, "zh": {"boat": "船", "examples": CHINESE_EXAMPLES}}),
                "thumbnails": json.dumps([base64.b64encode(thumbnail.getvalue()).decode()])}
    header = json.dumps({"__metadata__": metadata}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)


COUNTER = """
from modules.hookspecs import hookimpl
from modules.scripts.script import Input

@hookimpl
def register_settings():
    return [Input(name="neighbours", label="Grow, pixels", kind="slider", default=5, low=1, high=20, step=1,
                  help="By how many pixels the area grows on all sides. Raise it where too little is covered.")]
"""
"""An extension with a setting."""


def write_extension(settings: Settings, name: str, code: str) -> None:
    """An extension beside those that come with the program."""
    folder = settings.data_dir / "extensions" / name
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(f'"""An extension of the tests."""\n{code}\n', "utf-8")


@pytest.fixture
def web(visitors: Visitors, page_app: PageApp, context_options: dict[str, Any]) -> Iterator[Page]:
    """The page, loaded. At the end nothing runs any more."""
    with visitors.page(page_app.url, context_options) as page:
        open_page(page, page_app.url)
        yield page
        page_app.brake.allow(None)
        for job in (*page_app.queue.pending(), *filter(None, [page_app.queue.current])):
            page_app.queue.interrupt(job.id)
            assert job.wait(60)


def open_page(page: Page, url: str) -> None:
    """Goes to the page and waits until it has what it loads from the server."""
    try:
        page.goto(url)
    except Error as error:  # a busy Chromium sometimes gives up a navigation to the page that it shows
        if "ERR_ABORTED" not in error.message:
            raise
        page.goto(url)
    page.wait_for_selector('#inpaint_canvas .mc[data-ready="true"]', state="attached")
    page.wait_for_selector("#model_status [role=status]")
    page.wait_for_selector("#inpaint_examples button", state="attached")
    wait_ready(page)


def wait_ready(page: Page, language: str = "") -> None:
    """Until the tabs have their values: what is written before that may be overwritten."""
    wanted = f"[lang={language}]" if language else ""
    try:
        page.wait_for_selector(f"html{wanted}[data-ready]")
        settle(page)
    except OutOfTime as error:
        state = page.locator("html").evaluate(
            "(root) => [location.href, document.readyState, root.lang, root.dataset.ready, {...localStorage}]")
        waiting = [request.url for request in page.requests() if request.timing["responseEnd"] < 0]
        said = [message.text for message in page.console_messages()]
        raise AssertionError(f"The page is not ready: {state}, waiting for {waiting}, it said {said}") from error


@pytest.fixture
def picture_size() -> tuple[int, int]:
    """Of the picture in `painting`; overridden where a test wants another."""
    return 512, 512


@pytest.fixture
def painting(web: Page, picture_size: tuple[int, int], tmp_path: Path) -> Canvas:
    """The inpaint tab with a picture, photo.png in the test's folder."""
    tab(web, "inpaint")
    canvas = Canvas(web, [], "#inpaint_canvas")
    canvas.open(photo(tmp_path / "photo.png", picture_size))
    return canvas
