"""Words to guidance: a request's prompts, with their schedules and ANDs, encoded by the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from modules.request import Txt2Img
from modules.request.options import Options
from modules.sampling.conditioning import Conditioning, SizeIds, TextOptions
from modules.sampling.guidance import Guidance, ScheduledConditioning
from modules.sampling.types import SDModel
from modules.text import prompt as prompts
from modules.text.prompt_schedule import schedule

Encode = Callable[[tuple[str, ...]], list[Conditioning]]
"""The texts of one prompt over time -> their conditionings."""

Parts = tuple[tuple[ScheduledConditioning, float], ...]


def encode(model: SDModel, prompt: str, negative_prompt: str, *, size: tuple[int, int], images: int, calls: int,
           scale: float, options: Options, hires_calls: int | None = None, beside: Tensor | None = None) -> Guidance:
    """Guidance for a batch of `images` pictures of one prompt over `calls` network calls.

    `size` (width, height) in pixels is that of the pass at hand. `hires_calls` are those of a second pass, when it is
    for that one: schedules go on counting from the first.
    """
    def encoded(texts: tuple[str, ...], *, negative: bool = False) -> list[Conditioning]:
        return model.encode_prompts(texts, text_options(options, size, negative=negative))

    words, _ = prompts.extra_networks(prompts.strip_comments(prompt))
    scheduled = partial(_scheduled, calls=calls, hires_calls=hires_calls, options=options)
    parts = tuple((scheduled(text, encode=encoded), weight) for text, weight in prompts.split_and(words))
    negative = scheduled(prompts.strip_comments(negative_prompt), encode=partial(encoded, negative=True))
    if options.pad_cond_uncond_v0:
        negative = _cut_or_repeat(negative, parts)
    elif options.pad_cond_uncond:
        parts, negative = _pad_with_empty(parts, negative, encoded(("",))[0].tokens)
    return Guidance((parts,) * images, negative, scale, beside, options.cfg_rescale)


def text_options(options: Options, size: tuple[int, int], *, negative: bool) -> TextOptions:
    """How the prompt, or the `negative` one, of a picture of `size` (width, height) is encoded."""
    aesthetic = options.sdxl_refiner_low_aesthetic_score if negative else options.sdxl_refiner_high_aesthetic_score
    return TextOptions(
        options.CLIP_stop_at_last_layers,
        "Old" if options.use_old_emphasis_implementation else options.emphasis,
        options.comma_padding_backtrack, options.sdxl_clip_l_skip,
        SizeIds(size, (options.sdxl_crop_left, options.sdxl_crop_top), size, aesthetic), negative)


def left_out(request: Txt2Img) -> tuple[str, ...]:
    """A sentence where the prompts ask for what `encode` leaves out."""
    texts = (request.prompt, request.hr_prompt if request.enable_hr else "")
    tags = [tag for text in texts for tag in prompts.extra_networks(prompts.strip_comments(text))[1]]
    named = ", ".join(dict.fromkeys(tags))
    return (f"LoRA files and hypernetworks are not supported; left out of the prompt: {named}.",) if tags else ()


def _scheduled(text: str, *, calls: int, hires_calls: int | None, encode: Encode,
               options: Options) -> ScheduledConditioning:
    entries = schedule(text, calls, hires_steps=hires_calls, old=options.use_old_scheduling)
    conditionings = encode(tuple(part for _, part in entries))
    return ScheduledConditioning(tuple((last, one) for (last, _), one in zip(entries, conditionings, strict=True)))


def _longest(parts: Parts) -> int:
    return max(len(cond.tokens) for scheduled, _ in parts for _, cond in scheduled.entries)


def _with_tokens(scheduled: ScheduledConditioning, change: Callable[[Tensor], Tensor]) -> ScheduledConditioning:
    """`scheduled` with the tokens (n, C) of each entry changed."""
    return ScheduledConditioning(tuple((last, replace(cond, tokens=change(cond.tokens)))
                                       for last, cond in scheduled.entries))


def _cut_or_repeat(negative: ScheduledConditioning, parts: Parts) -> ScheduledConditioning:
    """The negative prompt brought to the prompt's length: its last vector repeated, or cut (WebUI before 1.6)."""
    length = _longest(parts)
    return _with_tokens(negative, lambda tokens: torch.cat(
        [tokens[:length], tokens[-1:].expand(max(length - len(tokens), 0), -1)]))


def _pad_with_empty(parts: Parts, negative: ScheduledConditioning,
                    empty: Tensor) -> tuple[Parts, ScheduledConditioning]:
    """Prompt and negative prompt at one length, the shorter filled with the empty prompt's chunk (77, C)."""
    length = max(_longest(parts), _longest(((negative, 1.0),)))

    def pad(scheduled: ScheduledConditioning) -> ScheduledConditioning:
        return _with_tokens(scheduled, lambda tokens: torch.cat(
            [tokens, *[empty] * ((length - len(tokens)) // len(empty))]))

    return tuple((pad(scheduled), weight) for scheduled, weight in parts), pad(negative)
