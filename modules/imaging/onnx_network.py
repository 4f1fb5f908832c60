"""A network in an ONNX file, computed on the CPU by OpenCV's DNN module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from modules.errors import CheckpointError
from modules.imaging.onnx_header import OnnxHeader, read_header, with_sorted_nodes

Array = NDArray[np.float32]
LONGEST = 4096
"""Pixels of a side of the largest picture that a network may read."""


class OnnxNetwork:
    """`header` is what the file says of itself. Only one thread at a time may call it."""

    def __init__(self, path: Path) -> None:
        """Raises CheckpointError for a file that OpenCV cannot read."""
        self.name = path.name
        self.header: OnnxHeader = read_header(path)
        self._path, self._shape = path, tuple[int, ...]()
        self._net: Any = _read(path)
        self._outputs: tuple[str, ...] = tuple(self._net.getUnconnectedOutLayersNames())

    def picture_size(self, default: tuple[int, int], *, colours_last: bool = False) -> tuple[int, int]:
        """(width, height) of the RGB picture that is the only input, (N, 3, H, W) or with the colours last; `default`
        where the file leaves it open. Raises CheckpointError if it reads something else."""
        shapes = list(self.header.inputs.values())
        if len(shapes) == 1 and len(shapes[0]) == 4:
            colours, height, width = (shapes[0][place] for place in ((3, 1, 2) if colours_last else (1, 2, 3)))
            if colours in (0, 3) and max(height, width) <= LONGEST:
                return width or default[0], height or default[1]
        order = "with the colours last" if colours_last else "with the colours first"
        raise CheckpointError(f"{self.name} cannot be used here: it does not take one RGB picture {order} of at most "
                              f"{LONGEST} x {LONGEST}.")

    def __call__(self, blob: Array) -> dict[str, Array]:
        """The outputs by name for the only input. Raises CheckpointError if the network cannot take a `blob` of that
        shape or answers with what is no number."""
        if self._shape not in ((), blob.shape):
            self._net = _read(self._path)  # OpenCV gives wrong answers for an input of another shape than the first
        self._shape = blob.shape
        try:
            self._net.setInput(np.ascontiguousarray(blob, dtype=np.float32))
            answers = self._net.forward(self._outputs)
        except cv2.error as error:
            shape = " x ".join(map(str, blob.shape))
            raise CheckpointError(f"{self.name} cannot be used: it does not take an input of {shape}.") from error
        found = dict(zip(self._outputs, (np.asarray(one) for one in answers), strict=True))
        if not all(np.isfinite(one).all() for one in found.values()):
            raise CheckpointError(f"{self.name} cannot be used: it answers with what is no number.")
        return found


def _read(path: Path) -> Any:
    """The network. Raises CheckpointError."""
    try:
        return cv2.dnn.readNetFromONNX(str(path))
    except cv2.error:
        pass
    try:
        return cv2.dnn.readNetFromONNX(np.frombuffer(with_sorted_nodes(path), np.uint8))
    except cv2.error as error:
        raise CheckpointError(f"{path.name} holds a network that OpenCV cannot compute.") from error
