"""Masks by clicks and boxes: Segment Anything where a folder of it is there, and GrabCut otherwise."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from PIL import Image

from modules.base.files import tree_version
from modules.engine.models import compute_device
from modules.engine.newest import Newest, network_folders
from modules.imaging.click_mask import Box, Click, ClickMasks
from modules.imaging.foreground import Foreground
from modules.settings import Settings

if TYPE_CHECKING:
    from modules.networks.segmenter import Segmenter

Key = tuple[object, ...]


class SeenPicture(Protocol):
    """A picture that was looked at, so that each click takes a moment."""

    def by_clicks(self, clicks: Sequence[Click], box: Box | None = None, candidate: int | None = None) -> Image.Image:
        """An L mask of the picture's size, 0 or 255. `candidate` 0 to 2 is the smallest to the largest of three. Raises
        InvalidInput."""


class Clicking:
    """Makes masks by clicks. The pictures that were looked at last are kept.

    Only one thread at a time may use a network: where there `is_network`, the job queue's worker is that thread.
    """

    KEPT = 2

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._network: Newest[Segmenter] = Newest()
        self._foreground = Foreground()
        self._seen: dict[Key, SeenPicture] = {}
        self._lock = threading.Lock()

    @property
    def is_network(self) -> bool:
        """Whether a folder of Segment Anything is there."""
        return self._folder() is not None

    def mask(self, key: Key, picture: Callable[[], Image.Image], clicks: Sequence[Click], box: Box | None = None,
             candidate: int | None = None) -> Image.Image:
        """An L mask of the picture's size, 0 or 255: what the clicks and the box mean, as `SeenPicture.by_clicks`.
        `key` says which picture it is; `picture` opens it.

        Raises InvalidInput, CheckpointError.
        """
        folder = self._folder()
        whole = (*key, folder, tree_version(folder) if folder else None)
        with self._lock:
            seen = self._seen.pop(whole, None)
            if seen is None:
                image = picture()
                seen = self._segmenter(folder).seen(image) if folder else ClickMasks(image, self._foreground(image))
            self._seen[whole] = seen
            while len(self._seen) > self.KEPT:
                del self._seen[next(iter(self._seen))]
        return seen.by_clicks(clicks, box, candidate)

    def forget(self) -> None:
        """Drop the network and what it has seen."""
        with self._lock:
            self._network.forget()
            self._seen.clear()

    def _folder(self) -> Path | None:
        """The first folder of a network, by name."""
        return next(iter(network_folders(self._settings.folders("segmenters"))), None)

    def _segmenter(self, folder: Path) -> Segmenter:
        from modules.networks.segmenter import Segmenter

        return self._network.of(folder, lambda path: Segmenter(path, compute_device(self._settings)))
