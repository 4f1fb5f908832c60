"""Outpainting on the inpaint tab: the picture on the canvas grows, and the new part becomes the mask."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from modules.errors import InvalidInput
from modules.imaging.outpaint import Sides, grow_mask, grow_paint, grow_picture
from modules.ui.canvas.canvas import MaskCanvas, MaskData
from modules.ui.controls import numbers
from modules.ui.controls.numbers import Slider
from modules.ui.controls.request_panel import Panel
from modules.ui.page.events import QUIET
from modules.ui.page.help import explain
from modules.ui.page.messages import told

SIDES = ("left", "right", "up", "down")
SHOW_FRAME = """(sides, pixels) => {
    const by = (side) => (sides.includes(side) ? pixels : 0);
    const detail = {left: by("left"), up: by("up"), right: by("right"), down: by("down")};
    document.querySelector("#%s .mc").dispatchEvent(new CustomEvent("frame", {detail}));
    return [];
}"""
"""Draws the outline of the grown picture on the canvas."""


@dataclass
class Outpainting:
    """The accordion with sides, pixels and button. Call `draw` below the canvas, and `connect` after the whole tab."""

    panel: Panel
    widgets: dict[str, Any] = field(default_factory=dict)

    def draw(self) -> None:
        """Draw the accordion here."""
        name = self.panel.elem_id
        with gr.Accordion("Outpainting", open=False, elem_classes="fold", elem_id=name("outpainting")) as fold:
            with gr.Row(elem_classes="tight"):
                sides = explain(
                    gr.CheckboxGroup(list(SIDES), label="Outpainting direction", elem_classes="compact",
                                     min_width=220, elem_id=name("outpaint_sides")),
                    "The sides at which the picture grows. One side at a time gives the best results.")
                pixels = explain(
                    Slider(8, 512, value=128, step=8, label="Pixels to expand", min_width=180, buttons=[],
                           elem_id=name("outpaint_pixels")),
                    "By how many pixels each chosen side grows. 128 is a good step; do it again for more.")
            button = gr.Button("Extend", size="sm", elem_id=name("extend"))
        self.widgets = {"fold": fold, "sides": sides, "pixels": pixels, "button": button}

    def connect(self, canvas: MaskCanvas) -> None:
        """Connect the accordion. `page.js` makes the size of the request follow the picture's."""
        fold, sides, pixels, button = self.widgets.values()
        show_frame = SHOW_FRAME % canvas.elem_id
        gr.on([sides.change, pixels.change, fold.expand], None, [sides, pixels], None, js=show_frame, **QUIET)
        fold.collapse(None, None, None, js=f"() => ({show_frame})([], 0)", **QUIET)
        button.click(self.extend, [canvas, sides, pixels], [canvas, sides], **QUIET)

    @told
    def extend(self, picture: MaskData, chosen: list[str], pixels: float) -> tuple[MaskData, list[str]]:
        """The canvas' new value, and an empty choice of sides. Raises InvalidInput."""
        image = picture.chosen()
        numbers.check(self.widgets, {"pixels": pixels})
        grown = sides_of(chosen, pixels)
        new = MaskData(image=grow_picture(image, grown), as_step=True,
                       mask=grow_mask(picture.mask, image.size, grown),
                       paint=grow_paint(picture.paint, grown) if picture.paint else None)
        return new, []


def sides_of(chosen: list[str], pixels: float) -> Sides:
    """The widgets' values as `Sides`, rounded to multiples of 8 pixels. Raises InvalidInput if no side is chosen."""
    if not chosen:
        raise InvalidInput("Choose at least one side to extend.")
    whole = round(pixels / 8) * 8
    return Sides(**{side: whole for side in SIDES if side in chosen})
