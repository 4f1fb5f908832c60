"""The detailer's part of a job: its detectors are found and read before anything is drawn."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from PIL import Image

from modules.engine.control import ControlNetworks
from modules.errors import InvalidInput
from modules.hooks.types import GenerationContext
from modules.imaging.detectors.drawing import drawn
from modules.imaging.detectors.masks import chosen, masks_of
from modules.imaging.detectors.registry import Detectors
from modules.request import Txt2Img
from modules.request.detail import MOST_PASSES, SAME_SAMPLER, SAME_SCHEDULER, DetailPass
from modules.request.job_context import JobContext
from modules.request.options import Options

if TYPE_CHECKING:
    from modules.generation.detail import Detail
    from modules.sampling.registry import Sampler


def check(request: Txt2Img, detectors: Detectors, samplers: Callable[[], Sequence[Sampler]],
          files_of: Callable[[Options], object], control: ControlNetworks) -> None:
    """Raise the UserError with which the passes of `request` would be refused. `files_of` finds the checkpoint and VAE
    that options name."""
    if len(request.detail) > MOST_PASSES:
        raise InvalidInput(f"The detailer makes {MOST_PASSES} passes at most, not {len(request.detail)}.",
                           field="detail")
    for one in request.detail:
        detectors.find(one.model)
        files_of(request.options.replaced(one.files()))
        control.check_units(one.units(()), has_picture=True)
        if one.use_sampler:
            from modules.sampling.registry import resolve

            resolve(one.sampler if one.sampler != SAME_SAMPLER else request.sampler,
                    one.scheduler if one.scheduler != SAME_SCHEDULER else "", samplers())


def named(request: Txt2Img, detectors: Detectors) -> tuple[Txt2Img, list[str]]:
    """`request` with the full names of its passes' detectors, and a sentence for each that stands in for another.
    Raises InvalidInput."""
    found = [detectors.find(one.model) for one in request.detail]
    passes = tuple(dataclasses.replace(one, model=name) for one, (name, _) in zip(request.detail, found, strict=True))
    return dataclasses.replace(request, detail=passes), list(dict.fromkeys(note for _, note in found if note))


def preview(picture: Image.Image, passes: Sequence[DetailPass], detectors: Detectors,
            order: str) -> tuple[Image.Image, list[int]]:
    """RGB `picture` with what `passes` would paint anew in it, in the `order` of the option `ad_bbox_sortby`, and the
    number of each pass's finds. Raises InvalidInput, CheckpointError."""
    shown, counts = picture.convert("RGB"), []
    for number, asked in enumerate(passes):
        detect = detectors.detector(detectors.find(asked.model)[0])
        finds = chosen(detect(picture.convert("RGB"), asked.confidence), asked, picture.size, order)
        shown = drawn(shown, finds, masks_of(finds, asked, picture.size), number)
        counts.append(len(finds))
    return shown, counts


def detailer(request: Txt2Img, detectors: Detectors, context: Callable[[], GenerationContext], job: JobContext,
             notes: list[str]) -> Detail | None:
    """What carries out the passes of `request`, whose detectors have their full names; None without passes. `notes`
    get its sentences. Raises InvalidInput, CheckpointError."""
    if not request.detail:
        return None
    from modules.generation.detail import Detailer

    job.stage("Reading the detectors")
    passes = [(one, detectors.detector(one.model)) for one in request.detail]

    def warn(sentence: str) -> None:
        if sentence not in notes:
            notes.append(sentence)

    return Detailer(passes, context, warn)
