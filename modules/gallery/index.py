"""The history's index: an SQLite table of the pictures, with a full-text index of their prompts."""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
import re
import sqlite3
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modules.base.unicode import without_surrogates

log = logging.getLogger(__name__)

INDEX = ".history.sqlite3"
"""The name of the index file. It lies in the outputs folder, because its paths are relative to that folder."""

_VERSION = 1
_TABLES = (
    "DROP TABLE IF EXISTS pictures",
    "DROP TABLE IF EXISTS prompts",
    """CREATE TABLE pictures (id INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT NOT NULL UNIQUE, created INTEGER NOT NULL,
        bytes INTEGER NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL, seed INTEGER, model TEXT NOT NULL,
        sampler TEXT NOT NULL, prompt TEXT NOT NULL, text TEXT NOT NULL)""",
    "CREATE INDEX by_date ON pictures (created)",
    "CREATE INDEX by_model ON pictures (model, created)",
    "CREATE INDEX by_sampler ON pictures (sampler, created)",
    "CREATE INDEX by_seed ON pictures (seed, created)",
    "CREATE TABLE IF NOT EXISTS favourites (path TEXT PRIMARY KEY) WITHOUT ROWID",
    # New ids start at the current Unix time, so that an id of a deleted index never names another picture in this one.
    "INSERT INTO sqlite_sequence VALUES ('pictures', unixepoch())",
)
PROMPTS = "CREATE VIRTUAL TABLE prompts USING fts5 (folded, tokenize = 'trigram case_sensitive 1')"
COLUMNS = "id, path, created, bytes, width, height, seed, model, sampler, prompt, text, " \
           "path IN (SELECT path FROM favourites) AS favourite"
