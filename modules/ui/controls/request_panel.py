"""The widgets of a request, and the only place where widgets become a request.

A `Panel` is a tab's widgets by name. Names are those of the request's fields and of the options, plus a few of the
page's own: `seed_locked`, `mask_blur` for both of its directions, `styles`, the switches of refiner and soft inpainting
(`refiner`, `soft`), soft inpainting's numbers (`soft_power`, ...), and `overrides`, options that have no widget.

Labels, ranges and steps come from the declarations of fields and options. A plain field or option that is declared
`advanced` gets its widget in `advanced`, and its value reaches the request, without a line here.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import gradio as gr
from gradio.components import Component
from PIL import Image

from modules.errors import InvalidInput
from modules.imaging import framing, sketch
from modules.imaging.framing import Requested
from modules.imaging.photograph import with_pixels
from modules.request import (
    MASKED_CONTENT,
    RANDOM_SEEDS,
    REQUESTS,
    Img2Img,
    Inpaint,
    ResizeMode,
    SoftInpainting,
    Txt2Img,
)
from modules.request.fields import Declared, declared, find
from modules.request.going_on import OWN as GOING_ON
from modules.request.options import Options
from modules.settings import Settings
from modules.text.infotext import OPTION_KEYS
from modules.ui.canvas.canvas import MaskData
from modules.ui.controls import numbers
from modules.ui.controls.numbers import Number, Slider
from modules.ui.page.events import AT_ONCE, QUIET
from modules.ui.page.help import explain

RESIZE_MODES = {"Just resize": ResizeMode.JUST_RESIZE, "Crop and resize": ResizeMode.CROP_AND_RESIZE,
                "Resize and fill": ResizeMode.RESIZE_AND_FILL,
                "Just resize (latent upscale)": ResizeMode.LATENT_UPSCALE}
KEEP_PROPORTIONS = "Keep proportions"
"""The first choice of the Resize mode on the page: the size follows the picture, and width and height tell its area."""
MASK_MODES = {"Inpaint masked": False, "Inpaint not masked": True}
AREAS = {"Whole picture": (False, False), "Only masked": (True, False), "Each spot": (True, True)}
"""The values of `only_masked` and `each_spot`."""
AUTOMATIC_AREA = "Automatic"
"""The first choice of the Inpaint area on the page: the whole picture if its size suits the checkpoint."""

SAME = {"hr_checkpoint": "Use same checkpoint", "hr_sampler": "Use same sampler", "hr_scheduler": "Use same scheduler",
        "refiner_checkpoint": "None"}
"""What the dropdowns say for an empty name."""

LARGEST_SEED = 2**53 - 1
"""Whole numbers are exact in a browser up to here. Programs may send larger seeds."""
_OPTION_NAMES = frozenset(item.name for item in fields(Options))
_SOFT = {f"soft_{item.name}": item for item in declared(SoftInpainting)}
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
        """Add `widget` under `name` and return it."""
        self.widgets[name] = widget
        return widget

    def elem_id(self, name: str) -> str:
        """Return the element id of the widget `name`."""
        return f"{self.tab}_{name}"

    @property
    def request(self) -> type[Txt2Img]:
        """The class of the requests that the tab makes."""
        return REQUESTS[self.tab]

    @property
    def from_picture(self) -> bool:
        """Whether the tab starts from a picture."""
        return self.tab != "txt2img"

    @property
    def masked(self) -> bool:
        """Whether the tab has a mask."""
        return self.tab == "inpaint"

    def values(self, arguments: Sequence[Any]) -> dict[str, Any]:
        """Return an event's arguments, which come in the order of `inputs`, by name. Raises InvalidInput for a number
        outside its widget's range."""
        return numbers.by_name(self.widgets, arguments)

    @property
    def inputs(self) -> list[Component]:
        """All widgets, as an event's inputs or outputs."""
        return list(self.widgets.values())

    def updates(self, request_values: Mapping[str, Any], *, locked: bool) -> list[Any]:
        """Return an update for each widget: its new value, or none. A locked seed stays."""
        shown = {name: value for name, value in _for_widgets(request_values) if not (locked and name in _RANDOM)}
        return [gr.update(value=shown[name]) if name in shown else gr.skip() for name in self.widgets]


# --- from widgets to a request

