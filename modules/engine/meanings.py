"""Search of the history by meaning: "a castle" finds "old fortress". Networks in `models/embedders` make vectors of the
prompts, and CLIP of the pictures; the nearest to that of the search come first."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from modules.base.files import FileVersion, tree_version
from modules.engine.newest import network_folders
from modules.errors import NotFound, UserError
from modules.gallery.history import Entry, History
from modules.gallery.index import Filter, Picture
from modules.gallery.thumbnails import Thumbnails
from modules.gallery.vectors import VectorStore
from modules.settings import Settings
from modules.text.prompt import extra_networks, parse_attention

if TYPE_CHECKING:
    from modules.networks.embedder import Embedder

log = logging.getLogger(__name__)

MOST = 200
"""Pictures of an answer."""
BATCH = 16
"""Texts or pictures that a network is given at once."""
RANK = 60
"""Of two networks' orders each gives 1 / (RANK + place) points (reciprocal rank fusion: Cormack et al. 2009)."""


@dataclass(frozen=True)
class Nearest:
    """The pictures whose meaning is nearest, the nearest first. While new ones are still being read, `done` of `total`
    are finished, and the answer is of those that are; otherwise both are 0."""

    pictures: list[Picture]
    done: int = 0
    total: int = 0


class Meanings:
    """Finds pictures of `history` by meaning. Every method may be called from any thread. Vectors are made in the
    background, when they are first wanted, and kept in the cache folder."""

    def __init__(self, settings: Settings, history: History) -> None:
        self._settings, self._history = settings, history
        self._thumbnails = Thumbnails(settings.cache_dir / "thumbnails")
        self._readers: dict[tuple[Path, FileVersion | None], _Reader] = {}
        self._lock = threading.Lock()
        self._worker: threading.Thread | None = None
        self._done = self._total = 0

    @property
    def available(self) -> bool:
        """Whether there is a network."""
        return bool(self._folders())

    def find(self, wanted: Filter, most: int = MOST) -> Nearest:
        """The nearest to `wanted.words` among the pictures that match the rest of `wanted`. Raises NotFound without a
        network, CheckpointError."""
        if not self.available:
            raise NotFound("There is no model here that knows meanings: put all-MiniLM-L6-v2 or CLIP, in transformers' "
                           f"layout, into a folder in {self._settings.folders('embedders')[0]}.")
        entries = self._history.entries(dataclasses.replace(wanted, words=""))
        with self._lock:
            readers = self._opened()
            points = np.zeros(len(entries))
            for reader in readers:
                points += reader.points(entries, wanted.words)
            waiting = [(reader, missing) for reader in readers if (missing := reader.missing(entries))]
            if waiting and self._worker is None:
                self._done, self._total = 0, sum(len(missing) for _, missing in waiting)
                self._worker = threading.Thread(target=self._read, args=(waiting,), name="meanings", daemon=True)
                self._worker.start()
            order = [k for k in np.argsort(-points, kind="stable")[:most] if points[k] > 0]
            done, total = self._done, self._total
        return Nearest(self._history.pictures([entries[k].id for k in order]), done, total)

    def wait(self) -> None:
        """Wait until the vectors that are being made are there."""
        worker = self._worker
        if worker is not None:
            worker.join()

    def _read(self, waiting: Sequence[tuple[_Reader, list[Entry]]]) -> None:
        """The work of the thread in the background."""
        try:
            for reader, entries in waiting:
                for first in range(0, len(entries), BATCH):
                    with self._lock:
                        reader.read(entries[first : first + BATCH])
                        self._done += len(entries[first : first + BATCH])
        except Exception:
            log.exception("the meanings of the history could not be read")
        finally:
            with self._lock:
                self._worker, self._done, self._total = None, 0, 0

    def _folders(self) -> list[Path]:
        return network_folders(self._settings.folders("embedders"))

    def _opened(self) -> list[_Reader]:
        """The first network for sentences and the first CLIP. Raises CheckpointError."""
        wanted = {(folder, tree_version(folder)): folder for folder in self._folders()}
        self._readers = {key: reader for key, reader in self._readers.items() if key in wanted}
        for key, folder in wanted.items():
            if key not in self._readers:
                self._readers[key] = _Reader(folder, self._settings.cache_dir / "meanings.sqlite3", self._history,
                                             self._thumbnails)
        found = {reader.network.sees: reader for key in reversed(wanted) for reader in (self._readers[key],)}
        return list(found.values())


class _Reader:
    """One network, and the vectors it has made."""

    def __init__(self, folder: Path, file: Path, history: History, thumbnails: Thumbnails) -> None:
        from modules.networks.embedder import Embedder

        self.network: Embedder = Embedder(folder)
        self._store = VectorStore(file, f"{folder.name} {tree_version(folder)}", self.network.size)
        self._history, self._thumbnails = history, thumbnails

    def points(self, entries: Sequence[Entry], words: str) -> NDArray[np.float64]:
        """What each place in this network's order is worth, 0 for those that it has not read."""
        (vector,) = self.network.texts([words])
        likeness = self._store.likeness([self._key(one) for one in entries], vector)
        places = np.empty(len(entries))
        places[np.argsort(-likeness, kind="stable")] = np.arange(len(entries))
        return np.where(likeness > -1, 1 / (RANK + places), 0.0)

    def missing(self, entries: Sequence[Entry]) -> list[Entry]:
        """Those that have no vector yet and can have one."""
        able = {self._key(one): one for one in entries if self.network.sees or one.prompt.strip()}
        return [able[key] for key in self._store.missing(list(able))]

    def read(self, entries: Sequence[Entry]) -> None:
        """Make the vectors of `entries`. A picture that cannot be read is like nothing."""
        if not self.network.sees:
            vectors = self.network.texts([plain(one.prompt) for one in entries])
            self._store.put({self._key(one): vector for one, vector in zip(entries, vectors, strict=True)})
            return
        pictures = [self._picture(one) for one in entries]
        vectors = self.network.pictures([one or Image.new("RGB", (1, 1)) for one in pictures])
        self._store.put({self._key(one): vector * (picture is not None)
                         for one, vector, picture in zip(entries, vectors, pictures, strict=True)})

    def _key(self, entry: Entry) -> bytes:
        text = f"{entry.path}|{entry.created}|{entry.bytes}" if self.network.sees else entry.prompt
        return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).digest()

    def _picture(self, entry: Entry) -> Image.Image | None:
        try:
            with Image.open(io.BytesIO(self._thumbnails.get(self._history.file(entry.id)))) as image:
                return image.convert("RGB")
        except (UserError, OSError):
            return None


def plain(prompt: str) -> str:
    """The words of a prompt, without weights, brackets and the tags of networks."""
    return " ".join("".join(text for text, _ in parse_attention(extra_networks(prompt)[0])).split())
