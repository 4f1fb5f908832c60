"""ControlNet-LLLite (kohya-ss 2023): small networks that add to what the projections of attention read.

Each network belongs to one projection. It encodes the control picture once (`conditioning1`), and at each call adds
up(mid([picture, down(x)])) to the projection's input x. Source: the description and the training script of sd-scripts.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modules.networks.control.layers import AtCall, blocks_of
from modules.networks.families.family import Part
from modules.networks.forwards import Forward, replaced
from modules.networks.shapes import Header, Shapes, shape_of

PREFIX = "lllite_unet_"
READ = ("attn1.to_q", "attn1.to_k", "attn1.to_v", "attn2.to_q")
"""The projections that read the picture's cells."""
OWNER = "parts"
"""What the networks are called in `LLLite`."""
MOST_LAYERS = 100


@dataclass(frozen=True)
class PartShape:
    """What the network of one projection is made of. `convolutions` have (inputs, outputs, pixels to a side of what one
    of their cells reads); `channels` of the projection's input, and `inner` ones between the layers."""

    convolutions: tuple[tuple[int, int, int], ...]
    channels: int
    inner: int


class LLLitePart(nn.Module):
    """The network of one projection. Its modules' names are the file's."""

    def __init__(self, shape: PartShape) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for given, width, side in shape.convolutions:
            layers += [nn.Conv2d(given, width, side, side), nn.ReLU()]
        told = shape.convolutions[-1][1]
        self.conditioning1 = nn.Sequential(*layers[:-1])
        self.down = nn.Sequential(nn.Linear(shape.channels, shape.inner), nn.ReLU())
        self.mid = nn.Sequential(nn.Linear(shape.inner + told, shape.inner), nn.ReLU())
        self.up = nn.Sequential(nn.Linear(shape.inner, shape.channels))

    def forward(self, x: Tensor, picture: Tensor) -> Tensor:
        """x (B, tokens, C), the encoded picture (1, tokens, c) -> what is added to x."""
        told = torch.cat([picture.expand(len(x), -1, -1), self.down(x)], dim=2)
        return cast(Tensor, self.up(self.mid(told)))


class LLLite(nn.Module):
    """The networks of one file, by the name that it has for the projection."""

    def __init__(self, shapes: Mapping[str, PartShape]) -> None:
        super().__init__()
        self.parts = nn.ModuleDict({name: LLLitePart(shape) for name, shape in shapes.items()})


class LLLitePatch:
    """The networks of a file on one UNet, with a control picture."""

    def __init__(self, network: LLLite, unet: nn.Module, hint: Tensor) -> None:
        """hint (1, 3, H, W), values 0 to 1."""
        projections = projections_of(unet)
        self._parts = [(*projections[name], cast(LLLitePart, part), cast(LLLitePart, part).conditioning1(2 * hint - 1))
                       for name, part in network.parts.items()]
        self.answers = 1 + max(block.place for block in blocks_of(unet))
        """How many weights it takes: one for each residual block of transformers, in the order of computing."""

    def around(self, call: AtCall) -> AbstractContextManager[None]:
        """While this lasts the projections read what is added too."""
        return replaced({layer: _adding(layer, part, picture, call.weights[place], call)
                         for layer, place, part, picture in self._parts if call.weights[place]})


def _adding(layer: nn.Module, part: LLLitePart, picture: Tensor, weight: float, call: AtCall) -> Forward:
    project = layer.forward

    def adding(x: Tensor, *args: object) -> Tensor:
        size = call.cells(x.shape[1])[::-1]
        told = picture if picture.shape[2:] == size else F.interpolate(picture, size=size)
        found = weight * part(x, told.flatten(2).transpose(1, 2))
        share = call.share(x.shape[1])
        return cast(Tensor, project(x + (found if share is None else found * share.to(found)), *args))

    return adding


# from a file

def is_lllite(shapes: Shapes) -> bool:
    """Whether the names are those of a ControlNet-LLLite."""
    return any(key.startswith(PREFIX) for key in shapes)


def lllite_part(header: Header) -> tuple[Part, dict[str, PartShape]]:
    """How the file is read, and the shapes of its networks. Raises CheckpointError."""
    names = dict.fromkeys(key.partition(".")[0] for key in header.shapes)
    shapes = {name: _shape(header, name) for name in names}
    return Part("ControlNet-LLLite", "ControlNet-LLLite", "", lambda header: shapes, LLLite,
                lambda key, shapes: f"{OWNER}.{key}"), shapes


def fits(shapes: Mapping[str, PartShape], unet: nn.Module) -> bool:
    """Whether each network belongs to a projection of `unet`, whose input has its channels."""
    projections = projections_of(unet)
    return all(name in projections and projections[name][0].in_features == shape.channels
               for name, shape in shapes.items())


def projections_of(unet: nn.Module) -> dict[str, tuple[nn.Linear, int]]:
    """The projections that may have a network, by the file's name for them, each with its place in `AtCall.weights`."""
    return {f"{PREFIX}{block.original}.{leaf}".replace(".", "_"):
            (cast(nn.Linear, block.module.get_submodule(leaf)), block.place)
            for block in blocks_of(unet) for leaf in READ}


def _shape(header: Header, name: str) -> PartShape:
    """Raises CheckpointError."""
    inner, channels = shape_of(header, f"{name}.down.0.weight", (2,))
    convolutions = []
    for number in range(0, MOST_LAYERS, 2):  # with a ReLU between two
        if number and f"{name}.conditioning1.{number}.weight" not in header.shapes:
            break
        width, given, side = shape_of(header, f"{name}.conditioning1.{number}.weight")[:3]
        convolutions.append((given, width, side))
    return PartShape(tuple(convolutions), channels, inner)
