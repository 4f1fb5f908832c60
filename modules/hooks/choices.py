"""What there is to choose from on this machine, by the names that people choose it by."""

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
    """Lists that are made when they are asked for."""

    def __init__(self, catalog: Catalog, upscalers: Upscalers, styles_file: Path,
                 samplers: Callable[[], Sequence[Sampler]]) -> None:
        self._catalog, self._upscalers, self._styles_file, self._samplers = catalog, upscalers, styles_file, samplers

    def checkpoints(self) -> list[str]:
        """Names of the checkpoints."""
        return [file.name for file in self._catalog.checkpoints()]

    def vaes(self) -> list[str]:
        """What the VAE option can be."""
        return ["Automatic", "None", *(file.name for file in self._catalog.vaes())]

    def samplers(self) -> list[str]:
        """Names of the samplers. Brings torch."""
        return [sampler.name for sampler in self._samplers()]

    def schedules(self) -> list[str]:
        """Labels of the schedules. Brings torch."""
        from modules.sampling.schedules import AUTOMATIC, SCHEDULES

        return [AUTOMATIC, *(schedule.label for schedule in SCHEDULES)]

    def upscalers(self) -> list[str]:
        """Names of the upscalers that work on pixels."""
        return self._upscalers.names()

    def hires_upscalers(self) -> list[str]:
        """Names of what hires fix can enlarge with."""
        return [*LATENT_UPSCALERS, *self._upscalers.names()]

    def styles(self) -> list[str]:
        """Names of the prompt styles."""
        return [style.name for style in load_styles(self._styles_file)]
