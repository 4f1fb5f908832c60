"""python -m benchmarks cards: the panel of LoRA cards under the prompt with thousands of files, in Chromium.

The time is from the click to the next picture of the screen with cards in it. The first opening asks the server and is
not counted.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright
from safetensors.numpy import save_file

from benchmarks.start import server
from benchmarks.timing import Row, medians

MANY = 5000
LIMIT = 100.0
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
OPEN = """async () => {
    const view = document.querySelector("#txt2img_cards"), button = view.querySelector("[data-kind=loras]");
    const frame = () => new Promise(requestAnimationFrame);
    const began = performance.now();
    button.click();
    while (!view.querySelector(".card")) await frame();
    await frame();
    const taken = performance.now() - began;
    button.click();
    while (view.querySelector("section").checkVisibility()) await frame();
    for (const card of view.querySelectorAll(".card")) card.remove();
    return taken;
}"""


def run(*, rounds: int) -> list[Row]:
    """The time of an opening."""
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / "models" / "Lora"
        files.mkdir(parents=True)
        for number in range(MANY):
            save_file({"x": np.zeros(1, np.float32)}, files / f"paint {number:04}.safetensors",
                      {"ss_output_name": f"paint {number:04}"})
        with server("/", "--data-dir", folder) as address, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1440, "height": 1000})
            page.goto(address)
            page.locator("#tab_txt2img-button").click()
            page.wait_for_selector("#txt2img_cards [data-kind=loras]", state="visible")
            page.evaluate(OPEN)
            taken = medians({"open": [page.evaluate(OPEN) for _ in range(max(rounds, 5))]})["open"]
            browser.close()
    return [Row(f"Open {MANY:,} LoRA cards", taken, LIMIT, "a limit", "ms", 1.0)]
