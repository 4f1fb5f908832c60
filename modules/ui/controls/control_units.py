"""ControlNet's section of a tab: its units, each with a control picture, a preview of its map, and its controls."""

from __future__ import annotations

import base64
import contextlib
import html
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from gradio.data_classes import GradioModel
from PIL import Image, ImageOps
from pydantic import Field

from modules.annotate import registry
from modules.annotate.hint import hint_size, shown
from modules.annotate.preprocessor import Pixels, Preprocessor, Values
from modules.annotate.scale import pixel_perfect
from modules.annotate.source import mask_pixels, picture_of, rgb_pixels
from modules.engine.engine import Engine
from modules.errors import InvalidInput, NotFound
from modules.hooks.forms import Input
from modules.imaging import sketch
from modules.jobs.answers import answer
from modules.jobs.queue import JobQueue
from modules.request import ControlMode, ControlResize, ControlUnit, HiresControl
from modules.request.fields import declared
from modules.ui.canvas.canvas import MaskCanvas, MaskData
from modules.ui.controls.request_panel import MASK_MODES, Panel
from modules.ui.page.component import WithoutStub, assets
from modules.ui.page.events import AT_ONCE, QUIET
from modules.ui.page.help import explain
from modules.ui.page.messages import told

_asset = assets(Path(__file__).parent / "script")
TITLE = "ControlNet"
MAP_SIDE = 768
"""The longer side, in pixels, of the map on the page."""
FAINT = 4.0
"""Levels of 255: a map that deviates by less has nothing to follow."""
NUMBERS = ("processor_res", "threshold_a", "threshold_b")
OF_MAPS = ("pixel_perfect", "control_mode", "resize_mode")
"""Fields without a meaning where the picture is shown to an image encoder."""
_DECLARED = {item.name: item for item in declared(ControlUnit)}


def _declared(name: str) -> Input:
    """The input of a field of a unit, with its label, range and help text."""
    item = _DECLARED[name]
    if item.kind is bool:
        return Input(name=name, label=item.label, kind="checkbox", default=item.default, help=item.help)
    low, high, step = item.slider(None)
    return Input(name=name, label=item.label, kind="slider", default=item.default, help=item.help, low=low, high=high,
                 step=step)


FIELDS = (
    _declared("pixel_perfect"), _declared("weight"), _declared("guidance_start"), _declared("guidance_end"),
    Input(name="control_mode", label="Control Mode", kind="radio", default=ControlMode.BALANCED.value,
          choices=tuple(ControlMode), help="Whether the prompt or the control picture decides where they disagree."),
    Input(name="resize_mode", label="Resize Mode", kind="radio", default=ControlResize.CROP_AND_RESIZE.value,
          choices=tuple(ControlResize), help="How a control picture of another shape is fitted. Resize and Fill keeps "
          "all of it."))
HIRES = Input(name="hr_option", label="Hires-Fix", kind="dropdown", default=HiresControl.BOTH.value,
              choices=tuple(HiresControl), help="In which pass of hires fix the unit works. Low res only lets the "
              "second pass find details of its own.")
CROP = Input(name="crop_input_image", label="Crop input image based on mask", kind="checkbox", default=True,
             help="With Only masked, cuts the control picture like the photograph. Switch it off for a picture of the "
                  "cut part itself.")


class UnitValue(GradioModel):
    """A unit's settings by the names of `ControlUnit`'s fields. Missing ones have their defaults."""

    arguments: dict[str, Any] = Field(default_factory=dict)


