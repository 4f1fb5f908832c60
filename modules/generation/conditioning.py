"""Words to guidance: a request's prompts, with their schedules and ANDs, encoded by the model."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from modules.request import Txt2Img
from modules.request.options import Options
from modules.sampling.guidance import Guidance, ScheduledContext
from modules.sampling.types import SDModel
from modules.text import prompt as prompts
from modules.text.prompt_schedule import schedule

Encode = Callable[[tuple[str, ...]], Tensor]
"""The texts of one prompt over time -> contexts (texts, 77k, C)."""

Parts = tuple[tuple[ScheduledContext, float], ...]


def encode(model: SDModel, prompt: str, negative_prompt: str, *, images: int, calls: int, scale: float,
           options: Options, hires_calls: int | None = None, extra_channels: Tensor | None = None) -> Guidance:
    """Guidance for a batch of `images` pictures of one prompt over `calls` network calls.

    `hires_calls` are those of a second pass, when it is for that one: schedules go on counting from the first.
    """
    context = partial(model.encode_prompts, clip_skip=options.CLIP_stop_at_last_layers,
                      emphasis="Old" if options.use_old_emphasis_implementation else options.emphasis,
                      comma_backtrack=options.comma_padding_backtrack)
    words, _ = prompts.extra_networks(prompts.strip_comments(prompt))
    scheduled = partial(_scheduled, calls=calls, hires_calls=hires_calls, context=context, options=options)
    parts = tuple((scheduled(text), weight) for text, weight in prompts.split_and(words))
    negative = scheduled(prompts.strip_comments(negative_prompt))
    if options.pad_cond_uncond_v0:
        negative = _cut_or_repeat(negative, parts)
    elif options.pad_cond_uncond:
        parts, negative = _pad_with_empty(parts, negative, context(("",))[0])
    return Guidance((parts,) * images, negative, scale, extra_channels, options.cfg_rescale)


def left_out(request: Txt2Img) -> tuple[str, ...]:
    """A sentence where the prompts ask for what `encode` leaves out."""
    texts = (request.prompt, request.hr_prompt if request.enable_hr else "")
    tags = [tag for text in texts for tag in prompts.extra_networks(prompts.strip_comments(text))[1]]
    named = ", ".join(dict.fromkeys(tags))
    return (f"LoRA files and hypernetworks are not supported; left out of the prompt: {named}.",) if tags else ()


def _scheduled(text: str, calls: int, hires_calls: int | None, context: Encode, options: Options) -> ScheduledContext:
    entries = schedule(text, calls, hires_steps=hires_calls, old=options.use_old_scheduling)
    contexts = context(tuple(part for _, part in entries))
    return ScheduledContext(tuple((last, one) for (last, _), one in zip(entries, contexts, strict=True)))


def _longest(parts: Parts) -> int:
    return max(len(context) for scheduled, _ in parts for _, context in scheduled.entries)


def _cut_or_repeat(negative: ScheduledContext, parts: Parts) -> ScheduledContext:
    """The negative prompt brought to the prompt's length: its last vector repeated, or cut (WebUI before 1.6)."""
    length = _longest(parts)
    return ScheduledContext(tuple(
        (last, torch.cat([c[:length], c[-1:].expand(max(length - len(c), 0), -1)])) for last, c in negative.entries))


def _pad_with_empty(parts: Parts, negative: ScheduledContext, empty: Tensor) -> tuple[Parts, ScheduledContext]:
    """Prompt and negative prompt at one length, the shorter filled with the empty prompt's chunk."""
    length = max(_longest(parts), _longest(((negative, 1.0),)))

    def pad(scheduled: ScheduledContext) -> ScheduledContext:
        return ScheduledContext(tuple(
            (last, torch.cat([c, *[empty] * ((length - len(c)) // len(empty))])) for last, c in scheduled.entries))

    return tuple((pad(scheduled), weight) for scheduled, weight in parts), pad(negative)
