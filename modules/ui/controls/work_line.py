"""The line under the canvas: what Generate will work on, at which size, and what of it comes out.

It is made from the request that Generate would submit, with the functions that carry the request out. The canvas draws
its frames.
"""

from __future__ import annotations

import dataclasses
import html
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from modules.errors import UserError
from modules.imaging.framing import blur_warning, used_mask, working_regions
from modules.imaging.mask import SOFT_REACH, Box, of_size
from modules.request import Img2Img, Inpaint, ResizeMode
from modules.request.options import Options
from modules.ui.canvas.canvas import MaskData
from modules.ui.controls.request_panel import KEEP_PROPORTIONS, Panel
from modules.ui.page.events import AT_ONCE

MakeRequest = Callable[[Mapping[str, Any], MaskData, Options], Img2Img]
"""(the panel's values by name, the canvas' value, the options in force) -> the request of Generate."""

NAMES = ("width", "height", "resize_mode", "mask_invert", "mask_blur", "mask_round", "only_masked",
         "only_masked_padding", "only_masked_frame", "soft", "ddim_loop")
"""The widgets that change what the line says."""

SOFT_EVERYWHERE = "With WebUI 1.10's DDIM loop soft inpainting may change all that it works on."

ON_LOAD = """const tell = () => {
    const line = element.querySelector(".work-line");
    const canvas = document.querySelector("#%s .mc");
    canvas?.dispatchEvent(new CustomEvent("crops", {detail: JSON.parse(line?.dataset.crops ?? "{}")}));
};
new MutationObserver(tell).observe(element, {childList: true, subtree: true, attributes: true, characterData: true});
tell();
element.addEventListener("click", (event) => {
    const chosen = event.target.closest("[data-widget]");
    if (chosen) trigger("click", {widget: chosen.dataset.widget, value: JSON.parse(chosen.dataset.value)});
});"""
"""Sends the frames to the canvas, and a click on a button of the line to the server."""


@dataclass
class Said:
    """What the line says. `crops` are the boxes that are worked on, in pixels of the picture; none for all of it.

    Each of `warnings` is a sentence with the buttons that help: (label, name of a widget, its new value).
    """

    sentence: str
    warnings: list[tuple[str, tuple[tuple[str, str, Any], ...]]] = field(default_factory=list)
    crops: tuple[Box, ...] = ()
    by_hand: bool = False

    def html(self) -> str:
        """The line as HTML, with the crops in an attribute for the canvas."""
        rows = "".join(f'<p class="warn">{html.escape(sentence)} {"".join(map(_button, buttons))}</p>'
                       for sentence, buttons in self.warnings)
        by_hand = _button(("Follow the mask", "only_masked_frame", "")) if self.by_hand else ""
        crops = html.escape(json.dumps({"boxes": self.crops, "byHand": self.by_hand}))
        return (f'<div class="work-line" role="status" data-crops="{crops}"><p>{html.escape(self.sentence)} {by_hand}'
                f'</p>{rows}</div>')


def say(request: Img2Img) -> Said:
    """What the line says of `request`."""
    width, height = request.width, request.height
    picture = request.init_images[0].size
    mask = used_mask(request) if isinstance(request, Inpaint) else None
    regions = working_regions(request, of_size(mask, picture)) \
        if isinstance(request, Inpaint) and mask and request.only_masked else ()
    region = regions[0] if regions else None
    if len(regions) > 1:
        said = Said(f"Works on {len(regions)} spots, each by itself, at {width} x {height}; the rest stays.",
                    crops=tuple(one.box for one in regions))
    elif isinstance(request, Inpaint) and region:
        part = region.size
        said = Said(f"Works on {part[0]} x {part[1]} around the mask, at {width} x {height}; the rest stays.",
                    crops=(region.box,), by_hand=request.frame is not None)
    elif picture == (width, height):
        said = Said(f"Works on the whole picture, {width} x {height}.")
    else:
        said = Said(f"Works on the whole picture; {width} x {height} comes out.")
        _warn_of_shape(said, request, picture)
    if isinstance(request, Inpaint) and (hidden := blur_warning(request)):
        sentence, fitting = hidden
        said.warnings.append((sentence, ((f"Mask blur {fitting}", "mask_blur", fitting),)))
    if isinstance(request, Inpaint) and request.soft and mask and mask.getbbox():
        across = max((one.size[0] / width for one in regions), default=picture[0] / width)
        reach = f"Soft inpainting may change up to {math.ceil(SOFT_REACH * across)} pixels around the mask."
        said.warnings.append((reach if request.options.ddim_loop == "classic" else SOFT_EVERYWHERE, ()))
    if mask is not None and not mask.getbbox():
        said.sentence = "Paint over the part that should change."
    return said


def _warn_of_shape(said: Said, request: Img2Img, picture: tuple[int, int]) -> None:
    """Add a warning if `request` brings the whole picture, of that size, to another shape."""
    if abs(request.width * picture[1] / (request.height * picture[0]) - 1) < 0.01:
        return
    what = {ResizeMode.CROP_AND_RESIZE: "Crop and resize cuts off what does not fit.",
            ResizeMode.RESIZE_AND_FILL: "Resize and fill adds bands at the edges.",
            }.get(request.resize_mode, "Just resize squashes the picture.")
    said.warnings.append((what, ((KEEP_PROPORTIONS, "resize_mode", KEEP_PROPORTIONS),)))


def _button(button: tuple[str, str, Any]) -> str:
    label, widget, value = button
    return (f'<button type="button" data-widget="{widget}" data-value="{html.escape(json.dumps(value))}">'
            f'{html.escape(label)}</button>')


@dataclass
class WorkLine:
    """The line of a tab. Call `draw` below the canvas, and `connect` after the whole tab."""

    panel: Panel
    canvas_id: str
    line: Any = None

    def draw(self) -> None:
        """Draw the line here."""
        self.line = gr.HTML("", js_on_load=ON_LOAD % self.canvas_id, apply_default_css=False,
                            elem_id=self.panel.elem_id("work_line"), elem_classes="work-line-box")

    def connect(self) -> None:
        """Connect the buttons in the line."""
        widgets = self.widgets

        def choose(event: gr.EventData) -> list[Any]:
            return [gr.update(value=event.value) if name == event.widget else gr.skip() for name in widgets]

        self.line.click(choose, None, list(widgets.values()), **AT_ONCE)

    @property
    def widgets(self) -> dict[str, Any]:
        """The widgets of the panel that change what the line says, by name."""
        return {name: self.panel.widgets[name] for name in NAMES if name in self.panel.widgets}

    def text(self, picture: MaskData, arguments: Sequence[Any], options: Options, make_request: MakeRequest) -> str:
        """The line for a canvas' value and all values of the panel, in the order of `Panel.inputs`. Empty without a
        picture, and while a number is being typed (Generate tells of a wrong one)."""
        if picture.image is None:
            return ""
        shown = dataclasses.replace(picture, path=None)  # sizes and mask are enough: the file need not be decoded
        try:
            return say(make_request(self.panel.values(arguments), shown, options)).html()
        except UserError:
            return ""