def to_txt2img(values: Mapping[str, Any], options: Options) -> Txt2Img:
    """Return the txt2img tab's request. Raises InvalidInput naming the field that does not fit."""
    names = {name: _name(values, name) for name in ("hr_checkpoint", "hr_sampler", "hr_scheduler")}
    return Txt2Img(**_common(values, options, Txt2Img) | names | {"hr_upscaler": values["hr_upscaler"] or "Latent"})


def to_img2img(values: Mapping[str, Any], picture: MaskData, options: Options) -> Img2Img:
    """Return the img2img tab's request. Raises InvalidInput."""
    image = picture.chosen()
    if picture.paint:
        image = sketch.lay(image, picture.paint)
    return _in_size(Img2Img(**_common(values, options, Img2Img) | _start(values, image)), values)


def to_inpaint(values: Mapping[str, Any], picture: MaskData, options: Options) -> Inpaint:
    """Return the inpaint tab's request. Where nothing is painted the mask is all black. Raises InvalidInput."""
    image, mask, blur = picture.chosen(), picture.mask, _number(values["mask_blur"], find(Inpaint, "mask_blur_x"))
    photograph = picture.photograph()
    image = photograph.image if photograph else image
    if picture.paint:
        image, mask = sketch.inpaint_sketch(image, mask, picture.paint, blur)
        photograph = photograph and with_pixels(photograph, photograph.pixels, image)  # not the file's picture any more
    mask = mask or Image.new("L", image.size)
    area = values["only_masked"]
    only_masked, each_spot = AREAS.get(area, (False, False))
    request = Inpaint(**_common(values, options, Inpaint) | _start(values, image) | {
        "mask": mask, "mask_blur_x": blur, "mask_blur_y": blur, "mask_invert": MASK_MODES[values["mask_invert"]],
        "masked_content": MASKED_CONTENT[values["masked_content"]], "only_masked": only_masked, "each_spot": each_spot,
        "soft": soft_inpainting(values), "photographs": (photograph,) if photograph else ()})
    request = framing.with_suitable_area(request) if area == AUTOMATIC_AREA else request
    return _in_size(request if request.only_masked else replace(request, patch_fit=0.0), values)


def to_removal(picture: MaskData, mask_mode: str, seed: float | None, options: Options) -> Inpaint:
    """Return the request for Remove. Colours count as painted over. Raises InvalidInput."""
    image, mask, photograph = picture.chosen(), picture.mask, picture.photograph()
    image = photograph.image if photograph else image
    if picture.paint:
        _, mask = sketch.inpaint_sketch(image, mask, picture.paint, 0)
    return Inpaint(init_images=(image,), mask=mask or Image.new("L", image.size), mask_invert=MASK_MODES[mask_mode],
                   seed=_number(seed, find(Inpaint, "seed")), options=options,
                   photographs=(photograph,) if photograph else ())


def soft_inpainting(values: Mapping[str, Any]) -> SoftInpainting | None:
    """Return soft inpainting as the panel has it; None if it is off. Raises InvalidInput."""
    if not values["soft"]:
        return None
    return SoftInpainting(**{item.name: _number(values[name], item) for name, item in _SOFT.items()})


def _common(values: Mapping[str, Any], options: Options, kind: type[Txt2Img]) -> dict[str, Any]:
    """The arguments of a request of the class `kind` that are the same on all tabs, or plain fields with a widget."""
    refiner = _name(values, "refiner_checkpoint") if values["refiner"] else ""
    overrides = overridden(values["overrides"] or ())
    plain = {item.name: _plain(values[item.name], item) for item in declared(kind)
             if item.is_plain and item.name in values and item.name not in _OPTION_NAMES}
    return plain | {
        "refiner_checkpoint": refiner, "refiner_switch_at": plain["refiner_switch_at"] if refiner else None,
        "options": options.replaced({name: value for name, value in values.items() if name in _OPTION_NAMES}
                                    | overrides)}


def _start(values: Mapping[str, Any], image: Image.Image) -> dict[str, Any]:
    mode = values["resize_mode"]
    return {"init_images": (image,), "resize_mode": RESIZE_MODES.get(mode, ResizeMode.JUST_RESIZE),
            "depth_map": values.get("depth_map")}


def _in_size(request: Requested, values: Mapping[str, Any]) -> Requested:
    """`request` in the size that the Resize mode gives it."""
    return framing.with_proportions(request) if values["resize_mode"] == KEEP_PROPORTIONS else request


def _plain(value: Any, item: Declared) -> Any:
    """The value of a widget as its field has it."""
    if item.is_number:
        return _number(value, item)
    return bool(value) if item.kind is bool else value or ""


