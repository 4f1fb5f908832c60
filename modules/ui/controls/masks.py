"""What makes masks from the picture of the inpaint canvas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from modules.base.files import file_version
from modules.engine.engine import Engine
from modules.errors import InvalidInput
from modules.imaging.click_mask import Box, Click
from modules.jobs.answers import answer
from modules.jobs.job import Job
from modules.jobs.queue import JobQueue

Open = Callable[[], Image.Image]


@dataclass(frozen=True)
class Masks:
    """A `MaskMaker` of the canvas. A network waits for its turn in the queue; without one the answer comes at once."""

    engine: Engine
    queue: JobQueue

    def by_clicks(self, file: Path, opened: Open, clicks: Sequence[Click], box: Box | None,
                  candidate: int | None) -> Image.Image:
        """What the clicks and the box mean. Raises InvalidInput, CheckpointError."""
        clicking = self.engine.clicking
        return self._made(lambda: clicking.mask((file, file_version(file)), opened, clicks, box, candidate),
                          in_turn=clicking.is_network)

    def by_words(self, file: Path, opened: Open, words: str) -> Image.Image:
        """What the words name. Raises InvalidInput, NotFound, CheckpointError."""
        grounding, least = self.engine.grounding, self.engine.options.mask_words_threshold
        grounding.check(words)
        return self._made(lambda: grounding.mask((file, file_version(file)), opened, words, least), in_turn=True)

    def subject(self, file: Path, opened: Open) -> Image.Image:
        """The subject. Raises InvalidInput, CheckpointError."""
        subjects = self.engine.subjects
        return self._made(lambda: subjects.mask(opened()), in_turn=subjects.file is not None)

    def _made(self, make: Callable[[], Image.Image], *, in_turn: bool) -> Image.Image:
        if not in_turn:
            return make()

        def work(job: Job) -> Image.Image:
            job.stage("Looking at the picture")
            return make()

        return answer(self.queue, work, interrupted=InvalidInput("No mask was made: it was interrupted."))
