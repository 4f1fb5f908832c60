"""The widgets of a request, and the only place where widgets become a request.

A `Panel` is a tab's widgets by name. Names are those of the request's fields and of the options, plus a few of the
page's own: `seed_locked`, `mask_blur` for both of its directions, `styles`, the switches of refiner and soft inpainting
(`refiner`, `soft`), soft inpainting's numbers (`soft_power`, ...), and `overrides`, options that have no widget.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import gradio as gr
from gradio.components import Component
from PIL import Image

from modules.errors import InvalidInput
from modules.imaging import sketch
from modules.request import MASKED_CONTENT, RANDOM_SEEDS, Img2Img, Inpaint, ResizeMode, SoftInpainting, Txt2Img
from modules.request.options import Options
from modules.settings import Settings
from modules.text.infotext import OPTION_KEYS
from modules.ui.canvas.canvas import MaskData
from modules.ui.controls import numbers
from modules.ui.controls.numbers import Number, Slider
from modules.ui.page.events import AT_ONCE, QUIET

RESIZE_MODES = {"Just resize": ResizeMode.JUST_RESIZE, "Crop and resize": ResizeMode.CROP_AND_RESIZE,
                "Resize and fill": ResizeMode.RESIZE_AND_FILL,
                "Just resize (latent upscale)": ResizeMode.LATENT_UPSCALE}
MASK_MODES = {"Inpaint masked": False, "Inpaint not masked": True}
AREAS = {"Whole picture": False, "Only masked": True}

SAME = {"hr_checkpoint": "Use same checkpoint", "hr_sampler": "Use same sampler", "hr_scheduler": "Use same scheduler",
        "refiner_checkpoint": "None"}
"""What the dropdowns say for an empty name."""

LARGEST_SEED = 2**53 - 1
"""Numbers in a browser are exact up to here; programs may go further."""
_OPTION_NAMES = frozenset(item.name for item in fields(Options))
_WHOLE = ("steps", "width", "height", "n_iter", "batch_size", "seed", "subseed", "seed_resize_from_w",
          "seed_resize_from_h", "mask_blur", "only_masked_padding", "hr_second_pass_steps", "hr_resize_x",
          "hr_resize_y")
_SOFT = {f"soft_{item.name}": item.name for item in fields(SoftInpainting)}
_RANDOM = ("seed", "subseed")


@dataclass
class Panel:
    """The widgets of one tab by name. `tab` ("inpaint") is the beginning of their element ids.

    They are Any because Gradio makes the event methods of its components at run time.
    """

    tab: str
    settings: Settings
    widgets: dict[str, Any] = field(default_factory=dict)

    def add(self, name: str, widget: Component) -> Any:
        """Takes `widget` up under `name`."""
        self.widgets[name] = widget
        return widget

    def elem_id(self, name: str) -> str:
        """The element id of the widget `name`."""
        return f"{self.tab}_{name}"

    @property
    def from_picture(self) -> bool:
        """Whether the tab starts from a picture."""
        return self.tab != "txt2img"

    @property
    def masked(self) -> bool:
        """Whether the tab has a mask."""
        return self.tab == "inpaint"

    def values(self, arguments: Sequence[Any]) -> dict[str, Any]:
        """An event's arguments, which came in the order of `inputs`, by name. Raises InvalidInput for a number that its
        widget does not allow."""
        return numbers.by_name(self.widgets, arguments)

    @property
    def inputs(self) -> list[Component]:
        """All widgets, as an event's inputs or outputs."""
        return list(self.widgets.values())

    def updates(self, request_values: Mapping[str, Any], *, locked: bool) -> list[Any]:
        """For each widget in turn its new value, or "leave it". A locked seed stays."""
        shown = {name: value for name, value in _for_widgets(request_values) if not (locked and name in _RANDOM)}
        return [gr.update(value=shown[name]) if name in shown else gr.skip() for name in self.widgets]


# --- from widgets to a request

def to_txt2img(values: Mapping[str, Any], options: Options) -> Txt2Img:
    """The txt2img tab's request. Raises InvalidInput naming what does not fit."""
    names = ("hr_scale", "hr_second_pass_steps", "hr_resize_x", "hr_resize_y", "denoising_strength")
    return Txt2Img(
        **_common(values, options), enable_hr=bool(values["enable_hr"]), hr_upscaler=values["hr_upscaler"] or "Latent",
        hr_prompt=values["hr_prompt"] or "", hr_negative_prompt=values["hr_negative_prompt"] or "",
        hr_checkpoint=_name(values, "hr_checkpoint"), hr_sampler=_name(values, "hr_sampler"),
        hr_scheduler=_name(values, "hr_scheduler"), **{name: _number(values, name) for name in names})


