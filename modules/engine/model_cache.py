"""Checkpoints that were in use lately and stay in memory, so that going back to one costs nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from modules.base.files import FileVersion, file_version
from modules.weights.catalog import CheckpointFile, VaeFile

if TYPE_CHECKING:
    from modules.sampling.types import SDModel


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model and the files that it came from."""

    model: SDModel
    checkpoint: CheckpointFile
    vae: VaeFile | None
    versions: Mapping[Path, FileVersion | None] = field(default_factory=dict)

    @classmethod
    def of(cls, read: Callable[[], SDModel], checkpoint: CheckpointFile, vae: VaeFile | None) -> Loaded:
        """What `read` makes of the files, and what these were like before it began."""
        versions = {file.path: file_version(file.path) for file in (checkpoint, vae) if file}
        return cls(read(), checkpoint, vae, versions)

    @property
    def current(self) -> bool:
        """Whether the files are still those. One that is gone changes nothing."""
        return all(file_version(path) in (None, then) for path, then in self.versions.items())


class ModelCache:
    """The models that are not in use, one a checkpoint, least recently used first.

    `budget` is in bytes of weights, those of the model in use included; None lets the models that are not in use have
    half of the memory that would be free without them.
    """

    def __init__(self, budget: int | None, free_memory: Callable[[], int]) -> None:
        self._budget, self._free_memory = budget, free_memory
        self._models: dict[Path, Loaded] = {}

    def find(self, checkpoint: CheckpointFile) -> Loaded | None:
        """The model of `checkpoint`, whatever its autoencoder; it stays until `swap` takes it."""
        return self._models.get(checkpoint.path)

    def swap(self, into_use: Loaded, out_of_use: Loaded | None) -> bool:
        """One model comes into use, another goes out of it; then the oldest go that do not fit the budget any more.

        True when something was let go: one that did not fit, or one with another autoencoder.
        """
        before = {*self._models.values(), *([out_of_use] if out_of_use else [])}
        self._models.pop(into_use.checkpoint.path, None)
        if out_of_use and out_of_use.checkpoint.path != into_use.checkpoint.path:
            self._models[out_of_use.checkpoint.path] = out_of_use
        sizes = {path: kept.model.nbytes for path, kept in self._models.items()}
        if self._budget is None:
            room = (self._free_memory() + sum(sizes.values())) // 2
        else:
            room = self._budget - into_use.model.nbytes
        while sizes and sum(sizes.values()) > room:
            oldest = next(iter(sizes))
            del self._models[oldest], sizes[oldest]
        return bool(before - {*self._models.values(), into_use})

    def clear(self) -> None:
        """Lets go of all of them."""
        self._models.clear()