def _number(value: Any, item: Declared) -> Any:
    if value is None and item.name in (*_RANDOM, "then_seed"):
        return -1
    return int(value) if item.kind is int or float(value).is_integer() else value  # 7, as WebUI's page has it, not 7.0


def _name(values: Mapping[str, Any], name: str) -> str:
    """A dropdown's choice, empty for "the same" and "none"."""
    value = values[name] or ""
    return "" if value == SAME[name] else str(value)


def overridden(lines: Sequence[str]) -> dict[str, str]:
    """Return lines like "Key: value" as options by name. Raises InvalidInput for a key that stands for no option."""
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
                                            "mask_invert": MASK_MODES}
    for name, value in values.items():
        if name in labels:
            yield name, next(label for label, meaning in labels[name].items() if meaning == value)
        elif name == "only_masked":
            chosen = bool(value), bool(value and values.get("each_spot"))
            yield name, next(label for label, meaning in AREAS.items() if meaning == chosen)
        elif name == "mask_blur_x":
            yield "mask_blur", value
        elif name == "soft":
            yield "soft", value is not None
            if value is not None:
                yield from ((widget, getattr(value, part.name)) for widget, part in _SOFT.items())
        elif name == "refiner_checkpoint":
            yield "refiner", bool(value)
            yield name, value or SAME[name]
        elif name in SAME:
            yield name, value or SAME[name]
        elif value is not None:
            yield name, value


# --- the widgets

def sampling(panel: Panel) -> None:
    """The denoising strength, where there is a picture to start from, then sampler, steps and CFG."""
    if panel.from_picture:
        field_of(panel, "denoising_strength")
    # The other choices come when the samplers are imported; a name that is not listed is refused later, in words.
    names_of(panel, "sampler", "DDIM", elem_id=panel.elem_id("sampling"))
    field_of(panel, "steps")
    field_of(panel, "cfg_scale")
    if panel.from_picture:
        field_of(panel, "image_cfg_scale", value=1.5, visible=False)


ASPECTS = ("1:1", "4:3", "3:2", "16:9")
"""The proportions that have a button."""


def size(panel: Panel, *, canvas: Component | None = None) -> None:
    """Width and height with their buttons. `canvas` is where a size can be taken from."""
    largest = panel.settings.max_size
    with gr.Row(elem_classes="tight with-buttons"):
        with gr.Column(min_width=160, elem_classes="tight"):
            width, height = field_of(panel, "width"), field_of(panel, "height")
            buttons = "".join(f'<button type="button" data-aspect="{one}">{one}</button>' for one in ASPECTS)
            gr.HTML(f'<div class="aspects" role="group" aria-label="Proportions" data-tab="{panel.tab}" title="Other '
                    f'proportions with about as many pixels. Portraits stay portraits.">{buttons}</div>',
                    apply_default_css=False, padding=False)
        with gr.Column(min_width=40, scale=0, elem_classes="tools"):
            swap = tool_button("swap", "Swap width and height", panel.elem_id("swap_size"))
            swap.click(None, [width, height], [width, height], js="(w, h) => [h, w]", **QUIET)
            if canvas is not None:
                take = tool_button("ruler", "Take the size from the picture", panel.elem_id("take_size"))
                take.click(None, [canvas, width, height], [width, height], **QUIET,
                           js=f"(value, w, h) => inpaintPage.fitSize(value && value.size, w, h, {largest})")


def batch(panel: Panel) -> None:
    """Batch count and size."""
    with gr.Row(elem_classes="tight"):
        field_of(panel, "n_iter", min_width=120)
        field_of(panel, "batch_size", min_width=120)


def seed_row(panel: Panel, last_seed: gr.State) -> None:
    """The seed, what sets it and what protects it. `last_seed` holds that of the shown picture (None before there is
    one)."""
    with gr.Row(elem_classes="tight seed-row"):
        seed = _seed(panel, "seed", min_width=90)
        locked = panel.add("seed_locked", explain(
            gr.Checkbox(False, label="Lock", elem_id=panel.elem_id("lock_seed"), min_width=70, scale=0,
                        elem_classes="lock"),
            "Keeps the seed whatever is sent here or read from parameters. Lock it to compare settings."))
        dice = tool_button("dice", "Random seed", panel.elem_id("random_seed"))
        reuse = tool_button("reuse", "Reuse the seed of the shown picture", panel.elem_id("reuse_seed"))
    dice.click(None, [locked, seed], seed, js="(locked, seed) => locked ? seed : -1", **QUIET)
    reuse.click(lambda held, now, last: now if held or last is None else last, [locked, seed, last_seed], seed,
                **AT_ONCE)
    locked.change(lock_seed, [locked, seed, last_seed], seed, **AT_ONCE)


