"""Merges checkpoints key by key with WebUI's rules: weighted sum, add difference, multiply.

Each tensor is written as soon as it is computed, so that no whole model is ever in memory.
"""

from __future__ import annotations

import json
import os
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import re2
import torch
from torch import Tensor

from modules.base.files import temporary_name
from modules.errors import CheckpointError, InvalidInput, StorageFull
from modules.text.network_tags import NetworkTag
from modules.weights.catalog import CheckpointFile, VaeFile
from modules.weights.diffusers_folder import read_checkpoint
from modules.weights.tensors import SAFETENSORS_NAMES, TensorFile, read_tensors

METHODS = ("Weighted sum", "Add difference", "Multiply", "No interpolation")

_VAE = "first_stage_model."
_SKIPPED = "cond_stage_model.transformer.text_model.embeddings.position_ids"
_NAME = re.compile(r"[\w\-. ()+&,=\[\]]{1,120}")

OnProgress = Callable[[float], None]

Change = Callable[[Tensor], Tensor]
Changes = Callable[[Callable[[str], Tensor]], Mapping[str, Change]]
"""(gives the merged tensor of a name) -> by name what is done to tensors of the result."""


@dataclass(frozen=True)
class Recipe:
    """The checkpoints to merge and the method.

    "Weighted sum": (1 - m) A + m B. "Add difference": A + m (B - C). "Multiply": |A|^(1-m) |B|^m with A's sign, the
    weighted geometric mean, or the weighted sum where the signs of A and B differ. "No interpolation": A.
    m is `multiplier`, 0 to 1. `half` saves float32 as float16. `discard` is a regular expression in RE2's syntax, which
    has no backtracking; tensors in whose name it matches are left out. `loras` are added to the result, in their order;
    see `merge`. Raises InvalidInput for values that do not fit together.
    """

    a: CheckpointFile
    b: CheckpointFile | None = None
    c: CheckpointFile | None = None
    method: str = "Weighted sum"
    multiplier: float = 0.3
    half: bool = True
    name: str = ""
    discard: str = ""
    bake_vae: VaeFile | None = None
    loras: tuple[NetworkTag, ...] = ()

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InvalidInput(f"Checkpoints are merged by {', '.join(METHODS)}, not by {self.method!r}.",
                               field="method")
        if not 0 <= self.multiplier <= 1:
            raise InvalidInput(f"The multiplier lies between 0 and 1, not {self.multiplier}.", field="multiplier")
        if self.method != "No interpolation" and self.b is None:
            raise InvalidInput(f"{self.method} needs a second checkpoint (B).", field="b")
        if self.method == "Add difference" and self.c is None:
            raise InvalidInput("Add difference needs a third checkpoint (C).", field="c")
        if self.name and not _NAME.fullmatch(self.name):
            raise InvalidInput(f"{self.name!r} cannot be a file's name here.", field="name")
        if len(self.discard) > 200:
            raise InvalidInput("The pattern of discarded weights is too long.", field="discard")
        _discarded(self.discard)

    @property
    def files(self) -> list[CheckpointFile]:
        """The checkpoints that the method uses, A first."""
        needed = {"No interpolation": 1, "Add difference": 3}.get(self.method, 2)
        return [file for file in (self.a, self.b, self.c)[:needed] if file is not None]

    @property
    def stem(self) -> str:
        """The result's file name without suffix: the chosen name, or WebUI's formula of the checkpoints."""
        m = self.multiplier
        names = [file.model_name for file in self.files]
        return self.name or {
            "Weighted sum": lambda: f"{1 - m:g}({names[0]}) + {m:g}({names[1]})",
            "Add difference": lambda: f"{names[0]} + {m:g}({names[1]} - {names[2]})",
            "Multiply": lambda: f"{names[0]}^{1 - m:g} x {names[1]}^{m:g}",
            "No interpolation": lambda: names[0]}[self.method]() + "".join(
                f" + {tag.unet:g}({tag.name})" for tag in self.loras)


