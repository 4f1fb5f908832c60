"""Cards of what a prompt can name, and of checkpoints: what lies beside each file, and its preview.

Beside `name.safetensors` may lie `name.preview.png` (or .jpg, .webp, or `name.png`) and `name.json` with WebUI's keys:
"description", "activation text", "negative text", "preferred weight", "notes". A card is called by a digest, so no path
comes from outside.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from modules.base.files import FileVersion, file_version, tree_version, write_whole
from modules.base.unicode import without_surrogates
from modules.engine.networks import Networks
from modules.errors import NotFound
from modules.gallery.saving import CannotSave
from modules.imaging.modes import to_rgb
from modules.settings import Settings
from modules.weights.catalog import Catalog, bare_name, metadata

KINDS = ("loras", "embeddings", "hypernetworks", "checkpoints")

PICTURES = (".png", ".jpg", ".jpeg", ".webp")
LONGEST = 2000
"""Characters of each text on a card."""

MOST_BYTES = 2**20
"""Of a file of notes that is read."""

SIDE = 768
"""The longer side of a preview that is made here, in pixels."""

MOST_TAGS = 24
"""Of the captions that a LoRA was trained on, the most frequent."""


@dataclass(frozen=True)
class Card:
    """One file. `folder` is its path inside its folder, "" for those at the top; `modified` is in seconds since 1970.
    `preview` changes with the preview's picture; None without one."""

    id: str
    kind: str
    path: Path
    name: str
    folder: str
    modified: int
    preview: str | None = None
    description: str = ""
    activation: str = ""
    negative: str = ""
    weight: float | None = None


class Cards:
    """The cards of all kinds. For any thread."""

    def __init__(self, settings: Settings, catalog: Catalog, networks: Networks) -> None:
        self._settings, self._catalog, self._networks = settings, catalog, networks
        self._ours = settings.data_dir / "previews"
        self._lock = threading.Lock()
        self._notes: dict[Path, tuple[FileVersion | None, Mapping[str, Any]]] = {}
        self._cards: dict[str, Card] = {}
        self._pictures: dict[str, Path] = {}

    def refresh(self, kind: str) -> None:
        """Look for new files of a kind."""
        if kind == "checkpoints":
            self._catalog.refresh()
        else:
            self._files(kind).refresh()

    def of(self, kind: str) -> list[Card]:
        """The cards of a kind, by name. Raises NotFound for a kind that there is not."""
        files: Iterable[tuple[Path, str]]
        if kind == "checkpoints":
            files = [(file.path, file.filename) for file in self._catalog.checkpoints()]
        else:
            files = [(file.path, file.filename) for file in self._files(kind).files()]
        beside = _Beside()
        own = beside.folder(self._ours)
        made, pictures = [], {}
        for path, filename in files:
            card, picture = self._card(kind, path, filename, beside, own)
            made.append(card)
            if picture is not None:
                pictures[card.id] = picture
        with self._lock:
            self._cards |= {card.id: card for card in made}
            self._pictures = {card_id: picture for card_id, picture in self._pictures.items()
                              if self._cards[card_id].kind != kind} | pictures
        return sorted(made, key=lambda card: card.name.lower())

    def find(self, card_id: str) -> Card:
        """The card of that id. Raises NotFound."""
        card = self._cards.get(card_id)
        if card is None or not card.path.exists():
            raise NotFound("This file is no longer there.")
        return card

    def picture(self, card_id: str) -> Path:
        """The preview of a card. Raises NotFound."""
        picture = self._pictures.get(card_id)
        if picture is None:
            raise NotFound("This card has no preview.")
        return picture

    def example(self, card: str, number: int) -> bytes:
        """The thumbnail of one of the example prompts that a checkpoint's header has. Raises NotFound."""
        for file in self._catalog.checkpoints():
            if card_id("checkpoints", file.path) == card:
                found = example_thumbnails(metadata(file.path))
                if number < len(found):
                    return found[number]
        raise NotFound("There is no such example.")

    def set_picture(self, card_id: str, image: Image.Image) -> None:
        """Make `image` the preview of a card: beside its file if that lies in our folders, otherwise among ours.
        Raises NotFound, CannotSave."""
        card = self.find(card_id)
        small = to_rgb(image)
        small.thumbnail((SIDE, SIDE))
        content = io.BytesIO()
        small.save(content, "PNG")
        target = self._ours / f"{card.id}.png"
        if self._is_ours(card.path):
            target = card.path.with_name(f"{card.name}.preview.png")
        try:
            write_whole(target, content.getvalue())
        except OSError as error:
            raise CannotSave(f"The preview {target.name} could not be written: {error.strerror or error}.") from error

    def facts(self, card_id: str) -> dict[str, Any]:
        """What the header of a card's file tells of its training: pairs of words, and the most frequent captions.
        Raises NotFound."""
        card = self.find(card_id)
        found = metadata(card.path)
        pairs = [(label, without_surrogates(found[key])[:200]) for label, key in FACTS if found.get(key)]
        return {"pairs": [("File", card.path.name), ("Size", _size((tree_version(card.path) or (0, 0))[0])), *pairs],
                "tags": _captions(found.get("ss_tag_frequency", ""))}

    def _files(self, kind: str) -> Any:
        if kind not in KINDS:
            raise NotFound("There are no cards of this kind.")
        return getattr(self._networks, kind)

    def _card(self, kind: str, path: Path, filename: str, beside: _Beside,
              own: Mapping[str, os.stat_result]) -> tuple[Card, Path | None]:
        """The card of a file, and its preview."""
        own_id = card_id(kind, path)
        there, stem = beside.folder(path.parent), bare_name(path) if kind == "checkpoints" else path.stem
        picture, status = None, own.get(f"{own_id}.png")
        if status:
            picture = self._ours / f"{own_id}.png"
        else:
            for name in (f"{stem}{word}{suffix}" for word in (".preview", "") for suffix in PICTURES):
                if name != path.name and (status := there.get(name)):
                    picture = path.with_name(name)
                    break
        notes = self._read(path.with_name(f"{stem}.json")) if f"{stem}.json" in there else {}
        modified = there[path.name].st_mtime if path.name in there else (tree_version(path) or (0, 0))[1] / 1e9
        weight = notes.get("preferred weight")
        usable = isinstance(weight, (int, float)) and not isinstance(weight, bool) and math.isfinite(weight)
        return Card(own_id, kind, path, stem, filename.rpartition("/")[0], int(modified),
                    f"{status.st_mtime_ns:x}{status.st_size:x}" if status and picture else None,
                    _text(notes, "description") or _text(notes, "notes"), _text(notes, "activation text"),
                    _text(notes, "negative text"), float(weight) if usable and weight else None), picture

    def _read(self, path: Path) -> Mapping[str, Any]:
        """A file of notes. Empty for one that is damaged."""
        version, known = file_version(path), self._notes.get(path)
        if known is None or known[0] != version:
            notes: Any = {}
            try:
                with path.open("rb") as file:
                    notes = json.loads(file.read(MOST_BYTES))
            except (OSError, ValueError, RecursionError):
                notes = {}
            known = version, notes if isinstance(notes, dict) else {}
            self._notes[path] = known
        return known[1]

    def _is_ours(self, path: Path) -> bool:
        """Whether a file lies in one of our folders, where links lead too. In those of other programs nothing is
        written."""
        here = path.parent.resolve()
        ours = [folder.resolve() for folder in (self._settings.models_dir, self._settings.embeddings_dir)]
        theirs = [folder.resolve() for folders in self._settings.borrowed.values() for folder in folders]
        return any(map(here.is_relative_to, ours)) and not any(map(here.is_relative_to, theirs))


