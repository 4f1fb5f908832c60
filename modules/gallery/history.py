"""What was made: an index in SQLite over the pictures of the outputs folder, with search, filters and favourites.

The files are the truth. The index is read from them, agrees with them again after every look at the folder, and may be
thrown away at any time; only the favourites are nowhere else. An index that cannot be read or written harms nobody: a
broken one is set aside and made anew, and where nothing may be written it is kept in memory.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import logging
import os
import re
import sqlite3
import threading
import time
import unicodedata
import warnings
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from modules.base.unicode import without_surrogates
from modules.errors import NotFound, UserError
from modules.gallery import saving
from modules.gallery.trash import Trash
from modules.text import image_metadata, infotext

log = logging.getLogger(__name__)

INDEX = ".history.sqlite3"
"""The index' name. It lies with the pictures, because paths in it are relative to them."""

MEDIA_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}
"""Endings of the files that count as pictures."""

_BATCH = 200
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
    # Ids go on from the time of day, so that those of an index that was thrown away mean no other picture in this one.
    "INSERT INTO sqlite_sequence VALUES ('pictures', unixepoch())",
)
_PROMPTS = "CREATE VIRTUAL TABLE prompts USING fts5 (folded, tokenize = 'trigram case_sensitive 1')"
_COLUMNS = "id, path, created, bytes, width, height, seed, model, sampler, prompt, text, " \
           "path IN (SELECT path FROM favourites) AS favourite"
_TERM = re.compile(r'(-?)(?:"([^"]*)"?|(\S+))')


class CannotDelete(UserError):
    """A file may not be moved."""

    status = 507


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture of the index. `path` is relative to the outputs folder, with slashes; `created` is the file's time in
    nanoseconds since 1970; `text` is the whole parameters text."""

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
        """Where it stands in the order of the history; for `History.page`."""
        return self.created, self.id


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which pictures are wanted; what is empty lets all through.

    `words` must all be somewhere in the prompt, as pieces of text in any case and script; "quoted ones" may have
    spaces, and those behind a minus must not be there. `first` and `last` are days, both included.
    """

    words: str = ""
    model: str = ""
    sampler: str = ""
    seed: int | None = None
    first: datetime.date | None = None
    last: datetime.date | None = None
    favourites: bool = False


@dataclass(frozen=True)
class Status:
    """The index' `version` grows with every change; `done` of `total` new files have been read, 0 of 0 at rest."""

    version: int
    done: int
    total: int
    looking: bool


