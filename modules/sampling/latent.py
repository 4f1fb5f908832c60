"""What the latents of a family are: their channels, the size of a cell, and the scale of the autoencoder's values."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

Size = tuple[int, int]
"""(width, height) in pixels."""


@dataclass(frozen=True)
class Latent:
    """A latent is (channels, height / cell, width / cell); sampling works on (value - shift) * scale, of about unit
    variance. The sides of pictures are multiples of `multiple` pixels. The defaults are Stable Diffusion 1.x's (Rombach
    et al. 2022, appendix G)."""

    channels: int = 4
    cell: int = 8
    scale: float = 0.18215
    shift: float = 0.0
    multiple: int = 1

    def cells(self, size: Size) -> Size:
        """(width, height) in cells of a picture of `size`, rounded up."""
        return -(-size[0] // self.cell), -(-size[1] // self.cell)

    def whole(self, size: Size) -> Size:
        """`size` (width, height) in pixels, rounded up to whole cells."""
        width, height = self.cells(size)
        return width * self.cell, height * self.cell

    def shape(self, size: Size) -> tuple[int, int, int]:
        """(channels, h, w) for a picture of `size`, rounded up to whole cells."""
        width, height = self.cells(size)
        return self.channels, height, width

    def scaled(self, values: Tensor) -> Tensor:
        """The autoencoder's values as sampling wants them."""
        return values * self.scale if not self.shift else (values - self.shift) * self.scale

    def unscaled(self, latent: Tensor) -> Tensor:
        """The inverse of `scaled`. Multiplied by the rounded inverse, not divided, as WebUI does; it decides about
        single grey levels."""
        values = (1.0 / self.scale) * latent
        return values + self.shift if self.shift else values
