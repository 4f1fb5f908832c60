"""Upscalers that work on pixels, by name. WebUI's arithmetic: sizes come out as multiples of 8."""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image

from modules.errors import InvalidInput

Size = tuple[int, int]
Upscale = Callable[[Image.Image, float], Image.Image]


def _resampled(image: Image.Image, factor: float, method: Image.Resampling) -> Image.Image:
    """`image` times `factor`, then to the multiples of 8 below it (WebUI's `Upscaler.upscale`)."""
    wanted = (max(int(image.width * factor) // 8 * 8, 8), max(int(image.height * factor) // 8 * 8, 8))
    larger = image.resize((max(int(image.width * factor), 1), max(int(image.height * factor), 1)), method)
    return larger if larger.size == wanted else larger.resize(wanted, Image.Resampling.LANCZOS)


UPSCALERS: dict[str, Upscale] = {
    "None": lambda image, factor: image,
    "Lanczos": lambda image, factor: _resampled(image, factor, Image.Resampling.LANCZOS),
    "Nearest": lambda image, factor: _resampled(image, factor, Image.Resampling.NEAREST),
}


def find_upscaler(name: str) -> Upscale:
    """The upscaler of that name, whatever the case. Raises InvalidInput when there is none."""
    for known, function in UPSCALERS.items():
        if known.lower() == name.lower():
            return function
    raise InvalidInput(f"There is no upscaler called {name!r}.", field="upscaler")


def upscale_to(name: str, image: Image.Image, size: Size) -> Image.Image:
    """`image` enlarged by the upscaler to cover `size`, then brought to exactly that (width, height)."""
    factor = max(size[0] / image.width, size[1] / image.height)
    larger = find_upscaler(name)(image, factor) if factor > 1 else image
    return larger if larger.size == size else larger.resize(size, Image.Resampling.LANCZOS)
