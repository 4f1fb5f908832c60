"""Face restoration: each face in a picture is cropped, passed through a network for faces such as GFPGAN, and pasted
back."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageChops

from modules.errors import InvalidInput
from modules.imaging.haar import detector
from modules.imaging.network_files import Network, NetworkFiles
from modules.imaging.resize import Box, crop

Restore = Callable[[Image.Image], Image.Image]
"""RGB picture -> RGB picture with restored faces. Without a face it returns the same object."""

COMPANIONS = ("detection_", "parsing_", "alignment_")
"""Prefixes of the face detection files that WebUI puts into the same folders. They are no restorers."""

AUTOMATIC = "Automatic"
PREFERRED = "GFPGAN"

SIDE = 512
"""The width and height of the networks' input and output, in pixels."""

MARGIN, MIDDLE = 1.8, 0.45
"""The square to crop, relative to the detector's box: the ratio of their sides, and the height of the square's centre.

The networks were trained on FFHQ, where the eyes are at 0.38 and 0.62 of the width and at 0.47 of the height. In the
detector's boxes they are at about 0.28 and 0.72, and at 0.39.
"""

FADE = 8
"""A restored face fades in over a border of the square's side divided by this."""


class FaceRestorers(NetworkFiles):
    """The face restoration models."""

    def names(self) -> list[str]:
        """The names of the models, sorted."""
        return [name for name in self.files() if not name.lower().startswith(COMPANIONS)]

    def full_name(self, name: str) -> str:
        """Return the full name of the model that `name` means, in any case.

        A name wins over a prefix. Of several models with the prefix the last is taken, so that WebUI's "GFPGAN" means
        GFPGANv1.4. "Automatic" means "GFPGAN" or, without such a model, the first one. Raises InvalidInput.
        """
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
        """Return the restorer with the model that `name` means. Raises CheckpointError, and InvalidInput if there is no
        such model or OpenCV has no face detector."""
        detect = detector("frontalface_default")
        network = self.network(self.files()[self.full_name(name)])
        return lambda image: restored(image, detect(image), network)


def restored(image: Image.Image, boxes: list[Box], network: Network) -> Image.Image:
    """RGB `image` with the faces in `boxes` restored by `network`, one after the other."""
    for box in boxes:
        square = around(box)
        face = crop(image, square)
        better = network(face.resize((SIDE, SIDE), _resampling(face.width, SIDE)))
        better = better.resize(face.size, _resampling(SIDE, face.width))
        image = image.copy()
        image.paste(better, square[:2], _fading(face.width))
    return image


def around(box: Box) -> Box:
    """The square around a detector's box that shows the face as in the training pictures. It may extend beyond the
    picture."""
    left, top, right, bottom = box
    side = round((right - left) * MARGIN)
    x = round((left + right) / 2 - side / 2)
    y = round(top + (bottom - top) * MIDDLE - side / 2)
    return x, y, x + side, y + side


def _resampling(before: int, after: int) -> Image.Resampling:
    return Image.Resampling.BICUBIC if after > before else Image.Resampling.LANCZOS


def _fading(side: int) -> Image.Image:
    """A square L mask that rises from 0 at its border to 255 inside."""
    ramp = np.minimum(np.arange(side), np.arange(side)[::-1]) * FADE / side
    row = Image.fromarray((np.minimum(ramp, 1) * 255).astype(np.uint8)[None])
    nearest = Image.Resampling.NEAREST
    return ImageChops.multiply(row.resize((side, side), nearest),
                               row.transpose(Image.Transpose.ROTATE_90).resize((side, side), nearest))
