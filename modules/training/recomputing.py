"""Gradient checkpointing (Chen et al. 2016): what blocks compute is computed again on the way back, not kept."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from modules.networks.forwards import replaced
from modules.networks.unet import Residual, SpatialTransformer


def recomputed(unet: nn.Module) -> AbstractContextManager[None]:
    """While this lasts only the blocks' inputs are kept for the gradients."""
    return replaced({block: partial(checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False)
                     for block in unet.modules() if isinstance(block, Residual | SpatialTransformer)})
