"""What a person can ask for: three flat, frozen values that the page, the HTTP API, the command line and tests share.

Field names are WebUI's where it has one. Sizes are in pixels. A change is `dataclasses.replace`. Values are checked
when the object is made; limits that depend on the machine (largest size, most steps) are the settings' concern.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from enum import IntEnum
from typing import Any, ClassVar

from PIL import Image

from modules.errors import InvalidInput
from modules.request.options import Options

MAX_SEED = 2**64 - 1
"""What PyTorch's generators and philox take."""
RANDOM_SEEDS = 2**32
"""One that is drawn is below this, as WebUI's are, and short enough to be written down."""


def seed_after(seed: int, count: int) -> int:
    """The seed that comes `count` seeds later; behind the last one is 0."""
    return (seed + count) % (MAX_SEED + 1)


class ResizeMode(IntEnum):
    """How a picture is brought to the working size (WebUI's numbers)."""

    JUST_RESIZE = 0
    CROP_AND_RESIZE = 1
    RESIZE_AND_FILL = 2
    LATENT_UPSCALE = 3


class MaskedContent(IntEnum):
    """What the painted part holds before sampling begins (WebUI's `inpainting_fill`)."""

    FILL = 0
    ORIGINAL = 1
    LATENT_NOISE = 2
    LATENT_NOTHING = 3

    @property
    def label(self) -> str:
        """WebUI's words for it: "latent noise"."""
        return self.name.lower().replace("_", " ")


MASKED_CONTENT = {content.label: content for content in MaskedContent}
"""Each by its label."""


@dataclass(frozen=True)
class ScriptCall:
    """A script by its title, and the values of its inputs in their order."""

    title: str
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Txt2Img:
    """A picture from words. `seed` -1 means a random one, drawn when the job starts; `eta` None takes the option's.

    `enable_hr` adds a second pass on the enlarged result (hires fix): `denoising_strength` is that pass's; 0 steps and
    empty names take the first pass's; a resize of 0 x 0 takes the scale. A refiner takes over sampling at
    `refiner_switch_at` of the way down the noise levels, at once when that is None. With a `script` the rest is what
    that begins with. `always_on` are the extensions' controls that are switched on, with their values.
    """

    tab: ClassVar[str] = "txt2img"
    """The name of the page's tab for such requests, which extensions go by."""

    prompt: str = ""
    negative_prompt: str = ""
    sampler: str = "DDIM"
    scheduler: str = "Automatic"
    steps: int = 20
    cfg_scale: float = 7.0
    width: int = 512
    height: int = 512
    seed: int = -1
    subseed: int = -1
    subseed_strength: float = 0.0
    seed_resize_from_w: int = 0
    seed_resize_from_h: int = 0
    batch_size: int = 1
    n_iter: int = 1
    eta: float | None = None
    denoising_strength: float = 0.75
    enable_hr: bool = False
    hr_scale: float = 2.0
    hr_upscaler: str = "Latent"
    hr_second_pass_steps: int = 0
    hr_resize_x: int = 0
    hr_resize_y: int = 0
    hr_sampler: str = ""
    hr_scheduler: str = ""
    hr_prompt: str = ""
    hr_negative_prompt: str = ""
    hr_checkpoint: str = ""
    refiner_checkpoint: str = ""
    refiner_switch_at: float | None = None
    script: ScriptCall | None = None
    always_on: tuple[ScriptCall, ...] = ()
    options: Options = field(default_factory=Options)

    def __post_init__(self) -> None:
        if self.enable_hr:
            _between(self, 0.0, 1.0, "denoising_strength")
            _between(self, 0.01, 16.0, "hr_scale")
            _at_least(self, 0, "hr_second_pass_steps", "hr_resize_x", "hr_resize_y")
        if self.refiner_checkpoint and self.refiner_switch_at is not None:
            _between(self, 0.0, 1.0, "refiner_switch_at")
        _at_least(self, 1, "steps", "width", "height", "batch_size", "n_iter")
        _at_least(self, 0, "seed_resize_from_w", "seed_resize_from_h")
        _between(self, -1, MAX_SEED, "seed", "subseed")
        _between(self, 0.0, 1.0, "subseed_strength")
        _between(self, -1000.0, 1000.0, "cfg_scale")
        if self.eta is not None:
            _between(self, 0.0, 1.0, "eta")


