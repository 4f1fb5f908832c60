"""Files of LoRAs and LyCORIS: read safely, and put on a model's layers."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from modules.base.files import FileVersion, file_version
from modules.networks.patches.kinds import PARTS, Misfit, Tensors, added
from modules.networks.patches.layers import Layer, LayerNames
from modules.weights.tensors import TensorFile, check_room, read_tensors

UNET = "unet"
"""The part that a tag's second weight is for. All others are text encoders."""

BUNDLE = "bundle_emb."
"""What the names of embeddings inside a LoRA begin with."""

_PART = re.compile(rf"(?P<name>.+?)\.(?P<part>{'|'.join(map(re.escape, PARTS))})")
_OLD_NAMES = (
    (re.compile(r"\.processor\.to_(q|k|v)_lora\."), r".to_\1."),
    (re.compile(r"\.processor\.to_out_lora\."), ".to_out.0."),
    (re.compile(r"\.lora_linear_layer\."), "."),
    (re.compile(r"\.lora\.(up|down)\.weight$"), r".lora_\1.weight"),
    (re.compile(r"\.(up|down)\.weight$"), r".lora_\1.weight"),
    (re.compile(r"\.lora_([AB])\.\w+\.weight$"), r".lora_\1.weight"),
)
"""How diffusers and PEFT have called the same things."""


@dataclass(frozen=True, eq=False)
class LoraFile:
    """A file of networks in memory: its modules by name, and the embeddings that it brings, by word."""

    name: str
    path: Path
    version: FileVersion | None
    modules: Mapping[str, Tensors]
    embeddings: Mapping[str, Tensors] = field(default_factory=dict)
    unknown: int = 0

    @property
    def keys(self) -> int:
        """The number of tensors in the file, without those of embeddings."""
        return self.unknown + sum(map(len, self.modules.values()))

    @property
    def nbytes(self) -> int:
        """Bytes that its tensors take."""
        return sum(tensor.nbytes for tensors in (*self.modules.values(), *self.embeddings.values())
                   for tensor in tensors.values())


@dataclass(frozen=True)
class Lora:
    """A file with the weights that a prompt gives it; see `text.network_tags.NetworkTag`."""

    file: LoraFile
    te: float = 1.0
    unet: float = 1.0
    rank: int | None = None

    def multiplier(self, part: str) -> float:
        """What its differences to the layers of that part are multiplied by."""
        return self.unet if part == UNET else self.te

    def signature(self, part: str) -> Hashable:
        """Equal for what changes the layers of that part equally."""
        return self.file.path, self.file.version, self.multiplier(part), self.rank


def read_lora(path: Path, name: str) -> LoraFile:
    """Read a file of networks. Raises CheckpointError: it is damaged, unsafe, or too large for the free memory."""
    version = file_version(path)
    with read_tensors(path) as file:
        check_room(file.name, "cpu", sum(_nbytes(file, key) for key in file.shapes))
        modules: dict[str, dict[str, Tensor]] = {}
        embeddings: dict[str, dict[str, Tensor]] = {}
        unknown = 0
        for key in file.shapes:
            if key.startswith(BUNDLE):
                word, _, part = key.removeprefix(BUNDLE).partition(".")
                embeddings.setdefault(word, {})[part] = file.tensor(key)
            elif (found := _PART.fullmatch(_plain(key))) is None:
                unknown += 1
            else:
                modules.setdefault(found["name"], {})[found["part"]] = file.tensor(key)
    return LoraFile(name, path, version, modules, embeddings, unknown)


def by_layer(loras: Iterable[Lora], names: LayerNames) -> dict[Layer, list[tuple[Lora, Tensors]]]:
    """The layers that are changed, each with what changes it, in the order of `loras`."""
    found: dict[Layer, list[tuple[Lora, Tensors]]] = {}
    for lora in loras:
        for name, tensors in lora.file.modules.items():
            layer = names.find(name)
            if layer is not None:
                found.setdefault(layer, []).append((lora, tensors))
    return found


def changed(layer: Layer, weight: Tensor, bias: Tensor | None, modules: Iterable[tuple[Lora, Tensors]],
            misfits: dict[Path, int], *, overwrite: bool = False) -> tuple[Tensor, Tensor | None]:
    """The weight and bias of a layer with all `modules` added one after the other, each to what those before it made of
    it. Both float32; with `overwrite` the result may be written into `weight`.

    One that does not fit, or whose numbers are not finite, changes nothing; its tensors are counted in `misfits`.
    """
    for lora, tensors in modules:
        try:
            weight, bias = added(tensors, weight, bias, lora.multiplier(layer.part), lora.rank,
                                 overwrite=overwrite)
        except Misfit:
            misfits[lora.file.path] = misfits.get(lora.file.path, 0) + len(tensors)
    return weight, bias


def warning(file: LoraFile, names: LayerNames, misfits: int) -> str | None:
    """A sentence for a file of which not everything is used; None if everything is."""
    used = sum(len(tensors) for name, tensors in file.modules.items() if names.find(name) is not None) - misfits
    if used == file.keys:
        return None
    if not used:
        return f"{file.name} does not fit this checkpoint: none of its {file.keys} keys was used."
    return f"{file.name} does not wholly fit this checkpoint: {used} of its {file.keys} keys were used."


def _plain(key: str) -> str:
    """A tensor's name with today's word for what it is."""
    for pattern, word in _OLD_NAMES:
        key = pattern.sub(word, key)
    return key


def _nbytes(file: TensorFile, key: str) -> int:
    size = file.dtypes[key].itemsize
    for side in file.shapes[key]:
        size *= side
    return size