class UnitForm(gr.HTML, metaclass=WithoutStub):
    """The controls of one unit. Its value in Python is a dict of settings."""

    data_model = UnitValue

    def __init__(self, value: dict[str, Any] | None = None, *, engine: Engine | None = None,
                 fields: Sequence[Input] = (), **kwargs: Any) -> None:
        def control_types(question: Any = None) -> dict[str, Any]:
            return {name: registry.control_type(name, engine.control_files.titles(refresh=True) if engine else [])
                    for name in registry.TYPES}

        super().__init__(
            value=value or {}, html_template='<div class="script-form"></div>',
            css_template=_asset("form.css"),
            js_on_load=_constants(types=control_types(), fields=[_described(one) for one in fields],
                                  modules={item.title: _module(item) for item in registry.preprocessors()})
            + "".join(_asset(name) for name in ("inputs.js", "unit.js")),
            apply_default_css=False, server_functions=[control_types], **kwargs)

    def preprocess(self, payload: UnitValue | None) -> dict[str, Any]:  # type: ignore[override]
        """The settings from the page."""
        return payload.arguments if payload else {}

    def postprocess(self, value: dict[str, Any] | None) -> UnitValue:  # type: ignore[override]
        """The settings for the page."""
        return UnitValue(arguments=value or {})

    def api_info(self) -> dict[str, Any]:
        return UnitValue.model_json_schema()

    def example_payload(self) -> Any:
        return UnitValue().model_dump()

    def example_value(self) -> Any:
        return None


@dataclass
class ControlUnits:
    """The section. Call `draw` among the settings, and `connect` after the whole tab."""

    panel: Panel
    engine: Engine
    queue: JobQueue
    fold: Any = None
    canvases: list[MaskCanvas] = field(default_factory=list)
    parts: list[dict[str, Any]] = field(default_factory=list)

    def draw(self) -> None:
        """Draw the section here."""
        self.fold = gr.Accordion(TITLE, open=False, elem_classes="fold", elem_id=self.panel.elem_id("control"))
        with self.fold, gr.Tabs(elem_classes="control-units"):
            for number in range(self.engine.options.control_net_unit_count):
                with gr.Tab(f"Unit {number}"):
                    self._draw_unit(number)

    def _draw_unit(self, number: int) -> None:
        def name(part: str) -> str:
            return self.panel.elem_id(f"control{number}_{part}")

        self.panel.add(_enabled(number), explain(
            gr.Checkbox(False, label="Enable", elem_id=name("enabled")),
            "Lets this unit take part. A unit that is off has no effect, whatever else is set."))
        self.canvases.append(MaskCanvas(canvas_id=f"{self.panel.tab}_control{number}", elem_id=name("picture"),
                                        elem_classes="control-picture",
                                        max_pixels=self.panel.settings.max_image_mp * 10**6))
        if self.panel.from_picture:
            gr.HTML("<p>Without a picture here the unit follows this tab's own picture.</p>", js_on_load=None,
                    apply_default_css=False, elem_classes="control-note")
        with gr.Row(elem_classes="tight"):
            preview = gr.Button("Preview", size="sm", elem_id=name("preview"), min_width=80)
            blank = gr.Button("Blank canvas", size="sm", elem_id=name("blank"), min_width=110)
            size = gr.Button("Use its size", size="sm", elem_id=name("size"), min_width=100)
        shown_map = gr.HTML("", elem_id=name("map"), elem_classes="control-map", js_on_load=None,
                            apply_default_css=False)
        fields = [*FIELDS, *([HIRES] if not self.panel.from_picture else []), *([CROP] if self.panel.masked else [])]
        self.panel.add(_settings(number), UnitForm(engine=self.engine, fields=fields, elem_id=name("settings"),
                                                   elem_classes="script"))
        self.parts.append({"preview": preview, "blank": blank, "size": size, "map": shown_map})

    def connect(self, canvas: MaskCanvas | None) -> None:
        """Connect the buttons and the title. `canvas` is the tab's own."""
        size = [self.panel.widgets[name] for name in ("width", "height")]
        own = [canvas] if canvas else []
        for number, (picture, part) in enumerate(zip(self.canvases, self.parts, strict=True)):
            part["preview"].click(self._previewer(number, has_own=bool(own)), [picture, *own, *self.panel.inputs],
                                  part["map"], **QUIET)
            part["blank"].click(told(_blank), size, picture, **QUIET)
            part["size"].click(told(_size_of), [picture, *own], size, **QUIET)
        gr.on([widget.change for widget in self._widgets], self.title, self._widgets, self.fold, **AT_ONCE)

    def follow(self, event: Any) -> None:
        """Let the title follow an event that has set the units: those that were never open tell of no change."""
        event.then(self.title, self._widgets, self.fold, **QUIET)

    def title(self, *values: Any) -> Any:
        """The section's title with the preprocessors of the units that are on, as an update."""
        on = [str(settings.get("module", "none")) for enabled, settings in zip(values[::2], values[1::2], strict=True)
              if enabled]
        return gr.update(label=f"{TITLE}: {', '.join(on)}" if on else TITLE)

    @property
    def _widgets(self) -> list[Any]:
        return [self.panel.widgets[name(number)] for number in range(len(self.canvases))
                for name in (_enabled, _settings)]

    def units(self, values: Mapping[str, Any], pictures: Sequence[MaskData]) -> tuple[ControlUnit, ...]:
        """The units that are switched on; `values` are the panel's by name. Raises InvalidInput."""
        return tuple(unit_of(values[_settings(number)], picture, self.engine) for number, picture in enumerate(pictures)
                     if values[_enabled(number)])

    def _previewer(self, number: int, *, has_own: bool) -> Any:
        @told
        def preview(picture: MaskData, *arguments: Any) -> str:
            own, values = (arguments[0], arguments[1:]) if has_own else (MaskData(), arguments)
            named = self.panel.values(values)
            unit = unit_of(named[_settings(number)], picture, self.engine)
            item = registry.find(unit.module)
            source = _source(unit, item, own, invert=MASK_MODES.get(named.get("mask_invert", ""), False))
            resolution, a, b = item.inside(unit.processor_res, unit.threshold_a, unit.threshold_b)
            if unit.pixel_perfect:
                target = hint_size((int(named["width"]), int(named["height"])))
                resolution = pixel_perfect((source.shape[1], source.shape[0]), target,
                                           fill=unit.resize_mode == ControlResize.RESIZE_AND_FILL)
            return map_html(self._control_map(item, source, Values(int(resolution), a, b)))

        return preview

    def _control_map(self, item: Preprocessor, source: Pixels, values: Values) -> Pixels:
        if not item.network:
            return self.engine.annotators.control_map(item, source, values)
        return answer(self.queue, lambda job: self.engine.annotators.control_map(item, source, values),
                      interrupted=InvalidInput("The preview was interrupted."), nbytes=source.nbytes)


