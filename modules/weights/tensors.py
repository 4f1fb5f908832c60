"""Reads tensor files: .safetensors tensor by tensor, .ckpt and .pt only with torch's weights-only unpickler."""

from __future__ import annotations

import io
import math
import re
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import psutil
import safetensors
import torch
from torch import Tensor

from modules.base.free_memory import free_memory
from modules.errors import CheckpointError

WINDOW = 2**21  # bytes read at a time: small enough for the processor's cache

WRAPPINGS = ("state_dict", "params_ema", "params")
"""The keys under which a pickle may hold its weights: checkpoints, and upscalers of the ESRGAN family."""

SETS = ("image_proj", "ip_adapter")
"""The keys under which a pickle of an IP-Adapter holds sets of tensors; in safetensors files they begin the names."""

_PICKLE_SUFFIXES = {".ckpt", ".pt", ".pth", ".bin"}
_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}

SAFETENSORS_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
"""The name of each dtype in a safetensors file."""


@dataclass(frozen=True)
class TensorFile:
    """An open file of tensors.

    `read(key, into)` copies the values of one tensor into a contiguous tensor with the same number of elements, of any
    dtype and on any device. It raises CheckpointError if the file has been truncated since it was opened.
    """

    name: str
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, torch.dtype]
    metadata: Mapping[str, str]
    read: Callable[[str, Tensor], None]

    def tensor(self, key: str, dtype: torch.dtype | None = None) -> Tensor:
        """One tensor, read whole on the CPU, in its own dtype or in `dtype`. Raises as `read`."""
        whole = torch.empty(self.shapes[key], dtype=dtype or self.dtypes[key])
        self.read(key, whole)
        return whole


