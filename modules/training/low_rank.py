"""Low-rank differences to a network's layers that can be trained (LoRA, Hu et al. 2021; LoCon for convolutions)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import cast

import torch
from torch import Tensor, nn

from modules.networks.forwards import replaced
from modules.networks.patches.layers import LayerNames
from modules.networks.patches.lora import UNET


class LowRank(nn.Module):
    """The difference that one layer's answer gets: scale * up(down(x)). It begins as nothing, because `up` is zero."""

    def __init__(self, layer: nn.Module, rank: int, alpha: float, chance: torch.Generator) -> None:
        """For a Linear or a Conv2d. `chance` draws `down`, as LoRA's authors do."""
        super().__init__()
        if isinstance(layer, nn.Conv2d):
            kernel, stride, padding = (cast("tuple[int, int]", one) for one in
                                       (layer.kernel_size, layer.stride, layer.padding))
            self.down: nn.Module = nn.Conv2d(layer.in_channels, rank, kernel, stride, padding, bias=False)
            self.up: nn.Module = nn.Conv2d(rank, layer.out_channels, 1, bias=False)
        else:
            linear = cast(nn.Linear, layer)
            self.down = nn.Linear(linear.in_features, rank, bias=False)
            self.up = nn.Linear(rank, linear.out_features, bias=False)
        down, up = self.down.weight, self.up.weight
        bound = 1 / math.sqrt(down[0].numel())  # kaiming_uniform with a = sqrt(5)
        with torch.no_grad():
            down.copy_(torch.rand(down.shape, generator=chance) * 2 * bound - bound)
            up.zero_()
        self.alpha, self.scale = alpha, alpha / rank

    def forward(self, x: Tensor) -> Tensor:
        difference: Tensor = self.up(self.down(x)) * self.scale
        return difference


class LowRankNetwork(nn.Module):
    """The differences to all layers of a UNet that are trained, by the layers' paths."""

    def __init__(self, unet: nn.Module, names: LayerNames, *, rank: int, alpha: float, convolutions: bool,
                 seed: int) -> None:
        """`convolutions`: those outside of the attention blocks are trained too."""
        super().__init__()
        chance = torch.Generator().manual_seed(seed)
        paths = dict.fromkeys(layer.path for layer in names.layers[UNET].values())
        self._layers: dict[str, nn.Module] = {}
        for path in paths:
            layer = unet.get_submodule(path)
            attends = ".attentions." in path and isinstance(layer, nn.Linear | nn.Conv2d)
            if attends or (convolutions and isinstance(layer, nn.Conv2d)):
                self._layers[path] = layer
        self.differences = nn.ModuleList(LowRank(layer, rank, alpha, chance) for layer in self._layers.values())

    @property
    def paths(self) -> list[str]:
        """The paths of the layers, in the order of `differences`."""
        return list(self._layers)

    def attached(self) -> AbstractContextManager[None]:
        """While this lasts the layers answer with their differences."""
        def forward(layer: nn.Module, difference: nn.Module) -> object:
            own = layer.forward
            return lambda x: own(x) + difference(x)

        return replaced({layer: forward(layer, difference)  # type: ignore[misc]
                         for layer, difference in zip(self._layers.values(), self.differences, strict=True)})

    def tensors(self) -> dict[str, Tensor]:
        """The differences under kohya's names, on the CPU."""
        found: dict[str, Tensor] = {}
        for path, one in zip(self.paths, self.differences, strict=True):
            difference, name = cast(LowRank, one), f"lora_unet_{path.replace('.', '_')}"
            found |= {f"{name}.lora_down.weight": cast(Tensor, difference.down.weight),
                      f"{name}.lora_up.weight": cast(Tensor, difference.up.weight),
                      f"{name}.alpha": torch.tensor(difference.alpha)}
        return {name: tensor.detach().cpu().contiguous() for name, tensor in found.items()}


def in_halves(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors in float16, as LoRAs are exchanged."""
    return {name: tensor.half() for name, tensor in tensors.items()}
