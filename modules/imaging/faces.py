"""Face restoration: every face in a picture is cut out, passed through a network that is made for faces (GFPGAN and its
kin), and laid back over what it was."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageChops

from modules.errors import InvalidInput
from modules.imaging.haar import detector
from modules.imaging.network_files import Network, NetworkFiles
from modules.imaging.resize import Box, crop

Restore = Callable[[Image.Image], Image.Image]
"""An RGB picture in, the same with its faces restored out: the very same object where there is no face."""

COMPANIONS = ("detection_", "parsing_", "alignment_")
"""How the files begin that WebUI puts beside them for finding faces; they restore none."""

AUTOMATIC = "Automatic"
PREFERRED = "GFPGAN"

SIDE = 512
"""Width and height of what the networks read and write, in pixels."""

MARGIN, MIDDLE = 1.8, 0.45
"""The square that is cut out: its side in sides of the box that the detector finds, and its middle's height in that.

The networks learned from the pictures of FFHQ, whose eyes lie at 0.38 and 0.62 of the width and at 0.47 of the height;
in the detector's boxes they lie at about 0.28 and 0.72, and at 0.39.
"""

FADE = 8
"""The border over which a restored face fades in is the square's side divided by this."""


class FaceRestorers(NetworkFiles):
    """The models that restore faces."""

    def names(self) -> list[str]:
        """Their names, in order."""
        return [name for name in self.files() if not name.lower().startswith(COMPANIONS)]

    def full_name(self, name: str) -> str:
        """The model that `name` means: its own name, or how that begins, of which the last in order counts, so that
        WebUI's "GFPGAN" is GFPGANv1.4; "Automatic" is that one or, without it, the first. Raises InvalidInput."""
        names = self.names()
        wanted = PREFERRED if name == AUTOMATIC else name
        found = [known for known in names if known.lower().startswith(wanted.lower())]
        exact = [known for known in found if known.lower() == wanted.lower()]
        rest = names[:1] if name == AUTOMATIC else []
        try:
            return (exact or found[-1:] or rest)[0]
        except IndexError:
            what = "no model for it" if name == AUTOMATIC else f"no model for it called {name!r}"
            raise InvalidInput(f"Faces cannot be restored: there is {what} in models/GFPGAN.",
                               field="face_restoration_model") from None

    def find(self, name: str) -> Restore:
        """What restores faces with the model that `name` means. Raises InvalidInput when there is none, or OpenCV has
        no detector of faces, and CheckpointError."""
        detect = detector("frontalface_default")
        network = self.network(self.files()[self.full_name(name)])
        return lambda image: restored(image, detect(image), network)


def restored(image: Image.Image, boxes: list[Box], network: Network) -> Image.Image:
    """RGB `image` with the faces in `boxes` as `network` makes them, one after the other."""
    for box in boxes:
        square = around(box)
        face = crop(image, square)
        better = network(face.resize((SIDE, SIDE), _resampling(face.width, SIDE)))
        better = better.resize(face.size, _resampling(SIDE, face.width))
        image = image.copy()
        image.paste(better, square[:2], _fading(face.width))
    return image


def around(box: Box) -> Box:
    """The square about a find that shows the face as the networks know faces. It may reach beyond the picture."""
    left, top, right, bottom = box
    side = round((right - left) * MARGIN)
    x = round((left + right) / 2 - side / 2)
    y = round(top + (bottom - top) * MIDDLE - side / 2)
    return x, y, x + side, y + side


def _resampling(before: int, after: int) -> Image.Resampling:
    return Image.Resampling.BICUBIC if after > before else Image.Resampling.LANCZOS


def _fading(side: int) -> Image.Image:
    """A square mask, L: 0 at its border, 255 inside."""
    ramp = np.minimum(np.arange(side), np.arange(side)[::-1]) * FADE / side
    row = Image.fromarray((np.minimum(ramp, 1) * 255).astype(np.uint8)[None])
    nearest = Image.Resampling.NEAREST
    return ImageChops.multiply(row.resize((side, side), nearest),
                               row.transpose(Image.Transpose.ROTATE_90).resize((side, side), nearest))