@contextmanager
def read_tensors(path: Path) -> Iterator[TensorFile]:
    """Open a file of tensors. A tensor is read when `TensorFile.read` is called.

    Raises:
        CheckpointError: the file is missing, empty, truncated, of another format than its name says, or a pickle with
            other objects than tensors.
    """
    start = _first_bytes(path)
    if path.suffix.lower() in _PICKLE_SUFFIXES:
        yield _open_pickle(path, start)
        return
    _refuse_mislabelled(path, start)
    shapes, dtypes, metadata = _header(path)
    starts, start = {}, 8 + struct.unpack("<Q", start[:8])[0]
    for key, shape in shapes.items():
        starts[key] = start
        start += math.prod(shape) * dtypes[key].itemsize
    with path.open("rb", buffering=0) as file:
        window = torch.empty(WINDOW, dtype=torch.uint8)

        def read(key: str, into: Tensor) -> None:
            # Not through mmap: its pages would count as the program's memory until the kernel reclaims them.
            file.seek(starts[key])
            for part in torch.split(into.view(-1), WINDOW // dtypes[key].itemsize):
                values = window[: len(part) * dtypes[key].itemsize]
                if not _read_whole(file, values.numpy().data):
                    raise CheckpointError(f"{path.name} was cut short while it was read.")
                part.copy_(values.view(dtypes[key]))

        yield TensorFile(path.name, shapes, dtypes, metadata, read)


def _header(path: Path) -> tuple[dict[str, tuple[int, ...]], dict[str, torch.dtype], dict[str, str]]:
    """The shapes, dtypes and metadata of a safetensors file. Its tensors follow each other in this order."""
    try:
        with safetensors.safe_open(str(path), framework="numpy") as file:  # checks that there are no overlaps and gaps
            parts = {key: file.get_slice(key) for key in file.offset_keys()}
            shapes = {key: tuple(part.get_shape()) for key, part in parts.items()}
            dtypes = {key: _DTYPES[part.get_dtype()] for key, part in parts.items()}
            return shapes, dtypes, file.metadata() or {}
    except (safetensors.SafetensorError, OSError) as error:
        raise CheckpointError(f"{path.name} is cut off or damaged: it is not a whole safetensors file.") from error
    except KeyError as error:
        raise CheckpointError(f"{path.name} holds numbers of a type that is not read here: {error}.") from error


def _read_whole(file: io.FileIO, into: memoryview) -> bool:
    """Fill `into` from the current position of the file. Returns False if the file ends before."""
    while into:
        got = file.readinto(into)
        if not got:
            return False
        into = into[got:]
    return True


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


def read_pickle(path: Path) -> Any:
    """What a pickle holds: tensors, numbers, texts, and dictionaries and lists of such. No code of it is run.

    Raises CheckpointError: it is missing, damaged, asks for code to be run, or claims more numbers than it stores.
    """
    content = _unpickled(path, _first_bytes(path))
    tensors = list(_tensors_in(content))
    _refuse_claims(path.name, {str(number): tensor for number, tensor in enumerate(tensors)})
    for tensor in tensors:
        tensor.data = tensor.clone()  # what is mapped into memory changes with the file
    return content


def _tensors_in(content: Any) -> Iterator[Tensor]:
    """All tensors inside, wherever they are. A pickle can hold itself, so each object is looked at once."""
    waiting, seen = [content], set()
    while waiting:
        one = waiting.pop()
        if isinstance(one, Tensor):
            yield one
        elif isinstance(one, (dict, list, tuple, set)) and id(one) not in seen:
            seen.add(id(one))
            waiting += one.values() if isinstance(one, dict) else one


def _unpickled(path: Path, start: bytes) -> Any:
    if start[8:9] == b"{":
        raise CheckpointError(f"{path.name} is a safetensors file under another name; rename it to .safetensors.")
    try:
        # Only files in the zip format can be mapped into memory; older ones are read completely.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except UnpicklingError as error:
        raise CheckpointError(_unsafe(path.name, str(error))) from error
    except Exception as error:  # a damaged pickle may raise anything
        raise CheckpointError(f"{path.name} is cut off or damaged: torch cannot read it.") from error


def _open_pickle(path: Path, start: bytes) -> TensorFile:
    content: Any = _unpickled(path, start)
    for wrapping in WRAPPINGS:
        if isinstance(content, dict) and isinstance(content.get(wrapping), dict):
            content = content[wrapping]
    if not isinstance(content, dict):
        raise CheckpointError(f"{path.name} holds a {type(content).__name__}, not a set of tensors.")
    sets = {f"{name}.{key}": value for name in SETS if isinstance(content.get(name), dict)
            for key, value in content[name].items()}
    tensors = {key: value for key, value in (content | sets).items()
               if isinstance(key, str) and isinstance(value, Tensor)}
    _refuse_claims(path.name, tensors)

    def read(key: str, into: Tensor) -> None:
        into.copy_(tensors[key].reshape(into.shape))

    return TensorFile(path.name, {key: tuple(value.shape) for key, value in tensors.items()},
                      {key: value.dtype for key, value in tensors.items()}, {}, read)


MOST_SHARING = 4
"""A pickle's tensors may hold so many times the numbers that it stores: some of them are stored once for two names."""


def _refuse_claims(name: str, tensors: Mapping[str, Tensor]) -> None:
    """Raises CheckpointError for tensors that hold more numbers than are stored: copying one would take any memory."""
    stored: dict[int, int] = {}
    claimed = 0
    for key, tensor in tensors.items():
        if tensor.layout is not torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
            raise CheckpointError(f"{name} holds a tensor of a kind that is not read here: {key}.")
        storage = tensor.untyped_storage()
        stored[storage.data_ptr()] = storage.nbytes()
        claimed += tensor.nbytes
        if tensor.nbytes > storage.nbytes():
            raise CheckpointError(f"{name} is damaged or a trap: {key} is {' x '.join(map(str, tensor.shape))} and "
                                  f"only {storage.nbytes()} bytes of it are there.")
    if claimed > MOST_SHARING * sum(stored.values()):
        raise CheckpointError(f"{name} is damaged or a trap: its tensors share what is stored too often.")


def check_room(name: str, device: str, nbytes: int) -> None:
    """Raises CheckpointError when `nbytes` of weights do not fit into what is free on `device`, swap space included."""
    swap = 0 if device.startswith("cuda") else psutil.swap_memory().free
    free = free_memory(device) + swap
    if nbytes > free:
        raise CheckpointError(f"{name} needs {nbytes / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free.")


def _unsafe(name: str, message: str) -> str:
    found = re.search(r"GLOBAL ([\w.]+)", message)
    if found is None:
        return f"{name} is cut off or damaged, or holds other things than tensors, so it was not loaded."
    return f"{name} asks to run {found[1]}, which a file of weights has no need of, so it was not loaded."
