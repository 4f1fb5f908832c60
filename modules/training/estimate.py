"""The memory that a training takes, told before it starts: what its networks would keep for the gradients is counted
on tensors without numbers."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from modules.networks.loader import outline
from modules.sampling.conditioning import Conditioning
from modules.settings import Settings
from modules.training.config import EMBEDDING, TrainingConfig
from modules.training.file import find_checkpoint, size_of
from modules.training.loop import TYPES
from modules.training.low_rank import LowRankNetwork
from modules.training.recomputing import recomputed

PROGRAM = 400 * 2**20
"""Bytes of the program and its libraries."""
ON_THE_WAY = 1.2
"""What is kept for the gradients is multiplied by that for what a layer needs while it computes."""
TOKENS = 77
STATES = {"adamw": 2, "prodigy": 4, "lion": 1}
"""Numbers that an optimizer keeps for each that is learned."""


def memory_estimate(config: TrainingConfig, settings: Settings) -> int:
    """Bytes that a training needs at its peak. Raises NotFound, CheckpointError, InvalidInput."""
    checkpoint = find_checkpoint(config, settings)
    whole = outline(checkpoint)
    unet, half = whole.parts["unet"], TYPES[config.precision]
    weights = sum(parameter.numel() * (half.itemsize if part is unet else 4)
                  for part in whole.parts.values() for parameter in part.parameters())
    if config.kind == EMBEDDING:
        learned, network = 0, None
    else:
        with torch.device("meta"):
            network = LowRankNetwork(
                whole.parts, whole.names, kind=config.kind, rank=config.rank, alpha=config.alpha,
                convolutions=config.layers == "all", seed=0, texts=config.text_rate > 0,
                blocks=[name for part in config.blocks.split(",") if (name := part.strip())])
        learned = sum(parameter.numel() for parameter in network.parameters())
    latent = whole.family.latent
    side = (config.size or size_of(checkpoint)) // latent.cell
    shape = config.batch, latent.channels + whole.inputs.channels, side, side
    kept = _kept(unet, network, config, shape, whole.family.ask)
    copies = 2 + STATES[config.optimizer] + bool(config.ema) + bool(config.validation)
    return int(PROGRAM + weights + learned * 4 * copies + kept * ON_THE_WAY)


def _kept(unet: nn.Module, network: LowRankNetwork | None, config: TrainingConfig, shape: tuple[int, ...],
          ask: Any) -> int:
    """Bytes that a call of the UNet keeps for the gradients."""
    seen: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter):
            storage = tensor.untyped_storage()
            seen[storage._cdata] = storage.nbytes()
        return tensor

    unet.requires_grad_(False)
    how = cast(Any, unet).config
    with FakeTensorMode(allow_non_fake_inputs=True):
        unet.to_empty(device="cpu")
        if network is not None:
            network.to_empty(device="cpu")
        x = torch.empty(shape)
        tokens = torch.empty(shape[0], TOKENS, how.cross_attention_dim, requires_grad=network is None)
        told = how.projection_class_embeddings_input_dim
        cond = Conditioning(tokens, torch.empty(shape[0], told) if told else None)
        half = TYPES[config.precision]
        with network.attached() if network is not None else nullcontext(), \
                recomputed(unet) if config.checkpointing and network is not None else nullcontext(), \
                torch.autocast("cpu", half, enabled=half != torch.float32), \
                torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            answer = ask(unet, x, torch.empty(shape[0]), cond)
            del answer
    return sum(seen.values())
