"""Makes control maps: by arithmetic, or by the network of a preprocessor, which is read when it is first used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from modules.annotate.preprocessor import Pixels, Preprocessor, Values


class Annotators:
    """The preprocessors at work."""

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        self._folders = tuple(folders)

    def control_map(self, item: Preprocessor, picture: Pixels, values: Values) -> Pixels:
        """The map that `item` makes of `picture`, (H, W, 3), or (H, W, 4) with its mask where the item takes one."""
        assert item.compute
        return item.compute(picture, values)
