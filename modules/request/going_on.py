"""What if: a run goes on with something else after `go_on_after` calls of the network.

Prompt, negative prompt, CFG scale and mask change while the sampler walks on. Another sampler, seed or strength begin
again: the guess of the finished picture is noised and sampled as in img2img (see `generation.going_on`). Nothing else
can change.
"""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any

from PIL import Image

from modules.errors import InvalidInput
from modules.request.fields import declared
from modules.request.options import Options
from modules.request.request import Img2Img, Inpaint, Txt2Img, seed_after

OWN = ("go_on_after", "then_prompt", "then_negative_prompt", "then_cfg_scale", "then_sampler", "then_seed",
       "then_strength")
"""The fields of this file, without `then_mask`."""
NOT_COMPARED = (*OWN, "prompt", "negative_prompt", "cfg_scale", "sampler", "scheduler", "seed", "subseed", "n_iter",
                "record_steps")
"""The fields that may differ between a run and the one that goes on from it."""


def begins_again(request: Txt2Img) -> bool:
    """Whether the rest is a walk of its own, from the guess of the finished picture."""
    return bool(request.then_sampler or request.then_seed >= 0 or request.then_strength)


def rest_of(request: Txt2Img) -> Txt2Img:
    """The request of the rest: with the prompts, the scale, the mask and the sampler that hold there."""
    changes: dict[str, Any] = {item.name: item.default for item in declared(type(request)) if item.name in OWN}
    changes |= {"prompt": request.then_prompt or request.prompt, "cfg_scale": request.then_cfg_scale
                or request.cfg_scale, "negative_prompt": request.then_negative_prompt or request.negative_prompt}
    if request.then_sampler:
        changes |= {"sampler": request.then_sampler, "scheduler": "Automatic"}
    if isinstance(request, Inpaint) and request.then_mask:
        changes |= {"mask": request.then_mask, "then_mask": None}
    return replace(request, **changes)


def settled(request: Txt2Img) -> Txt2Img:
    """`request` without what has no effect where `go_on_after` is 0."""
    if request.go_on_after:
        return request
    changes: dict[str, Any] = {item.name: item.default for item in declared(type(request)) if item.name in OWN}
    if isinstance(request, Inpaint):
        changes["then_mask"] = None
    return replace(request, replayed=None, **changes)


def check(request: Txt2Img) -> None:
    """Raise InvalidInput for what cannot be gone on with."""
    if not request.go_on_after:
        return
    if request.enable_hr:
        raise InvalidInput("A run with hires fix cannot go on with something else: switch one of the two off.",
                           field="go_on_after")
    if isinstance(request, Inpaint) and request.then_mask and request.soft:
        raise InvalidInput("With soft inpainting the mask cannot change on the way.", field="then_mask")
    if isinstance(request, Inpaint) and request.only_masked:
        if request.each_spot:
            raise InvalidInput("A run with Each spot cannot go on with something else: it is one run for each spot.",
                               field="go_on_after")
        if request.then_mask:
            raise InvalidInput("With Only masked the mask cannot change on the way, since it says which part of the "
                               "picture is worked on.", field="then_mask")


def changed(before: Txt2Img, after: Txt2Img, calls: int, run: int = 0) -> Txt2Img:
    """The request that begins as run number `run` of `before`, whose seeds are drawn, and goes on as `after` asks after
    so many `calls`. Raises InvalidInput where they differ in something that cannot change."""
    if calls < 1:
        raise InvalidInput("Before the first call nothing is computed yet: press Generate instead.",
                           field="go_on_after")
    if before.go_on_after:
        raise InvalidInput("This run went on from another one itself: look into that one, and go on from there.",
                           field="go_on_after")
    if before.script or after.script:
        raise InvalidInput("A run of a script cannot go on with something else.", field="go_on_after")
    number = run * before.batch_size
    before = replace(before, n_iter=1, seed=seed_after(before.seed, 0 if before.subseed_strength else number),
                     subseed=seed_after(before.subseed, number))
    after = settled(replace(after, go_on_after=0))
    _compare(before, after)
    changes: dict[str, Any] = {"go_on_after": calls}
    for own, name in (("then_prompt", "prompt"), ("then_negative_prompt", "negative_prompt"),
                      ("then_cfg_scale", "cfg_scale")):
        if getattr(after, name) != getattr(before, name):
            changes[own] = getattr(after, name)
            if not changes[own]:
                raise InvalidInput("On the way the prompts cannot become empty, nor the CFG scale 0.", field=own)
    if (after.sampler, after.scheduler) != (before.sampler, before.scheduler):
        changes["then_sampler"] = " ".join(part for part in (after.sampler, after.scheduler) if part != "Automatic")
    if after.seed not in (-1, before.seed):
        changes["then_seed"] = after.seed
    if isinstance(before, Img2Img) and after.denoising_strength != before.denoising_strength:
        if not after.denoising_strength:
            raise InvalidInput("On the way the denoising strength cannot become 0.", field="then_strength")
        changes["then_strength"] = after.denoising_strength
    if isinstance(before, Inpaint) and isinstance(after, Inpaint) and not _same(before.mask, after.mask):
        changes["then_mask"] = after.mask
    request = replace(before, **changes)
    check(request)
    return request


def _compare(before: Txt2Img, after: Txt2Img) -> None:
    """Raise InvalidInput naming what differs and cannot change on the way."""
    if type(before) is not type(after):
        raise InvalidInput("That run was made on another tab.", field="go_on_after")
    free = {*NOT_COMPARED, *({"denoising_strength"} if isinstance(before, Img2Img) or not before.enable_hr else ())}
    named = {item.name: item.label for item in declared(type(before))}
    for item in dataclasses.fields(before):
        if item.name in free or item.name in ("mask", "then_mask", "photographs", "options", "replayed"):
            continue
        if not _same(getattr(before, item.name), getattr(after, item.name)):
            raise InvalidInput(f"{named.get(item.name, item.name)} differs from that run: only prompts, CFG scale, "
                               "mask, sampler, seed and strength can change on the way.", field=item.name)
    for option in declared(Options):
        if option.text and getattr(before.options, option.name) != getattr(after.options, option.name):
            raise InvalidInput(f"{option.label} differs from that run: only prompts, CFG scale, mask, sampler, seed "
                               "and strength can change on the way.", field=option.name)


def _same(one: Any, other: Any) -> bool:
    """Whether two values are equal; pictures by their pixels."""
    if isinstance(one, Image.Image) and isinstance(other, Image.Image):
        return (one.mode, one.size) == (other.mode, other.size) and one.tobytes() == other.tobytes()
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if dataclasses.is_dataclass(one) and type(one) is type(other):
        return all(_same(getattr(one, item.name), getattr(other, item.name)) for item in dataclasses.fields(one))
    return bool(one == other)
