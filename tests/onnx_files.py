"""Small ONNX files for the tests, written by hand as onnx.proto3 describes: the answers are the picture's mean colour
times `weights` plus `bias`, in the shapes that are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FLOAT, INT64 = 1, 7
INT, INTS = 2, 7


@dataclass
class Output:
    """An answer: `bias` in its shape, and `weights` (3, its size) for the mean of each channel of the input."""

    bias: NDArray[np.float32]
    weights: NDArray[np.float32] | None = None

    @classmethod
    def of(cls, values: ArrayLike, weights: ArrayLike | None = None) -> Output:
        return cls(np.asarray(values, np.float32), None if weights is None else np.asarray(weights, np.float32))


def write_onnx(path: Path, outputs: Mapping[str, Output], *, shape: Sequence[int] = (1, 3, 64, 64),
               metadata: Mapping[str, str] | None = None, channels_last: bool = False, backwards: bool = False) -> Path:
    """A network with the input "images" of `shape`, 0 for an open length, (N, C, H, W) or with the channels last.
    `backwards` writes the last node first, as no file should."""
    nodes: list[bytes] = []
    tensors, told = b"", b""
    source = "images"
    if channels_last:
        nodes.append(_node("Transpose", ["images"], ["turned"], _ints("perm", [0, 3, 1, 2])))
        source = "turned"
    nodes.append(_node("GlobalAveragePool", [source], ["mean"]))
    nodes.append(_node("Flatten", ["mean"], ["flat"]))
    for name, output in outputs.items():
        size = output.bias.size
        weights = np.zeros((3, size), np.float32) if output.weights is None else output.weights
        nodes.append(_node("Gemm", ["flat", f"{name}_w", f"{name}_b"], [f"{name}_g"]))
        nodes.append(_node("Reshape", [f"{name}_g", f"{name}_s"], [name]))
        tensors += _tensor(f"{name}_w", weights) + _tensor(f"{name}_b", output.bias.reshape(-1))
        tensors += _tensor(f"{name}_s", np.array(output.bias.shape, np.int64))
        told += _bytes(12, _value_info(name, output.bias.shape))
    inputs = _bytes(11, _value_info("images", shape))
    graph = b"".join(nodes[::-1] if backwards else nodes) + _text(2, "graph") + tensors + inputs + told
    model = _number(1, 8) + _bytes(7, graph) + _bytes(8, _text(1, "") + _number(2, 13))
    for key, value in (metadata or {}).items():
        model += _bytes(14, _text(1, key) + _text(2, value))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model)
    return path


def _varint(value: int) -> bytes:
    found = b""
    while value > 127:
        found += bytes([value & 127 | 128])
        value >>= 7
    return found + bytes([value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode())


def _node(kind: str, inputs: Sequence[str], outputs: Sequence[str], attributes: bytes = b"") -> bytes:
    return _bytes(1, b"".join(_text(1, name) for name in inputs) + b"".join(_text(2, name) for name in outputs)
                  + _text(3, outputs[0]) + _text(4, kind) + attributes)


def _ints(name: str, values: Sequence[int]) -> bytes:
    return _bytes(5, _text(1, name) + b"".join(_number(8, value) for value in values) + _number(20, INTS))


def _tensor(name: str, values: NDArray[Any]) -> bytes:
    kind = FLOAT if values.dtype == np.float32 else INT64
    return _bytes(5, b"".join(_number(1, length) for length in values.shape) + _number(2, kind) + _text(8, name)
                  + _bytes(9, values.tobytes()))


def _value_info(name: str, shape: Sequence[int]) -> bytes:
    dims = b"".join(_bytes(1, _number(1, length) if length else _text(2, "open")) for length in shape)
    return _text(1, name) + _bytes(2, _bytes(1, _number(1, FLOAT) + _bytes(2, dims)))
