"""The memory that a training takes, told before it starts: a step is computed with tensors without numbers, and their
bytes are counted."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from modules.sampling.conditioning import Conditioning
from modules.settings import Settings
from modules.training.config import EMBEDDING, TrainingConfig
from modules.training.file import check_trainable, find_checkpoint, size_of
from modules.training.loop import TYPES, let_go
from modules.training.low_rank import LowRankNetwork
from modules.training.recomputing import recomputed

PROGRAM = 490 * 2**20
"""Bytes of the program and its libraries, as measured on Linux."""
HEAP, HEAP_RECOMPUTED = 1.4, 3.0
"""The bytes that are counted of a step are multiplied by that, since the C library's heap has holes; there are more of
them between what is computed again. Measured with the included checkpoint (docs/training.md)."""
TOKENS = 77
STATES = {"adamw": 2, "prodigy": 4, "lion": 1}
"""Numbers that an optimizer keeps for each that is learned."""


@dataclass(frozen=True)
class Estimate:
    """Bytes at the peak of a training: of the program, of the networks' weights, of what is learned with its gradients
    and what the optimizer keeps of it, and of what is computed at once."""

    program: int
    weights: int
    learned: int
    work: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.program + self.weights + self.learned + self.work


def memory_estimate(config: TrainingConfig, settings: Settings) -> Estimate:
    """What a training needs on a CPU, either while its pictures are read or while it learns from them, whichever is
    more. Raises NotFound, CheckpointError, InvalidInput."""
    checkpoint = find_checkpoint(config, settings)
    whole = check_trainable(checkpoint)
    unet, vae, half = whole.parts["unet"], whole.parts["vae"], TYPES[config.precision]
    weights = {name: sum(one.numel() for one in part.parameters()) * (half.itemsize if part is unet else 4)
               for name, part in whole.parts.items()}
    if config.kind == EMBEDDING:
        learned, network = 0, None
    else:
        with torch.device("meta"):
            network = LowRankNetwork(
                whole.parts, whole.names, kind=config.kind, rank=config.rank, alpha=config.alpha,
                convolutions=config.layers == "all", seed=0, texts=config.text_rate > 0,
                blocks=[name for part in config.blocks.split(",") if (name := part.strip())])
        learned = sum(parameter.numel() for parameter in network.parameters())
    copies = 2 + STATES[config.optimizer] + bool(config.ema) + bool(config.validation)
    latent = whole.family.latent
    cells = (config.size or size_of(checkpoint)) // latent.cell
    reading = Estimate(PROGRAM, sum(weights.values()), learned * 4, int(HEAP * _reading(vae, cells * latent.cell)))
    shape = config.batch, latent.channels + whole.inputs.channels, cells, cells
    step = _step(unet, network, config, shape, whole.family.ask)
    stay = sum(size for name, size in weights.items() if name not in let_go(config, whole.inputs, weights))
    learning = Estimate(PROGRAM, stay, learned * 4 * copies,
                        int((HEAP_RECOMPUTED if config.checkpointing else HEAP) * step))
    return max(reading, learning, key=lambda one: one.total)


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the tensors that are made and not yet given back while it lasts, without those that are
    `known`. `most` is the highest sum."""

    def __init__(self, known: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.most: int = 0
        self._now = 0
        self._live: dict[int, Any] = {one.untyped_storage()._cdata: None for one in known}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for one in tree_leaves(made):
            if isinstance(one, Tensor):
                self._count(one.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self._live:
            self._live[key] = weakref.ref(storage, lambda _: self._gone(key, size))
            self._now += size
            self.most = max(self.most, self._now)

    def _gone(self, key: int, size: int) -> None:
        del self._live[key]
        self._now -= size


def _reading(vae: nn.Module, side: int) -> int:
    """Bytes that the latent of a picture of side x side pixels takes while it is computed."""
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        vae.to_empty(device="cpu")
        live = LiveBytes([*vae.parameters(), *vae.buffers()])
        with live:
            cast(Any, vae).encode(torch.empty(1, 3, side, side))
    return live.most


def _step(unet: nn.Module, network: LowRankNetwork | None, config: TrainingConfig, shape: tuple[int, ...],
          ask: Any) -> int:
    """Bytes that the UNet's answer and its gradients take while they are computed."""
    half = TYPES[config.precision]
    nn.Module.to(unet.requires_grad_(False), half)  # diffusers' own `to` warns
    how = cast(Any, unet).config
    with FakeTensorMode(allow_non_fake_inputs=True):
        unet.to_empty(device="cpu")
        if network is not None:
            network.to_empty(device="cpu")
        tokens = torch.empty(shape[0], TOKENS, how.cross_attention_dim, requires_grad=network is None)
        told = how.projection_class_embeddings_input_dim
        cond = Conditioning(tokens, torch.empty(shape[0], told) if told else None)
        known = [*unet.parameters(), *unet.buffers(), *(network.parameters() if network is not None else ())]
        live = LiveBytes(known)
        with network.attached() if network is not None else nullcontext(), \
                recomputed(unet) if config.checkpointing and network is not None else nullcontext(), live:
            with torch.autocast("cpu", half, enabled=half != torch.float32):
                loss = ask(unet, torch.empty(shape), torch.empty(shape[0]), cond).float().square().mean()
            loss.backward()
    return live.most
