"""What an ONNX file says of itself, read without its weights: inputs, outputs and metadata.

The format is protobuf (onnx.proto3): a message is a sequence of fields, each a number, a wire type and a value. Weights
are passed over unread. No code of the file runs.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from modules.errors import CheckpointError

GRAPH, METADATA = 7, 14
"""Fields of ModelProto."""
NODE, INITIALIZER, INPUT, OUTPUT = 1, 5, 11, 12
"""Fields of GraphProto."""
TENSOR_NAME = 8
"""Field of TensorProto."""
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
MOST_FIELDS = 10**6
"""Of one file; more is no network."""

Span = tuple[int, int]
NO_PLACE: Span = (-1, -1)

Shape = tuple[int, ...]
"""0 stands for a length that the file leaves open."""


@dataclass(frozen=True)
class OnnxHeader:
    """Inputs and outputs with their shapes, without those that are weights, and the metadata."""

    inputs: dict[str, Shape]
    outputs: dict[str, Shape]
    metadata: dict[str, str]


def read_header(path: Path) -> OnnxHeader:
    """The header of the file. Raises CheckpointError for a file that is not ONNX or is cut off."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _header(data)
    except (OSError, ValueError, IndexError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path.name} is not an ONNX file, or it is cut off.") from error


def with_sorted_nodes(path: Path) -> bytes:
    """The file with the nodes of its graph in an order in which each comes after those whose answers it takes.

    ONNX asks for that order, and OpenCV needs it; tools that make half precision put a node last that belongs first.
    Raises CheckpointError for a file that is not ONNX, or whose nodes go round in a circle.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            whole = [_sorted_graph(data, inner) if number == GRAPH else data[start:end]
                     for number, (start, end), inner in _raw_fields(data, (0, len(data)))]
            return b"".join(whole)
    except (OSError, ValueError, IndexError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path.name} is not an ONNX file, or it is cut off.") from error


def _sorted_graph(data: mmap.mmap, span: Span) -> bytes:
    """The field of a graph, number and length included."""
    nodes: list[tuple[Span, list[str], list[str]]] = []
    rest: list[bytes] = []
    for number, (start, end), inner in _raw_fields(data, span):
        if number == NODE:
            fields = list(_fields(data, inner))
            inputs, outputs = ([_text(data, value) for key, value in fields if key == kind] for kind in (1, 2))
            nodes.append(((start, end), inputs, outputs))
        else:
            rest.append(data[start:end])
    waiting, made = nodes, {name for _, _, outputs in nodes for name in outputs}
    ordered: list[bytes] = []
    while waiting:
        later = []
        for node in waiting:
            (start, end), inputs, outputs = node
            if made.isdisjoint(inputs):
                ordered.append(data[start:end])
                made.difference_update(outputs)
            else:
                later.append(node)
        if len(later) == len(waiting):
            raise ValueError("a circle")
        waiting = later
    body = b"".join([*ordered, *rest])
    return _written_varint(GRAPH << 3 | BYTES) + _written_varint(len(body)) + body


def _written_varint(value: int) -> bytes:
    found = b""
    while value > 127:
        found += bytes([value & 127 | 128])
        value >>= 7
    return found + bytes([value])


def _header(data: mmap.mmap) -> OnnxHeader:
    inputs: dict[str, Shape] = {}
    outputs: dict[str, Shape] = {}
    metadata: dict[str, str] = {}
    weights: set[str] = set()
    graphs = 0
    for number, span in _fields(data, (0, len(data))):
        if number == METADATA:
            pair = {key: _text(data, value) for key, value in _fields(data, span)}
            metadata[pair.get(1, "")] = pair.get(2, "")
        if number != GRAPH:
            continue
        graphs += 1
        for inner, part in _fields(data, span):
            if inner == INITIALIZER:
                weights.update(_text(data, value) for key, value in _fields(data, part) if key == TENSOR_NAME)
            elif inner in (INPUT, OUTPUT):
                name, shape = _value_info(data, part)
                (inputs if inner == INPUT else outputs)[name] = shape
    if not graphs or not outputs:
        raise ValueError("no graph")
    return OnnxHeader({name: shape for name, shape in inputs.items() if name not in weights}, outputs, metadata)


def _fields(data: mmap.mmap, span: Span) -> Iterator[tuple[int, Span]]:
    """Yield the number and the place of each field of the message at `span` whose value is bytes; for a number the
    place is (value, -1). Raises ValueError, IndexError."""
    return ((number, place) for number, _, place in _raw_fields(data, span) if place != NO_PLACE)


def _raw_fields(data: mmap.mmap, span: Span) -> Iterator[tuple[int, Span, Span]]:
    """Yield the number of each field of the message at `span`, where it is with number and length, and where its value
    is: (value, -1) for a number, `NO_PLACE` for one of fixed length. Raises ValueError, IndexError."""
    at, end = span
    if end < at:
        raise ValueError("a number where a message belongs")
    for _ in range(MOST_FIELDS):
        if at >= end:
            return
        start = at
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == VARINT:
            value, at = _varint(data, at)
            yield tag >> 3, (start, at), (value, -1)
        elif kind == BYTES:
            length, at = _varint(data, at)
            if at + length > end:
                raise ValueError("cut off")
            yield tag >> 3, (start, at + length), (at, at + length)
            at += length
        elif kind in (FIXED32, FIXED64):
            at += 4 if kind == FIXED32 else 8
            yield tag >> 3, (start, at), NO_PLACE
        else:
            raise ValueError("not protobuf")
    raise ValueError("too many fields")


def _varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    """(value, place behind it). Raises ValueError, IndexError."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("not protobuf")


def _text(data: mmap.mmap, span: Span) -> str:
    return data[span[0] : min(span[1], span[0] + 10**6)].decode("utf-8") if span[1] >= 0 else ""


def _value_info(data: mmap.mmap, span: Span) -> tuple[str, Shape]:
    """The name and the shape of a ValueInfoProto: name 1; type 2, tensor_type 1, shape 2, dim 1, dim_value 1."""
    name, shape = "", []
    for number, part in _fields(data, span):
        if number == 1:
            name = _text(data, part)
        elif number == 2:
            for tensor in _inside(data, part, 1):
                for dims in _inside(data, tensor, 2):
                    for dim in _inside(data, dims, 1):
                        lengths = [value for key, (value, mark) in _fields(data, dim) if key == 1 and mark < 0]
                        shape.append(lengths[0] if lengths else 0)
    return name, tuple(shape)


def _inside(data: mmap.mmap, span: Span, number: int) -> Iterator[Span]:
    return (part for key, part in _fields(data, span) if key == number)
