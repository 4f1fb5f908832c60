"""The sections of a tab that a switch opens: hires fix, refiner, soft inpainting. A closed one has no effect."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import gradio as gr

from modules.engine.engine import Engine
from modules.errors import UserError
from modules.request import SoftInpainting, Txt2Img
from modules.request.fields import declared, find
from modules.ui.canvas.canvas import MaskCanvas, MaskData
from modules.ui.controls.request_panel import MASK_MODES, SAME, Panel, control, field_of, names_of
from modules.ui.controls.soft_preview import noise_levels, soft_html
from modules.ui.page.events import AT_ONCE, QUIET
from modules.ui.page.help import explain


@contextlib.contextmanager
def more(panel: Panel) -> Iterator[None]:
    """Draw the button that shows and hides the rarer controls, and those below it. A script remembers which. style.css
    hides them, so that they always exist."""
    gr.HTML(f'<button type="button" class="more-open" data-tab="{panel.tab}">More<span></span></button>',
            apply_default_css=False, padding=False, js_on_load=None, elem_classes="more-box")
    with gr.Column(elem_classes="more"):
        yield


@contextlib.contextmanager
def switch(panel: Panel, name: str, label: str, help: str) -> Iterator[None]:
    """Draw a check box with a body that is visible while it is checked. style.css hides the body, so its widgets always
    exist."""
    with gr.Column(elem_classes="switch"):
        panel.add(name, explain(gr.Checkbox(False, label=label, elem_id=panel.elem_id(name),
                                            elem_classes="switch-head"), help))
        with gr.Column(elem_classes="switch-body"):
            yield


def hires_fix(panel: Panel) -> None:
    """Draw hires fix: a second pass on the enlarged picture."""
    about = find(panel.request, "enable_hr")
    with switch(panel, "enable_hr", about.label, about.help):
        size = gr.HTML("", elem_id=panel.elem_id("hires_size"), elem_classes="hires-size", js_on_load=None,
                       apply_default_css=False)
        with gr.Row(elem_classes="tight"):
            names_of(panel, "hr_upscaler", "Latent")
            field_of(panel, "hr_second_pass_steps", min_width=140)
        field_of(panel, "denoising_strength", value=0.7)
        field_of(panel, "hr_scale")
        with gr.Row(elem_classes="tight"):
            field_of(panel, "hr_resize_x", min_width=140)
            field_of(panel, "hr_resize_y", min_width=140)
        with gr.Accordion("Hires checkpoint, sampler and prompts", open=False, elem_classes="fold"):
            names_of(panel, "hr_checkpoint", SAME["hr_checkpoint"])
            with gr.Row(elem_classes="tight"):
                names_of(panel, "hr_sampler", SAME["hr_sampler"])
                names_of(panel, "hr_scheduler", SAME["hr_scheduler"])
            for name, same in (("hr_prompt", "The prompt of the first pass"),
                               ("hr_negative_prompt", "That of the first pass")):
                about = find(panel.request, name)
                panel.add(name, explain(gr.Textbox(label=about.label, lines=2, max_lines=6, placeholder=same,
                                                   elem_id=panel.elem_id(name)), about.help))
    names = ("enable_hr", "width", "height", "hr_scale", "hr_resize_x", "hr_resize_y")
    widgets = [panel.widgets[name] for name in names]
    gr.on([widget.change for widget in widgets], _hires_size, widgets, size, trigger_mode="always_last",
          **AT_ONCE)


def _hires_size(on: bool, width: float, height: float, scale: float, x: float, y: float) -> str:
    """The two sizes as HTML. Empty while a field has no valid number, as when it is emptied to type another one."""
    from modules.generation.hires import hires_size

    try:
        size = hires_size(Txt2Img(enable_hr=on, width=int(width), height=int(height), hr_scale=float(scale),
                                  hr_resize_x=int(x), hr_resize_y=int(y))).cut
    except (TypeError, ValueError, UserError):
        return ""
    return f"<p>from <b>{int(width)}x{int(height)}</b> to <b>{size[0]}x{size[1]}</b></p>" if on else ""


def refiner(panel: Panel) -> None:
    """Draw the refiner: another checkpoint that takes over during sampling."""
    with switch(panel, "refiner", "Refiner",
                "Lets another checkpoint finish the picture. Use it with a pair that was made for this."):
        names_of(panel, "refiner_checkpoint", SAME["refiner_checkpoint"])
        field_of(panel, "refiner_switch_at", value=0.8)


def soft_inpainting(panel: Panel) -> gr.HTML:
    """Draw soft inpainting, which blends the soft parts of the mask gradually. Returns the place for the preview."""
    with switch(panel, "soft", "Soft inpainting",
                "Blends where the mask is soft, by how much really changed. Use it with a high mask blur."):
        view = gr.HTML("", elem_id=panel.elem_id("soft_view"), elem_classes="starts-strip", js_on_load=None,
                       apply_default_css=False)
        for item in declared(SoftInpainting):
            control(panel, item, item.default, widget=f"soft_{item.name}")
    return view


def connect_soft_view(panel: Panel, engine: Engine, canvas: MaskCanvas, view: gr.HTML) -> None:
    """Connect the preview of the blend. All widgets of the panel must have been drawn before."""
    names = ("soft", "soft_power", "soft_scale", "mask_invert", "mask_blur", "sampler", "scheduler", "steps",
             "denoising_strength", "width", "height", "ddim_loop")
    widgets = [panel.widgets[name] for name in names]

    def show(picture: MaskData, *values: Any) -> str:
        return soft_view(engine, picture, *values)

    # Not FOLLOWING, which the previews of the masked content use. When a FOLLOWING event ends, Gradio repeats every
    # FOLLOWING event of the same control, so two of them would trigger each other for ever.
    gr.on([canvas.change, *(widget.change for widget in widgets)], show, [canvas, *widgets], view,
          trigger_mode="multiple", **QUIET)


def soft_view(engine: Engine, picture: MaskData, on: bool, power: float, scale: float, mask_mode: str, blur: float,
              sampler: str, schedule: str, steps: float, strength: float, width: float, height: float,
              ddim_loop: str) -> str:
    """The preview of the blend as HTML, with the noise schedule of the checkpoint in use. Empty while soft inpainting
    is off, or a field holds no valid number or name."""
    if not on:
        return ""
    try:
        levels = noise_levels(sampler, schedule, int(steps), float(strength), ddim_loop,
                              engine.loaded.model if engine.loaded else None)
        return soft_html(picture, levels, invert=MASK_MODES[mask_mode], blur=int(blur), size=(int(width), int(height)),
                         power=float(power), scale=float(scale))
    except (TypeError, ValueError, UserError):
        return ""

