"""What a preprocessor is: a name, its sliders, and the function that makes the map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
"""A picture (H, W, C), values 0 to 255; C is 3 (RGB), or 4 where the last channel is a mask."""


@dataclass(frozen=True)
class Slider:
    """A number that a preprocessor takes. A slider without a `label` is not shown."""

    label: str
    value: float
    low: float
    high: float
    step: float
    help: str = ""

    def inside(self, value: float) -> float:
        """`value`, or the slider's own if `value` lies outside of its range, as in sd-webui-controlnet."""
        return value if self.low <= value <= self.high else self.value


RESOLUTION = Slider("Resolution", 512, 64, 2048, 8, "The length of the shorter side at which the map is made. Lower "
                    "gives fewer and coarser lines, higher more detail. Pixel Perfect computes it.")
UNUSED = Slider("", 0.5, 0, 1, 0.01)
"""What stands in the parameters text for a slider that a preprocessor does not have."""


@dataclass(frozen=True)
class Values:
    """The numbers of one run: the length of the shorter side in pixels, both thresholds, and the random seed."""

    resolution: int = 512
    a: float = 0.5
    b: float = 0.5
    seed: int = 0


def unchanged(picture: Pixels, values: Values) -> Pixels:
    """The picture is its own map."""
    return picture


@dataclass(frozen=True)
class Preprocessor:
    """One entry of the Preprocessor list.

    Attributes:
        name: what requests and parameters texts say.
        compute: makes the map of an RGB picture; where `takes_mask`, of a picture with its mask as fourth channel.
            None where that takes a network.
        types: the Control Types that show it.
        label: what the page shows and requests may say too, if that is not the name.
        priority: those with more stand first in the list.
        model_free: whether no control network is used with it.
        takes_mask: whether it works on a picture with a mask.
        resolution, a, b: its sliders.
        encoder: None where it makes a map. Else the picture itself is shown to an image encoder of so many channels, or
            with 0 to the one that fits (IP-Adapter); its sliders are for programs only, and change nothing.
        network, file: the folder below `models/annotators` with its network, and the name of the file of weights in it
            without its usual `suffix`. Without a `file` the folder has transformers' layout.
    """

    name: str
    compute: Callable[[Pixels, Values], Pixels] | None
    types: tuple[str, ...] = ()
    label: str = ""
    priority: int = 0
    model_free: bool = False
    takes_mask: bool = False
    resolution: Slider = RESOLUTION
    a: Slider = UNUSED
    b: Slider = UNUSED
    encoder: int | None = None
    network: str = ""
    file: str = ""
    suffix: str = ".pth"

    @property
    def title(self) -> str:
        """The label, or the name where there is none."""
        return self.label or self.name

    @property
    def sliders(self) -> tuple[Slider, ...]:
        """Those that are shown: the resolution, then the thresholds."""
        return tuple(slider for slider in (self.resolution, self.a, self.b) if slider.label)

    def inside(self, resolution: float, a: float, b: float) -> tuple[float, float, float]:
        """The three numbers, with the slider's own in place of each that is out of its range (-1 always is)."""
        return self.resolution.inside(resolution), self.a.inside(a), self.b.inside(b)