def variation(panel: Panel) -> None:
    """The variation seed, behind a fold."""
    with gr.Accordion("Variation seed", open=False, elem_classes="fold"):
        with gr.Row(elem_classes="tight"):
            _seed(panel, "subseed", min_width=110)
            field_of(panel, "subseed_strength", min_width=150)
        with gr.Row(elem_classes="tight"):
            field_of(panel, "seed_resize_from_w", min_width=150)
            field_of(panel, "seed_resize_from_h", min_width=150)


def _seed(panel: Panel, name: str, min_width: int) -> Any:
    item = find(panel.request, name)
    return panel.add(name, explain(
        Number(item.default, label=item.label, precision=0, minimum=item.low, maximum=LARGEST_SEED,
               min_width=min_width, elem_id=panel.elem_id(name)), item.help))


def lock_seed(locked: bool, seed: float | None, last: int | None) -> Any:
    """Locking a random seed settles it: on that of the shown picture, or on a new one."""
    if not locked:
        return gr.update(interactive=True)
    if seed is None or seed < 0:
        seed = last if last is not None else random.randrange(RANDOM_SEEDS)
    return gr.update(value=int(seed), interactive=False)


def resize_mode(panel: Panel) -> None:
    """How the picture is brought to the size asked for."""
    _choice(panel, "resize_mode", (KEEP_PROPORTIONS, *RESIZE_MODES), KEEP_PROPORTIONS)


def depth_picture(panel: Panel) -> None:
    """How near things are in the picture, for depth checkpoints; hidden with others."""
    panel.add("depth_map", explain(
        gr.Image(type="pil", image_mode="L", label="Depth picture", height=160, visible=False,
                 elem_id=panel.elem_id("depth_map")),
        "How near things are: bright is near. Left empty, the network in models/depth looks at the picture."))


def masking(panel: Panel) -> None:
    """What of the mask is painted, how softly, and on how much of the picture the sampler works."""
    with gr.Row(elem_classes="tight"):
        _choice(panel, "mask_invert", MASK_MODES, "Inpaint masked", elem_id="mask_mode", min_width=220)
        _choice(panel, "only_masked", (AUTOMATIC_AREA, *AREAS), AUTOMATIC_AREA, elem_id="full_res", min_width=220)
    with gr.Row(elem_classes="tight"):
        field_of(panel, "mask_blur_x", widget="mask_blur", min_width=180)
        field_of(panel, "only_masked_padding", min_width=220)
    field_of(panel, "patch_fit", value=1)
    # The canvas writes it: the frame that was dragged there.
    item = find(panel.request, "only_masked_frame")
    panel.add(item.name, explain(gr.Textbox(item.default, label=item.label, visible="hidden",
                                            elem_id=panel.elem_id(item.name)), item.help))


def masked_content(panel: Panel) -> None:
    """What the painted part holds before sampling begins."""
    _choice(panel, "masked_content", MASKED_CONTENT, "original", elem_id="fill")


def _choice(panel: Panel, name: str, choices: Iterable[str], value: str, *, elem_id: str = "",
            min_width: int = 160) -> None:
    """Draw the request's field `name` as a row of its choices' labels."""
    item = find(panel.request, name)
    panel.add(name, explain(gr.Radio(list(choices), value=value, label=item.label, min_width=min_width,
                                     elem_id=panel.elem_id(elem_id or name), elem_classes="compact"), item.help))


def names_of(panel: Panel, name: str, first: str, *, elem_id: str = "", min_width: int = 140) -> None:
    """Draw the request's field `name` as a dropdown that starts at `first`. Its other choices are filled in after the
    page has loaded: listing them may import torch. A name that is not listed is refused when it is used."""
    item = find(panel.request, name)
    panel.add(name, explain(gr.Dropdown([first], value=first, label=item.label, allow_custom_value=True,
                                        min_width=min_width, elem_id=elem_id or panel.elem_id(name)), item.help))


