"""A network filled with the tensors of a file, checked both ways."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from torch import nn

from modules.errors import CheckpointError
from modules.networks.pixel_networks import tensors_of

Net = TypeVar("Net", bound=nn.Module)


def filled(network: Net, path: Path) -> Net:
    """`network` with the weights in `path`. Raises CheckpointError for a file that does not have exactly its tensors.
    """
    tensors = tensors_of(path)
    expected = {key: value.shape for key, value in network.state_dict().items()}
    if expected != {key: value.shape for key, value in tensors.items()}:
        raise CheckpointError(f"{path.name} does not have the weights of this preprocessor's network.")
    network.load_state_dict(tensors)
    return network.eval()
