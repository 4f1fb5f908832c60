"""What stands in front, by MediaPipe's network for selfies: people, and often animals and things too."""

from __future__ import annotations

import numpy as np
from PIL import Image

from modules.imaging import included
from modules.imaging.landmarks import Array, TfliteNetwork

SIDE = 256


class Foreground:
    """The included network, read when it is first used. Only one thread at a time may call it."""

    def __init__(self) -> None:
        self._network: TfliteNetwork | None = None

    def __call__(self, picture: Image.Image) -> Array:
        """The share of what stands in front, 0 to 1, (SIDE, SIDE): the picture is stretched to a square."""
        self._network = self._network or TfliteNetwork(included.SUBJECTS, ("activation_10",))
        square = picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        (shares,) = self._network(np.asarray(square))
        return np.asarray(shares[0, 0].clip(0, 1), np.float32)
