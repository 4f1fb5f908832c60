"""MediaPipe's networks for landmarks, through OpenCV: each looks at an upright square of a picture, around one person
(BlazePose: Bazarevsky et al. 2020) or one hand (Zhang et al. 2020). From what it finds follows a better square."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from modules.errors import CheckpointError

Pixels = NDArray[np.uint8]
Array = NDArray[np.float32]
Look = Callable[[Pixels], tuple[Array, float]]
"""A square picture -> (its landmarks (n, 3 or 5): x and y in pixels, depth, and how visible, as logit; how sure it is
that it sees one, 0 to 1)."""

SURE = 0.5
HAND_SIDE = 224
"""Pixels of the square that the network for hands looks at."""
PALM = (0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18)
"""The points of a hand that tell where it is whatever the fingers do."""
HAND_LOOKS = 2
"""How often the network looks at the same hand."""
AROUND_HAND = 2.6
"""The square's side by the palm's box."""


@dataclass(frozen=True)
class Square:
    """A square of the picture: its middle, its side in pixels, and how far its upper side is turned to the right."""

    x: float
    y: float
    side: float
    turn: float = 0.0

    def cut(self, picture: Pixels, side: int) -> tuple[Pixels, Array]:
        """It upright, (side, side, 3), and the matrix (2, 3) that brings its points back into the picture."""
        scale = side / self.side
        cos, sin = scale * math.cos(self.turn), scale * math.sin(self.turn)
        into = np.array([[cos, sin, side / 2 - cos * self.x - sin * self.y],
                         [-sin, cos, side / 2 + sin * self.x - cos * self.y]], np.float32)
        upright = cv2.warpAffine(picture, into, (side, side), flags=cv2.INTER_LINEAR)
        return np.asarray(upright, np.uint8), np.asarray(cv2.invertAffineTransform(into), np.float32)


class TfliteNetwork:
    """A network in a `.tflite` file, which reads one square RGB picture from 0 to 1. Only one thread at a time may call
    it."""

    def __init__(self, path: Path, outputs: tuple[str, ...]) -> None:
        """Raises CheckpointError for a file that OpenCV cannot read."""
        self.name = path.name
        self._outputs = outputs
        try:
            self._net: Any = cv2.dnn.readNetFromTFLite(str(path))
        except (cv2.error, UnicodeError) as error:
            raise CheckpointError(f"{self.name} holds a network that OpenCV cannot compute.") from error

    def __call__(self, picture: Pixels) -> list[Array]:
        """The outputs for a picture (side, side, 3). Raises CheckpointError if the network has no such ones."""
        blob = np.ascontiguousarray(picture.astype(np.float32).transpose(2, 0, 1)[None] / 255)
        try:
            self._net.setInput(blob)
            return [np.asarray(one, np.float32) for one in self._net.forward(self._outputs)]
        except cv2.error as error:
            raise CheckpointError(f"{self.name} is none of MediaPipe's landmark networks.") from error


def landmark_network(path: Path, numbers: int) -> Look:
    """The network in a file, with so many numbers to a landmark. Raises CheckpointError."""
    network = TfliteNetwork(path, ("Identity", "Identity_1"))

    def look(picture: Pixels) -> tuple[Array, float]:
        landmarks, sure = network(picture)
        try:
            return landmarks.reshape(-1, numbers), float(sure.item())
        except ValueError as error:
            raise CheckpointError(f"{path.name} is none of MediaPipe's landmark networks.") from error

    return look


def brought_back(landmarks: Array, back: Array) -> Array:
    """The points (n, 2) of landmarks in the picture, by the matrix of `Square.cut`."""
    return np.asarray(landmarks[:, :2] @ back[:, :2].T + back[:, 2], np.float32)


def follow_hand(picture: Pixels, square: Square, look: Look) -> tuple[Array, float] | None:
    """(the points (21, 2) of the hand in a square, looked at again in the square that follows; how sure all looks
    together are, 0 to 1). None where one of them sees none."""
    points, sure = None, 1.0
    for _ in range(HAND_LOOKS):
        if square.side < 1:
            return None
        upright, back = square.cut(picture, HAND_SIDE)
        landmarks, seen = look(upright)
        if seen < SURE or not np.isfinite(landmarks).all():
            return None
        points, sure = brought_back(landmarks, back), sure * seen
        palm = points[list(PALM)]
        middle = (palm.min(axis=0) + palm.max(axis=0)) / 2
        square = upright_square(points[0], points[9], AROUND_HAND * float(np.ptp(palm, axis=0).max()), middle)
    return None if points is None else (points, sure)


def upright_square(wrist: Array, finger: Array, side: float, middle: Array) -> Square:
    """The square in which a hand points upwards."""
    return Square(float(middle[0]), float(middle[1]), side,
                  math.atan2(float(finger[0] - wrist[0]), float(wrist[1] - finger[1])))
