"""The choices that this machine offers: checkpoints, VAEs, samplers and so on, by the names shown to users."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from modules.imaging.upscale import LATENT_UPSCALERS, Upscalers
from modules.text.styles import load_styles
from modules.weights.catalog import Catalog

if TYPE_CHECKING:
    from modules.sampling.registry import Sampler


class Available:
    """Lists of names. Each is made anew by the call, so that it is current."""

    def __init__(self, catalog: Catalog, upscalers: Upscalers, styles_file: Path,
                 samplers: Callable[[], Sequence[Sampler]]) -> None:
        self._catalog, self._upscalers, self._styles_file, self._samplers = catalog, upscalers, styles_file, samplers

    def checkpoints(self) -> list[str]:
        """The names of the checkpoints."""
        return [file.name for file in self._catalog.checkpoints()]

    def vaes(self) -> list[str]:
        """The values of the VAE option."""
        return ["Automatic", "None", *(file.name for file in self._catalog.vaes())]

    def samplers(self) -> list[str]:
        """The names of the samplers. Imports torch."""
        return [sampler.name for sampler in self._samplers()]

    def schedules(self) -> list[str]:
        """The labels of the schedules. Imports torch."""
        from modules.sampling.schedules import AUTOMATIC, SCHEDULES

        return [AUTOMATIC, *(schedule.label for schedule in SCHEDULES)]

    def upscalers(self) -> list[str]:
        """The names of the upscalers that work on pixels."""
        return self._upscalers.names()

    def upscalers_for_programs(self) -> list[str]:
        """The same, and those that WebUI always has."""
        return self._upscalers.names_for_programs()

    def hires_upscalers(self) -> list[str]:
        """The names of the upscalers for hires fix, latent upscalers first."""
        return [*LATENT_UPSCALERS, *self._upscalers.names()]

    def styles(self) -> list[str]:
        """The names of the prompt styles."""
        return [style.name for style in load_styles(self._styles_file)]