@dataclass(frozen=True)
class _Key:
    """One tensor of the result. `compute(device)` makes it, `change` keeps its shape and type, and `half` converts
    float32 to float16."""

    name: str
    compute: Callable[[str], Tensor]
    half: bool
    change: Change | None = None

    def make(self, device: str = "cpu") -> Tensor:
        """Compute the tensor. On the device "meta" it has only shape and dtype, and nothing is read."""
        tensor = self.compute(device)
        if self.change is not None and device != "meta":
            tensor = self.change(tensor)
        return tensor.half() if self.half and tensor.dtype == torch.float32 else tensor


def merge(recipe: Recipe, folder: Path, sha256: Callable[[CheckpointFile], str],
          on_progress: OnProgress = lambda share: None, changes: Changes = lambda merged: {}) -> Path:
    """Write the merged checkpoint into `folder` and return its path.

    `changes` are what the recipe's LoRAs do to the merged tensors, see `networks.patches.baking`. `on_progress` gets
    the share that is done, 0 to 1. An exception from it stops the merge, and no file is left behind. Raises
    CheckpointError, StorageFull, and InvalidInput if the checkpoints don't fit together or the name is taken.
    """
    with ExitStack() as stack:
        files = [stack.enter_context(read_checkpoint(file.path)) for file in recipe.files]
        vae = stack.enter_context(read_tensors(recipe.bake_vae.path)) if recipe.bake_vae else None
        keys = _changed(list(_plan(recipe, files, vae)), changes)
        nine = [_channels(file) for file in files[:2]] == [9, 4]
        path = folder / f"{recipe.stem}{'.inpainting' if nine else ''}.safetensors"
        if path.exists():
            raise InvalidInput(f"There is a checkpoint called {path.name} already; choose another name.", field="name")
        _write(path, keys, _metadata(recipe, files, sha256), on_progress)
    return path


def _plan(recipe: Recipe, files: list[TensorFile], vae: TensorFile | None) -> Iterator[_Key]:
    """Yield the tensors of the result in A's order. Making one raises InvalidInput if shapes don't fit together."""
    first, *others = files
    discarded = _discarded(recipe.discard)
    baked = {} if vae is None else {f"{_VAE}{key.removeprefix(_VAE)}": key for key in vae.shapes}
    for key in first.shapes:
        if discarded(key):
            continue
        merged = bool(others) and "model" in key and key != _SKIPPED and key in others[0].shapes
        if vae is not None and key in baked and key.startswith(_VAE):
            make = _reader(vae, baked[key])
        elif merged:
            make = _merged(recipe, key, files)
        else:
            make = _reader(first, key)
        halved = recipe.half and (merged or key in baked or not others)
        yield _Key(key, make, halved)


def _changed(keys: list[_Key], changes: Changes) -> list[_Key]:
    by_name = {key.name: key for key in keys}
    found = changes(lambda name: by_name[name].compute("cpu"))
    return [replace(key, change=found.get(key.name)) for key in keys]


def _discarded(pattern: str) -> Callable[[str], bool]:
    """Whether `pattern` finds a name, in linear time. Raises InvalidInput for one that RE2 cannot read."""
    if not pattern:
        return lambda name: False
    options = re2.Options()
    options.log_errors = False
    try:
        compiled = re2.compile(pattern, options)
    except (re2.error, UnicodeEncodeError) as error:
        reason = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else error
        raise InvalidInput(f"The pattern of discarded weights cannot be read: {reason}.", field="discard") from error
    return lambda name: compiled.search(name) is not None


def _reader(file: TensorFile, key: str) -> Callable[[str], Tensor]:
    def read(device: str) -> Tensor:
        tensor = torch.empty(file.shapes[key], dtype=file.dtypes[key], device=device)
        if device != "meta":
            file.read(key, tensor)
        return tensor

    return read


