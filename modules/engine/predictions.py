"""What checkpoints predict where somebody has said so: an option of the request, else what is remembered of the
checkpoint, by its hash, in config.json."""

from __future__ import annotations

from typing import Any

from modules.base.config import Config
from modules.errors import InvalidInput
from modules.request.options import AUTOMATIC, PREDICTION_TYPES, Options
from modules.weights.catalog import Catalog, CheckpointFile

KEY = "prediction_types"
"""The entry of config.json: SHA-256 -> "eps" or "v"."""


class Predictions:
    """The choices for all checkpoints. For any thread."""

    def __init__(self, config: Config, catalog: Catalog) -> None:
        self._config, self._catalog = config, catalog

    def remembered(self, checkpoint: CheckpointFile) -> str:
        """What is remembered of a checkpoint; "Automatic" if nothing is, or while its hash is not known."""
        return self._all().get(checkpoint.sha256 or "", AUTOMATIC)

    def remember(self, checkpoint: CheckpointFile, choice: str) -> None:
        """From now on the checkpoint predicts `choice`, one of `PREDICTION_TYPES`. The file is read if its hash is not
        known. Raises InvalidInput, NotFound."""
        if choice not in PREDICTION_TYPES:
            raise InvalidInput(f"A checkpoint predicts {', '.join(PREDICTION_TYPES)}, not {choice[:40]!r}.",
                               field="prediction_type")
        digest = self._catalog.sha256(checkpoint)
        others = {known: kept for known, kept in self._all().items() if known != digest}
        self._config.update({KEY: others if choice == AUTOMATIC else others | {digest: choice}})

    def of(self, checkpoint: CheckpointFile, options: Options) -> str:
        """What the checkpoint predicts in a request with `options`. Raises NotFound."""
        if options.prediction_type != AUTOMATIC or not self._all():
            return options.prediction_type
        return self.remembered(self._catalog.hashed(checkpoint))

    def _all(self) -> dict[str, str]:
        found: Any = self._config.values().get(KEY)
        return {digest: kept for digest, kept in found.items() if kept in PREDICTION_TYPES} \
            if isinstance(found, dict) else {}
