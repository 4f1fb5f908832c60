"""The state of a training in a file: tensors, and a few facts as JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from modules.errors import CheckpointError, InvalidInput
from modules.training.config import TrainingConfig
from modules.training.dataset import Example
from modules.training.writing import write
from modules.weights.tensors import read_tensors

FREE = ("save_minutes", "samples", "sample_every", "sample_scale", "datasets")
"""Settings that may be others when a training goes on. The pictures of the datasets have to be the same."""


def digest_of(config: TrainingConfig, found: Sequence[Example]) -> str:
    """What has to be equal for a training to go on: the settings that matter, the pictures and their words."""
    settings = {name: value for name, value in asdict(config).items() if name not in FREE}
    pictures = [(one.path.name, one.caption, one.repeats, one.regular, one.mask is not None, one.crop)
                for one in found]
    return hashlib.sha256(json.dumps([settings, pictures]).encode()).hexdigest()


def keep(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any], digest: str) -> None:
    """Raises CannotSave."""
    write(path, save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
                     {"facts": json.dumps(facts), "digest": digest}))


def read_state(path: Path, digest: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """What was kept; None without a state. Raises InvalidInput for that of another training, CheckpointError."""
    if not path.exists():
        return None
    with read_tensors(path) as file:
        if file.metadata.get("digest") != digest:
            raise InvalidInput(f"{path.name} is the state of a training with other settings or pictures: give this one "
                               f"another name, or delete {path}.", field="name")
        return {name: file.tensor(name) for name in file.shapes}, json.loads(file.metadata["facts"])


def damaged(path: Path) -> CheckpointError:
    """The error for a state that does not fit together."""
    return CheckpointError(f"{path.name}, the state of this training, is damaged: delete it to begin anew.")
