"""The options in force: those that requests start from, remembered in config.json, and the model files they name."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modules.base.config import Config
from modules.errors import UserError
from modules.request.options import Options
from modules.settings import Settings
from modules.weights.catalog import Catalog, CheckpointFile, VaeFile

log = logging.getLogger(__name__)


class OptionsInForce:
    """Starts from the remembered options; an entry that is no longer valid is skipped with a warning. `--ckpt` goes
    before the remembered checkpoint.

    Any thread may call it. Raises NotFound for a checkpoint in `--ckpt` that is not in the catalog.
    """

    def __init__(self, settings: Settings, catalog: Catalog, config: Config) -> None:
        self.options = Options()
        self._catalog, self._config = catalog, config
        self._usual: Path | None = None
        self._lock = threading.Lock()
        self._restore(settings.config_file.name)
        if settings.ckpt:
            self.options = self.options.replaced({"sd_model_checkpoint": settings.ckpt})
            self.files_of(self.options)

    def set(self, changes: Mapping[str, Any]) -> None:
        """Change the options in force and remember them. Names that are not ours are only remembered.

        No model is loaded yet. Raises InvalidInput and NotFound; nothing is changed then.
        """
        with self._lock:
            options = self.options.replaced(changes)
            if {"sd_model_checkpoint", "sd_vae"} & set(changes):
                self.files_of(options)
            ours = {name: getattr(options, name) for name in changes if hasattr(options, name)}
            self._config.update({**changes, **ours})
            self.options = options

    def files_of(self, options: Options) -> tuple[CheckpointFile | None, VaeFile | None]:
        """The checkpoint and VAE files that `options` name. Raises NotFound.

        An empty checkpoint name stands for the usual checkpoint. "None" and "Automatic" (the VAE beside the
        checkpoint) are understood in any case, as in WebUI.
        """
        wanted = options.sd_model_checkpoint
        checkpoint = self._catalog.find(wanted) if wanted else self._usual_checkpoint()
        vae = options.sd_vae.strip().lower()
        if vae == "none":
            return checkpoint, None
        if vae in ("automatic", "auto", ""):
            return checkpoint, self._catalog.automatic_vae(checkpoint) if checkpoint else None
        return checkpoint, self._catalog.find_vae(options.sd_vae)

    def _usual_checkpoint(self) -> CheckpointFile | None:
        """The checkpoint used while none has been chosen: the first of the catalog. It stays the same when a file that
        sorts before it is added later. None if there is no checkpoint."""
        there = self._catalog.checkpoints()
        first = next((file for file in there if file.path == self._usual), there[0] if there else None)
        self._usual = first.path if first else None
        return first

    def _restore(self, config_name: str) -> None:
        """Put the remembered options into force, except those that are no longer valid."""
        for name, value in self._config.values().items():
            try:
                options = self.options.replaced({name: value})
                self.files_of(options)
                self.options = options
            except UserError as error:
                log.warning("%s: %s", config_name, error.message)
