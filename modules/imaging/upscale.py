"""Upscalers that work on pixels: resampling, and a network for each model file.

As in WebUI, a picture passes the upscaler until it is large enough, at most three times. Then it is resized to the
requested size, rounded down to multiples of 8.
"""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image, ImageChops

from modules.errors import InvalidInput
from modules.imaging.network_files import Network, NetworkFiles

Size = tuple[int, int]
Upscale = Callable[[Image.Image, float], Image.Image]
"""(image, factor) -> the image about `factor` times as wide and high; both sides are multiples of 8."""

OnTile = Callable[[int, int], None]
"""Called after each tile with its number, from 1, and the number of tiles. An exception from it ends the work."""

RESAMPLING = {"Lanczos": Image.Resampling.LANCZOS, "Nearest": Image.Resampling.NEAREST}
USUAL = {"ESRGAN_4x": "ESRGAN_4x", "R-ESRGAN 4x+": "RealESRGAN_x4plus",
         "R-ESRGAN 4x+ Anime6B": "RealESRGAN_x4plus_anime_6B", "SwinIR_4x": "SwinIR_4x", "LDSR": "LDSR",
         "ScuNET": "ScuNET"}
"""Upscalers that WebUI always lists and programs ask for, and the names of the files that they come in."""

STAND_IN = "Lanczos"
"""What enlarges where such a file is not here."""

PASSES = 3
TILE, OVERLAP = 192, 8
"""The side of a tile and the overlap of two tiles, in pixels of the input (WebUI's defaults)."""

LATENT_UPSCALERS: dict[str, tuple[str, bool]] = {
    "Latent": ("bilinear", False),
    "Latent (antialiased)": ("bilinear", True),
    "Latent (bicubic)": ("bicubic", False),
    "Latent (bicubic antialiased)": ("bicubic", True),
    "Latent (nearest)": ("nearest", False),
    "Latent (nearest-exact)": ("nearest-exact", False),
}
"""WebUI's latent upscale modes: (torch's interpolation mode, antialiased)."""


class Upscalers(NetworkFiles):
    """All upscalers by name: None, Lanczos, Nearest, and the model files."""

    def names(self) -> list[str]:
        """Every name, in WebUI's order."""
        return ["None", *RESAMPLING, *self.files()]

    def names_for_programs(self) -> list[str]:
        """The same, and those that WebUI always has."""
        names = self.names()
        return [*names[:3], *(name for name in USUAL if name not in names), *names[3:]]

    def stand_in(self, name: str) -> str | None:
        """A sentence where something else enlarges in the place of `name`."""
        known = self._usual(name)
        if known is None or self._file_of(known):
            return None
        return f"{known} was done by {STAND_IN}: there is no {USUAL[known]} in models/ESRGAN."

    def _usual(self, name: str) -> str | None:
        """How WebUI writes one of `USUAL`; None for other names and for files that are called so."""
        there = any(name.lower() == file.lower() for file in self.files())
        return None if there else next((known for known in USUAL if known.lower() == name.lower()), None)

    def _file_of(self, usual: str) -> str | None:
        """The usual file's name, where it is here."""
        return next((file for file in self.files() if file.lower() == USUAL[usual].lower()), None)

    def check(self, name: str, field: str) -> None:
        """Raise InvalidInput for the request's `field` if there is no upscaler of that name."""
        if name.lower() not in (known.lower() for known in self.names_for_programs()):
            raise InvalidInput(f"There is no upscaler called {name!r}.", field=field)

    def find(self, name: str, on_tile: OnTile = lambda done, total: None) -> Upscale:
        """The upscaler of that name, in any case. Raises InvalidInput if there is none, and CheckpointError."""
        self.check(name, "upscaler")
        if usual := self._usual(name):
            name = self._file_of(usual) or STAND_IN
        known = next(known for known in self.names() if known.lower() == name.lower())
        if known == "None":
            return lambda image, factor: image
        if known in RESAMPLING:
            return lambda image, factor: _until_large_enough(
                image, factor, lambda part: part.resize(_times(part.size, factor), RESAMPLING[known]))
        network = self.network(self.files()[known])
        return lambda image, factor: _until_large_enough(
            image, factor, lambda part: in_tiles(part.convert("RGB"), network, on_tile))

    def to_size(self, name: str, image: Image.Image, size: Size,
                on_tile: OnTile = lambda done, total: None) -> Image.Image:
        """`image` enlarged by the upscaler until it covers `size`, then resized to exactly that (width, height)."""
        factor = max(size[0] / image.width, size[1] / image.height)
        larger = self.find(name, on_tile)(image, factor) if factor > 1 else image
        return larger if larger.size == size else larger.resize(size, Image.Resampling.LANCZOS)


def target_size(size: Size, factor: float) -> Size:
    """`size` times `factor`, rounded down to multiples of 8, at least 8."""
    width, height = _times(size, factor)
    return max(width // 8 * 8, 8), max(height // 8 * 8, 8)


def _times(size: Size, factor: float) -> Size:
    return max(int(size[0] * factor), 1), max(int(size[1] * factor), 1)


def _until_large_enough(image: Image.Image, factor: float, once: Callable[[Image.Image], Image.Image]) -> Image.Image:
    wanted = target_size(image.size, factor)
    for number in range(PASSES):
        large_enough = image.width >= wanted[0] and image.height >= wanted[1]
        if large_enough and (number or factor != 1):
            break
        before, image = image.size, once(image)
        if image.size == before:
            break
    return image if image.size == wanted else image.resize(wanted, Image.Resampling.LANCZOS)


def in_tiles(image: Image.Image, network: Network, on_tile: OnTile) -> Image.Image:
    """Pass RGB `image` through the network in tiles, so that the network's memory does not grow with the picture.

    Neighbouring tiles overlap by `OVERLAP` pixels, across which one fades into the next.
    """
    lefts, tops = _starts(image.width), _starts(image.height)
    whole: Image.Image | None = None
    for number, (left, top) in enumerate(((left, top) for top in tops for left in lefts), start=1):
        box = left, top, min(left + TILE, image.width), min(top + TILE, image.height)
        tile = network(image.crop(box))
        scale = tile.width // (box[2] - left)
        if whole is None:
            whole = Image.new("RGB", (image.width * scale, image.height * scale))
        whole.paste(tile, (left * scale, top * scale), _fade(tile.size, OVERLAP * scale, left=left > 0, top=top > 0))
        on_tile(number, len(lefts) * len(tops))
    assert whole is not None
    return whole


def _starts(length: int) -> list[int]:
    """The starts of the tiles along a side. The last tile ends at the picture's edge."""
    return [*range(0, max(length - TILE, 0), TILE - OVERLAP), max(length - TILE, 0)]


def _fade(size: Size, width: int, *, left: bool, top: bool) -> Image.Image:
    """A mask with which a tile fades in over its first `width` columns (`left`) and rows (`top`)."""
    ramp = [min(255 * (number + 1) // (width + 1), 255) for number in range(width)]
    across, down = Image.new("L", (size[0], 1), 255), Image.new("L", (1, size[1]), 255)
    if left:
        across.putdata([*ramp, *[255] * size[0]][: size[0]])
    if top:
        down.putdata([*ramp, *[255] * size[1]][: size[1]])
    nearest = Image.Resampling.NEAREST
    return ImageChops.multiply(across.resize(size, nearest), down.resize(size, nearest))
