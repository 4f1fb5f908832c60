"""Words to guidance: a request's prompts, with their schedules and ANDs, encoded by the model."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor

from modules.request.options import Options
from modules.sampling.conditioning import Conditioning, Pad, SizeIds, TextOptions, cut_or_repeat, pad_with
from modules.sampling.guidance import Guidance, ScheduledConditioning
from modules.sampling.types import SDModel
from modules.text import prompt as prompts
from modules.text.prompt_schedule import schedule

Encode = Callable[[tuple[str, ...]], list[Conditioning]]
"""The texts of one prompt over time -> their conditionings."""


def encode(model: SDModel, prompt: str, negative_prompt: str, *, size: tuple[int, int], images: int, calls: int,
           scale: float, options: Options, hires_calls: int | None = None, beside: Tensor | None = None,
           beside_scale: float | None = None) -> Guidance:
    """Guidance for a batch of `images` pictures of one prompt over `calls` network calls.

    `size` (width, height) in pixels is that of the pass at hand. `hires_calls` are those of a second pass, when it is
    for that one: schedules go on counting from the first. `beside` and `beside_scale` as in `Guidance`.
    """
    embeddings: list[str] = []

    def encoded(texts: tuple[str, ...], *, negative: bool = False) -> list[Conditioning]:
        how = text_options(options, size, negative=negative)
        embeddings[:0] = model.embeddings_in(texts, how)  # in WebUI each encoding puts its own before those there are
        return model.encode_prompts(texts, how)

    words, _ = prompts.extra_networks(prompt)
    scheduled = partial(_scheduled, calls=calls, hires_calls=hires_calls, options=options)
    negative = scheduled(negative_prompt, encode=partial(encoded, negative=True))
    parts = tuple((scheduled(text, encode=encoded), weight) for text, weight in prompts.split_and(words))
    pad: Pad | None = cut_or_repeat if options.pad_cond_uncond_v0 else None
    if options.pad_cond_uncond and pad is None:
        pad = pad_with(encoded(("",))[0].tokens)
    return Guidance((parts,) * images, negative, scale, beside, options.cfg_rescale, pad, beside_scale,
                    tuple(embeddings))


def text_options(options: Options, size: tuple[int, int], *, negative: bool) -> TextOptions:
    """How the prompt, or the `negative` one, of a picture of `size` (width, height) is encoded."""
    aesthetic = options.sdxl_refiner_low_aesthetic_score if negative else options.sdxl_refiner_high_aesthetic_score
    return TextOptions(
        options.CLIP_stop_at_last_layers,
        "Old" if options.use_old_emphasis_implementation else options.emphasis,
        options.comma_padding_backtrack, options.sdxl_clip_l_skip,
        SizeIds(size, (options.sdxl_crop_left, options.sdxl_crop_top), size, aesthetic), negative)


def _scheduled(text: str, *, calls: int, hires_calls: int | None, encode: Encode,
               options: Options) -> ScheduledConditioning:
    entries = schedule(text, calls, hires_steps=hires_calls, old=options.use_old_scheduling)
    conditionings = encode(tuple(part for _, part in entries))
    return ScheduledConditioning(tuple((last, one) for (last, _), one in zip(entries, conditionings, strict=True)))