def to_img2img(values: Mapping[str, Any], picture: MaskData, options: Options) -> Img2Img:
    """The img2img tab's request. Raises InvalidInput."""
    image = picture.chosen()
    if picture.paint:
        image = sketch.lay(image, picture.paint)
    return Img2Img(**_common(values, options), **_start(values, image))


def to_inpaint(values: Mapping[str, Any], picture: MaskData, options: Options) -> Inpaint:
    """The inpaint tab's request; where nothing is painted the mask is all black. Raises InvalidInput."""
    image, mask, blur = picture.chosen(), picture.mask, _number(values, "mask_blur")
    if picture.paint:
        image, mask = sketch.inpaint_sketch(image, mask, picture.paint, blur)
    mask = mask or Image.new("L", image.size)
    return Inpaint(
        **_common(values, options), **_start(values, image), mask=mask, mask_blur_x=blur, mask_blur_y=blur,
        mask_invert=MASK_MODES[values["mask_invert"]], masked_content=MASKED_CONTENT[values["masked_content"]],
        only_masked=AREAS[values["only_masked"]], only_masked_padding=_number(values, "only_masked_padding"),
        mask_round=bool(values["mask_round"]), soft=soft_inpainting(values))


def soft_inpainting(values: Mapping[str, Any]) -> SoftInpainting | None:
    """Soft inpainting as the panel has it; None when it is off. Raises InvalidInput."""
    if not values["soft"]:
        return None
    return SoftInpainting(**{name: _number(values, widget) for widget, name in _SOFT.items()})


def _common(values: Mapping[str, Any], options: Options) -> dict[str, Any]:
    names = ("steps", "width", "height", "cfg_scale", "n_iter", "batch_size", "seed", "subseed", "subseed_strength",
             "seed_resize_from_w", "seed_resize_from_h")
    refiner = _name(values, "refiner_checkpoint") if values["refiner"] else ""
    overrides = overridden(values["overrides"] or ())
    return {
        "prompt": values["prompt"] or "", "negative_prompt": values["negative_prompt"] or "",
        "sampler": values["sampler"] or "", "scheduler": values["scheduler"] or "",
        **{name: _number(values, name) for name in names},
        "refiner_checkpoint": refiner, "refiner_switch_at": _number(values, "refiner_switch_at") if refiner else None,
        "options": options.replaced({name: value for name, value in values.items() if name in _OPTION_NAMES}
                                    | overrides),
    }


def _start(values: Mapping[str, Any], image: Image.Image) -> dict[str, Any]:
    return {"init_images": (image,), "resize_mode": RESIZE_MODES[values["resize_mode"]],
            "denoising_strength": _number(values, "denoising_strength")}


def _number(values: Mapping[str, Any], name: str) -> Any:
    value = values[name]
    if value is None and name in _RANDOM:
        return -1
    return int(value) if name in _WHOLE or float(value).is_integer() else value  # 7, as WebUI's page writes it, not 7.0


def _name(values: Mapping[str, Any], name: str) -> str:
    """A dropdown's choice, empty for "the same" and "none"."""
    value = values[name] or ""
    return "" if value == SAME[name] else str(value)


def overridden(lines: Sequence[str]) -> dict[str, str]:
    """"Key: value" lines as options by name. Raises InvalidInput for a key that the parameters text has no option for.
    """
    found = {}
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() not in OPTION_KEYS:
            raise InvalidInput(f"There is no setting called {key.strip()!r} to override.", field="overrides")
        found[OPTION_KEYS[key.strip()]] = value.strip()
    return found


