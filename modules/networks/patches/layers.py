"""The layers of a model by the names that files of networks give them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Names = Mapping[str, str]
"""A part's parameters, each with its name in the checkpoint behind the part's prefix."""


@dataclass(frozen=True)
class Layer:
    """A layer of one of the model's parts: `path` leads to its module, `key` is its name in the checkpoint."""

    part: str
    path: str
    key: str


@dataclass(frozen=True)
class LayerNames:
    """The layers of a model. `prefixes` begin the names of each part's layers in files of networks, "_" for "."."""

    prefixes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    layers: Mapping[str, Mapping[str, Layer]] = field(default_factory=dict)

    @classmethod
    def of(cls, prefixes: Mapping[str, tuple[str, ...]], names: Mapping[str, Names]) -> LayerNames:
        """By the names of the parts' parameters."""
        return cls(prefixes, {part: _layers(part, names[part]) for part in prefixes})

    def find(self, name: str) -> Layer | None:
        """The layer that a file calls `name`, in diffusers' words or in those of the checkpoint, joined by "_" or by
        "."."""
        name = name.replace(".", "_")
        for part, prefixes in self.prefixes.items():
            for prefix in prefixes:
                if name.startswith(prefix + "_"):
                    layer = self.layers[part].get(name.removeprefix(prefix + "_"))
                    if layer is not None:
                        return layer
        return None


def _layers(part: str, names: Names) -> dict[str, Layer]:
    found: dict[str, Layer] = {}
    for parameter, key in names.items():
        if parameter.endswith(".weight"):
            layer = Layer(part, parameter.removesuffix(".weight"), key.removesuffix(".weight"))
            found[layer.path.replace(".", "_")] = found[layer.key.replace(".", "_")] = layer
    return found
