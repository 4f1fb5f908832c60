"""Random holes in pictures, from which a network learns to inpaint."""

from __future__ import annotations

import torch
from torch import Tensor


def random_hole(size: tuple[int, int], chance: torch.Generator) -> Tensor:
    """A hole in a picture of `size` (width, height): (1, 1, height, width), 1 in the hole. It is one to three
    rectangles, each a tenth to seven tenths of the sides; one hole in five is all of the picture."""
    width, height = size
    hole = torch.zeros(1, 1, height, width)

    def drawn(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=chance))

    if drawn(0, 1) < 0.2:
        return hole + 1
    for _ in range(int(drawn(1, 4))):
        wide, high = round(width * drawn(0.1, 0.7)), round(height * drawn(0.1, 0.7))
        left, top = int(drawn(0, width - wide + 1)), int(drawn(0, height - high + 1))
        hole[..., top : top + high, left : left + wide] = 1
    return hole
