"""Masks by words: a network of `models/grounding` finds what they name, and the segmenter follows its outline."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageChops

from modules.engine.clicking import Clicking, Key
from modules.engine.models import compute_device
from modules.engine.newest import Newest, network_folders
from modules.errors import InvalidInput, NotFound
from modules.imaging.mask import of_size, to_luminance
from modules.request import Inpaint, Txt2Img
from modules.settings import Settings

if TYPE_CHECKING:
    from modules.networks.grounder import Grounder

MOST_WORDS, LONGEST = 20, 500
"""Things in one list, and characters of it."""


class NothingFound(InvalidInput):
    """The picture has nothing that the words name."""


class Grounding:
    """Makes masks by words. Only one thread at a time may use it; the job queue's worker is that thread."""

    def __init__(self, settings: Settings, clicking: Clicking) -> None:
        self._settings, self._clicking = settings, clicking
        self._network: Newest[Grounder] = Newest()

    def check(self, text: str) -> None:
        """Raise the InvalidInput or NotFound of `mask` that needs no look at the picture."""
        listed(text)
        self._folder()

    def mask(self, key: Key, picture: Callable[[], Image.Image], text: str, least: float = 0.0) -> Image.Image:
        """An L mask of the picture's size, 0 or 255: all that `text` names, a list with commas. `key` says which
        picture it is, `picture` opens it; `least` is how sure the network must be, 0 what suits it. Raises NotFound,
        CheckpointError, InvalidInput, NothingFound."""
        words, opened = listed(text), picture()
        network = self._grounder(self._folder())
        if network.draws:
            found = network.mask(opened, words, least or network.least)
        else:
            found = Image.new("L", opened.size)
            for one in network.boxes(opened, words, least or network.least):
                found = ImageChops.lighter(found, self._clicking.mask(key, lambda: opened, (), one.box))
        if not found.getbbox():
            raise NothingFound(f"Nothing in the picture was taken for {', '.join(words)[:100]!r}.", field="mask_words")
        return found

    def masked(self, request: Txt2Img, text: str) -> Txt2Img:
        """An inpaint `request` of one picture with what `text` names added to its mask. Raises as `mask`."""
        if not isinstance(request, Inpaint):
            return request
        picture = request.init_images[0]
        found = self.mask(("words", object()), lambda: picture, text, request.options.mask_words_threshold)
        mask = of_size(to_luminance(request.mask, hard=False), picture.size)
        return dataclasses.replace(request, mask=ImageChops.lighter(mask, found))

    def forget(self) -> None:
        """Drop the network. What is needed again is read again."""
        self._network.forget()

    def _folder(self) -> Path:
        """The first folder of a network, by name. Raises NotFound."""
        places = self._settings.folders("grounders")
        for folder in network_folders(places):
            return folder
        raise NotFound("There is no model here that finds words in pictures: put Grounding DINO, OWLv2 or CLIPSeg, in "
                       f"transformers' layout, into a folder in {places[0]}.", field="mask_words")

    def _grounder(self, folder: Path) -> Grounder:
        from modules.networks.grounder import Grounder

        return self._network.of(folder, lambda path: Grounder(path, compute_device(self._settings)))


def listed(text: str) -> list[str]:
    """The things that `text` names, between commas, semicolons, full stops or lines. Raises InvalidInput."""
    if len(text) > LONGEST:
        raise InvalidInput(f"The words for a mask have more than {LONGEST} characters.", field="mask_words")
    words = [one for one in (part.strip() for part in re.split(r"[,;.\n，、；。]", text)) if one]
    if not words:
        raise InvalidInput("Say in words what the mask should cover, such as: the dog, the bench.", field="mask_words")
    if len(words) > MOST_WORDS:
        raise InvalidInput(f"At most {MOST_WORDS} things make one mask.", field="mask_words")
    return words
