"""The catalog of checkpoint and VAE files, and finding one by name. Reads names and headers, no weights; no torch."""

from __future__ import annotations

import json
import logging
import os
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from modules.base.unicode import without_surrogates
from modules.errors import NotFound
from modules.weights.hashes import HashCache

log = logging.getLogger(__name__)

SUFFIXES = (".safetensors", ".ckpt", ".pt")
VAE_SUFFIXES = tuple(".vae" + suffix for suffix in SUFFIXES)
PARTS_FILE = "model_index.json"
"""The file by which a folder in diffusers' layout is known."""
MAX_HEADER = 100_000_000  # bytes; the limit of the safetensors format

_TITLE = re.compile(r"(?P<name>.*?)\s*\[(?P<digits>[0-9a-f]*)\]?")
LONGEST_TITLE = 1000
"""What is behind it in a title is not read: looking for a hash in spaces takes quadratic time."""
_HASH = re.compile(r"[0-9a-f]{10}|[0-9a-f]{64}")


@dataclass(frozen=True)
class VaeFile:
    """A VAE file. `name` is its path inside the VAE folder, as the dropdown shows it."""

    path: Path
    name: str


@dataclass(frozen=True)
class CheckpointFile:
    """A checkpoint: a file, or a folder in diffusers' layout.

    Attributes:
        path: the absolute path.
        filename: the path inside the checkpoint folder, with "/" on every system ("sub/model.safetensors").
        sha256: 64 hex digits; None until the catalog has computed it.
    """

    path: Path
    filename: str
    sha256: str | None = None

    @property
    def name(self) -> str:
        """The file name without suffix, which follows "Model:" in the parameters text."""
        return bare_name(self.path)

    @property
    def model_name(self) -> str:
        """`filename` without suffix, with "_" for "/": `model_name` of WebUI's API."""
        return self._stem.replace("/", "_")

    @property
    def shorthash(self) -> str | None:
        """The first 10 digits of the SHA-256, which follow "Model hash:" in the parameters text. None if unknown."""
        return self.sha256[:10] if self.sha256 else None

    @property
    def title(self) -> str:
        """The text in the dropdown: "sub/model.safetensors [0123456789]", without the hash while that is unknown."""
        return f"{self.filename} [{self.shorthash}]" if self.sha256 else self.filename

    @property
    def _stem(self) -> str:
        return self.filename.removesuffix(self.path.name) + self.name

    def aliases(self) -> set[str]:
        """All names of exactly this file, in lower case."""
        names = {self.title, self.filename, self._stem, self.model_name, self.path.name, self.name, str(self.path)}
        if self.sha256:
            names |= {self.sha256, self.sha256[:10], f"{self.name} [{self.sha256[:10]}]"}
        return {name.lower() for name in names}


