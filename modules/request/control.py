"""A control unit: one picture that a generated picture is to follow, and how it is followed (ControlNet's unit)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from PIL import Image

from modules.errors import InvalidInput
from modules.request.fields import check_ranges, field

NO_MODEL = "None"
"""What the model is called where there is none."""


class ControlResize(StrEnum):
    """How a control picture is fitted to the size of the generated one."""

    JUST_RESIZE = "Just Resize"
    CROP_AND_RESIZE = "Crop and Resize"
    RESIZE_AND_FILL = "Resize and Fill"


class ControlMode(StrEnum):
    """Whether the prompt or the control picture matters more."""

    BALANCED = "Balanced"
    PROMPT = "My prompt is more important"
    CONTROL = "ControlNet is more important"


class HiresControl(StrEnum):
    """The passes of hires fix in which a unit works."""

    BOTH = "Both"
    LOW = "Low res only"
    HIGH = "High res only"


@dataclass(frozen=True, kw_only=True)
class ControlUnit:
    """One unit that is switched on; field names and words are those of the ControlNet extension's API.

    `module` is the annotator that turns the picture into what the model reads, and `model` a file of a control
    network; `processor_res`, `threshold_a` and `threshold_b` are the annotator's numbers, -1 for its own defaults.
    `image` is the unit's own picture, None for the picture of img2img or inpaint, and `mask` (white is painted) belongs
    to it. IP-Adapters follow `further_images` along with it, and unions of ControlNets take them as further maps.
    `crop_input_image`: with Only masked, the picture is cut like the one that is inpainted.
    `advanced_weighting` has one weight for each residual in the place of `weight` and of what `control_mode` makes of
    it. `control_type` is the Control Type of the map, which networks that know several are told; "" goes by `module`.
    Of several maps it has the types of all, separated by commas.
    The unit works where `effective_region_mask` is white; without one, everywhere. `annotator_seed` is what a
    random annotator draws from; None is twice the seed of the request.
    """

    module: str = "none"
    model: str = NO_MODEL
    weight: float = field(
        1.0, "Control Weight", "How strongly the control picture is followed. 0.5 leaves more freedom; above 1 gets "
        "stiff.", low=0.0, high=2.0, step=0.05)
    image: Image.Image | None = None
    mask: Image.Image | None = None
    further_images: tuple[Image.Image, ...] = ()
    resize_mode: ControlResize = ControlResize.CROP_AND_RESIZE
    processor_res: float = -1
    threshold_a: float = -1
    threshold_b: float = -1
    guidance_start: float = field(
        0.0, "Starting Control Step", "The share of the steps before the unit begins to work. Raise it to let the "
        "prompt decide the layout.", low=0.0, high=1.0)
    guidance_end: float = field(
        1.0, "Ending Control Step", "The share of the steps after which the unit stops. 0.6 to 0.8 leave fine details "
        "to the prompt.", low=0.0, high=1.0)
    pixel_perfect: bool = field(
        False, "Pixel Perfect", "Computes the preprocessor's resolution from the sizes of the two pictures.")
    control_mode: ControlMode = ControlMode.BALANCED
    crop_input_image: bool = True
    hr_option: HiresControl = HiresControl.BOTH
    save_detected_map: bool = True
    advanced_weighting: tuple[float, ...] | None = None
    effective_region_mask: Image.Image | None = None
    annotator_seed: int | None = None
    control_type: str = ""

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.guidance_start > self.guidance_end:
            raise InvalidInput(f"guidance_start ({self.guidance_start:g}) must not be after guidance_end "
                               f"({self.guidance_end:g}).", field="guidance_start")

    @property
    def pictures(self) -> tuple[Image.Image, ...]:
        """The pictures that it holds."""
        held = self.image, *self.further_images, self.mask, self.effective_region_mask
        return tuple(picture for picture in held if picture is not None)

    def with_pictures(self, change: Callable[[Image.Image, str], Image.Image]) -> Self:
        """The same with each of its pictures as `change` makes it of the picture and the name of its field."""
        def changed(picture: Image.Image | None, name: str) -> Image.Image | None:
            return None if picture is None else change(picture, name)

        return dataclasses.replace(self, image=changed(self.image, "image"), mask=changed(self.mask, "mask"),
                                   further_images=tuple(change(one, "image") for one in self.further_images),
                                   effective_region_mask=changed(self.effective_region_mask, "effective_region_mask"))
