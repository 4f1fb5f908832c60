"""Reads tensor files: .safetensors memory-mapped, .ckpt and .pt through torch's weights-only unpickler only."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import safetensors
import torch
from torch import Tensor

from modules.errors import CheckpointError

_PICKLE_SUFFIXES = {".ckpt", ".pt", ".pth", ".bin"}


@dataclass(frozen=True)
class TensorFile:
    """An open file of tensors. A tensor handed out by `get` may be a view of the mapped file: copy it to keep it."""

    name: str
    shapes: Mapping[str, tuple[int, ...]]
    metadata: Mapping[str, str]
    get: Callable[[str], Tensor]


@contextmanager
def read_tensors(path: Path) -> Iterator[TensorFile]:
    """Opens a file of tensors; nothing is read before it is asked for.

    Raises:
        CheckpointError: missing, empty, cut off, not what its name says, or a pickle with more than tensors in it.
    """
    start = _first_bytes(path)
    if path.suffix.lower() in _PICKLE_SUFFIXES:
        yield _open_pickle(path, start)
        return
    _refuse_mislabelled(path, start)
    try:
        handle = safetensors.safe_open(str(path), framework="pt")
    except (safetensors.SafetensorError, OSError) as error:
        raise CheckpointError(f"{path.name} is cut off or damaged: it is not a whole safetensors file.") from error
    with handle as file:
        shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
        yield TensorFile(path.name, shapes, file.metadata() or {}, file.get_tensor)


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        raise CheckpointError(f"{path.name} cannot be read: {error.strerror or error}.") from error
    if not start:
        raise CheckpointError(f"{path.name} is empty.")
    if start.lstrip()[:1] == b"<":
        raise CheckpointError(f"{path.name} is a web page, not a checkpoint; the download probably went wrong.")
    if start.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{path.name} is a Git LFS pointer, not the file itself; fetch it with git lfs pull.")
    return start


def _refuse_mislabelled(path: Path, start: bytes) -> None:
    # A safetensors file begins with the length of its JSON header, 8 bytes, and then "{".
    if start.startswith((b"PK\x03\x04", b"\x80")) and start[8:9] != b"{":
        raise CheckpointError(f"{path.name} is a pickle under another name; rename it to .ckpt if you trust it.")


def _open_pickle(path: Path, start: bytes) -> TensorFile:
    if start[8:9] == b"{":
        raise CheckpointError(f"{path.name} is a safetensors file under another name; rename it to .safetensors.")
    try:
        # Only files of the zip format can be mapped; older ones are read whole.
        content: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except UnpicklingError as error:
        raise CheckpointError(_unsafe(path.name, str(error))) from error
    except Exception as error:  # what a damaged pickle raises is up to the bytes in it
        raise CheckpointError(f"{path.name} is cut off or damaged: torch cannot read it.") from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict):
        raise CheckpointError(f"{path.name} holds a {type(content).__name__}, not a set of tensors.")
    tensors = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}
    return TensorFile(path.name, {key: tuple(value.shape) for key, value in tensors.items()}, {}, tensors.__getitem__)


def _unsafe(name: str, message: str) -> str:
    found = re.search(r"GLOBAL ([\w.]+)", message)
    if found is None:
        return f"{name} is cut off or damaged, or holds other things than tensors, so it was not loaded."
    return f"{name} asks to run {found[1]}, which a file of weights has no need of, so it was not loaded."
