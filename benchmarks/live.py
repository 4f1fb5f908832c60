"""python -m benchmarks live: live painting with the included checkpoint, in Chromium.

The time is from lifting the mouse after a stroke to the frame in which the canvas shows the new result. The first
stroke loads the checkpoint and is not counted.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from benchmarks.cards import CHROMIUM
from benchmarks.start import PROJECT, server
from benchmarks.timing import Row, medians

STEPS = 4
LIMIT = 300.0
SAMPLE = PROJECT / "modules" / "ui" / "canvas" / "sample.jpg"
WATCH = """() => {
    const root = document.querySelector("#inpaint_canvas .mc"), shown = root.querySelector(".mc-preview");
    let lifted = 0;
    window.taken = [];
    root.addEventListener("pointerup", () => void (lifted = performance.now()), {capture: true});
    root.addEventListener("live", async ({detail}) => {
        if (!detail) return;
        await shown.decode();
        await new Promise(requestAnimationFrame);
        window.taken.push(performance.now() - lifted);
    });
}"""


def run(*, rounds: int) -> list[Row]:
    """The time of a stroke's answer."""
    with (tempfile.TemporaryDirectory() as folder,
          server("/", "--data-dir", folder, "--ckpt-dir", str(PROJECT / "models" / "Stable-diffusion")) as address,
          sync_playwright() as playwright):
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 1000})
        page.set_default_timeout(120_000)
        page.goto(address)
        page.wait_for_selector("html[data-ready]")
        page.locator('#inpaint_canvas [data-file="choose"]').set_input_files(Path(SAMPLE))
        page.wait_for_selector('#inpaint_canvas .mc[data-image-size*="x"][data-synced="true"]')
        page.fill("#inpaint_prompt textarea", "a red boat")
        steps = page.locator("#inpaint_steps input[type=number]")
        steps.fill(str(STEPS))
        steps.press("Tab")
        page.locator("#inpaint_live input").check()
        page.evaluate(WATCH)
        box = page.locator("#inpaint_canvas .mc-view").bounding_box()
        assert box is not None
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        for stroke in range(1 + max(rounds, 10)):
            page.mouse.move(x - 40, y + 6 * stroke)
            page.mouse.down()
            page.mouse.move(x + 40, y + 6 * stroke, steps=4)
            page.mouse.up()
            page.wait_for_function("(count) => window.taken.length > count", arg=stroke)
        taken = medians({"live": page.evaluate("window.taken.slice(1)")})["live"]
        browser.close()
    return [Row(f"Live painting, {STEPS} steps: last stroke to the new preview", taken, LIMIT, "a limit", "ms", 1.0)]
