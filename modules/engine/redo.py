"""Records how a photograph was edited, and makes the requests with which the edits are made again."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
import io
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from modules.errors import InvalidInput, UserError
from modules.imaging.mask import to_luminance
from modules.imaging.photograph import without_place
from modules.request import Inpaint, ResizeMode
from modules.request.fields import declared
from modules.request.options import Options
from modules.request.photograph import Photograph
from modules.text.edits import Edits, Kept, Source, Step, from_json
from modules.text.infotext import parse, to_changes

KEEP_BRUSH = "Keep-brush"
"""The text of an edit by the keep-brush. It has no parameters."""

_NOT_COMPARED = ("sd_model_checkpoint", "sd_vae", "samples_save", "save_edits", "save_places", "return_mask",
                 "return_mask_composite", "n_iter", "batch_size", "seed", "subseed")
"""Options and fields that the text names in other words, or that are not needed to make the same picture."""


def recorded(made: Photograph, before: Photograph, request: Inpaint, text: str) -> Photograph:
    """`made`, which `request` made of `before`, with the record of all its edits and as much metadata as the options
    allow. There is no record if the edit could not be made again from one."""
    return _followed(made, before, request.options, lambda: _step(request, before, text))


def recorded_removal(made: Photograph, before: Photograph, request: Inpaint, mask: Image.Image,
                     text: str) -> Photograph:
    """The same where `request` took away what `mask` paints over, which is the request's as it counts."""
    step = Step(text, _png(mask), {"mask_round": request.mask_round}, removes=True)
    return _followed(made, before, request.options, lambda: step)


def _followed(made: Photograph, before: Photograph, options: Options,
              make_step: Callable[[], Step | None]) -> Photograph:
    """`made` with the record of `before` and the edit that was made of it."""
    if not options.save_places:
        made = dataclasses.replace(made, exif=without_place(made.exif))
    edits = _continued(before)
    step = make_step() if edits and options.save_edits else None
    if edits is None or step is None:
        return dataclasses.replace(made, record="")
    source = edits.source if options.save_places else dataclasses.replace(edits.source, name="")
    record = Edits(source, (*edits.steps, step), digest(made))
    return dataclasses.replace(made, record=record.to_json())


def _continued(before: Photograph) -> Edits | None:
    """The record of `before`, or an empty one that begins with its file. None if it is neither."""
    edits = from_json(before.record) if before.record else None
    if edits and edits.pixels == digest(before):
        return edits
    if not before.sha256:
        return None
    return Edits(Source(before.sha256, before.nbytes, *before.size, before.name), ())


def recorded_parts(made: Photograph, base: Photograph, parts: Sequence[tuple[Photograph, Image.Image]],
                   options: Options) -> Photograph:
    """`made`, which the keep-brush made of `base` and `parts` of other pictures with their masks, with the record of
    all edits. There is no record if they do not all come from one source."""
    edits, others = _continued(base), [_continued(picture) for picture, _ in parts]
    if not options.save_edits or edits is None or not edits.steps or \
            any(one is None or one.source.sha256 != edits.source.sha256 for one in others):
        return made
    kept = tuple(_kept(edits.steps, one.steps if one else (), mask)
                 for one, (_, mask) in zip(others, parts, strict=True))
    record = Edits(edits.source, (*edits.steps, Step(KEEP_BRUSH, "", kept=kept)), digest(made))
    return dataclasses.replace(made, record=record.to_json())


def _kept(steps: Sequence[Step], others: Sequence[Step], mask: Image.Image) -> Kept:
    """A part of the picture that `others` make, in the record that so far has `steps`."""
    start = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(steps, others, strict=False)))
    return Kept(_png(mask), start, tuple(others[start:]))


def _png(mask: Image.Image) -> str:
    """A mask as a PNG in base64."""
    buffer = io.BytesIO()
    mask.save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def digest(photograph: Photograph) -> str:
    """The SHA-256 of its values."""
    return hashlib.sha256(np.ascontiguousarray(photograph.pixels).data).hexdigest()


def _step(request: Inpaint, before: Photograph, text: str) -> Step | None:
    """The edit as a step. None if that would not make the same picture."""
    if not text or request.script or request.always_on or request.control_units or request.detail or \
            request.latent_mask or request.then_mask:
        return None
    step = Step(text, _png(to_luminance(request.mask, hard=request.mask_round)))
    try:
        again = request_of(step, before)
    except UserError:
        return None
    missing = {item.name: getattr(request, item.name) for item in declared(Inpaint)
               if item.is_plain and item.name not in _NOT_COMPARED
               and getattr(again, item.name) != getattr(request, item.name)}
    options = {item.name: getattr(request.options, item.name) for item in declared(Options)
               if item.name not in _NOT_COMPARED
               and getattr(again.options, item.name) != getattr(request.options, item.name)}
    if request.resize_mode != again.resize_mode:
        missing["resize_mode"] = int(request.resize_mode)
    if (again.soft, again.masked_content) != (request.soft, request.masked_content):
        return None
    return dataclasses.replace(step, fields=missing, options=options)


def request_of(step: Step, photograph: Photograph) -> Inpaint:
    """The request that makes `step` on `photograph`. Raises InvalidInput."""
    changes = to_changes(parse(step.text), with_checkpoint=True)
    plain = {item.name for item in declared(Inpaint) if item.is_plain}
    fields: dict[str, Any] = changes.fields | {name: value for name, value in step.fields.items() if name in plain}
    resize_mode = step.fields.get("resize_mode", 0)
    options = Options().replaced({**changes.options, **step.options})
    try:
        return Inpaint(**fields, resize_mode=ResizeMode(int(resize_mode or 0)), init_images=(photograph.image,),
                       photographs=(photograph,), mask=mask_of(step, photograph.size), options=options)
    except (TypeError, ValueError) as error:  # a record of anybody's: a value that the field cannot have
        raise InvalidInput("The record of the edits cannot be read.") from error


def mask_of(step: Step | Kept, size: tuple[int, int]) -> Image.Image:
    """The mask of a step or of a kept part, L. Raises InvalidInput, also if it has more than twice the pixels of the
    picture, which has `size`."""
    try:
        with Image.open(io.BytesIO(base64.b64decode(step.mask, validate=True)), formats=("PNG",)) as mask:
            if mask.width * mask.height <= 2 * size[0] * size[1]:
                return mask.convert("L")
    except (binascii.Error, Image.DecompressionBombError, OSError, ValueError, SyntaxError) as error:
        raise InvalidInput("The record of the edits cannot be read.") from error
    raise InvalidInput("The record of the edits cannot be read.")


def check_source(edits: Edits, photograph: Photograph) -> None:
    """Raises InvalidInput unless `photograph` is the file that the edits began with."""
    if photograph.sha256 != edits.source.sha256:
        raise InvalidInput(f"This is not the photograph that the edits began with ({edits.source.name or 'no name'}, "
                           f"{edits.source.width}x{edits.source.height}, {edits.source.nbytes} bytes).")