def _for_widgets(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """A request's fields and options as their widgets show them."""
    labels: dict[str, Mapping[str, Any]] = {"masked_content": MASKED_CONTENT, "resize_mode": RESIZE_MODES,
                                            "mask_invert": MASK_MODES, "only_masked": AREAS}
    for name, value in values.items():
        if name in labels:
            yield name, next(label for label, meaning in labels[name].items() if meaning == value)
        elif name == "mask_blur_x":
            yield "mask_blur", value
        elif name == "soft":
            yield "soft", value is not None
            if value is not None:
                yield from ((widget, getattr(value, part)) for widget, part in _SOFT.items())
        elif name == "refiner_checkpoint":
            yield "refiner", bool(value)
            yield name, value or SAME[name]
        elif name in SAME:
            yield name, value or SAME[name]
        elif value is not None:
            yield name, value


# --- the widgets

def sampling(panel: Panel) -> None:
    """Sampler, schedule, steps, CFG and, where there is a picture to start from, the denoising strength."""
    with gr.Row(elem_classes="tight"):
        # The other choices come when the samplers are imported; a name that is not listed is refused later, in words.
        panel.add("sampler", gr.Dropdown(["DDIM"], value="DDIM", label="Sampling method", allow_custom_value=True,
                                         elem_id=panel.elem_id("sampling"), min_width=120))
        panel.add("scheduler", gr.Dropdown(["Automatic"], value="Automatic", label="Schedule type", min_width=120,
                                           allow_custom_value=True, elem_id=panel.elem_id("scheduler")))
    slider(panel, "steps", "Sampling steps", 1, 150, 20, 1)
    if panel.from_picture:
        slider(panel, "denoising_strength", "Denoising strength", 0, 1, 0.75, 0.01)
    slider(panel, "cfg_scale", "CFG Scale", 1, 30, 7, 0.5)


def size_and_batch(panel: Panel, *, canvas: Component | None = None) -> None:
    """Width and height with their buttons, batch count and size. `canvas` is where a size can be taken from."""
    largest = panel.settings.max_size
    with gr.Row(elem_classes="tight with-buttons"):
        with gr.Column(min_width=160, elem_classes="tight"):
            width = slider(panel, "width", "Width", 64, largest, 512, 8)
            height = slider(panel, "height", "Height", 64, largest, 512, 8)
        with gr.Column(min_width=40, scale=0, elem_classes="tools"):
            swap = tool_button("swap", "Swap width and height", panel.elem_id("swap_size"))
            swap.click(None, [width, height], [width, height], js="(w, h) => [h, w]", **QUIET)
            if canvas is not None:
                take = tool_button("ruler", "Take the size from the picture", panel.elem_id("take_size"))
                take.click(None, [canvas, width, height], [width, height], **QUIET,
                           js=f"(value, w, h) => inpaintPage.fitSize(value && value.size, w, h, {largest})")
    with gr.Row(elem_classes="tight"):
        slider(panel, "n_iter", "Batch count", 1, panel.settings.max_count, 1, 1, min_width=120)
        slider(panel, "batch_size", "Batch size", 1, min(8, panel.settings.max_batch), 1, 1, min_width=120)


def seeds(panel: Panel, last_seed: gr.State) -> None:
    """The seed, what sets it and what protects it, and the variation seed. `last_seed` holds that of the shown picture
    (None before there is one)."""
    with gr.Row(elem_classes="tight seed-row"):
        seed = panel.add("seed", Number(-1, label="Seed", precision=0, minimum=-1, maximum=LARGEST_SEED, min_width=90,
                                           elem_id=panel.elem_id("seed")))
        locked = panel.add("seed_locked", gr.Checkbox(False, label="Lock", elem_id=panel.elem_id("lock_seed"),
                                                      min_width=70, scale=0, elem_classes="lock"))
        dice = tool_button("dice", "Random seed", panel.elem_id("random_seed"))
        reuse = tool_button("reuse", "Reuse the seed of the shown picture", panel.elem_id("reuse_seed"))
    dice.click(None, [locked, seed], seed, js="(locked, seed) => locked ? seed : -1", **QUIET)
    reuse.click(lambda held, now, last: now if held or last is None else last, [locked, seed, last_seed], seed,
                **AT_ONCE)
    locked.change(lock_seed, [locked, seed, last_seed], seed, **AT_ONCE)
    with gr.Accordion("Variation seed", open=False, elem_classes="fold"):
        with gr.Row(elem_classes="tight"):
            panel.add("subseed", Number(-1, label="Variation seed", precision=0, minimum=-1, maximum=LARGEST_SEED,
                                           min_width=110, elem_id=panel.elem_id("subseed")))
            slider(panel, "subseed_strength", "Variation strength", 0, 1, 0, 0.01, min_width=150)
        with gr.Row(elem_classes="tight"):
            for name, label in (("seed_resize_from_w", "Resize seed from width"),
                                ("seed_resize_from_h", "Resize seed from height")):
                slider(panel, name, label, 0, panel.settings.max_size, 0, 8, min_width=150)


def lock_seed(locked: bool, seed: float | None, last: int | None) -> Any:
    """Locking a random seed settles it: on that of the shown picture, or on a new one."""
    if not locked:
        return gr.update(interactive=True)
    if seed is None or seed < 0:
        seed = last if last is not None else random.randrange(RANDOM_SEEDS)
    return gr.update(value=int(seed), interactive=False)


def resize_mode(panel: Panel) -> None:
    """How the picture is brought to the size asked for."""
    panel.add("resize_mode", gr.Radio(list(RESIZE_MODES), value="Just resize", label="Resize mode",
                                      elem_id=panel.elem_id("resize_mode"), elem_classes="compact"))


def masking(panel: Panel) -> None:
    """What of the mask is painted, how softly, and on how much of the picture the sampler works."""
    with gr.Row(elem_classes="tight"):
        panel.add("mask_invert", gr.Radio(list(MASK_MODES), value="Inpaint masked", label="Mask mode", min_width=220,
                                          elem_id=panel.elem_id("mask_mode"), elem_classes="compact"))
        panel.add("only_masked", gr.Radio(list(AREAS), value="Whole picture", label="Inpaint area", min_width=220,
                                          elem_id=panel.elem_id("full_res"), elem_classes="compact"))
    with gr.Row(elem_classes="tight"):
        slider(panel, "mask_blur", "Mask blur", 0, 64, 4, 1, min_width=180)
        slider(panel, "only_masked_padding", "Only masked padding, pixels", 0, 256, 32, 4, min_width=220)


def masked_content(panel: Panel) -> None:
    """What the painted part holds before sampling begins."""
    panel.add("masked_content", gr.Radio(list(MASKED_CONTENT), value="original", label="Masked content",
                                         elem_id=panel.elem_id("fill"), elem_classes="compact"))


def advanced(panel: Panel, options: Options) -> None:
    """Options for those who know them, behind a fold. They start at `options`, those in force."""
    with gr.Accordion("Advanced", open=False, elem_classes="fold"):
        with gr.Row(elem_classes="tight"):
            for name in ("CLIP_stop_at_last_layers", "cfg_rescale"):
                _option(panel, name, options, min_width=140)
        for name in ("step_cache", "eta_ddim", "eta_ancestral", "ddim_loop"):
            _option(panel, name, options)
        if panel.masked:
            _option(panel, "mask_noise", options)
            _option(panel, "small_mask", options)
        for name in ("emphasis", "randn_source"):
            _option(panel, name, options)
        if panel.from_picture:
            for name in ("initial_noise_multiplier", "img2img_extra_noise"):
                _option(panel, name, options)
        if panel.masked:
            _option(panel, "inpainting_mask_weight", options)
        with gr.Row(elem_classes="tight checks"):
            _option(panel, "tiling", options)
            _option(panel, "face_restoration", options)
            if panel.from_picture:
                for name in ("img2img_fix_steps", "img2img_color_correction"):
                    _option(panel, name, options)
            if panel.masked:
                panel.add("mask_round", gr.Checkbox(True, label="Round the mask to whole latent pixels", min_width=140,
                                                    elem_id=panel.elem_id("mask_round")))
        panel.add("overrides", gr.Dropdown([], value=[], label="Override settings", multiselect=True,
                                           allow_custom_value=True, elem_id=panel.elem_id("override_settings"),
                                           info="Other settings, as a parameters text has them: ENSD: 31337"))


def _option(panel: Panel, name: str, options: Options, min_width: int = 160) -> None:
    """The widget of one option: a check box, its few values as buttons in a row, or a slider."""
    about, value = Options.__dataclass_fields__[name].metadata, getattr(options, name)
    if isinstance(value, bool):
        panel.add(name, gr.Checkbox(value, label=about["label"], elem_id=panel.elem_id(name), min_width=140))
    elif about["choices"]:
        panel.add(name, gr.Radio(list(about["choices"]), value=value, label=about["label"], min_width=140,
                                 elem_classes="compact", elem_id=panel.elem_id(name)))
    else:
        step = 1 if isinstance(Options.__dataclass_fields__[name].default, int) else 0.01
        slider(panel, name, about["label"], about["low"], about["high"], value, step, min_width=min_width)


def slider(panel: Panel, name: str, label: str, low: float, high: float, value: float, step: float,
           min_width: int = 160) -> Any:
    return panel.add(name, Slider(low, high, value=value, step=step, label=label, min_width=min_width,
                                  elem_id=panel.elem_id(name), buttons=[]))


def tool_button(icon: str, title: str, elem_id: str) -> gr.Button:
    """A small square button with a sign from style.css. Gradio's have no title: page.js takes it from a class."""
    return gr.Button(title, size="sm", min_width=36, scale=0, elem_id=elem_id,
                     elem_classes=["tool", "icon", f"icon-{icon}", f"title--{title.replace(' ', '_')}"])
