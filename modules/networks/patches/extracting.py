"""A LoRA made of the difference of two checkpoints, each layer's by its singular values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from modules.base.files import write_whole
from modules.errors import CheckpointError, InvalidInput
from modules.networks.loader import StoredLayer, StoredLayers, stored_layers
from modules.weights.catalog import CheckpointFile

MOST_RANK = 1024

EXACT = 512
"""A matrix with a side of at most so many numbers is decomposed as a whole."""

MORE_COLUMNS, ROUNDS = 16, 4
"""Of the randomized decomposition of larger ones: columns beyond the rank, and times that it is sharpened."""


def extract(original: CheckpointFile, tuned: CheckpointFile, rank: int, path: Path,
            on_progress: Callable[[float], None] = lambda share: None) -> None:
    """Write a LoRA (LoCon for convolutions) to `path` that turns `original` nearly into `tuned`: for each matrix and
    kernel the nearest difference of `rank`, under kohya's names, in float16. Norms, biases and embeddings of words are
    not in it.

    `on_progress` gets the share that is done, 0 to 1; an exception from it stops. Raises CheckpointError, and
    InvalidInput if the checkpoints do not fit together, are equal, or there is a file of that name.
    """
    if not 1 <= rank <= MOST_RANK:
        raise InvalidInput(f"The rank lies between 1 and {MOST_RANK}, not {rank}.", field="rank")
    if path.exists():
        raise InvalidInput(f"There is a file called {path.name} already; choose another name.", field="name")
    tensors: dict[str, Tensor] = {}
    with stored_layers(original) as before, stored_layers(tuned) as after:
        common = [layer for layer in after.stored if layer in before.stored and not layer.path.startswith("embeddings.")
                  and _shape(before, before.stored[layer]) == _shape(after, after.stored[layer])
                  and len(_shape(after, after.stored[layer])) > 1]
        if not common:
            raise InvalidInput(f"{original.name} and {tuned.name} have no layers in common.", field="original")
        for number, layer in enumerate(common):
            on_progress(number / len(common))
            difference = _read(after, after.stored[layer]) - _read(before, before.stored[layer])
            if not bool(torch.isfinite(difference).all()):
                raise CheckpointError(f"{tuned.name} or {original.name} holds numbers that are not finite: "
                                      f"{layer.key}.")
            if bool(difference.any()):
                tensors |= _module(after.kohya[layer], difference, rank)
    if not tensors:
        raise InvalidInput(f"{original.name} and {tuned.name} are equal: there is nothing to extract.",
                           field="original")
    metadata = {"format": "pt", "ss_network_module": "networks.lora", "ss_network_dim": str(rank),
                "ss_network_alpha": str(rank), "ss_sd_model_name": original.path.name,
                "ss_training_comment": f"extracted from {tuned.path.name}"}
    try:
        write_whole(path, save(tensors, metadata))
    except OSError as error:
        raise CheckpointError(f"{path.name} could not be written: {error.strerror or error}.") from error


def low_rank(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """matrix (m, n) float32 -> (m, r) and (r, n), whose product is the nearest of rank r = min(rank, m, n).

    Large matrices are decomposed in a random subspace (Halko, Martinsson and Tropp 2011, algorithm 4.4), always the
    same one.
    """
    rank = min(rank, *matrix.shape)
    columns = rank + MORE_COLUMNS
    if min(matrix.shape) <= max(EXACT, columns):
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    else:
        probe = torch.randn(matrix.shape[1], columns, generator=torch.Generator().manual_seed(0))
        basis = torch.linalg.qr(matrix @ probe)[0]
        for _ in range(ROUNDS):
            basis = torch.linalg.qr(matrix @ torch.linalg.qr(matrix.T @ basis)[0])[0]
        small, values, right = torch.linalg.svd(basis.T @ matrix, full_matrices=False)
        left = basis @ small
    roots = values[:rank].sqrt()
    return left[:, :rank] * roots, roots[:, None] * right[:rank]


def _module(name: str, difference: Tensor, rank: int) -> dict[str, Tensor]:
    up, down = low_rank(difference.flatten(1), rank)
    if difference.dim() == 4:
        up, down = up[:, :, None, None], down.reshape(len(down), *difference.shape[1:])
    return {f"{name}.lora_up.weight": up.half().contiguous(), f"{name}.lora_down.weight": down.half().contiguous(),
            f"{name}.alpha": torch.tensor(float(len(down))).half()}


def _shape(layers: StoredLayers, stored: StoredLayer) -> tuple[int, ...]:
    rows, *rest = layers.file.shapes[stored.weight] or (0,)
    return rows // stored.of, *rest


def _read(layers: StoredLayers, stored: StoredLayer) -> Tensor:
    return stored.rows(layers.file.tensor(stored.weight, torch.float32))
