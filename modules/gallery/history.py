"""The history: the pictures of the outputs folder, with search, filters, favourites and deleting.

The files are the source of truth. The index is built from them, is brought up to date by each look at the folder, and
may be deleted at any time; only the favourites are stored nowhere else. A broken index is renamed and built again. If
the folder cannot be written, the index is kept in memory.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import logging
import sqlite3
import threading
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modules.errors import NotFound, UserError
from modules.gallery import folder, index
from modules.gallery.index import INDEX, Filter, Picture
from modules.gallery.trash import Trash

log = logging.getLogger(__name__)

_BATCH = 200


class CannotDelete(UserError):
    """A file could not be moved to the trash folder or back."""

    status = 507


@dataclass(frozen=True)
class Status:
    """The state of the index.

    `version` grows with every change. While new files are read, `done` of `total` are finished; otherwise both are 0.
    `looking` is True while the folder is compared with the index.
    """

    version: int
    done: int
    total: int
    looking: bool


@dataclass(frozen=True)
class Entry:
    """What a search by meaning reads of a picture; the fields are those of `Picture`."""

    id: int
    path: str
    created: int
    bytes: int
    prompt: str


class History:
    """The index of one outputs folder. Every method may be called from any thread."""

    def __init__(self, outputs: Path) -> None:
        self.outputs = outputs
        self._began = time.time()
        self._trash = Trash(outputs)
        self._changed = threading.Condition(threading.RLock())
        self._one_look = threading.Lock()
        self._status = Status(0, 0, 0, False)
        self._db = index.open_index(outputs)

    def close(self) -> None:
        """Close the index. No other method may be called afterwards."""
        with self._changed:
            self._db.close()

    # queries

    def page(self, wanted: Filter, after: tuple[int, int] | None = None, limit: int = 60) -> list[Picture]:
        """The newest `limit` pictures that match `wanted`. `after` is the cursor of the picture that precedes them."""
        where, values = index.where(wanted)
        if after is not None:
            where, values = f"{where} AND (created, id) < (?, ?)", [*values, *after]
        rows = self._all(f"SELECT {index.COLUMNS} FROM pictures WHERE {where} ORDER BY created DESC, id DESC LIMIT ?",
                         *values, limit)
        return [index.picture(row) for row in rows]

    def count(self, wanted: Filter) -> int:
        """The number of pictures that match `wanted`."""
        where, values = index.where(wanted)
        return int(self._all(f"SELECT count(*) AS found FROM pictures WHERE {where}", *values)[0]["found"])

    def entries(self, wanted: Filter) -> list[Entry]:
        """All pictures that match `wanted`, the newest first."""
        where, values = index.where(wanted)
        return [Entry(*row) for row in self._all(
            f"SELECT id, path, created, bytes, prompt FROM pictures WHERE {where} ORDER BY created DESC, id DESC",
            *values)]

    def pictures(self, picture_ids: Collection[int]) -> list[Picture]:
        """The pictures of those ids, in their order; those that are gone are left out."""
        marks = ", ".join("?" * len(picture_ids))
        rows = {int(row["id"]): row for row in self._all(
            f"SELECT {index.COLUMNS} FROM pictures WHERE id IN ({marks})", *picture_ids)}
        return [index.picture(rows[number]) for number in picture_ids if number in rows]

    def get(self, picture_id: int) -> Picture:
        """The picture of that id. Raises NotFound."""
        rows = self._all(f"SELECT {index.COLUMNS} FROM pictures WHERE id = ?", picture_id)
        if not rows:
            raise NotFound("This picture is no longer in the history.")
        return index.picture(rows[0])

    def file(self, picture_id: int) -> Path:
        """The path of a picture. Raises NotFound, also if the path leads out of the outputs folder."""
        file = self.outputs / self.get(picture_id).path
        if not file.is_file() or not file.resolve().is_relative_to(self.outputs.resolve()):
            raise NotFound(f"The file {file.name} is no longer there.")
        return file

    def find_file(self, sha256: str, nbytes: int) -> Path | None:
        """A file of the outputs folder with that SHA-256 and length in bytes. None if there is none."""
        for row in self._all("SELECT path FROM pictures WHERE bytes = ? ORDER BY created DESC", nbytes):
            file = self.outputs / str(row["path"])
            with contextlib.suppress(OSError):
                inside = file.resolve().is_relative_to(self.outputs.resolve())
                if inside and hashlib.sha256(file.read_bytes()).hexdigest() == sha256:
                    return file
        return None

    def models(self) -> list[str]:
        """The names of the models of all pictures, sorted."""
        return [row["model"] for row in self._all("SELECT DISTINCT model FROM pictures ORDER BY model") if row["model"]]

    def samplers(self) -> list[str]:
        """The names of the samplers of all pictures, sorted."""
        rows = self._all("SELECT DISTINCT sampler FROM pictures ORDER BY sampler")
        return [row["sampler"] for row in rows if row["sampler"]]

    def can_undo(self) -> bool:
        """Whether there is a deletion to undo."""
        return not self._trash.is_empty()

    @property
    def status(self) -> Status:
        """The state of the index."""
        with self._changed:
            return self._status

    # changes

    def add(self, path: Path) -> None:
        """Add a picture that has just been saved. Never raises, so that no job fails for it; a later look at the folder
        finds a picture that could not be added."""
        try:
            row = folder.read(self.outputs, path.relative_to(self.outputs).as_posix())
            with self._writing() as db:
                index.put(db, row)
        except Exception:
            log.exception("%s is not in the history", path.name)

    def set_favourite(self, picture_id: int, favourite: bool) -> None:
        """Mark or unmark a picture as a favourite. Raises NotFound."""
        path = self.get(picture_id).path
        with self._writing() as db:
            if favourite:
                db.execute("INSERT OR IGNORE INTO favourites VALUES (?)", (path,))
            else:
                db.execute("DELETE FROM favourites WHERE path = ?", (path,))

    def trash(self, picture_ids: Collection[int]) -> int:
        """Move pictures to the trash folder as one deletion. Returns their number.

        Raises CannotDelete if some could not be moved; the others are in the trash then.
        """
        with self._writing() as db:
            paths = [row["path"] for number in picture_ids
                     for row in db.execute("SELECT path FROM pictures WHERE id = ?", (number,))]
            there = [path for path in paths if (self.outputs / path).exists()]
            moved = self._trash.put(there)
            stay = set(there) - set(moved)
            for path in set(paths) - stay:
                index.forget(db, path)
            index.rename_favourites(db, moved)
        if stay:
            raise CannotDelete(f"{len(stay)} of {len(paths)} pictures could not be moved to the trash folder.")
        return len(moved)

    def undo(self) -> int:
        """Undo the newest deletion. Returns the number of restored pictures. Raises CannotDelete."""
        try:
            with self._writing() as db:
                moved = self._trash.take_back()
                index.rename_favourites(db, moved)
                for path in moved.values():
                    with contextlib.suppress(ValueError):
                        index.put(db, folder.read(self.outputs, path))
        except OSError as error:
            raise CannotDelete(f"The deletion could not be undone: {error.strerror or error}.") from error
        return len(moved)

    def rebuild(self) -> None:
        """Empty the index except for the favourites, and read the folder again in the background."""
        with self._one_look, self._changed:
            try:
                with self._writing() as db:
                    db.execute("DELETE FROM pictures")
                    db.execute("DROP TABLE prompts")
                    db.execute(index.PROMPTS)
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError:
                self._begin_anew()
        self.look()

    def _begin_anew(self) -> None:
        """Replace a broken index by a new one. Favourites that can still be read are copied."""
        favourites: list[sqlite3.Row] = []
        with contextlib.suppress(sqlite3.Error):
            favourites = self._all("SELECT path FROM favourites")
        self._db.close()
        index.set_aside(self.outputs / INDEX)
        self._db = index.open_index(self.outputs)
        with self._writing() as db:
            db.executemany("INSERT OR IGNORE INTO favourites VALUES (?)", favourites)

    # looking at the folder

    def look(self) -> None:
        """Start `reconcile` in the background, unless it is running."""
        with self._changed:
            if self._status.looking:
                return
            self._tell(looking=True)
        threading.Thread(target=self._look, name="history", daemon=True).start()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the running `look` is over. Returns False after `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._status.looking, timeout)

    def reconcile(self) -> None:
        """Bring the index up to date with the folder: read new and changed files, drop those that are gone. Temporary
        files of killed programs are deleted."""
        with self._one_look:
            known = {row["path"]: (row["created"], row["bytes"])
                     for row in self._all("SELECT path, created, bytes FROM pictures")}
            there = dict(folder.scan(self.outputs, self._began))
            gone = [path for path in known if path not in there]
            if gone:
                with self._writing() as db:
                    for path in gone:
                        if not (self.outputs / path).exists():
                            index.forget(db, path)
                            db.execute("DELETE FROM favourites WHERE path = ?", (path,))
            new = sorted((version, path) for path, version in there.items() if known.get(path) != version)
            self._index([path for _, path in new])

    def _index(self, paths: list[str]) -> None:
        for first in range(0, len(paths), _BATCH):
            rows = []
            for path in paths[first:first + _BATCH]:
                try:
                    rows.append(folder.read(self.outputs, path))
                except (OSError, ValueError) as error:  # deleted meanwhile, or not a picture
                    log.debug("%s is not a picture: %s", path, error)
            if rows:
                with self._writing() as db:
                    for row in rows:
                        if (self.outputs / row["path"]).exists():
                            index.put(db, row)
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
        """Hold the lock and run one transaction; afterwards count the change."""
        with self._changed:
            with index.transaction(self._db):
                yield self._db
            self._tell(version=self._status.version + 1)