def card_id(kind: str, path: Path) -> str:
    """The name of a card for those who may not know its path."""
    return hashlib.blake2b(f"{kind} {path}".encode(), digest_size=16).hexdigest()


def example_thumbnails(header: Mapping[str, str]) -> list[bytes]:
    """The WebP pictures of the metadata key `thumbnails`, a JSON list of their base64, one for each example prompt.
    Empty if anything in it is invalid."""
    try:
        return [base64.b64decode(text, validate=True) for text in json.loads(header.get("thumbnails", "[]"))]
    except (ValueError, TypeError, RecursionError):
        return []


FACTS = (("Base model", "ss_base_model_version"), ("Trained from", "ss_sd_model_name"),
         ("Network", "ss_network_module"), ("Rank", "ss_network_dim"), ("Alpha", "ss_network_alpha"),
         ("Resolution", "ss_resolution"),
         ("Pictures", "ss_num_train_images"), ("Epochs", "ss_num_epochs"), ("Clip skip", "ss_clip_skip"),
         ("Title", "modelspec.title"), ("Author", "modelspec.author"), ("Comment", "ss_training_comment"))
"""Words for a fact and its key in the header."""


class _Beside:
    """What lies in folders, each looked at once."""

    def __init__(self) -> None:
        self._folders: dict[Path, dict[str, os.stat_result]] = {}

    def folder(self, path: Path) -> Mapping[str, os.stat_result]:
        """The files in a folder by name."""
        if path not in self._folders:
            try:
                with os.scandir(path) as entries:
                    self._folders[path] = {entry.name: entry.stat() for entry in entries if _is_file(entry)}
            except OSError:
                self._folders[path] = {}
        return self._folders[path]


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 10**6 else f"{count / 1e3:,.0f} kB"


def _text(notes: Mapping[str, Any], key: str) -> str:
    value = notes.get(key)
    return without_surrogates(value)[:LONGEST].strip() if isinstance(value, str) else ""


def _captions(text: str) -> list[str]:
    """The most frequent captions in kohya's "ss_tag_frequency": by folder how often each was used."""
    counts: dict[str, int] = {}
    try:
        folders = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return []
    for tags in folders.values() if isinstance(folders, dict) else ():
        for tag, count in tags.items() if isinstance(tags, dict) else ():
            if isinstance(count, int):
                word = without_surrogates(tag).strip()[:100]
                counts[word] = counts.get(word, 0) + count
    return sorted(filter(None, counts), key=lambda tag: -counts[tag])[:MOST_TAGS]
