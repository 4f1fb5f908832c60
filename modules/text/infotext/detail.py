"""The detailer's passes in the parameters text, under the ADetailer extension's keys: "ADetailer model" is the first
pass's, "ADetailer model 2nd" the second's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from modules.errors import InvalidInput
from modules.request.detail import DetailPass
from modules.request.fields import Declared, declared

ITEMS: dict[str, Declared] = {item.text: item for item in declared(DetailPass)}
SUFFIXES = "", " 2nd", " 3rd", " 4th"
ALWAYS = {"model", "confidence", "dilate_erode", "mask_blur", "denoising_strength", "inpaint_only_masked"}
"""Fields that the extension writes with their defaults too."""
NEEDS = {"inpaint_only_masked_padding": "inpaint_only_masked", "inpaint_width": "use_inpaint_width_height",
         "inpaint_height": "use_inpaint_width_height", "steps": "use_steps", "cfg_scale": "use_cfg_scale",
         "sampler": "use_sampler", "scheduler": "use_sampler", "checkpoint": "use_checkpoint",
         "vae": "use_vae", "clip_skip": "use_clip_skip",
         "noise_multiplier": "use_noise_multiplier"}
"""Fields that are written where another one is on, and then with their defaults too."""


def written(passes: Sequence[DetailPass]) -> Iterator[tuple[str, Any]]:
    """Yield the keys and values of each pass."""
    for suffix, one in zip(SUFFIXES, passes, strict=False):
        for key, item in ITEMS.items():
            value = getattr(one, item.name)
            if item.name in NEEDS:
                told = getattr(one, NEEDS[item.name])
            else:
                told = item.name in ALWAYS or value != item.default
            if told:
                yield key + suffix, value


def read(parameters: Mapping[str, Any]) -> tuple[DetailPass, ...]:
    """The passes of a parameters text. One whose values don't fit is left out."""
    found = []
    for suffix in SUFFIXES:
        if f"ADetailer model{suffix}" not in parameters:
            continue
        try:
            found.append(DetailPass(**{item.name: item.read(str(parameters[key + suffix]))
                                       for key, item in ITEMS.items() if key + suffix in parameters}))
        except (InvalidInput, ValueError):
            continue
    return tuple(found)


def keys(parameters: Mapping[str, Any]) -> set[str]:
    """Those of the text's keys that are understood."""
    known = {key + suffix for key in ("ADetailer version", *ITEMS) for suffix in SUFFIXES}
    return known & parameters.keys()
