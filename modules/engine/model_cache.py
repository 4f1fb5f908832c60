"""The model cache: models used recently stay in memory, so that going back to one costs no loading time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from modules.base.files import FileVersion, tree_version
from modules.weights.catalog import CheckpointFile, VaeFile
from modules.weights.model_config import config_path

if TYPE_CHECKING:
    from modules.sampling.types import SDModel


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model, the files it was read from, and the versions that these files had."""

    model: SDModel
    checkpoint: CheckpointFile
    vae: VaeFile | None
    versions: Mapping[Path, FileVersion | None] = field(default_factory=dict)

    @classmethod
    def of(cls, read: Callable[[], SDModel], checkpoint: CheckpointFile, vae: VaeFile | None) -> Loaded:
        """Call `read` and keep its model. The file versions are taken before, so that a file that changes while it is
        read counts as changed. The checkpoint's YAML file is among them, also where there is none yet."""
        paths = [file.path for file in (checkpoint, vae) if file]
        versions = {path: tree_version(path) for path in (*paths, config_path(checkpoint.path))}
        return cls(read(), checkpoint, vae, versions)

    @property
    def current(self) -> bool:
        """Whether the files are unchanged. A deleted file of weights counts as unchanged."""
        config = config_path(self.checkpoint.path)
        return all((now := tree_version(path)) == then or (now is None and path != config)
                   for path, then in self.versions.items())


class ModelCache:
    """The models that are loaded but not in use: one for each checkpoint, least recently used first.

    `budget` is the most bytes of weights, those of the model in use included. With None, the cached models may take
    half of the memory that would be free without them.
    """

    def __init__(self, budget: int | None, free_memory: Callable[[], int]) -> None:
        self._budget, self._free_memory = budget, free_memory
        self._models: dict[Path, Loaded] = {}

    def find(self, checkpoint: CheckpointFile) -> Loaded | None:
        """The cached model of `checkpoint` with any VAE, or None. It stays in the cache until `swap` takes it."""
        return self._models.get(checkpoint.path)

    def kept(self) -> list[Loaded]:
        """All cached models."""
        return list(self._models.values())

    def swap(self, into_use: Loaded, out_of_use: Loaded | None) -> bool:
        """Make `into_use` current and put `out_of_use` into the cache, then evict the least recently used models over
        budget.

        Returns True if a model was dropped: one over budget, or one of the same checkpoint with another VAE.
        """
        before = {*self._models.values(), *([out_of_use] if out_of_use else [])}
        self._models.pop(into_use.checkpoint.path, None)
        if out_of_use and out_of_use.checkpoint.path != into_use.checkpoint.path:
            self._models[out_of_use.checkpoint.path] = out_of_use
        if self._budget is None:
            room = (self._free_memory() + self._extra_bytes(into_use)) // 2
        else:
            room = self._budget - sum(into_use.model.part_bytes.values())
        while self._models and self._extra_bytes(into_use) > room:
            del self._models[next(iter(self._models))]
        return bool(before - {*self._models.values(), into_use})

    def _extra_bytes(self, in_use: Loaded) -> int:
        """Bytes of the cached models' parts, each counted once, without those that the model in use has too."""
        parts = {part: size for kept in self._models.values() for part, size in kept.model.part_bytes.items()}
        return sum(size for part, size in parts.items() if part not in in_use.model.part_bytes)

    def clear(self) -> None:
        """Drop all cached models."""
        self._models.clear()
