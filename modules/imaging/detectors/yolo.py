"""YOLO networks with a detection head, as Ultralytics exports them to ONNX: versions 5, 8, 11 and those after them.

The input is (1, 3, H, W), RGB in [0, 1]: the picture in its proportions on grey. The output is one of three kinds:
version 5 (1, N, 5 + classes): x, y, width, height, objectness, a share for each class; version 8 and 11
(1, 4 + classes, N): x, y, width, height, a share for each class; and without overlaps (1, N, 6): left, top, right,
bottom, score, class. All lengths are in pixels of the input.

Networks that also outline (`-seg`) have P more numbers for each find, and a second output (1, P, h, w): the outline is
where the sum of these P pictures of the whole input, each times its number, is above 0.
"""

from __future__ import annotations

import re

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from modules.errors import CheckpointError
from modules.imaging.detectors.find import CANDIDATES, MOST, Detect, Find, clipped
from modules.imaging.onnx_network import LONGEST, OnnxNetwork

GREY = 114
SIDE = 640
"""Of the input, where the file leaves it open."""
OVERLAP = 0.7
"""Of two finds of a class whose overlap (intersection over union) is larger, the surer stays."""
WITHOUT_OVERLAPS = 1000
"""At most so many finds has an output of the third kind."""
_CLASS = re.compile(r"(\d{1,5})\s*:\s*(?:'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\")")
_NUMBERS = re.compile(r"\d{1,5}")

Array = NDArray[np.float32]


def classes(network: OnnxNetwork) -> list[str]:
    """The names of the classes in the file's metadata, `{0: 'face', 1: 'hand'}`; empty without them."""
    told = network.header.metadata.get("names", "")
    found = {int(number): one or other for number, one, other in _CLASS.findall(told)}
    return [found.get(number, str(number)) for number in range(max(found, default=-1) + 1)]


def input_size(network: OnnxNetwork) -> tuple[int, int]:
    """(width, height) of the input. Raises CheckpointError if the network does not take one RGB picture."""
    told = [int(side) for side in _NUMBERS.findall(network.header.metadata.get("imgsz", ""))][:2]
    height, width = told if len(told) == 2 and all(32 <= side <= LONGEST for side in told) else (SIDE, SIDE)
    return network.picture_size((width, height))


def yolo(network: OnnxNetwork) -> Detect:
    """The detector with that network. Raises CheckpointError."""
    size, names = input_size(network), classes(network)
    first = next(iter(network.header.outputs))

    def detect(picture: Image.Image, least: float) -> list[Find]:
        blob, scale, left, top = letterboxed(picture, size)
        answers = network(blob)
        output = answers.get(first, next(iter(answers.values())))
        if output.ndim != 3 or output.shape[0] != 1 or max(output.shape[1:]) < 5:
            raise CheckpointError(f"{network.name} is no detector that can be used here: its answer has the shape "
                                  f"{' x '.join(map(str, output.shape))}.")
        outlines = next((one[0] for one in answers.values() if one.ndim == 4 and one.shape[0] == 1), None)
        if outlines is not None and max(outlines.shape) > LONGEST:
            outlines = None
        corners, scores, kinds, numbers = decoded(output[0], len(names), 0 if outlines is None else len(outlines))
        found = []
        for k in strongest(corners, scores, kinds, max(least, 1e-3)):
            x1, y1, x2, y2 = corners[k]
            box = clipped(((x1 - left) / scale, (y1 - top) / scale, (x2 - left) / scale, (y2 - top) / scale),
                          picture.size)
            if box:
                kind = int(kinds[k])
                outline = None if outlines is None else _outline(numbers[k], outlines, (scale, left, top), size,
                                                                 picture.size)
                found.append(Find(box, min(float(scores[k]), 1.0), names[kind] if kind < len(names) else str(kind),
                                  outline))
        return found

    return detect


def letterboxed(picture: Image.Image, size: tuple[int, int]) -> tuple[Array, float, int, int]:
    """(input (1, 3, H, W), scale, left, top): the picture scaled and laid into the middle of grey."""
    scale = min(size[0] / picture.width, size[1] / picture.height)
    width, height = max(round(picture.width * scale), 1), max(round(picture.height * scale), 1)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    canvas = np.full((size[1], size[0], 3), GREY, np.uint8)
    canvas[top : top + height, left : left + width] = cv2.resize(np.asarray(picture.convert("RGB")), (width, height),
                                                                 interpolation=cv2.INTER_LINEAR)
    return np.asarray(canvas.transpose(2, 0, 1)[None] / 255, dtype=np.float32), scale, left, top


def decoded(output: Array, known: int, further: int = 0) -> tuple[Array, Array, NDArray[np.int64], Array]:
    """(corners (N, 4) in pixels of the input, scores (N,), classes (N,), numbers of the outlines (N, P)) of an output
    without its first axis. `known` is the number of classes, 0 if the file does not tell it, `further` is P."""
    rows, columns = output.shape
    if columns == 6 + further and rows <= WITHOUT_OVERLAPS:
        return output[:, :4], output[:, 4], output[:, 5].astype(np.int64), output[:, 6:]
    is_version_8 = rows < columns
    output = output.T if is_version_8 else output
    output, numbers = output[:, : output.shape[1] - further], output[:, output.shape[1] - further :]
    if is_version_8:
        shares = output[:, 4 : 4 + known] if known else output[:, 4:]
    else:
        shares = output[:, 5 : 5 + known] if known else output[:, 5:]
        shares = shares * output[:, 4:5] if shares.shape[1] else output[:, 4:5]
    middle, half = output[:, :2], output[:, 2:4] / 2
    kinds = shares.argmax(axis=1)
    return np.concatenate([middle - half, middle + half], axis=1), shares.max(axis=1), kinds, numbers


def _outline(numbers: Array, outlines: Array, placed: tuple[float, int, int], size: tuple[int, int],
             picture: tuple[int, int]) -> Image.Image:
    """The L picture of `Find.outline`: the share of each pixel. `placed` is where the picture lies in the input of
    `size`, as `letterboxed` gives it; both sizes are (width, height)."""
    scale, *corner = placed
    height, width = outlines.shape[1:]
    shares = 1 / (1 + np.exp(-np.clip(np.tensordot(numbers, outlines, axes=1), -30, 30)))
    small, moved = [], np.zeros((2, 3))
    for axis, (side, inside, whole) in enumerate(zip(picture, size, (width, height), strict=True)):
        cells = side * scale * whole / inside  # that the picture takes
        small.append(max(round(cells), 1))
        step = cells / small[axis]
        moved[axis, axis], moved[axis, 2] = step, step / 2 + corner[axis] * whole / inside - 0.5
    fitted = cv2.warpAffine(np.asarray(shares * 255, dtype=np.float32), moved, small,
                            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE)
    return Image.fromarray(fitted.round().astype(np.uint8))


def strongest(corners: Array, scores: Array, kinds: NDArray[np.int64], least: float) -> list[int]:
    """The numbers of the finds that stay, the surest first: with at least that score, and without those that overlap
    a surer one of their class."""
    order = [int(k) for k in np.argsort(-scores, kind="stable")[:CANDIDATES] if scores[k] >= least]
    if not order:
        return []
    boxes = np.concatenate([corners[order, :2], corners[order, 2:] - corners[order, :2]], axis=1)
    kept = cv2.dnn.NMSBoxesBatched(boxes.tolist(), scores[order].tolist(), kinds[order].tolist(), 0.0, OVERLAP)
    return [order[k] for k in np.asarray(kept, dtype=int).reshape(-1)[:MOST]]
