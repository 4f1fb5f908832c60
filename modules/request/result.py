"""What a request came to: pictures, each with the text that makes it again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from modules.request.photograph import Photograph
from modules.request.request import Txt2Img


@dataclass(frozen=True)
class GeneratedImage:
    """One picture with what made it. `extras` are its mask and composite, when asked for; `path` is where it was saved.

    `grid` is empty for a picture; for a grid of pictures it is the word that its file's name begins with. `photograph`
    is the picture in the depth and colours of the file it was made from; `image` shows it in 8-bit sRGB.
    """

    image: Image.Image
    seed: int
    subseed: int
    infotext: str
    path: Path | None = None
    extras: tuple[Image.Image, ...] = ()
    grid: str = ""
    photograph: Photograph | None = None


@dataclass(frozen=True)
class Result:
    """All pictures of a request. `request` is as it was carried out: seeds drawn, names spelt out.

    `work` is the network's work as a share of what it would be without savings (small masks). `maps` are the pictures
    that control units followed, unless a script made the request out of others.
    """

    images: tuple[GeneratedImage, ...]
    request: Txt2Img
    warnings: tuple[str, ...] = ()
    interrupted: bool = False
    work: float = 1.0
    maps: tuple[Image.Image, ...] = ()
