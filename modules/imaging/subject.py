"""The subject of a picture: by a network such as ISNet (Qin et al. 2022) in an ONNX file, or by the included small one,
and by GrabCut where that sees nothing in front.

The network in a file reads (1, 3, H, W), RGB from -0.5 to 0.5, stretched to its size; its first output is the subject's
share of each pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from modules.base.files import FileVersion, file_version
from modules.errors import CheckpointError
from modules.imaging.click_mask import ClickMasks
from modules.imaging.edges import along_edges
from modules.imaging.foreground import Foreground
from modules.imaging.onnx_network import OnnxNetwork

SIDE = 1024
"""Of the input, where the file leaves it open."""
CRISP = 0.25, 0.75
"""Shares of the included network that are none and all of the matte."""
LEAST = 0.005
"""What stands in front has at least this share of the picture's area."""


class Subjects:
    """Finds subjects by the first network in `folders`, in alphabetical order, or by the included one.

    A file is read when it is first used. Only one thread at a time may use a network.
    """

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        self._folders = tuple(folders)
        self._kept: tuple[tuple[Path, FileVersion | None], OnnxNetwork] | None = None
        self._foreground = Foreground()

    @property
    def file(self) -> Path | None:
        """The network's file."""
        return next((path for folder in self._folders if folder.is_dir() for path in sorted(folder.glob("*.onnx"))),
                    None)

    def matte(self, picture: Image.Image) -> Image.Image:
        """An L picture of the same size: 255 where the subject is, soft at its edge if a network finds it. Raises
        CheckpointError."""
        file = self.file
        if file is None:
            shares = self._foreground(picture)
            if (shares > 0.5).mean() < LEAST:
                return ClickMasks(picture).in_the_middle()
            shares = (along_edges(shares, np.asarray(picture.convert("RGB"))) - CRISP[0]) / (CRISP[1] - CRISP[0])
            return Image.fromarray((shares.clip(0, 1) * 255).round().astype(np.uint8))
        network = self._network(file)
        size = network.picture_size((SIDE, SIDE))
        pixels = np.asarray(picture.convert("RGB").resize(size, Image.Resampling.BILINEAR), dtype=np.float32)
        answers = network(np.asarray(pixels / 255 - 0.5, dtype=np.float32).transpose(2, 0, 1)[None])
        share = answers.get(next(iter(network.header.outputs)), next(iter(answers.values())))
        if share.ndim != 4 or share.shape[:2] != (1, 1):
            raise CheckpointError(f"{network.name} finds no subjects: its answer has the shape "
                                  f"{' x '.join(map(str, share.shape))}.")
        lowest, highest = float(share.min()), float(share.max())
        even = (share[0, 0] - lowest) / max(highest - lowest, 1e-6) * 255
        return Image.fromarray(even.astype(np.uint8)).resize(picture.size, Image.Resampling.BILINEAR)

    def mask(self, picture: Image.Image) -> Image.Image:
        """The matte as a mask: 255 where the subject is more than half, otherwise 0. Raises CheckpointError."""
        return self.matte(picture).point(lambda value: 255 if value > 127 else 0)

    def cut_out(self, picture: Image.Image) -> Image.Image:
        """`picture` in RGBA, transparent where the subject is not. Raises CheckpointError."""
        alpha = np.asarray(self.matte(picture), dtype=np.uint16)
        cut = picture.convert("RGBA")
        held = np.asarray(cut.getchannel("A"), dtype=np.uint16)
        cut.putalpha(Image.fromarray((alpha * held // 255).astype(np.uint8)))
        return cut

    def _network(self, file: Path) -> OnnxNetwork:
        key = (file, file_version(file))
        if self._kept is None or self._kept[0] != key:
            self._kept = None
            self._kept = key, OnnxNetwork(file)
        return self._kept[1]