def _merged(recipe: Recipe, key: str, files: list[TensorFile]) -> Callable[[str], Tensor]:
    readers = [_reader(file, key) if key in file.shapes else None for file in files]

    def make(device: str) -> Tensor:
        a, b = (reader(device) for reader in readers[:2] if reader)
        if recipe.method == "Add difference":
            c = readers[2](device) if readers[2] else torch.zeros_like(b)
            if b.shape != c.shape:
                raise InvalidInput(f"B and C don't fit together: {key} is {_size(b)} in B and {_size(c)} in C.",
                                   field="c")
            b = b - c
        if a.shape == b.shape:
            return _combine(recipe, a, b)
        if a.shape[:1] + a.shape[2:] != b.shape[:1] + b.shape[2:]:
            raise InvalidInput(f"These checkpoints don't fit together: {key} is {_size(a)} in A and {_size(b)} in B.",
                               field="b")
        if (a.shape[1], b.shape[1]) not in ((9, 4), (8, 4)):
            raise InvalidInput("When an inpainting checkpoint is merged with an ordinary one, it must be A.", field="a")
        # The mask's channels are taken from A: only an inpainting checkpoint has weights for them.
        a = a.clone()
        a[:, :4] = _combine(recipe, a[:, :4], b)
        return a

    return make


def _combine(recipe: Recipe, a: Tensor, b: Tensor) -> Tensor:
    """The method's arithmetic in the tensors' own dtypes, with each operation rounded, as in WebUI."""
    m = recipe.multiplier
    if recipe.method == "Add difference":  # b is the difference here
        return a + m * b
    mean = ((1 - m) * a) + (m * b)
    if recipe.method == "Weighted sum":
        return mean
    product = a.sign() * a.abs() ** (1 - m) * b.abs() ** m
    return torch.where(a.sign() == b.sign(), product, mean)


def _channels(file: TensorFile) -> int:
    return next((shape[1] for key, shape in file.shapes.items() if key.endswith("input_blocks.0.0.weight")), 0)


def _size(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape))


def _metadata(recipe: Recipe, files: list[TensorFile], sha256: Callable[[CheckpointFile], str]) -> dict[str, str]:
    """The recipe and the checkpoints used, under WebUI's keys."""
    hashes: list[str | None] = [sha256(file) for file in recipe.files]
    first, second, third = [*hashes, None, None][:3]
    models = {digest: {"name": file.filename, "sd_merge_recipe": _json(opened.metadata.get("sd_merge_recipe"))}
              for digest, file, opened in zip(hashes, recipe.files, files, strict=True)}
    made: dict[str, Any] = {"type": "inpaint-webui", "primary_model_hash": first, "secondary_model_hash": second,
            "tertiary_model_hash": third, "interp_method": recipe.method, "multiplier": recipe.multiplier,
            "save_as_half": recipe.half, "custom_name": recipe.name,
            "bake_in_vae": recipe.bake_vae.name if recipe.bake_vae else "None", "discard_weights": recipe.discard,
            "is_inpainting": _channels(files[0]) == 9}
    if recipe.loras:
        made["loras"] = [{"name": tag.name, "te": tag.te, "unet": tag.unet} for tag in recipe.loras]
    kept = {key: value for key, value in files[0].metadata.items() if not key.startswith("sd_merge")}
    return {**kept, "format": "pt", "sd_merge_recipe": json.dumps(made), "sd_merge_models": json.dumps(models)}


def _json(text: str | None) -> Any:
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None


def _write(path: Path, keys: list[_Key], metadata: Mapping[str, str], on_progress: OnProgress) -> None:
    """Write a safetensors file: the length of the header, the header, then the tensors in the header's order."""
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for key in keys:
        like = key.make("meta")
        start, end = end, end + like.nbytes
        header[key.name] = {"dtype": SAFETENSORS_NAMES[like.dtype], "shape": list(like.shape),
                            "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    temporary = temporary_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for number, key in enumerate(keys):
                on_progress(number / len(keys))
                file.write(key.make().contiguous().view(-1).view(torch.uint8).numpy().data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if error.errno == 28:  # ENOSPC
            raise StorageFull(f"The disk is full: {path.name} was not written.") from error
        raise CheckpointError(f"{path.name} could not be written: {error.strerror or error}.") from error
    finally:
        temporary.unlink(missing_ok=True)
