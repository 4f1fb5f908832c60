"""Files of textual inversion embeddings: WebUI's and diffusers' files, and pictures that carry one."""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from modules.base.files import file_version
from modules.errors import CheckpointError
from modules.networks.text.words import Embedding
from modules.weights.tensors import read_pickle, read_tensors

PICTURES = (".png", ".webp", ".jxl", ".avif")
PAIR = ("clip_l", "clip_g")
"""The names of the vectors of a model with two text encoders, in the files and of the encoders."""

TEXT_KEY = "sd-ti-embedding"
"""The text in a PNG that holds an embedding."""

MOST_BYTES = 64 * 2**20
"""Of the text that a picture may unpack to."""

MOST_PIXELS = 2**24


def read_embedding(path: Path, shown: str | None) -> Embedding:
    """Read a file. It is called by the file's name; only a picture says its own. `shown` follows it in the parameters
    text. Raises CheckpointError: it is damaged, unsafe, or holds no embedding."""
    version = file_version(path)
    name, details = path.stem, dict[str, object]()
    if path.suffix.lower() == ".safetensors":
        with read_tensors(path) as file:
            content: dict[str, Any] = {key: file.tensor(key) for key in file.shapes}
    else:
        found = _in_picture(path) if path.suffix.lower() in PICTURES else read_pickle(path)
        content = found if isinstance(found, dict) else {}
        details = {key: content.get(key) for key in ("step", "sd_checkpoint", "sd_checkpoint_name")}
        if path.suffix.lower() in PICTURES:
            name = str(content.get("name") or name)
    return embedding_of(content, name, path.name, shown, (path, version), details)


def embedding_of(content: Mapping[str, Any], name: str, file: str, shown: str | None, origin: Any,
                 details: Mapping[str, object] | None = None) -> Embedding:
    """The embedding in what a file holds. `file` is its name, for sentences. Raises CheckpointError."""
    parameters = content.get("string_to_param", content)
    if not isinstance(parameters, dict) and parameters is not content:
        raise CheckpointError(f"{file} holds no textual inversion embedding.")
    tensors = {str(key): value for key, value in parameters.items() if isinstance(value, Tensor)}
    if all(key in tensors for key in PAIR):
        vectors = {key: _vectors(tensors[key], file) for key in PAIR}
    elif len(tensors) == 1:
        vectors = {"": _vectors(next(iter(tensors.values())), file)}
    else:
        raise CheckpointError(f"{file} holds {len(tensors) or 'no'} tensors; an embedding is one.")
    if len({len(one) for one in vectors.values()}) > 1:
        raise CheckpointError(f"{file} has another number of vectors for each text encoder.")
    return Embedding(name, vectors, shown, origin, details or {})


def _vectors(tensor: Tensor, file: str) -> Tensor:
    """(n, C) float32."""
    vectors: Tensor = tensor.detach().float()
    vectors = vectors[None] if vectors.dim() == 1 else vectors
    if vectors.dim() != 2 or 0 in vectors.shape:
        raise CheckpointError(f"{file} holds a tensor of the shape {list(tensor.shape)}, which is no embedding.")
    if not bool(torch.isfinite(vectors).all()):
        raise CheckpointError(f"{file} holds numbers that are not finite.")
    return vectors


def _in_picture(path: Path) -> Any:
    """What a picture carries, as text in a PNG or in the low bits of its pixels (WebUI: `image_embedding.py`)."""
    try:
        with Image.open(path) as image:
            if image.width * image.height > MOST_PIXELS:
                raise CheckpointError(f"{path.name} is too large a picture for an embedding.")
            text = image.info.get(TEXT_KEY)
            raw = base64.b64decode(text) if isinstance(text, str) else _hidden(np.asarray(image.convert("RGB")))
        return json.loads(raw, object_hook=_decoded)
    except (OSError, ValueError, SyntaxError, TypeError, RuntimeError, RecursionError, binascii.Error,
            zlib.error) as error:
        raise CheckpointError(f"{path.name} is a picture without an embedding.") from error


def _decoded(value: dict[str, Any]) -> Any:
    return torch.tensor(value["TORCHTENSOR"], dtype=torch.float32) if set(value) == {"TORCHTENSOR"} else value


def _hidden(pixels: NDArray[np.uint8]) -> bytes:
    """The bytes in the low four bits of pixels (h, w, 3): the low halves left of the black columns in the middle, the
    high halves right of them, mixed with a fixed sequence and compressed. Raises ValueError, zlib.error."""
    bright: NDArray[np.bool_] = np.all(pixels > 0, axis=2)
    rows, columns = np.flatnonzero(np.any(bright, axis=1)), np.flatnonzero(np.any(bright, axis=0))
    if not len(rows):
        raise ValueError("black")
    low = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] & 0x0F
    black = np.flatnonzero(low.sum(axis=(0, 2)) == 0)
    if len(black) < 2:
        raise ValueError("no border")
    lower, upper = _unmixed(low[:, : black[0]]), _unmixed(low[:, black[-1] + 1 :])
    return zlib.decompressobj().decompress((upper << 4 | lower).astype(np.uint8).tobytes(), MOST_BYTES)


def _unmixed(block: NDArray[Any]) -> NDArray[np.uint8]:
    sequence, seed = np.empty(block.size, dtype=np.uint8), 0
    for number in range(block.size):
        seed = (1664525 * seed + 1013904223) % 2**32
        sequence[number] = seed % 255
    return np.asarray(block ^ (sequence.reshape(block.shape) & 0x0F), dtype=np.uint8)
