"""ControlNet's units in a body's `alwayson_scripts`, under the names and with the defaults of its extension's API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from PIL import Image
from pydantic import Field, ValidationError, field_validator, model_validator

from modules.annotate import registry
from modules.api import pictures
from modules.api.body import Body, first_problem
from modules.api.loose import TEXT, WHOLE
from modules.errors import InvalidInput
from modules.request import ControlMode, ControlResize, ControlUnit, HiresControl

CONTROLNET = "controlnet"
"""The script's name in small letters."""

ALIASES = {"input_image": "image", "mask_image": "mask", "lowvram": "low_vram", "guidance": "guidance_end"}
"""Older names of fields."""

OLD_RESIZE_MODES = {
    "Inner Fit (Scale to Fit)": ControlResize.CROP_AND_RESIZE,
    "Scale to Fit (Inner Fit)": ControlResize.CROP_AND_RESIZE,
    "Outer Fit (Shrink to Fit)": ControlResize.RESIZE_AND_FILL,
    "Envelope (Outer Fit)": ControlResize.RESIZE_AND_FILL}
"""What resize modes were called before."""

GREY = ("1", "L", "LA", "La", "I", "I;16", "F")
"""Pillow's modes without colour."""

Number = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(max_length=200), TEXT]


class ControlUnitBody(Body):
    """One unit. `image` is a picture, or {image, mask}, or [image, mask], or a list of {image, mask}: one, or
    several for IP-Adapter and for unions of ControlNets, which name the type of each in `union_control_type`."""

    enabled: bool = False
    module: Name = "none"
    model: Name = "None"
    weight: Annotated[float, Field(ge=0, le=2)] = 1.0
    image: str | dict[str, Any] | list[Any] | None = None
    mask: str | None = None
    resize_mode: ControlResize = ControlResize.CROP_AND_RESIZE
    low_vram: bool = False
    processor_res: Annotated[int, WHOLE] = -1
    threshold_a: Number = -1
    threshold_b: Number = -1
    guidance_start: Share = 0.0
    guidance_end: Share = 1.0
    pixel_perfect: bool = False
    control_mode: ControlMode = ControlMode.BALANCED
    inpaint_crop_input_image: bool = True
    hr_option: HiresControl = HiresControl.BOTH
    save_detected_map: bool = True
    advanced_weighting: Annotated[list[Number], Field(max_length=100)] | None = None
    effective_region_mask: str | None = None
    union_control_type: Name = ""

    @model_validator(mode="before")
    @classmethod
    def _without_aliases(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        given = {name: value for name, value in data.items() if value is not None}
        for alias, name in ALIASES.items():
            if alias in given and name in given:
                raise ValueError(f"{alias} is another name of {name}; give one of them")
            if alias in given:
                given[name] = given.pop(alias)
        return given

    @field_validator("resize_mode", mode="before")
    @classmethod
    def _with_old_words(cls, value: Any) -> Any:
        return OLD_RESIZE_MODES.get(value, value) if isinstance(value, str) else value

    def unit(self, max_pixels: int) -> ControlUnit:
        """The unit, its pictures still packed. Raises InvalidInput."""
        images, mask = _parts(self.image)
        preprocessor = registry.find(self.module)
        named = preprocessor.name == "none" and len(self.union_control_type.split(",")) == len(images)
        if len(images) > 1 and preprocessor.encoder is None and not named:
            raise InvalidInput("image holds several pictures; a unit follows one, except with IP-Adapter, and without "
                               "a preprocessor where union_control_type names the type of each.", field="image")
        region = _opened(self.effective_region_mask, "effective_region_mask", max_pixels)
        if region is not None and region.mode in GREY:
            raise InvalidInput("effective_region_mask must be a picture in colour: a grey one is refused, as by the "
                               "extension.", field="effective_region_mask")
        weights = self.advanced_weighting
        return ControlUnit(
            module=self.module, model=self.model, weight=self.weight, image=_opened(images[0], "image", max_pixels),
            further_images=tuple(one for image in images[1:] if (one := _opened(image, "image", max_pixels))),
            mask=_opened(self.mask or mask, "mask", max_pixels), resize_mode=self.resize_mode,
            processor_res=self.processor_res, threshold_a=self.threshold_a, threshold_b=self.threshold_b,
            guidance_start=self.guidance_start, guidance_end=self.guidance_end, pixel_perfect=self.pixel_perfect,
            control_mode=self.control_mode, crop_input_image=self.inpaint_crop_input_image, hr_option=self.hr_option,
            save_detected_map=self.save_detected_map, effective_region_mask=region,
            control_type=self.union_control_type, advanced_weighting=None if weights is None else tuple(weights))


def control_units(scripts: Mapping[str, Any], count: int, max_pixels: int) -> tuple[ControlUnit, ...]:
    """The units of a body's `alwayson_scripts` that are switched on, of the first `count`. Raises InvalidInput naming
    the unit and its field."""
    script = next((script for name, script in scripts.items() if name.lower() == CONTROLNET), None)
    args = script.get("args") if isinstance(script, Mapping) else None
    units = []
    for number, arg in enumerate(args[:count] if isinstance(args, list) else ()):
        where = f"alwayson_scripts.{CONTROLNET}.args.{number}"
        if not isinstance(arg, dict):
            raise InvalidInput(f"Unit {number} of ControlNet must be an object of its fields.", field=where)
        try:
            body = ControlUnitBody.model_validate(arg) if arg.get("enabled") else None
            if body is not None and body.enabled:
                units.append(body.unit(max_pixels))
        except ValidationError as error:
            raise _named(first_problem(error), number, where) from error
        except InvalidInput as error:
            raise _named(error, number, where) from error
    return tuple(units)


def _named(error: InvalidInput, number: int, where: str) -> InvalidInput:
    return InvalidInput(f"ControlNet unit {number}: {error.message}",
                        field=f"{where}.{error.field}" if error.field else where)


def _parts(image: Any) -> tuple[list[Any], Any]:
    """(pictures, mask of the first) of the field `image`."""
    if isinstance(image, list) and len(image) == 2 and isinstance(image[0], str):
        return image[:1], image[1]
    listed = image if isinstance(image, list) and image else [image]
    items = [one if isinstance(one, dict) else {"image": one} for one in listed]
    return [item.get("image") for item in items], items[0].get("mask")


def _opened(text: Any, field: str, max_pixels: int) -> Image.Image | None:
    if text is None or text == "":
        return None
    if not isinstance(text, str):
        raise InvalidInput(f"{field} must be a picture in base64.", field=field)
    return pictures.open_picture(text, field, max_pixels)