@dataclass(frozen=True, kw_only=True)
class Img2Img(Txt2Img):
    """A picture from a picture. Several `init_images` make one result each and set the batch size.

    `denoising_strength` 0 keeps the picture, 1 forgets it. `initial_noise_multiplier` None takes the option's.
    """

    tab: ClassVar[str] = "img2img"

    init_images: tuple[Image.Image, ...] = ()
    resize_mode: ResizeMode = ResizeMode.JUST_RESIZE
    initial_noise_multiplier: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _between(self, 0.0, 1.0, "denoising_strength")
        if self.initial_noise_multiplier is not None:
            _between(self, 0.0, 10.0, "initial_noise_multiplier")
        if not self.init_images:
            raise InvalidInput("There is no picture to start from.", field="init_images")


@dataclass(frozen=True, kw_only=True)
class SoftInpainting:
    """How soft inpainting weighs kept against painted (WebUI's extension of that name, and its defaults).

    `power` (schedule bias), `scale` (preservation strength), `detail` (transition contrast boost), then for the pixels:
    `influence` of the mask, `threshold` and `contrast` of the difference.
    """

    power: float = 1
    scale: float = 0.5
    detail: float = 4
    influence: float = 0
    threshold: float = 0.5
    contrast: float = 2

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not 0 <= value <= 100:  # nor NaN
                raise InvalidInput(f"Soft inpainting's {item.name} lies between 0 and 100, not {value}.",
                                   field="alwayson_scripts")
        if self.detail == 0:
            raise InvalidInput("Soft inpainting's detail must be more than 0.", field="alwayson_scripts")


SOFT_LABELS = {"power": "Schedule bias", "scale": "Preservation strength", "detail": "Transition contrast boost",
               "influence": "Mask influence", "threshold": "Difference threshold", "contrast": "Difference contrast"}
"""WebUI's labels of the fields of `SoftInpainting`, in their order."""


@dataclass(frozen=True, kw_only=True)
class Inpaint(Img2Img):
    """Img2Img where only the white part of `mask` is made anew. White (255) means paint, everywhere.

    `mask_blur_x` and `mask_blur_y` are Gaussian sigmas in pixels. `mask_round` makes the latent mask hard.
    `only_masked` works on the mask's surroundings (plus `only_masked_padding` pixels) at full resolution.
    `soft` blends by noise level and by what really changed; it makes the mask soft whatever `mask_round` says.
    `latent_mask` is what is sampled anew when that is not the same as what is pasted back; it is never blurred.
    """

    tab: ClassVar[str] = "inpaint"

    mask: Image.Image
    mask_invert: bool = False
    mask_blur_x: int = 4
    mask_blur_y: int = 4
    mask_round: bool = True
    masked_content: MaskedContent = MaskedContent.ORIGINAL
    only_masked: bool = False
    only_masked_padding: int = 32
    soft: SoftInpainting | None = None
    latent_mask: Image.Image | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _between(self, 0, 512, "mask_blur_x", "mask_blur_y")
        _between(self, 0, 4096, "only_masked_padding")

    @property
    def misplaced(self) -> bool:
        """Whether the latent alone is resized and WebUI 1.10's picture is wanted, which is out of place then.

        `StableDiffusionProcessingImg2Img.init` stretches the latent, but its `resize_image` takes any mode it does not
        know for resize and fill: so the mask is fitted in. The overlay is cut from the picture in its own size.
        """
        return (self.resize_mode == ResizeMode.LATENT_UPSCALE and not self.only_masked
                and self.options.ddim_loop == "webui-1.10")


def _at_least(request: Txt2Img, low: float, *names: str) -> None:
    _between(request, low, math.inf, *names)


def _between(request: Txt2Img, low: float, high: float, *names: str) -> None:
    for name in names:
        value = getattr(request, name)
        if not low <= value <= high or value == math.inf:  # nor NaN
            limits = f"at least {low}" if high == math.inf else f"between {low} and {high}"
            raise InvalidInput(f"{name} must be {limits}, not {value}.", field=name)