def unit_of(settings: Mapping[str, Any], picture: MaskData, engine: Engine) -> ControlUnit:
    """A unit as the page has it. Raises InvalidInput."""
    read = {one.name: one.read(settings.get(one.name), engine.available) for one in (*FIELDS, HIRES, CROP)}
    kinds = {"control_mode": ControlMode, "resize_mode": ControlResize, "hr_option": HiresControl}
    read |= {name: kind(read[name]) for name, kind in kinds.items()}
    numbers = {name: settings[name] for name in NUMBERS if isinstance(settings.get(name), int | float)}
    if picture.loading or picture.problem:
        picture.chosen()
    image = sketch.lay(picture.image, picture.paint) if picture.image and picture.paint else picture.image
    return ControlUnit(module=str(settings.get("module", "none")), model=str(settings.get("model", registry.NO_MODEL)),
                       image=image, mask=picture.mask, control_type=str(settings.get("control_type", "")), **numbers,
                       **read)


def settings_of(unit: ControlUnit) -> dict[str, Any]:
    """What the page shows of a unit that a parameters text tells of."""
    item = registry.find(unit.module)
    values = zip(NUMBERS, item.inside(unit.processor_res, unit.threshold_a, unit.threshold_b),
                 (item.resolution, item.a, item.b), strict=True)
    numbers = {name: value for name, value, slider in values if slider.label}
    return {"module": item.title, "model": unit.model, **numbers,
            **{one.name: getattr(unit, one.name) for one in (*FIELDS, HIRES, CROP)}}


