"""Weights swapped in for a while: what is in force on each part of a model, and the values that were there before.

Nothing is ever subtracted: a float32 difference added and taken away again leaves more than half of a layer's values
changed in the last place. The values before are kept: as the objects that hold them, or as halves if no value needs
more, and the weight itself is overwritten then.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from modules.base.stopping import may_go_on
from modules.networks.forwards import replaced as forwards_replaced
from modules.networks.packing import PackedConv2d, replaced
from modules.networks.patches.halves import Halves
from modules.networks.patches.hypernetwork import Hypernetwork, forwards
from modules.networks.patches.kinds import Tensors
from modules.networks.patches.layers import Layer, LayerNames
from modules.networks.patches.lora import Lora, by_layer, changed, warning


class InForce:
    """What changes one part of a model. It lies with the part, because models may share it."""

    def __init__(self) -> None:
        self.signature: Hashable = ()
        self.misfits: dict[Path, int] = {}
        self.halves = Halves()
        self._undo = ExitStack()

    @classmethod
    def on(cls, part: nn.Module, kind: str = "weights") -> InForce:
        """That of `part`. What changes its weights and what changes its layers' functions are apart."""
        found: InForce = vars(part).setdefault(f"_{kind}_in_force", cls())
        return found

    def replace(self, signature: Hashable, swaps: Iterator[Any], misfits: dict[Path, int] | None = None) -> None:
        """Undo what is in force, then enter the context managers `swaps` and keep them. If one raises, none stays."""
        self.undo()
        with ExitStack() as stack:
            for swap in swaps:
                stack.enter_context(swap)
            self._undo = stack.pop_all()
        self.signature, self.misfits = signature, misfits or {}

    def undo(self) -> None:
        """Put back what was there before."""
        self.signature, self.misfits = (), {}
        self._undo.close()


def put_on(parts: Mapping[str, nn.Module], names: LayerNames, loras: Sequence[Lora]) -> bool:
    """From now on the parts compute with `loras`, in this order, and with no others.

    A part on which the same are in force already is left as it is; returns whether any was not. Raises what
    `may_go_on` raises; the parts that were not reached have their own weights then.
    """
    wanted = {name: tuple(lora.signature(name) for lora in loras if lora.multiplier(name)) for name in names.prefixes}
    changing = [name for name, signature in wanted.items() if signature != InForce.on(parts[name]).signature]
    layers = by_layer(loras, names) if changing else {}
    for name in changing:
        in_force, misfits = InForce.on(parts[name]), dict[Path, int]()
        of_part = {layer: [(lora, tensors) for lora, tensors in modules if lora.multiplier(name)]
                   for layer, modules in layers.items() if layer.part == name}
        in_force.replace(wanted[name], _swaps(parts[name], of_part, misfits, in_force.halves), misfits)
    return bool(changing)


def warnings(parts: Mapping[str, nn.Module], names: LayerNames, loras: Sequence[Lora]) -> tuple[str, ...]:
    """A sentence for each file of `loras`, which are in force, of which not everything is used."""
    misfits: dict[Path, int] = {}
    for name in names.prefixes:
        for path, count in InForce.on(parts[name]).misfits.items():
            misfits[path] = misfits.get(path, 0) + count
    found = (warning(file, names, misfits.get(file.path, 0)) for file in dict.fromkeys(lora.file for lora in loras))
    return tuple(sentence for sentence in found if sentence)


def put_on_hypernetworks(unet: nn.Module, hypernetworks: Sequence[Hypernetwork]) -> None:
    """From now on the UNet computes with `hypernetworks`, in this order, and with no others."""
    used = [one for one in hypernetworks if one.multiplier]
    in_force, signature = InForce.on(unet, "hypernetworks"), tuple(one.signature for one in used)
    if signature != in_force.signature:
        in_force.replace(signature, (forwards_replaced(forwards(unet, used)) for _ in used[:1]))


def is_swapped(part: nn.Module) -> bool:
    """True if the part does not compute with its own weights."""
    return bool(InForce.on(part).signature)


def _swaps(part: nn.Module, layers: Mapping[Layer, Sequence[tuple[Lora, Tensors]]],
           misfits: dict[Path, int], kept: Halves) -> Iterator[Any]:
    for layer, modules in layers.items():
        may_go_on()
        target = part.get_submodule(layer.path)
        halves = kept.of(layer.path, partial(plain_weight, target))
        if halves is not None:
            yield _restored(target, halves)
            if isinstance(target, PackedConv2d):
                target.unpack()
        weight, bias = plain_weight(target), cast("Tensor | None", getattr(target, "bias", None))
        before = weight.float(), None if bias is None else bias.float()
        new = changed(layer, *before, modules, misfits, overwrite=halves is not None)
        if halves is not None:
            if new[0] is not weight:
                weight.copy_(new[0])
        elif new[0] is not before[0]:
            yield replaced(target, new[0].to(weight.dtype))
        if new[1] is not None and new[1] is not before[1]:
            yield _bias_replaced(target, new[1].to(cast(Tensor, bias).dtype))


def plain_weight(layer: nn.Module) -> Tensor:
    """The weight of a layer in plain order. Nobody may write into it."""
    if isinstance(layer, PackedConv2d):
        return layer.plain_weight()
    return cast(Tensor, layer.weight).detach()


@contextmanager
def _restored(layer: nn.Module, halves: Tensor) -> Iterator[None]:
    """The weight of `layer` may be overwritten while this lasts; afterwards it has the values `halves` again."""
    try:
        yield
    finally:
        if isinstance(layer, PackedConv2d):
            layer.assign(halves)
        else:
            plain_weight(layer).copy_(halves)


@contextmanager
def _bias_replaced(layer: nn.Module, bias: Tensor) -> Iterator[None]:
    plain = cast(Any, layer)
    before = plain.bias
    plain.bias = nn.Parameter(bias, requires_grad=False)
    try:
        yield
    finally:
        plain.bias = before