class Catalog:
    """The files in the checkpoint and VAE folders. The folders are scanned at the start and at each `refresh`."""

    def __init__(
        self, checkpoint_dirs: Sequence[Path], vae_dirs: Sequence[Path] = (), cache_file: Path | None = None
    ) -> None:
        """`cache_file` stores the hashes between runs; without it they are computed anew in each run."""
        self._checkpoint_dirs = list(checkpoint_dirs)
        self._vae_dirs = list(vae_dirs)
        self._hashes = HashCache(cache_file)
        self._checkpoints: list[CheckpointFile] = []
        self._vaes: list[VaeFile] = []
        self.refresh()

    def refresh(self) -> None:
        """Scan the folders again."""
        checkpoints: dict[Path, CheckpointFile] = {}
        vaes: dict[Path, VaeFile] = {}
        for path, filename in files_below(self._checkpoint_dirs, folders=True):
            if filename.lower().endswith(VAE_SUFFIXES):
                vaes.setdefault(path, VaeFile(path, filename))
            else:
                checkpoints.setdefault(path, CheckpointFile(path, filename, self._hashes.known(path)))
        for path, filename in files_below(self._vae_dirs):
            vaes.setdefault(path, VaeFile(path, filename))
        self._checkpoints = sorted(checkpoints.values(), key=lambda file: file.filename.lower())
        self._vaes = sorted(vaes.values(), key=lambda file: file.name.lower())

    def checkpoints(self) -> list[CheckpointFile]:
        """The checkpoints, sorted by name."""
        return list(self._checkpoints)

    def vaes(self) -> list[VaeFile]:
        """The VAE files, sorted by name."""
        return list(self._vaes)

    def hashed(self, file: CheckpointFile) -> CheckpointFile:
        """`file` with its SHA-256. The whole file is read if its hash is not cached.

        Raises:
            NotFound: the file is gone.
        """
        try:
            known = replace(file, sha256=self._hashes.sha256(file.path))
        except OSError as error:
            raise NotFound(f"The checkpoint {file.filename} is no longer there.") from error
        self._checkpoints = [known if other.path == file.path else other for other in self._checkpoints]
        return known

    def sha256(self, file: CheckpointFile | VaeFile) -> str:
        """The file's SHA-256, 64 hex digits. The whole file is read if its hash is not cached. Raises NotFound."""
        if isinstance(file, CheckpointFile):
            return self.hashed(file).sha256 or ""
        try:
            return self._hashes.sha256(file.path)
        except OSError as error:
            raise NotFound(f"The VAE {file.name} is no longer there.") from error

    def find(self, text: str) -> CheckpointFile:
        """The checkpoint that `text` means: a title, name, path or hash, or a part of a title, in any case.

        Exact names win over parts; of several parts the shortest title wins. If a title's hash does not match, its name
        is tried, then its hash (WebUI: `sd_models.get_closet_checkpoint_match`). For an unknown hash, the hashes that
        are missing are computed until one matches.

        Raises:
            NotFound: nothing matches.
        """
        wanted = text[:LONGEST_TITLE].strip().lower()
        title = _TITLE.fullmatch(wanted)
        for attempt in (wanted, *(title.group("name", "digits") if title else ())):
            exact = [file for file in self._checkpoints if attempt in file.aliases()]
            partial = [file for file in self._checkpoints if attempt and attempt in file.title.lower()]
            if exact or partial:
                return min(exact or partial, key=lambda file: len(file.title))
            if _HASH.fullmatch(attempt) and (found := self._by_hash(attempt)):
                return found
        raise NotFound(f'There is no checkpoint "{text}"{_what_exists([f.filename for f in self._checkpoints])}')

    def find_vae(self, text: str) -> VaeFile:
        """The VAE file of that name, with or without its suffix, in any case.

        Raises:
            NotFound: nothing matches.
        """
        wanted = text.strip().lower()
        for file in self._vaes:
            names = {file.name, file.path.name, file.path.stem, str(file.path)}
            if wanted in {name.lower() for name in names}:
                return file
        raise NotFound(f'There is no VAE "{text}"{_what_exists([f.name for f in self._vaes])}')

    def automatic_vae(self, checkpoint: CheckpointFile) -> VaeFile | None:
        """The file `<checkpoint name>.vae.*` beside the checkpoint, otherwise in a VAE folder. None means the VAE
        inside the checkpoint."""
        names = {(checkpoint.name + suffix).lower() for suffix in VAE_SUFFIXES}
        fitting = [file for file in self._vaes if file.path.name.lower() in names]
        return min(fitting, key=lambda file: file.path.parent != checkpoint.path.parent, default=None)

    def _by_hash(self, digits: str) -> CheckpointFile | None:
        """Hash the checkpoints without a known hash until one matches."""
        for file in self.checkpoints():
            if file.sha256 is None and self.sha256(file).startswith(digits):
                return self.hashed(file)
        return None


def header(path: Path) -> dict[str, Any]:
    """The header of a safetensors file: about each tensor, and "__metadata__". Empty for other and for damaged files,
    and for folders. No tensor is read."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if path.suffix.lower() != ".safetensors" or length > MAX_HEADER:
                return {}
            found = json.loads(file.read(length))
    except (OSError, struct.error, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def metadata(path: Path) -> dict[str, str]:
    """The metadata in the header of a safetensors file. Empty where there is none; see `header`."""
    found = header(path).get("__metadata__", {})
    return {key: value for key, value in found.items() if isinstance(value, str)} if isinstance(found, dict) else {}


def bare_name(path: Path) -> str:
    """The name of a checkpoint's file without suffix, or of its folder, which may have any dots in it."""
    return path.stem if path.suffix.lower() in SUFFIXES else path.name


def files_below(places: Sequence[Path], suffixes: tuple[str, ...] = SUFFIXES, *,
                folders: bool = False) -> Iterator[tuple[Path, str]]:
    """Yield each file with one of `suffixes` below the folders `places`, with its path inside its folder. Links are
    followed, hidden files and folders are skipped. With `folders` a folder in diffusers' layout is one file."""
    for folder in places:
        seen: set[str] = set()
        for here, subfolders, names in os.walk(folder, followlinks=True):
            real = os.path.realpath(here)
            if real in seen:  # a link to a parent folder
                subfolders.clear()
                continue
            seen.add(real)
            if folders and PARTS_FILE in names and Path(here) != folder:
                subfolders.clear()
                names = [here]
            subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
            for name in names:
                path = Path(here, name)
                wanted = name == here or (name.lower().endswith(suffixes) and path.is_file())
                if name.startswith(".") or not wanted:
                    continue
                if without_surrogates(str(path)) == str(path):
                    yield path.absolute(), path.relative_to(folder).as_posix()
                else:
                    log.warning("%r is left out: its name is not UTF-8.", str(path))


def _what_exists(names: Sequence[str]) -> str:
    if not names:
        return "; there is none at all."
    if len(names) > 8:
        return f"; there are {len(names)} others."
    return "; there is " + ", ".join(names) + "." if len(names) == 1 else "; there are " + ", ".join(names) + "."
