"""Makes the edits of a record again, as the steps of a job."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from modules.engine import keeping, redo
from modules.errors import InvalidInput
from modules.jobs.tasks import Carry, Step
from modules.request import Txt2Img
from modules.request.job_context import JobContext
from modules.request.photograph import Photograph
from modules.request.result import GeneratedImage, Result
from modules.text import edits as record
from modules.text.edits import Edits

Source = Callable[[], Photograph]
"""Reads the photograph that the edits begin with. It is called when a step begins: a job that waits holds no pixels."""


def steps(edits: Edits, source: Source, remove: Carry) -> list[Step]:
    """The steps that make `edits` again; `remove` carries a request for Remove out. Edits whose text is empty are left
    out. Raises InvalidInput if none is left.
    """
    plan: list[Step] = []

    def follow(numbers: list[int | None], edits: Sequence[record.Step]) -> list[int | None]:
        """Append `edits` to the plan. `numbers` are the steps that make the pictures so far, None for the source;
        returned with those of `edits`."""
        for edit in edits:
            if not edit.text.strip():
                numbers = [*numbers, numbers[-1]]
                continue
            reads = [numbers[-1], *(follow(numbers[:kept.start + 1], kept.steps)[-1] for kept in edit.kept)]
            made = tuple(number for number in reads if number is not None)
            plan.append(Step(_maker(edit, reads, source, remove), made))
            numbers = [*numbers, len(plan) - 1]
        return numbers

    follow([None], edits.steps)
    if not plan:
        raise InvalidInput("There is no edit to make again.")
    return plan


def _maker(edit: record.Step, reads: Sequence[int | None], source: Source,
           remove: Carry) -> Callable[[Sequence[GeneratedImage]], tuple[Txt2Img, Carry | None]]:
    def make(made: Sequence[GeneratedImage]) -> tuple[Txt2Img, Carry | None]:
        results = iter(made)
        before, *others = [_picture(next(results)) if number is not None else source() for number in reads]
        if not edit.kept:
            return redo.request_of(edit, before), remove if edit.removes else None
        parts = [keeping.Part(picture, redo.mask_of(kept, before.size))
                 for kept, picture in zip(edit.kept, others, strict=True)]
        request = keeping.request_of(before, parts)
        result = made[0] if reads[0] is not None else GeneratedImage(before.image, -1, -1, "", photograph=before)

        def carry(request: Txt2Img, job: JobContext) -> Result:
            return Result(job.keep([keeping.keep(result, parts, request.options)], request), request)

        return request, carry

    return make


def _picture(made: GeneratedImage) -> Photograph:
    if made.photograph is None:
        raise InvalidInput("A step has changed the picture's size, so the next one cannot go on with it.")
    return made.photograph