def pasted(units: Sequence[ControlUnit], panel: Panel, engine: Engine, problems: list[str]) -> dict[str, Any]:
    """The panel's values for the units of a parameters text; those that it does not name are off. What the page does
    not have is added to `problems`."""
    values: dict[str, Any] = {}
    number = 0
    for unit in units:
        try:
            settings = settings_of(unit)
        except InvalidInput as error:
            problems.append(error.message)
            continue
        if _enabled(number) not in panel.widgets:
            problems.append(f"{TITLE} {number}: {unit.module}")
            continue
        with contextlib.suppress(NotFound, InvalidInput):  # "None" is no file
            settings["model"] = engine.control.find(unit.model).title
        values |= {_enabled(number): True, _settings(number): settings}
        number += 1
    return values | {name: False for name in panel.widgets if name.endswith("_enabled") and name not in values}


def _constants(**values: Any) -> str:
    """A script that names `values`, as `fixed`. They are no properties of the component: Gradio's page loses these when
    the component gets a value before it was ever shown, as when a parameters text is pasted."""
    return f"const fixed = {json.dumps(values, ensure_ascii=False)};\n"


def _enabled(number: int) -> str:
    return f"control{number}_enabled"


def _settings(number: int) -> str:
    return f"control{number}_settings"


def _module(item: Preprocessor) -> dict[str, Any]:
    sliders = list(zip(NUMBERS, (item.resolution, item.a, item.b), strict=True)) if item.encoder is None else []
    return {"model_free": item.model_free, "hidden": list(OF_MAPS) if item.encoder is not None else [], "inputs": [
        {"name": name, "label": slider.label, "help": slider.help, "kind": "slider", "value": slider.value,
         "low": slider.low, "high": slider.high, "step": slider.step} for name, slider in sliders if slider.label]}


def _described(one: Input) -> dict[str, Any]:
    return {"name": one.name, "label": one.label, "help": one.help, "kind": one.kind, "value": one.default,
            "low": one.low, "high": one.high, "step": one.step, "choices": list(one.choices)
            if isinstance(one.choices, tuple) else []}


def _source(unit: ControlUnit, item: Preprocessor, own: MaskData, *, invert: bool) -> Pixels:
    """What the preprocessor works on: the unit's picture, otherwise the tab's. Raises InvalidInput."""
    if unit.image is not None:
        return picture_of(rgb_pixels(unit.image), mask_pixels(unit.mask) if unit.mask else None,
                          takes_mask=item.takes_mask)
    if own.image is None and not own.loading and not own.problem:
        raise InvalidInput("Choose a control picture first.")
    image = own.chosen()
    mask = own.mask or Image.new("L", image.size)
    return picture_of(rgb_pixels(image), mask_pixels(ImageOps.invert(mask) if invert else mask)
                      if item.takes_mask else None, takes_mask=item.takes_mask)


def map_html(control_map: Pixels) -> str:
    """A map as HTML, with a warning if there is hardly anything to follow in it."""
    image = Image.fromarray(shown(control_map))
    note = f"{image.width} x {image.height}"
    if np.std(control_map[:, :, :3]) < FAINT:
        note = ("There is hardly any contrast in this map, so there is nothing to follow. Take another picture or "
                "lower the thresholds.")
    image.thumbnail((MAP_SIDE, MAP_SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return (f'<figure><img src="data:image/png;base64,{data}" alt="Control map"><figcaption>{html.escape(note)}'
            "</figcaption></figure>")


def _blank(width: float, height: float) -> MaskData:
    """A white picture of the size that is drawn, to draw on."""
    return MaskData(image=Image.new("RGB", (int(width or 512), int(height or 512)), "white"))


def _size_of(picture: MaskData, own: MaskData | None = None) -> tuple[int, int]:
    """The control picture's size in multiples of 8. Raises InvalidInput."""
    image = picture.image or (own.image if own else None)
    if image is None:
        raise InvalidInput("Choose a control picture first.")
    width, height = (max(round(length / 8) * 8, 64) for length in image.size)
    return width, height