ADVANCED = ("CLIP_stop_at_last_layers", "cfg_rescale", "step_cache", "eta_ddim", "eta_ancestral", "tcd_gamma",
            "ddim_loop", "mask_noise", "small_mask", "emphasis", "randn_source", "initial_noise_multiplier",
            "img2img_extra_noise", "inpainting_mask_weight", "tiling", "face_restoration", "img2img_fix_steps",
            "img2img_color_correction", "mask_round")
"""The order of the Advanced controls. Those that are not named here follow."""


def advanced(panel: Panel, options: Options) -> None:
    """Draw the options and fields that are declared `advanced`, behind a fold. Options start at their values in
    `options`."""
    items = [item for table in (Options, panel.request) for item in declared(table)
             if item.advanced and panel.tab in item.tabs]
    items.sort(key=lambda item: ADVANCED.index(item.name) if item.name in ADVANCED else len(ADVANCED))
    flags = [item for item in items if item.kind is bool]
    others = [item for item in items if item.kind is not bool]

    def draw(item: Declared, min_width: int = 160) -> None:
        value = getattr(options, item.name) if item.name in _OPTION_NAMES else item.default
        control(panel, item, value, min_width=min_width)

    with gr.Accordion("Advanced", open=False, elem_classes="fold"):
        with gr.Row(elem_classes="tight"):
            for item in others[:2]:
                draw(item, min_width=140)
        for item in others[2:]:
            draw(item)
        with gr.Row(elem_classes="tight checks"):
            for item in flags:
                draw(item)
        panel.add("overrides", explain(
            gr.Dropdown([], value=[], label="Override settings", multiselect=True, allow_custom_value=True,
                        elem_id=panel.elem_id("override_settings")),
            "Other settings for this tab, as a parameters text has them. Type ENSD: 31337 and press Enter."))


def connect_etas(panel: Panel, samplers: Callable[[], Iterable[Any]]) -> None:
    """Show the eta, or gamma, that the chosen sampler has. `samplers` returns what is known of all samplers."""
    etas = [name for name in ("eta_ddim", "eta_ancestral", "tcd_gamma") if name in panel.widgets]

    def of(name: str) -> list[Any]:
        chosen = next((one for one in samplers() if one.name == name), None)
        return [gr.update(visible=chosen is None or one == chosen.noise_option) for one in etas]

    panel.widgets["sampler"].change(of, panel.widgets["sampler"], [panel.widgets[one] for one in etas], **AT_ONCE)


def going_on(panel: Panel) -> None:
    """Draw what a parameters text says of a run that changed on its way, behind a fold."""
    with gr.Accordion("What if: another ending", open=False, elem_classes="fold"):
        for name in GOING_ON:
            if name == "then_seed":
                _seed(panel, name, min_width=110)
            else:
                field_of(panel, name)


def field_of(panel: Panel, name: str, *, value: Any = None, widget: str = "", min_width: int = 160,
             visible: bool = True) -> Any:
    """Draw the control of the request's field `name`, under the name `widget` if that is another one.

    It starts at `value`, by default the field's default.
    """
    item = find(panel.request, name)
    drawn = control(panel, item, item.default if value is None else value, widget=widget, min_width=min_width)
    drawn.visible = visible
    return drawn


def control(panel: Panel, item: Declared, value: Any, *, widget: str = "", min_width: int = 160) -> Any:
    """Draw the control of a declared field: a check box, its choices as buttons in a row, a slider, or a line of text.
    """
    name = widget or item.name
    return panel.add(name, explain(_widget(item, value, panel.settings, min_width, panel.elem_id(name)), item.help))


def _widget(item: Declared, value: Any, settings: Settings, min_width: int, elem_id: str) -> Component:
    about: dict[str, Any] = {"label": item.label, "elem_id": elem_id}
    if item.kind is bool:
        return gr.Checkbox(value, min_width=140, **about)
    if item.choices:
        return gr.Radio(list(item.choices), value=value, min_width=140, elem_classes="compact", **about)
    if not item.is_number:
        return gr.Textbox(value, min_width=min_width, **about)
    low, high, step = item.slider(settings)
    return Slider(low, high, value=value, step=step, min_width=min_width, buttons=[], **about)


def tool_button(icon: str, title: str, elem_id: str, *classes: str) -> gr.Button:
    """A small square button with a sign from style.css. Gradio's have no title: page.js takes it from a class."""
    return gr.Button(title, size="sm", min_width=36, scale=0, elem_id=elem_id,
                     elem_classes=["tool", "icon", f"icon-{icon}", f"title--{title.replace(' ', '_')}",
                                   *classes])
