"""How many bytes a first visit of the page costs. A later change may not undo what was saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakes import FakeModel, fake_engine
from playwright.sync_api import Browser

import app
from modules.api import create_api
from modules.gallery.history import History
from modules.gallery.saving import Saver
from modules.jobs.queue import JobQueue
from modules.settings import Settings
from tests.browser.conftest import wait_ready, write_checkpoint
from tests.serving import serving

BEFORE = 1_596_201
"""Bytes of a first visit before answers were compressed: 977,763 of them were the page itself."""
MOST = 0.6 * BEFORE


@pytest.fixture
def whole(tmp_path: Path) -> Any:
    """The program as it is served: the API with the page mounted behind it."""
    settings = Settings(data_dir=tmp_path)
    write_checkpoint(settings.checkpoint_dirs[0] / "first.safetensors")
    engine, history = fake_engine(settings, lambda name: FakeModel(name=name)), History(settings.outputs_dir)
    queue = JobQueue(engine, Saver(settings.outputs_dir, history.add))
    yield app.mount_page(create_api(engine, queue, settings), engine, queue, settings, history)
    queue.close()


def test_a_first_visit_costs_at_most_three_fifths_of_what_it_did(browser: Browser, whole: Any) -> None:
    with serving(whole) as url:
        context = browser.new_context()
        page = context.new_page()
        page.set_default_timeout(180_000)  # a busy machine is slow, not wrong
        sizes: list[float] = []
        network = context.new_cdp_session(page)
        network.send("Network.enable")
        network.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
        page.goto(url)
        wait_ready(page)
        context.close()
    assert len(sizes) > 50
    assert sum(sizes) <= MOST, f"{sum(sizes):,.0f} bytes"
