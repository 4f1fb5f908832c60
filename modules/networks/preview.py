"""Live previews: a linear map from a latent's channels to colour, fitted to the autoencoder at hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

SIDE = 192  # pixels a side of the picture that the map is fitted to
PATCH = 24  # pixels a patch: several cells, so that most of them see one colour only


@dataclass(frozen=True)
class LatentColours:
    """colour = weight @ latent + bias. weight (3, C), bias (3,), both float32."""

    weight: Tensor
    bias: Tensor

    @staticmethod
    def fit(encode_image: Callable[[Tensor], Tensor], cell: int) -> LatentColours:
        """Least squares over the cells of one encoded picture of random colour patches (always the same picture).

        `cell`: pixels along a cell of the latent.
        """
        image = _patches()
        latent = encode_image(image * 2 - 1)[0].cpu()
        colours = F.avg_pool2d(image, cell)[0].flatten(1).T
        cells = F.pad(latent.flatten(1).T, (0, 1), value=1.0)
        solution = cast(Tensor, torch.linalg.lstsq(cells, colours).solution)
        return LatentColours(solution[:-1].T.contiguous(), solution[-1].contiguous())

    def paint(self, latent: Tensor) -> Tensor:
        """(C, h, w) -> (3, h, w) in [0, 1], on the latent's device."""
        x = latent.float()
        weight, bias = self.weight.to(x.device), self.bias.to(x.device)
        return (weight @ x.flatten(1) + bias[:, None]).clamp(0, 1).reshape(3, *x.shape[1:])


def _patches() -> Tensor:
    """(1, 3, SIDE, SIDE) in [0, 1]."""
    colours = torch.rand(1, 3, SIDE // PATCH, SIDE // PATCH, generator=torch.Generator().manual_seed(0))
    return F.interpolate(colours, scale_factor=PATCH, mode="nearest")
