"""What stands in front, by MediaPipe's network for selfies: people, and often animals and things too."""

from __future__ import annotations

import threading

import numpy as np
from PIL import Image

from modules.imaging import included
from modules.imaging.landmarks import Array, TfliteNetwork

SIDE = 256


class Foreground:
    """The included network, read when it is first used. Threads wait for each other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._network: TfliteNetwork | None = None

    def __call__(self, picture: Image.Image) -> Array:
        """The share of what stands in front, 0 to 1, (SIDE, SIDE): the picture is stretched to a square."""
        square = picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        with self._lock:
            self._network = self._network or TfliteNetwork(included.SUBJECTS, ("activation_10",))
            (shares,) = self._network(np.asarray(square))
        return np.asarray(shares[0, 0].clip(0, 1), np.float32)
