"""Low-rank differences to a model's layers that can be trained: LoRA (Hu et al. 2021; LoCon for convolutions), LoHa
(Hyeon-Woo et al. 2022) and DoRA (Liu et al. 2024)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modules.errors import InvalidInput
from modules.networks.forwards import Forward, replaced
from modules.networks.patches.layers import LayerNames
from modules.networks.patches.lora import UNET


class LowRank(nn.Module):
    """LoRA: a layer's answer gets scale * up(down(x)). It begins as nothing, because `up` is zero."""

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

    def forward(self, layer: nn.Module, own: Forward, x: Tensor) -> Tensor:
        """What `layer`, whose own answer is own(x), answers to x with the difference."""
        answer: Tensor = own(x) + self.difference(x)
        return answer

    def difference(self, x: Tensor) -> Tensor:
        """What is added."""
        difference: Tensor = self.up(self.down(x)) * self.scale
        return difference

    def tensors(self) -> dict[str, Tensor]:
        """Under kohya's names behind the layer's."""
        return {"lora_down.weight": cast(Tensor, self.down.weight), "lora_up.weight": cast(Tensor, self.up.weight),
                "alpha": torch.tensor(self.alpha)}


class Decomposed(LowRank):
    """DoRA: LoRA, and each output's weights brought to a length of their own, which is trained too.

    As its authors advise (section 4.3), the present length counts as a constant in gradients.
    """

    def __init__(self, layer: nn.Module, rank: int, alpha: float, chance: torch.Generator) -> None:
        super().__init__(layer, rank, alpha, chance)
        self.magnitude = nn.Parameter(_lengths(cast(Tensor, layer.weight).detach().float()))  # (out,)

    def forward(self, layer: nn.Module, own: Forward, x: Tensor) -> Tensor:
        with torch.no_grad():
            weight, down, up = (cast(Tensor, one.weight).float() for one in (layer, self.down, self.up))
            delta = (up.flatten(1) @ down.flatten(1)).view_as(weight) * self.scale
            lengths = _lengths(weight + delta)
        shape = (-1, 1, 1) if isinstance(layer, nn.Conv2d) else (-1,)
        answer: Tensor = own(x)
        factor = (self.magnitude / lengths).view(shape).to(answer)
        bias = cast("Tensor | None", layer.bias)
        if bias is None:
            return factor * (answer + self.difference(x))
        bias = bias.view(shape)
        return factor * (answer - bias + self.difference(x)) + bias

    def tensors(self) -> dict[str, Tensor]:
        ones = [1] * (cast(Tensor, self.down.weight).dim() - 1)
        return super().tensors() | {"dora_scale": self.magnitude.view(-1, *ones)}


class Hadamard(nn.Module):
    """LoHa: the elementwise product of two products of low rank is added to the weight: rank * rank at most, of as many
    numbers as a LoRA of twice the rank."""

    def __init__(self, layer: nn.Module, rank: int, alpha: float, chance: torch.Generator) -> None:
        super().__init__()
        weight = cast(Tensor, layer.weight)
        outputs, inputs = len(weight), weight[0].numel()

        def drawn(*shape: int, deviation: float) -> nn.Parameter:
            return nn.Parameter(deviation * torch.randn(shape, generator=chance))

        self.w1_a, self.w1_b = drawn(outputs, rank, deviation=0.1), drawn(rank, inputs, deviation=1.0)
        self.w2_a, self.w2_b = drawn(outputs, rank, deviation=0.0), drawn(rank, inputs, deviation=1.0)
        self.alpha, self.scale = alpha, alpha / rank

    def forward(self, layer: nn.Module, own: Forward, x: Tensor) -> Tensor:
        """What `layer`, whose own answer is own(x), answers to x with the difference."""
        weight = ((self.w1_a @ self.w1_b) * (self.w2_a @ self.w2_b) * self.scale).view_as(cast(Tensor, layer.weight))
        answer: Tensor = own(x)
        if isinstance(layer, nn.Conv2d):
            return answer + F.conv2d(x, weight.to(x), None, layer.stride, layer.padding)
        return answer + F.linear(x, weight.to(x))

    def tensors(self) -> dict[str, Tensor]:
        """Under kohya's names behind the layer's."""
        return {f"hada_{name}": getattr(self, name) for name in ("w1_a", "w1_b", "w2_a", "w2_b")} | {
            "alpha": torch.tensor(self.alpha)}


DIFFERENCES = {"lora": LowRank, "dora": Decomposed, "loha": Hadamard}


class LowRankNetwork(nn.Module):
    """The differences to all layers of a model that are trained, by the layers' parts and paths."""

    def __init__(self, parts: Mapping[str, nn.Module], names: LayerNames, *, kind: str = "lora", rank: int,
                 alpha: float, convolutions: bool, seed: int, blocks: Sequence[str] = (), texts: bool = False) -> None:
        """`convolutions`: the UNet's outside of the attention blocks are trained too. `blocks`: the beginnings of the
        UNet's layers' paths that are trained; none are all. `texts`: the linear layers of text encoders are trained,
        too. Raises InvalidInput where nothing is left."""
        super().__init__()
        chance = torch.Generator().manual_seed(seed)
        self._layers: dict[tuple[str, str], nn.Module] = {}
        for part in names.prefixes if texts else (UNET,):
            for path in dict.fromkeys(layer.path for layer in names.layers[part].values()):
                layer = parts[part].get_submodule(path)
                if _learns(part, path, layer, convolutions, tuple(blocks)):
                    self._layers[part, path] = layer
        if not any(part == UNET for part, _ in self._layers):
            raise InvalidInput(f"The UNet has no blocks called {', '.join(blocks)}.", field="blocks")
        self._names = {place: f"{names.prefixes[place[0]][0]}_{place[1].replace('.', '_')}" for place in self._layers}
        self.differences = nn.ModuleList(DIFFERENCES[kind](layer, rank, alpha, chance)
                                         for layer in self._layers.values())

    @property
    def paths(self) -> list[str]:
        """The paths of the layers, in the order of `differences`."""
        return [path for _, path in self._layers]

    def parameters_of(self, *, texts: bool) -> list[nn.Parameter]:
        """The parameters for the UNet, or those for the text encoders."""
        return [parameter for (part, _), one in zip(self._layers, self.differences, strict=True)
                for parameter in one.parameters() if (part != UNET) == texts]

    def attached(self) -> AbstractContextManager[None]:
        """While this lasts the layers answer with their differences."""
        return replaced({layer: partial(difference, layer, layer.forward)
                         for layer, difference in zip(self._layers.values(), self.differences, strict=True)})

    def tensors(self) -> dict[str, Tensor]:
        """The differences under kohya's names, on the CPU."""
        return {f"{name}.{kind}": tensor.detach().cpu().contiguous()
                for name, one in zip(self._names.values(), self.differences, strict=True)
                for kind, tensor in cast(LowRank, one).tensors().items()}


def _learns(part: str, path: str, layer: nn.Module, convolutions: bool, blocks: tuple[str, ...]) -> bool:
    if part != UNET:
        return isinstance(layer, nn.Linear) and ".layers." in path
    attends = ".attentions." in path and isinstance(layer, nn.Linear | nn.Conv2d)
    chosen = not blocks or path.startswith(blocks)
    return chosen and (attends or (convolutions and isinstance(layer, nn.Conv2d)))


def _lengths(weight: Tensor) -> Tensor:
    """The length of each output's weights, (out,)."""
    return cast(Tensor, weight.flatten(1).norm(dim=1))


def in_halves(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors in float16, as LoRAs are exchanged."""
    return {name: tensor.half() for name, tensor in tensors.items()}