class History:
    """The index of one outputs folder. Every method may be called from any thread."""

    def __init__(self, outputs: Path) -> None:
        self.outputs = outputs
        self._began = time.time()
        self._trash = Trash(outputs)
        self._changed = threading.Condition(threading.RLock())
        self._one_look = threading.Lock()
        self._status = Status(0, 0, 0, False)
        self._db = _open(outputs)

    def close(self) -> None:
        """Closes the index; nothing may be asked afterwards."""
        with self._changed:
            self._db.close()

    # asking

    def page(self, wanted: Filter, after: tuple[int, int] | None = None, limit: int = 60) -> list[Picture]:
        """The newest pictures that `wanted` lets through, or those that follow the `cursor` of one of them."""
        where, values = _where(wanted)
        if after is not None:
            where, values = f"{where} AND (created, id) < (?, ?)", [*values, *after]
        return [_picture(row) for row in self._all(
            f"SELECT {_COLUMNS} FROM pictures WHERE {where} ORDER BY created DESC, id DESC LIMIT ?", *values, limit)]

    def count(self, wanted: Filter) -> int:
        """How many pictures `wanted` lets through."""
        where, values = _where(wanted)
        return int(self._all(f"SELECT count(*) AS found FROM pictures WHERE {where}", *values)[0]["found"])

    def get(self, picture_id: int) -> Picture:
        """Raises NotFound."""
        rows = self._all(f"SELECT {_COLUMNS} FROM pictures WHERE id = ?", picture_id)
        if not rows:
            raise NotFound("This picture is no longer in the history.")
        return _picture(rows[0])

    def file(self, picture_id: int) -> Path:
        """Where a picture is. Raises NotFound, for a file that has left the outputs folder too."""
        file = self.outputs / self.get(picture_id).path
        if not file.is_file() or not file.resolve().is_relative_to(self.outputs.resolve()):
            raise NotFound(f"The file {file.name} is no longer there.")
        return file

    def models(self) -> list[str]:
        """The models that made pictures, in the order of their names."""
        return [row["model"] for row in self._all("SELECT DISTINCT model FROM pictures ORDER BY model") if row["model"]]

    def samplers(self) -> list[str]:
        """The samplers that made pictures, in the order of their names."""
        rows = self._all("SELECT DISTINCT sampler FROM pictures ORDER BY sampler")
        return [row["sampler"] for row in rows if row["sampler"]]

    def can_undo(self) -> bool:
        """Whether there is a deletion to undo."""
        return not self._trash.is_empty()

    @property
    def status(self) -> Status:
        """How far the index is."""
        with self._changed:
            return self._status

    # changing

    def add(self, path: Path) -> None:
        """Indexes a picture that has just been saved. Never raises: no job fails for it, and a later look finds it."""
        try:
            row = _read(self.outputs, path.relative_to(self.outputs).as_posix())
            with self._writing() as db:
                _put(db, row)
        except Exception:
            log.exception("%s is not in the history", path.name)

    def set_favourite(self, picture_id: int, favourite: bool) -> None:
        """Raises NotFound."""
        path = self.get(picture_id).path
        with self._writing() as db:
            if favourite:
                db.execute("INSERT OR IGNORE INTO favourites VALUES (?)", (path,))
            else:
                db.execute("DELETE FROM favourites WHERE path = ?", (path,))

    def trash(self, picture_ids: Collection[int]) -> int:
        """Moves pictures to the trash folder as one deletion; how many. Raises CannotDelete when some must stay."""
        with self._writing() as db:
            paths = [row["path"] for number in picture_ids
                     for row in db.execute("SELECT path FROM pictures WHERE id = ?", (number,))]
            there = [path for path in paths if (self.outputs / path).exists()]
            moved = self._trash.put(there)
            stay = set(there) - set(moved)
            for path in set(paths) - stay:
                _forget(db, path)
            _rename_favourites(db, moved)
        if stay:
            raise CannotDelete(f"{len(stay)} of {len(paths)} pictures could not be moved to the trash folder.")
        return len(moved)

    def undo(self) -> int:
        """Takes the newest deletion back; how many pictures came back. Raises CannotDelete."""
        try:
            with self._writing() as db:
                moved = self._trash.take_back()
                _rename_favourites(db, moved)
                for path in moved.values():
                    with contextlib.suppress(ValueError):
                        _put(db, _read(self.outputs, path))
        except OSError as error:
            raise CannotDelete(f"The deletion could not be undone: {error.strerror or error}.") from error
        return len(moved)

    def rebuild(self) -> None:
        """Forgets everything but the favourites and reads the folder again, in the background."""
        with self._one_look, self._changed:
            try:
                with self._writing() as db:
                    db.execute("DELETE FROM pictures")
                    db.execute("DROP TABLE prompts")
                    db.execute(_PROMPTS)
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError:
                self._begin_anew()
        self.look()

    def _begin_anew(self) -> None:
        """Sets a broken index aside; what can still be read of its favourites goes into the new one."""
        favourites: list[sqlite3.Row] = []
        with contextlib.suppress(sqlite3.Error):
            favourites = self._all("SELECT path FROM favourites")
        self._db.close()
        _set_aside(self.outputs / INDEX)
        self._db = _open(self.outputs)
        with self._writing() as db:
            db.executemany("INSERT OR IGNORE INTO favourites VALUES (?)", favourites)

    # looking at the folder

    def look(self) -> None:
        """Begins to `reconcile` in the background, unless that is being done."""
        with self._changed:
            if self._status.looking:
                return
            self._tell(looking=True)
        threading.Thread(target=self._look, name="history", daemon=True).start()

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until the look that is going on is over; False when `timeout` seconds passed before."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._status.looking, timeout)

    def reconcile(self) -> None:
        """Makes the index agree with the folder: reads new and changed files, drops those that are gone, and removes
        what programs that were killed left behind."""
        with self._one_look:
            known = {row["path"]: (row["created"], row["bytes"])
                     for row in self._all("SELECT path, created, bytes FROM pictures")}
            there = dict(_scan(self.outputs, self._began))
            gone = [path for path in known if path not in there]
            if gone:
                with self._writing() as db:
                    for path in gone:
                        if not (self.outputs / path).exists():
                            _forget(db, path)
                            db.execute("DELETE FROM favourites WHERE path = ?", (path,))
            new = sorted((version, path) for path, version in there.items() if known.get(path) != version)
            self._index([path for _, path in new])

    def _index(self, paths: list[str]) -> None:
        for first in range(0, len(paths), _BATCH):
            rows = []
            for path in paths[first:first + _BATCH]:
                try:
                    rows.append(_read(self.outputs, path))
                except (OSError, ValueError) as error:  # gone again, or no picture
                    log.debug("%s is not a picture: %s", path, error)
            if rows:
                with self._writing() as db:
                    for row in rows:
                        if (self.outputs / row["path"]).exists():
                            _put(db, row)
            self._tell(done=min(first + _BATCH, len(paths)), total=len(paths))
        self._tell(done=0, total=0)

    def _look(self) -> None:
        try:
            self.reconcile()
        except Exception:
            log.exception("the history could not look at %s", self.outputs)
        finally:
            self._tell(looking=False, done=0, total=0)

    # the index itself

    def _tell(self, **changes: Any) -> None:
        with self._changed:
            self._status = dataclasses.replace(self._status, **changes)
            self._changed.notify_all()

    def _all(self, query: str, *values: Any) -> list[sqlite3.Row]:
        with self._changed:
            return self._db.execute(query, values).fetchall()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, all of it or nothing."""
        with self._changed:
            with _transaction(self._db):
                yield self._db
            self._tell(version=self._status.version + 1)


# --- the index

def _open(outputs: Path) -> sqlite3.Connection:
    """The index of `outputs`: the one that is there, a new one, or one in memory."""
    file = outputs / INDEX
    try:
        outputs.mkdir(parents=True, exist_ok=True)
        return _connect(str(file))
    except (sqlite3.OperationalError, OSError) as error:
        log.warning("The history is kept in memory only: %s cannot be used (%s).", file, error)
    except sqlite3.DatabaseError as error:
        log.warning("The history was broken (%s) and is made anew.", error)
        with contextlib.suppress(OSError, sqlite3.Error):
            _set_aside(file)
            return _connect(str(file))
    return _connect(":memory:")


def _set_aside(file: Path) -> None:
    os.replace(file, f"{file}.broken")
    for ending in ("-wal", "-shm"):
        Path(f"{file}{ending}").unlink(missing_ok=True)


def _connect(name: str) -> sqlite3.Connection:
    db = sqlite3.connect(name, timeout=10, isolation_level=None, check_same_thread=False)
    try:
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")  # what a power cut takes is read from the files again
        with _transaction(db):
            if db.execute("PRAGMA user_version").fetchone()[0] != _VERSION:
                for statement in (*_TABLES, _PROMPTS, f"PRAGMA user_version = {_VERSION}"):
                    db.execute(statement)
    except BaseException:
        db.close()
        raise
    return db


@contextlib.contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _picture(row: sqlite3.Row) -> Picture:
    seed = None if row["seed"] is None else row["seed"] % 2**64
    return Picture(**{**row, "favourite": bool(row["favourite"]), "seed": seed})


def _put(db: sqlite3.Connection, row: dict[str, Any]) -> None:
    """Adds a row as `_read` makes it, or replaces that of the same path."""
    same = "SELECT 1 FROM pictures WHERE path = :path AND created = :created AND bytes = :bytes"
    if db.execute(same, row).fetchone():
        return
    _forget(db, row["path"])
    names = ", ".join(row)
    added = db.execute(f"INSERT INTO pictures ({names}) VALUES (:{', :'.join(row)})", row)
    db.execute("INSERT INTO prompts (rowid, folded) VALUES (?, ?)", (added.lastrowid, fold(row["prompt"])))


def _forget(db: sqlite3.Connection, path: str) -> None:
    db.execute("DELETE FROM prompts WHERE rowid = (SELECT id FROM pictures WHERE path = ?)", (path,))
    db.execute("DELETE FROM pictures WHERE path = ?", (path,))


def _rename_favourites(db: sqlite3.Connection, moved: dict[str, str]) -> None:
    db.executemany("UPDATE OR REPLACE favourites SET path = ? WHERE path = ?",
                   [(new, old) for old, new in moved.items()])


def fold(text: str) -> str:
    """`text` as it is searched: without upper case, and with full-width and composed letters as the plain ones."""
    return without_surrogates(unicodedata.normalize("NFKC", text).casefold().replace("\0", ""))


def _signed(seed: int) -> int:
    """A seed of 64 bits as the index holds it, whose numbers have a sign."""
    return (seed + 2**63) % 2**64 - 2**63


def _where(wanted: Filter) -> tuple[str, list[Any]]:
    """The condition of a query and its values."""
    conditions: list[tuple[str, Any]] = []
    long, short, without = _terms(wanted.words)
    if long:  # the trigram index finds pieces of three letters and more
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
    """What is looked for: pieces of three letters and more, shorter ones, and those that must not be there."""
    long: list[str] = []
    short: list[str] = []
    without: list[str] = []
    for minus, quoted, plain in _TERM.findall(fold(words)):
        term = quoted or plain.strip(",")
        if term:
            (without if minus else long if len(term) >= 3 else short).append(term)
    return long, short, without


def _midnight(day: datetime.date) -> int:
    """When a day begins here, in nanoseconds since 1970."""
    return int(datetime.datetime.combine(day, datetime.time.min).timestamp()) * 10**9


# --- the folder

def _scan(folder: Path, began: float) -> Iterator[tuple[str, tuple[int, int]]]:
    """Every picture under `folder`: its path and its (time, size). Nothing hidden and no links; leftovers of programs
    that were killed before this one `began` are removed on the way."""
    waiting = [""]
    while waiting:
        inside = waiting.pop()
        with contextlib.suppress(FileNotFoundError), os.scandir(folder / inside) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if not entry.name.startswith("."):
                        waiting.append(f"{inside}{entry.name}/")
                elif entry.name.startswith("."):
                    _remove_leftover(entry, began)
                elif os.path.splitext(entry.name)[1].lower() in MEDIA_TYPES and entry.is_file(follow_symlinks=False):
                    with contextlib.suppress(FileNotFoundError, UnicodeEncodeError):
                        entry.name.encode()  # a name that is no text cannot be kept in the index
                        stat = entry.stat(follow_symlinks=False)
                        yield f"{inside}{entry.name}", (stat.st_mtime_ns, stat.st_size)


def _remove_leftover(entry: os.DirEntry[str], began: float) -> None:
    with contextlib.suppress(OSError):
        if saving.is_leftover(entry.name, entry.stat(follow_symlinks=False).st_mtime, began):
            os.unlink(entry)


def _read(outputs: Path, path: str) -> dict[str, Any]:
    """One picture as a row of the index, its pixels unread. Raises OSError, or ValueError when it is no picture."""
    stat = (outputs / path).stat()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(outputs / path) as image:
                (width, height), text = image.size, image_metadata.read(image)
    except OSError:
        raise
    except Exception as error:  # Pillow's readers raise nearly anything for a broken file
        raise ValueError(f"{path} is no picture") from error
    text = without_surrogates(text)
    found = infotext.parse(text)
    model, sampler, seed, prompt = (str(found.get(key, "")) for key in ("Model", "Sampler", "Seed", "Prompt"))
    return {"path": path, "created": stat.st_mtime_ns, "bytes": stat.st_size, "width": width, "height": height,
            "seed": _signed(int(seed)) if re.fullmatch(r"-?[0-9]{1,20}", seed) else None, "model": model,
            "sampler": sampler, "prompt": prompt, "text": text}
