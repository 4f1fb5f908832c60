"""Hypernetworks: small networks that change what attention reads (WebUI's first way of training a style).

For each width of context that a file knows it has one network for keys and one for values: k reads
x + multiplier * f_k(x) in the place of x, and v likewise.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modules.base.files import FileVersion, file_version
from modules.errors import CheckpointError
from modules.networks.forwards import Forward
from modules.weights.tensors import read_pickle

Step = Callable[[Tensor], Tensor]

ACTIVATIONS: dict[str, Step] = {
    "relu": F.relu, "leakyrelu": F.leaky_relu, "elu": F.elu, "swish": F.hardswish, "hardswish": F.hardswish,
    "tanh": torch.tanh, "sigmoid": torch.sigmoid, "celu": F.celu, "gelu": F.gelu, "hardshrink": F.hardshrink,
    "hardsigmoid": F.hardsigmoid, "hardtanh": F.hardtanh, "logsigmoid": F.logsigmoid, "mish": F.mish, "relu6": F.relu6,
    "selu": F.selu, "silu": F.silu, "softplus": F.softplus, "softshrink": F.softshrink, "softsign": F.softsign,
    "tanhshrink": F.tanhshrink}
"""WebUI's names of activations; its "swish" is the hard one."""

_LINEAR = re.compile(r"linear(?:\.(\d+)|([12]))\.(weight|bias)")


@dataclass(frozen=True, eq=False)
class HypernetworkFile:
    """A file in memory: by the width of the context the steps for keys and those for values."""

    name: str
    path: Path
    version: FileVersion | None
    networks: Mapping[int, tuple[Sequence[Step], Sequence[Step]]]
    nbytes: int = 0


@dataclass(frozen=True)
class Hypernetwork:
    """A file with the weight that a prompt gives it."""

    file: HypernetworkFile
    multiplier: float = 1.0

    @property
    def signature(self) -> Hashable:
        """Equal for what changes a network equally."""
        return self.file.path, self.file.version, self.multiplier


def read_hypernetwork(path: Path, name: str) -> HypernetworkFile:
    """Read a file. Raises CheckpointError: it is damaged, unsafe, or no hypernetwork."""
    version = file_version(path)
    content = read_pickle(path)
    if not isinstance(content, dict):
        raise CheckpointError(f"{path.name} holds no hypernetwork.")
    networks: dict[int, tuple[Sequence[Step], Sequence[Step]]] = {}
    for width, pair in content.items():
        if type(width) is int and isinstance(pair, (tuple, list)) and len(pair) == 2:
            keys, values = (_steps(tensors, width, content, path.name) for tensors in pair)
            networks[width] = keys, values
    if not networks:
        raise CheckpointError(f"{path.name} holds no hypernetwork.")
    return HypernetworkFile(name, path, version, networks, path.stat().st_size)


def forwards(unet: nn.Module, hypernetworks: Sequence[Hypernetwork]) -> dict[nn.Module, Forward]:
    """What the projections to keys and values compute with all `hypernetworks`, each after the one before it."""
    projections = [(layer, side) for path, layer in unet.named_modules() for side, name in enumerate(("to_k", "to_v"))
                   if path.endswith((f"attn1.{name}", f"attn2.{name}"))]
    if not projections:
        return {}
    like = cast(Tensor, projections[0][0].weight)
    chains = [[({width: [_placed(step, like) for step in pair[side]] for width, pair in one.file.networks.items()},
                one.multiplier) for one in hypernetworks] for side in (0, 1)]
    return {layer: partial(_forward, layer.forward, chains[side]) for layer, side in projections}


Chain = tuple[Mapping[int, Sequence[Step]], float]
"""By the width of the context the steps for one side, and the multiplier."""


def _forward(project: Forward, chains: Sequence[Chain], x: Tensor) -> Any:
    for networks, multiplier in chains:
        steps = networks.get(x.shape[-1])
        if steps is not None:
            changed = x
            for step in steps:
                changed = step(changed)
            x = x + changed * multiplier
    return project(x)


def _placed(step: Step, like: Tensor) -> Step:
    """The step with its tensors where `like` is, in its type."""
    return partial(step.func, *(tensor.to(like) for tensor in step.args)) if isinstance(step, partial) else step


def _steps(tensors: Any, width: int, description: Mapping[Any, Any], file: str) -> list[Step]:
    """The chain of a network for contexts of `width`. Raises CheckpointError."""
    if not isinstance(tensors, dict):
        raise CheckpointError(f"{file} is no hypernetwork that can be read.")
    numbered: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        match = _LINEAR.fullmatch(key) if isinstance(key, str) else None
        if match is None or not isinstance(tensor, Tensor) or not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{file} is no hypernetwork that can be read: {str(key)[:80]}.")
        numbered.setdefault(int(match[1] or match[2]), {})[match[3]] = tensor.float()
    activation = _activation(description, file)
    last = max((number for number, one in numbered.items() if one["weight"].dim() == 2), default=-1)
    steps: list[Step] = []
    now = width
    for number, one in sorted(numbered.items()):
        weight, bias = one.get("weight"), one.get("bias")
        if weight is None or bias is None or weight.shape[-1] != now or weight.shape[:1] != bias.shape:
            raise CheckpointError(f"{file} does not fit together: its layers for {width} channels.")
        if weight.dim() == 1:
            steps.append(partial(_norm, weight, bias))
            continue
        steps.append(partial(_linear, weight, bias))
        now = len(weight)
        if activation and (number < last or description.get("activate_output", True)):
            steps.append(activation)
    if now != width or last < 0:
        raise CheckpointError(f"{file} does not fit together: it gives {now} channels for {width}.")
    return steps


def _activation(description: Mapping[Any, Any], file: str) -> Step | None:
    name = description.get("activation_func")
    if name in (None, "linear"):
        return None
    if not isinstance(name, str) or name.lower() not in ACTIVATIONS:
        raise CheckpointError(f"{file} wants an activation that is not known here: {str(name)[:40]}.")
    return ACTIVATIONS[name.lower()]


def _linear(weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    return F.linear(x, weight, bias)


def _norm(weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    return F.layer_norm(x, weight.shape, weight, bias)
