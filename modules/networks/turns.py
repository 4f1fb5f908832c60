"""Parts of models that take turns on a GPU which has no room for all of them: each waits in the computer's memory and
comes when it is called (`--medvram`). What is too large even for that brings its layers one by one (`--lowvram`)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from weakref import WeakSet

import torch
from torch import nn

from modules.networks.widening import fetches

CPU = torch.device("cpu")
FITS = 0.85
"""The share of the free memory that weights may take."""

Move = Callable[[nn.Module, torch.device], None]
Turn = Callable[[], AbstractContextManager[None]]
"""While it lasts a part is where it computes, and no other part takes its place."""


@dataclass(frozen=True)
class Placement:
    """Whether parts wait for their turns, and which of them bring their layers one by one."""

    turns: bool
    by_layer: frozenset[str] = frozenset()


def place(sizes: Mapping[str, int], free: int, wanted: str) -> Placement:
    """Where parts of these `sizes` in bytes go, by name, if `free` bytes are free on the GPU.

    `wanted` is "medvram", "lowvram", or "auto": as much as fits. All text encoders come together, so they have to fit
    together.
    """
    room = int(free * FITS)
    by_layer = {name for name, size in sizes.items() if size > room or (name == "unet" and wanted == "lowvram")}
    texts = sorted((name for name in sizes if name not in ("unet", "vae", *by_layer)), key=lambda name: sizes[name])
    while sum(sizes[name] for name in texts) > room:
        by_layer.add(texts.pop())
    return Placement(wanted != "auto" or bool(by_layer) or sum(sizes.values()) > room, frozenset(by_layer))


def move(module: nn.Module, device: torch.device) -> None:
    """Put a part on `device`, except the weights that their layers fetch."""
    for layer in module.modules():
        stays = {"weight"} if fetches(layer) else set[str]()
        for name, parameter in list(layer.named_parameters(recurse=False)):
            if name not in stays and parameter.device != device:
                setattr(layer, name, nn.Parameter(parameter.detach().to(device), parameter.requires_grad))
        for name, buffer in list(layer.named_buffers(recurse=False)):
            if buffer.device != device:
                setattr(layer, name, buffer.to(device))


class Turns:
    """The place on `device`, and the parts that have it. For any thread: a part keeps the place while it computes."""

    def __init__(self, device: torch.device, wanted: str, free: Callable[[], int], move: Move = move) -> None:
        """`wanted` as in `place`, and `free` gives the free bytes on `device`."""
        self._device, self._wanted, self._free, self._move = device, wanted, free, move
        self._lock = threading.RLock()
        self._here: WeakSet[nn.Module] = WeakSet()
        self._members: WeakSet[nn.Module] = WeakSet()

    def place(self, sizes: Mapping[str, int], beside: Iterable[nn.Module] = ()) -> Placement:
        """See the function `place`. Where parts `beside` these take turns already, these do too. What has the place
        leaves it: it would leave it anyway."""
        self.leave()
        found = place(sizes, self._free(), self._wanted)
        return replace(found, turns=found.turns or any(map(self.waits, beside)))

    def take(self, modules: Sequence[nn.Module]) -> None:
        """From now on these parts, which are on the CPU, wait for their turns."""
        self._members.update(modules)

    def leave(self) -> None:
        """All parts go to the CPU, for those who change them."""
        with self._lock:
            self._bring(())

    def waits(self, module: nn.Module) -> bool:
        """Whether the part takes turns."""
        return module in self._members

    def of(self, *modules: nn.Module) -> Turn:
        """The turn of these parts together; nothing to wait for if none of them takes turns."""
        waiting = [module for module in modules if self.waits(module)]
        return (lambda: self._turn(waiting)) if waiting else nullcontext

    @contextmanager
    def _turn(self, modules: Sequence[nn.Module]) -> Iterator[None]:
        with self._lock:
            self._bring(modules)
            yield

    def _bring(self, modules: Sequence[nn.Module]) -> None:
        """The others leave first. What is there already is looked at too: layers may have got other weights."""
        for other in list(self._here):
            if other not in modules:
                self._move(other, CPU)
                self._here.discard(other)
        for module in modules:
            self._here.add(module)
            self._move(module, self._device)