_TERM = re.compile(r'(-?)(?:"([^"]*)"?|(\S+))')


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture of the index.

    `path` is relative to the outputs folder, with slashes. `created` is the file's modification time in nanoseconds
    since 1970. `bytes` is the file's size, `text` the whole parameters text.
    """

    id: int
    path: str
    created: int
    bytes: int
    width: int
    height: int
    seed: int | None
    model: str
    sampler: str
    prompt: str
    text: str
    favourite: bool

    @property
    def cursor(self) -> tuple[int, int]:
        """The picture's place in the order of the history, for `History.page`."""
        return self.created, self.id


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Conditions for pictures. An empty field matches all pictures.

    Each of `words` must occur in the prompt, as a substring in any case. Quoted words may hold spaces; a word after a
    minus must not occur. `first` and `last` are days, both included.
    """

    words: str = ""
    model: str = ""
    sampler: str = ""
    seed: int | None = None
    first: datetime.date | None = None
    last: datetime.date | None = None
    favourites: bool = False


def open_index(outputs: Path) -> sqlite3.Connection:
    """Open the index of `outputs`. A missing or broken one is created anew; if that fails, the index is in memory."""
    file = outputs / INDEX
    try:
        outputs.mkdir(parents=True, exist_ok=True)
        return connect(str(file))
    except (sqlite3.OperationalError, OSError) as error:
        log.warning("The history is kept in memory only: %s cannot be used (%s).", file, error)
    except sqlite3.DatabaseError as error:
        log.warning("The history was broken (%s) and is made anew.", error)
        with contextlib.suppress(OSError, sqlite3.Error):
            set_aside(file)
            return connect(str(file))
    return connect(":memory:")


def set_aside(file: Path) -> None:
    """Rename a broken index to `*.broken`. Raises OSError."""
    os.replace(file, f"{file}.broken")
    for ending in ("-wal", "-shm"):
        Path(f"{file}{ending}").unlink(missing_ok=True)


def connect(name: str) -> sqlite3.Connection:
    """Open the database `name` and create its tables if it has none of this version. Raises sqlite3.Error."""
    db = sqlite3.connect(name, timeout=10, isolation_level=None, check_same_thread=False)
    try:
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")  # a power cut may lose rows; they are read from the files again
        with transaction(db):
            if db.execute("PRAGMA user_version").fetchone()[0] != _VERSION:
                for statement in (*_TABLES, PROMPTS, f"PRAGMA user_version = {_VERSION}"):
                    db.execute(statement)
    except BaseException:
        db.close()
        raise
    return db


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Commit the statements of the block, or none of them if it raises."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def picture(row: sqlite3.Row) -> Picture:
    """The Picture of a row with `COLUMNS`."""
    seed = None if row["seed"] is None else row["seed"] % 2**64
    return Picture(**{**row, "favourite": bool(row["favourite"]), "seed": seed})


def put(db: sqlite3.Connection, row: dict[str, Any]) -> None:
    """Insert a row as `folder.read` returns it. It replaces the row of the same path."""
    same = "SELECT 1 FROM pictures WHERE path = :path AND created = :created AND bytes = :bytes"
    if db.execute(same, row).fetchone():
        return
    forget(db, row["path"])
    row = {**row, "seed": None if row["seed"] is None else _signed(row["seed"])}
    names = ", ".join(row)
    added = db.execute(f"INSERT INTO pictures ({names}) VALUES (:{', :'.join(row)})", row)
    db.execute("INSERT INTO prompts (rowid, folded) VALUES (?, ?)", (added.lastrowid, fold(row["prompt"])))


def forget(db: sqlite3.Connection, path: str) -> None:
    """Delete the row of `path`. It stays a favourite."""
    db.execute("DELETE FROM prompts WHERE rowid = (SELECT id FROM pictures WHERE path = ?)", (path,))
    db.execute("DELETE FROM pictures WHERE path = ?", (path,))


def rename_favourites(db: sqlite3.Connection, moved: dict[str, str]) -> None:
    """Give favourites their new paths; `moved` maps old paths to new ones."""
    db.executemany("UPDATE OR REPLACE favourites SET path = ? WHERE path = ?",
                   [(new, old) for old, new in moved.items()])


def fold(text: str) -> str:
    """`text` in the form that is searched: case folded, full-width and composed letters replaced by plain ones."""
    return without_surrogates(unicodedata.normalize("NFKC", text).casefold().replace("\0", ""))


def _signed(seed: int) -> int:
    """An unsigned 64-bit seed as the signed 64-bit integer that SQLite stores."""
    return (seed + 2**63) % 2**64 - 2**63


def where(wanted: Filter) -> tuple[str, list[Any]]:
    """The SQL condition for `wanted` and its values."""
    conditions: list[tuple[str, Any]] = []
    long, short, without = _terms(wanted.words)
    if long:  # the trigram index finds substrings of three letters and more
        conditions.append(("id IN (SELECT rowid FROM prompts WHERE prompts MATCH ?)",
                           " AND ".join('"{}"'.format(term.replace('"', '""')) for term in long)))
    piece = "instr((SELECT folded FROM prompts WHERE rowid = id), ?)"
    conditions += [(f"{piece} > 0", term) for term in short]
    conditions += [(f"{piece} = 0", term) for term in without]
    conditions += [(f"{name} = ?", value) for name, value in
                   (("model", wanted.model), ("sampler", wanted.sampler)) if value]
    if wanted.seed is not None:
        conditions.append(("seed = ?", _signed(wanted.seed)))
    if wanted.first is not None:
        conditions.append(("created >= ?", _midnight(wanted.first)))
    if wanted.last is not None:
        conditions.append(("created < ?", _midnight(wanted.last + datetime.timedelta(days=1))))
    parts = [condition for condition, _ in conditions]
    if wanted.favourites:
        parts.append("path IN (SELECT path FROM favourites)")
    return " AND ".join(parts) or "TRUE", [value for _, value in conditions]


def _terms(words: str) -> tuple[list[str], list[str], list[str]]:
    """The search terms: those of three letters and more, shorter ones, and those that must not occur."""
    long: list[str] = []
    short: list[str] = []
    without: list[str] = []
    for minus, quoted, plain in _TERM.findall(fold(words)):
        term = quoted or plain.strip(",")
        if term:
            (without if minus else long if len(term) >= 3 else short).append(term)
    return long, short, without


def _midnight(day: datetime.date) -> int:
    """The start of a day in local time, in nanoseconds since 1970."""
    return int(datetime.datetime.combine(day, datetime.time.min).timestamp()) * 10**9
