"""Moves the canvas of a page the way a hand does, and draws the ideal result independently."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page, expect

from modules.ui.canvas.canvas import MaskData

Point = tuple[float, float]
Bits = NDArray[np.bool_]


class Canvas:
    """The mask canvas `selector` of `page`. Points are in picture pixels."""

    def __init__(self, page: Page, received: list[MaskData], selector: str = "#canvas") -> None:
        self.page = page
        self.received = received
        self.root = page.locator(f"{selector} .mc")

    def choose(self, path: Path, kind: str = "choose") -> None:
        self.root.locator(f'[data-file="{kind}"]').set_input_files(str(path))

    def wait_size(self, width: int, height: int) -> None:
        expect(self.root).to_have_attribute("data-image-size", f"{width}x{height}")
        self.wait_synced()

    def wait_synced(self) -> None:
        expect(self.root).to_have_attribute("data-synced", "true")

    def open(self, path: Path) -> None:
        self.choose(path)
        with Image.open(path) as image:
            self.wait_size(*image.size)

    def press(self, name: str) -> None:
        """Presses a tool; one that the row has no room for is in the menu."""
        tool = self.root.locator(f'.mc-tools [data-act="{name}"]')
        if not tool.is_visible():
            self.root.locator('[data-act="more"]').click()
        tool.click()
        if self.root.locator(".mc-more").is_visible():
            self.page.keyboard.press("Escape")

    def set_brush(self, diameter: int) -> None:
        """The brush takes the size that the slider allows next to `diameter`."""
        slider = self.root.locator('[data-set="size"]')
        slider.evaluate("(it, value) => { it.value = value; it.dispatchEvent(new Event('input')); }",
                        str(round(10 * float(np.log2(diameter)))))

    @property
    def brush(self) -> int:
        text = self.root.locator(".mc-size-text").inner_text()
        return int(text.split()[0])

    @property
    def coverage(self) -> float:
        return float(self.root.get_attribute("data-mask-coverage") or "nan")

    def matrix(self) -> tuple[float, float, float]:
        """(scale, left, top) of the picture on the screen, read when the layout has settled."""
        self.page.evaluate("() => new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))")
        transform = self.root.locator(".mc-stage").evaluate("it => it.style.transform")
        scale, _, _, _, x, y = (float(number) for number in re.findall(r"-?[\d.]+(?:e-?\d+)?", transform))
        box = self.root.locator(".mc-view").bounding_box()
        assert box is not None
        return scale, box["x"] + x, box["y"] + y

    def screen(self, points: Sequence[Point]) -> tuple[list[tuple[int, int]], list[Point]]:
        """Whole screen pixels near `points`, and where in the picture those are."""
        scale, left, top = self.matrix()
        on_screen = [(round(left + x * scale), round(top + y * scale)) for x, y in points]
        return on_screen, [((x - left) / scale, (y - top) / scale) for x, y in on_screen]

    def drag(self, points: Sequence[Point], *, button: str = "left", steps: int = 4) -> list[Point]:
        """Presses, moves along `points` and lets go. Returns the points that were really hit."""
        on_screen, hit = self.screen(points)
        mouse = self.page.mouse
        mouse.move(*on_screen[0])
        mouse.down(button=button)  # type: ignore[arg-type]
        for x, y in on_screen[1:]:
            mouse.move(x, y, steps=steps)
        mouse.up(button=button)  # type: ignore[arg-type]
        return hit

    def get(self) -> MaskData:
        """What the server receives when a button is pressed now."""
        expected = str(len(self.received) + 1)
        self.page.locator("#get").click()
        expect(self.page.locator("#count textarea")).to_have_value(expected)
        return self.received[-1]

    def mask(self) -> Bits:
        data = self.get()
        assert data.image is not None
        if data.mask is None:
            return np.zeros(data.image.size[::-1], dtype=bool)
        assert set(np.unique(np.asarray(data.mask))) <= {0, 255}
        return np.asarray(data.mask) > 127


def ideal(size: tuple[int, int], inside: Callable[[NDArray[np.float64], NDArray[np.float64]], Bits]) -> Bits:
    """The pixels of a (width, height) picture whose centres are inside."""
    x, y = np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5)
    return inside(x, y)


def ideal_stroke(size: tuple[int, int], points: Sequence[Point], diameter: float) -> Bits:
    """What a round brush covers along `points`: every pixel centre within half a `diameter` of the line."""

    def near(x: NDArray[np.float64], y: NDArray[np.float64]) -> Bits:
        covered = np.zeros(x.shape, dtype=bool)
        for (ax, ay), (bx, by) in itertools.pairwise(points):
            dx, dy = bx - ax, by - ay
            along = np.clip(((x - ax) * dx + (y - ay) * dy) / max(dx * dx + dy * dy, 1e-12), 0, 1)
            covered |= np.hypot(x - ax - along * dx, y - ay - along * dy) <= diameter / 2
        return covered

    return ideal(size, near)


def iou(a: Bits, b: Bits) -> float:
    """Overlap of two masks: 1 when they are the same."""
    union = int(np.count_nonzero(a | b))
    return int(np.count_nonzero(a & b)) / union if union else 1.0


def photo(path: Path, size: tuple[int, int], mode: str = "RGB") -> Path:
    """A picture with something in it, saved at `path`."""
    x = np.linspace(0, 255, size[0], dtype=np.float32)[None, :]
    y = np.linspace(0, 255, size[1], dtype=np.float32)[:, None]
    channels = [x + 0 * y, y + 0 * x, (x + y) / 2]
    if mode == "RGBA":
        channels.append(np.where((x > 100) & (y > 100), 0, 255))
    Image.fromarray(np.stack(channels, -1).astype(np.uint8), mode).save(path)
    return path
