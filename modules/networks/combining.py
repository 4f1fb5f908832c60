"""Parts that a checkpoint lacks, taken from files of one part each: an autoencoder, a text encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modules.errors import CheckpointError
from modules.networks.families.family import Family, Part
from modules.networks.shapes import Header
from modules.weights.catalog import files_below
from modules.weights.diffusers_folder import INDEX, read_weights


@dataclass(frozen=True)
class SpareFiles:
    """Folders with files of one part each, whole or in shards with an index. Only safetensors files are looked at: they
    have a header."""

    folders: Sequence[Path] = ()

    def fitting(self, family: Family, part: Part, shapes: Mapping[str, Any], header: Header) -> Path | None:
        """The first file that has `part` for a checkpoint of `family` whose other parts have those `shapes`."""
        required = {one.name for one in family.parts if not one.optional}
        files = files_below(self.folders, (".safetensors", INDEX))
        for path, _ in sorted(files, key=lambda found: found[1].lower()):
            try:
                with read_weights(path) as file:
                    own = Header(header.name, file.shapes, {}).renamed(part.in_checkpoint)
                shape = part.shape(own)
                if required <= set(shapes) | {part.name}:
                    family.check({**shapes, part.name: shape}, header)
            except CheckpointError:
                continue
            if part.complete(path, self.folders):
                return path
        return None


NO_SPARE = SpareFiles()
