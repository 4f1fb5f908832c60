"""Vectors by a key, kept in a cache file that may be deleted at any time, and in memory as one matrix."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

log = logging.getLogger(__name__)

_TABLE = """CREATE TABLE IF NOT EXISTS vectors (network TEXT NOT NULL, key BLOB NOT NULL, vector BLOB NOT NULL,
    PRIMARY KEY (network, key)) WITHOUT ROWID"""


class VectorStore:
    """The vectors of `size` numbers that the network called `network` has made, in the SQLite file `file`, in half
    precision. Without a file that can be written they are kept in memory only. One thread at a time may use it."""

    def __init__(self, file: Path, network: str, size: int) -> None:
        self._network, self._db = network, _opened(file)
        self._places: dict[bytes, int] = {}
        self._matrix: NDArray[np.float32] = np.zeros((0, size), np.float32)
        with contextlib.suppress(sqlite3.Error):
            rows = self._db.execute("SELECT key, vector FROM vectors WHERE network = ?", (network,)).fetchall()
            self._add({bytes(key): np.frombuffer(vector, np.float16) for key, vector in rows
                       if len(vector) == 2 * size})

    def missing(self, keys: Sequence[bytes]) -> list[bytes]:
        """Those of the keys that have no vector, each once."""
        return [key for key in dict.fromkeys(keys) if key not in self._places]

    def put(self, vectors: Mapping[bytes, NDArray[np.float32]]) -> None:
        """Keep vectors."""
        short = {key: vector.astype(np.float16) for key, vector in vectors.items()}
        try:
            with self._db:
                self._db.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)",
                                     [(self._network, key, vector.tobytes()) for key, vector in short.items()])
        except sqlite3.Error as error:
            log.warning("The vectors of the history are not kept: %s.", error)
        self._add(short)

    def likeness(self, keys: Sequence[bytes], vector: NDArray[np.float32]) -> NDArray[np.float32]:
        """The scalar product of `vector` with that of each key, -1 for a key that has none."""
        products = np.append(self._matrix @ vector, np.float32(-1))
        return np.asarray(products[[self._places.get(key, -1) for key in keys]], dtype=np.float32)

    def _add(self, vectors: Mapping[bytes, NDArray[np.float16]]) -> None:
        fresh = {key: vector for key, vector in vectors.items() if key not in self._places}
        if fresh:
            self._places |= {key: len(self._matrix) + number for number, key in enumerate(fresh)}
            self._matrix = np.concatenate([self._matrix, np.stack(list(fresh.values())).astype(np.float32)])


def _opened(file: Path) -> sqlite3.Connection:
    """The file's database, anew if it is broken, or one in memory."""
    for _ in range(2):
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            db = sqlite3.connect(file, timeout=10, check_same_thread=False)
            db.execute(_TABLE)
            return db
        except sqlite3.OperationalError as error:
            log.warning("The vectors of the history are kept in memory only: %s.", error)
            break
        except sqlite3.DatabaseError:
            with contextlib.suppress(OSError):
                file.unlink()
        except OSError:
            break
    db = sqlite3.connect(":memory:", check_same_thread=False)
    db.execute(_TABLE)
    return db
