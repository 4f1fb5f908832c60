"""The button that sets a few steps, on the real page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect
from safetensors.numpy import save_file

from tests.browser.conftest import PageApp
from tests.browser.page_driver import generate, set_number, tab

NAME = "lcm-lora-sdv1-5"


@pytest.fixture
def lora(page_app: PageApp) -> Iterator[Path]:
    """Where a LoRA of four steps can lie, which is gone at the end."""
    path = page_app.engine.settings.models_dir / "Lora" / f"{NAME}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    yield path
    path.unlink(missing_ok=True)
    page_app.engine.networks.refresh()


def test_it_is_there_with_such_a_file_and_sets_what_the_file_needs(web: Page, lora: Path) -> None:
    tab(web, "txt2img")
    button, refresh = web.locator("#txt2img_fast"), web.locator("#refresh_sd_model_checkpoint")
    expect(web.locator("#txt2img_steps")).to_be_visible()
    expect(button).to_be_hidden()
    save_file({"x": np.zeros(1, np.float32)}, lora)
    refresh.click()
    expect(button).to_have_text("Fast: 4 steps")
    web.fill("#txt2img_prompt textarea", "a boat")
    set_number(web, "txt2img_steps", 30)
    button.click()
    prompt = web.locator("#txt2img_prompt textarea")
    expect(prompt).to_have_value(f"a boat<lora:{NAME}:1>")
    expect(web.locator("#txt2img_sampling input")).to_have_value("LCM")
    expect(web.locator("#txt2img_scheduler input")).to_have_value("Simple")
    button.click()
    text = generate(web, "txt2img")
    assert f"a boat<lora:{NAME}:1>\n" in text
    assert "Steps: 4, Sampler: LCM, Schedule type: Simple, CFG scale: 1" in text
    lora.unlink()
    refresh.click()
    expect(button).to_be_hidden()
