"""What LoRAs do to the tensors of a checkpoint's file, for one that holds them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from modules.networks.loader import StoredLayer, stored_layers
from modules.networks.patches.kinds import Tensors
from modules.networks.patches.lora import Lora, by_layer, changed, warning
from modules.weights.catalog import CheckpointFile

Read = Callable[[str], Tensor]
Modules = Sequence[tuple[Lora, Tensors]]


class Baking:
    """The LoRAs as changes to a checkpoint's tensors. `changes` is an argument of `weights.merge.merge`; afterwards
    `warnings` has a sentence for each file of which not everything was used.

    Everything is computed as for a model in memory, in float32, and rounded once, to the tensor's own type.
    """

    def __init__(self, checkpoint: CheckpointFile, loras: Sequence[Lora]) -> None:
        """Raises CheckpointError for a checkpoint of no family."""
        self._loras = loras
        self._misfits: dict[Path, int] = {}
        with stored_layers(checkpoint) as layers:
            self._names = layers.names
            found = by_layer(loras, layers.names)
            self._places = [(layers.stored[layer], modules) for layer, modules in found.items()]

    def changes(self, merged: Read) -> Mapping[str, Callable[[Tensor], Tensor]]:
        """By name what is done to the tensors that change. `merged` gives a tensor without the LoRAs."""
        weights: dict[str, list[tuple[StoredLayer, Modules]]] = {}
        biases: dict[str, list[tuple[StoredLayer, Modules]]] = {}
        for stored, modules in self._places:
            weights.setdefault(stored.weight, []).append((stored, modules))
            if stored.bias and any({"diff_b", "b_norm"} & tensors.keys() for _, tensors in modules):
                biases.setdefault(stored.bias, []).append((stored, modules))

        def weight(stored: StoredLayer, modules: Modules, before: Tensor) -> Tensor:
            bias = stored.rows(merged(stored.bias)).float() if stored.bias else None
            return changed(stored.layer, before, bias, modules, self._misfits)[0]

        def bias(stored: StoredLayer, modules: Modules, before: Tensor) -> Tensor:
            made = changed(stored.layer, stored.rows(merged(stored.weight)).float(), before, modules, {})[1]
            assert made is not None
            return made

        return {name: _change(places, compute) for group, compute in ((weights, weight), (biases, bias))
                for name, places in group.items()}

    @property
    def warnings(self) -> tuple[str, ...]:
        """A sentence for each file of which not everything was used."""
        found = (warning(file, self._names, self._misfits.get(file.path, 0))
                 for file in dict.fromkeys(lora.file for lora in self._loras))
        return tuple(sentence for sentence in found if sentence)


def _change(places: Sequence[tuple[StoredLayer, Modules]],
            compute: Callable[[StoredLayer, Modules, Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """What is done to a tensor that holds the layers `places`."""
    def change(tensor: Tensor) -> Tensor:
        made = tensor.clone()
        for stored, modules in places:
            stored.rows(made).copy_(compute(stored, modules, stored.rows(tensor).float()))
        return made

    return change
