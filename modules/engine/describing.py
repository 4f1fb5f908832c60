"""Words for pictures: sentences by captioners, and lists of words by taggers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from modules.engine.models import compute_device
from modules.engine.newest import Newest, network_folders
from modules.errors import NotFound
from modules.imaging.tagger import Taggers, Tags, as_prompt
from modules.settings import Settings

if TYPE_CHECKING:
    from modules.networks.captioner import Caption

CLIP, DEEPDANBOORU = "clip", "deepdanbooru"
"""WebUI's names: of a sentence, and of a list of words."""
TAGGING = (DEEPDANBOORU, "deepbooru", "wd14")


class Describers:
    """The captioners and taggers. Only one thread at a time may use them; the job queue's worker is that thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.taggers = Taggers(settings.folders("taggers"))
        self._captioner: Newest[Caption] = Newest()

    def captioners(self) -> dict[str, Path]:
        """The captioners by name: folders, then single files, which know a small world only."""
        places = self._settings.folders("captioners")
        folders = {path.name: path for path in reversed(network_folders(places))}
        files = {path.stem: path for place in reversed(places) if place.is_dir()
                 for path in sorted(place.glob("*.safetensors"), reverse=True)}
        return {name: kind[name] for kind in (folders, files) for name in sorted(kind, key=str.lower)
                if kind is folders or name not in folders}

    def captioner(self, name: str) -> str:
        """The full name of the captioner that `name` means, in any case; `clip` is the first. Raises NotFound."""
        names = list(self.captioners())
        found = names[:1] if name.lower() == CLIP else [known for known in names if known.lower() == name.lower()]
        if not found:
            folder = self._settings.folders("captioners")[0]
            raise NotFound(f"There is no model here that describes pictures ({name[:100]}): put a captioner such as "
                           f"BLIP, in transformers' layout, into a folder in {folder}.", field="model")
        return found[0]

    def tagger(self, name: str) -> str:
        """The full name of the tagger that `name` means, in any case; empty or `deepdanbooru` is the first one. Raises
        NotFound."""
        names = list(self.taggers.files())
        found = names[:1] if name.lower() in ("", *TAGGING) else [
            known for known in names if known.lower() == name.lower()]
        if not found:
            raise NotFound(f"There is no tagger here ({name[:100]}): put its ONNX file with its selected_tags.csv into "
                           f"a folder in {self._settings.folders('taggers')[0]}.", field="model")
        return found[0]

    def named(self, model: str) -> str:
        """The full name of the captioner or tagger that `model` means. Raises the NotFound of `describe`."""
        return self.tagger(model) if self._tags(model) else self.captioner(model)

    def describe(self, image: Image.Image, model: str, threshold: float, check: Callable[[], None]) -> str:
        """Words for a picture, as a prompt. `model` is `clip`, `deepdanbooru`, or the name of a captioner or tagger;
        `threshold` is the least share of a tagger's word. `check` is called on the way.

        Raises NotFound, CheckpointError, and what `check` raises.
        """
        check()
        if self._tags(model):
            return as_prompt(list(self.tags(image, model).above(threshold)))
        return self._caption(self.captioners()[self.captioner(model)])(image.convert("RGB"), check)

    def tags(self, image: Image.Image, model: str) -> Tags:
        """What a tagger sees. Raises NotFound, CheckpointError."""
        return self.taggers.tag(image, self.tagger(model))

    def forget(self) -> None:
        """Drop the networks. What is needed again is read again."""
        self._captioner.forget()
        self.taggers = Taggers(self._settings.folders("taggers"))

    def _tags(self, model: str) -> bool:
        known = (name.lower() for name in self.taggers.files())
        return model.lower() in TAGGING or model.lower() in known

    def _caption(self, path: Path) -> Caption:
        from modules.networks.captioner import load_captioner
        from modules.networks.scene_captioner import load_scene_captioner

        return self._captioner.of(path, lambda path: load_captioner(path, compute_device(self._settings))
                                  if path.is_dir() else load_scene_captioner(path))
