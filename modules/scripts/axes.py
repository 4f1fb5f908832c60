"""What an X/Y/Z plot can vary, in WebUI's order: programs name an axis by its place in the list."""

from __future__ import annotations

import csv
import io
import itertools
import math
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import PurePath
from typing import Any, Literal

from modules.errors import InvalidInput
from modules.hooks.choices import Available
from modules.request import MASKED_CONTENT, RANDOM_SEEDS, Txt2Img
from modules.request.options import Options
from modules.text.styles import Style, apply_styles

MOST_VALUES = 1000

Apply = Callable[[Txt2Img, Any, Sequence[Any], Sequence[Style]], Txt2Img]
"""(request, this value, all values of the axis, the prompt styles) -> the request with it. Raises InvalidInput."""


@dataclass(frozen=True)
class Axis:
    """One kind of axis. `cost` says how long a change takes: costly axes are walked outside. Without `apply` it is one
    of WebUI's that only keeps its place. `bare` labels show the value without the axis's name."""

    label: str
    kind: Literal["int", "float", "text", "orders"] = "text"
    apply: Apply | None = None
    cost: float = 0.0
    choices: Callable[[Available], Sequence[str]] | None = None
    bare: bool = False
    txt2img: bool = True
    img2img: bool = True

    def read(self, text: str) -> list[Any]:
        """The values in a comma list: texts, numbers, or ranges of numbers. Raises InvalidInput."""
        items = [item.strip() for item in itertools.chain.from_iterable(
            csv.reader(io.StringIO(text), skipinitialspace=True))]
        if self.kind == "orders":
            return [list(order) for order in _few(itertools.permutations(items), math.factorial(len(items)))]
        if self.kind == "text":
            return items
        values: list[Any] = []
        for item in items:
            if item:
                values += self._range(item)
        return list(_few(values, len(values)))

    def show(self, value: Any) -> str:
        """The value as the grid's edge has it."""
        if self.label == "Nothing":
            return ""
        if isinstance(value, list):
            return ", ".join(value)
        text = f"{round(value, 8):g}" if isinstance(value, float) else str(value)
        if self.label in ("Checkpoint name", "Refiner checkpoint"):
            return PurePath(text).name
        return text if self.bare else f"{self.label}: {text}"

    def _range(self, item: str) -> list[float]:
        """A number; first-last; first-last (+step); first-last [count]. Ends are included."""
        found = _RANGE.fullmatch(item) if len(item) <= LONGEST_RANGE else None
        try:
            if found is None:
                return [int(item) if self.kind == "int" else float(item)]
            ends = [found[k].replace(" ", "") for k in (1, 2)]
            # Whole ones stay whole: a seed may have more digits than a float.
            read = int if self.kind == "int" and "." not in item and not found[4] else float
            first, last = (read(end) for end in ends)
            if found[4]:
                count = _bounded(int(found[4]))
                values = [first + (last - first) * number / max(count - 1, 1) for number in range(count)]
            else:
                step = read(found[3]) if found[3] else 1
                count = _bounded(math.floor((last - first) / step + 1e-9) + 1)
                values = [first + step * number for number in range(count)]
        except (ValueError, ZeroDivisionError, OverflowError) as error:
            raise InvalidInput(f"{self.label} cannot be {item[:100]!r}.", field="script_args") from error
        if not values:
            raise InvalidInput(f"{self.label}: there is nothing in the range {item[:100]!r}.", field="script_args")
        return [int(value) if self.kind == "int" else round(value, 10) for value in values]


_NUMBER = r"([+-]?\s*\d+(?:\.\d*)?)"
LONGEST_RANGE = 200
"""Characters; reading many spaces takes cubic time."""
_RANGE = re.compile(rf"\s*{_NUMBER}\s*-\s*{_NUMBER}\s*(?:\(\s*([+-]\d+(?:\.\d*)?)\s*\)|\[\s*(\d+)\s*\])?\s*")


def _bounded(count: int) -> int:
    if count > MOST_VALUES:
        raise InvalidInput(f"An axis has at most {MOST_VALUES} values.", field="script_args")
    return count


def _few(values: Any, count: int) -> Any:
    _bounded(count)
    return values


def settled(axis: Axis, values: Sequence[Any]) -> list[Any]:
    """`values` with a seed drawn for each -1."""
    if axis.label not in ("Seed", "Var. seed"):
        return list(values)
    return [random.randrange(RANDOM_SEEDS) if value == -1 else value for value in values]


# --- what a value does

def _field(name: str) -> Apply:
    def apply(request: Txt2Img, value: Any, values: Sequence[Any], styles: Sequence[Style]) -> Txt2Img:
        if name not in (item.name for item in fields(request)):
            raise InvalidInput(f"{name} belongs to inpainting, and nothing is painted here.", field="script_args")
        changes: dict[str, Any] = {name: value}
        return replace(request, **changes)

    return apply


def _named(name: str) -> Apply:
    """A field in which nothing is an empty text."""
    field = _field(name)
    return lambda request, value, values, styles: field(request, "" if value.lower() == "none" else value, values,
                                                        styles)


def _option(name: str) -> Apply:
    assert name in Options.__dataclass_fields__
    return lambda request, value, values, styles: replace(request, options=request.options.replaced({name: value}))


def _search_and_replace(request: Txt2Img, value: str, values: Sequence[str], styles: Sequence[Style]) -> Txt2Img:
    wanted = values[0]
    if wanted not in request.prompt and wanted not in request.negative_prompt:
        raise InvalidInput(f"Prompt S/R did not find {wanted!r} in the prompt or the negative prompt.",
                           field="script_args")
    return replace(request, prompt=request.prompt.replace(wanted, value),
                   negative_prompt=request.negative_prompt.replace(wanted, value))


def _order(request: Txt2Img, value: Sequence[str], values: Sequence[Any], styles: Sequence[Style]) -> Txt2Img:
    """The words of `value` change places within the prompt."""
    rest, parts = request.prompt, []
    for word in sorted(value, key=request.prompt.find):
        before, found, after = rest.partition(word)
        if not found:
            raise InvalidInput(f"Prompt order did not find {word!r} in the prompt.", field="script_args")
        parts.append(before)
        rest = after
    return replace(request, prompt="".join(f"{part}{word}" for part, word in zip(parts, value, strict=True)) + rest)


def _styles(request: Txt2Img, value: str, values: Sequence[str], styles: Sequence[Style]) -> Txt2Img:
    names = [name.strip() for name in value.split(",")]
    prompt, negative = apply_styles(names, styles, request.prompt, request.negative_prompt)
    return replace(request, prompt=prompt, negative_prompt=negative)


def _size(request: Txt2Img, value: str, values: Sequence[str], styles: Sequence[Style]) -> Txt2Img:
    found = re.fullmatch(r"(\d{1,5})\s*x\s*(\d{1,5})", value.lower())
    if not found:
        raise InvalidInput(f"A size is written like 512x768, not {value[:100]!r}.", field="script_args")
    return replace(request, width=int(found[1]), height=int(found[2]))


def _uni_pc_order(request: Txt2Img, value: int, values: Sequence[int], styles: Sequence[Style]) -> Txt2Img:
    return replace(request, options=request.options.replaced({"uni_pc_order": max(min(value, request.steps - 1), 1)}))


def _face_restore(request: Txt2Img, value: str, values: Sequence[str], styles: Sequence[Style]) -> Txt2Img:
    """A model's name, or whether the usual one works (WebUI's words for yes)."""
    word = value.lower()
    named = word not in (*_YES, *_NO)
    return replace(request, options=request.options.replaced(
        {"face_restoration": word not in _NO} | ({"face_restoration_model": value} if named else {})))


_YES, _NO = ("true", "yes", "y", "1"), ("false", "no", "n", "0", "none", "")


def _mask_blur(request: Txt2Img, value: int, values: Sequence[int], styles: Sequence[Style]) -> Txt2Img:
    return _field("mask_blur_y")(_field("mask_blur_x")(request, value, values, styles), value, values, styles)


def _masked_content(request: Txt2Img, value: str, values: Sequence[str], styles: Sequence[Style]) -> Txt2Img:
    content = MASKED_CONTENT.get(value.lower())
    if content is None:
        raise InvalidInput(f"Masked content cannot be {value[:100]!r}.", field="script_args")
    return _field("masked_content")(request, content, values, styles)


def _choices_of(option: str) -> Callable[[Available], Sequence[str]]:
    choices: tuple[str, ...] = Options.__dataclass_fields__[option].metadata["choices"]
    return lambda here: choices


AXES: tuple[Axis, ...] = (
    Axis("Nothing", apply=lambda request, value, values, styles: request),
    Axis("Seed", "int", _field("seed")),
    Axis("Var. seed", "int", _field("subseed")),
    Axis("Var. strength", "float", _field("subseed_strength")),
    Axis("Steps", "int", _field("steps")),
    Axis("Hires steps", "int", _field("hr_second_pass_steps"), img2img=False),
    Axis("CFG Scale", "float", _field("cfg_scale")),
    Axis("Image CFG Scale", "float", txt2img=False),
    Axis("Prompt S/R", apply=_search_and_replace, bare=True),
    Axis("Prompt order", "orders", _order),
    Axis("Sampler", apply=_field("sampler"), choices=Available.samplers, bare=True, img2img=False),
    Axis("Hires sampler", apply=_field("hr_sampler"), choices=Available.samplers, img2img=False),
    Axis("Sampler", apply=_field("sampler"), choices=Available.samplers, bare=True, txt2img=False),
    Axis("Checkpoint name", apply=_option("sd_model_checkpoint"), cost=1.0, choices=Available.checkpoints),
    Axis("Negative Guidance minimum sigma", "float"),
    Axis("Sigma Churn", "float", _option("s_churn")),
    Axis("Sigma min", "float", _option("s_tmin")),
    Axis("Sigma max", "float", _option("s_tmax")),
    Axis("Sigma noise", "float", _option("s_noise")),
    Axis("Schedule type", apply=_field("scheduler"), choices=Available.schedules),
    Axis("Schedule min sigma", "float", _option("sigma_min")),
    Axis("Schedule max sigma", "float", _option("sigma_max")),
    Axis("Schedule rho", "float", _option("rho")),
    Axis("Beta schedule alpha", "float", _option("beta_dist_alpha")),
    Axis("Beta schedule beta", "float", _option("beta_dist_beta")),
    Axis("Eta", "float", _field("eta")),
    Axis("Clip skip", "int", _option("CLIP_stop_at_last_layers")),
    Axis("Denoising", "float", _field("denoising_strength")),
    Axis("Initial noise multiplier", "float", _field("initial_noise_multiplier"), txt2img=False),
    Axis("Extra noise", "float", _option("img2img_extra_noise")),
    Axis("Hires upscaler", apply=_field("hr_upscaler"), choices=Available.hires_upscalers, img2img=False),
    Axis("Cond. Image Mask Weight", "float", _option("inpainting_mask_weight"), txt2img=False),
    Axis("VAE", apply=_option("sd_vae"), cost=0.7, choices=Available.vaes),
    Axis("Styles", apply=_styles, choices=Available.styles),
    Axis("UniPC Order", "int", _uni_pc_order, cost=0.5),
    Axis("Face restore", apply=_face_restore),
    Axis("Token merging ratio", "float"),
    Axis("Token merging ratio high-res", "float"),
    Axis("Always discard next-to-last sigma", apply=_option("always_discard_next_to_last_sigma"),
         choices=lambda here: ("False", "True")),
    Axis("SGM noise multiplier"),
    Axis("Refiner checkpoint", apply=_named("refiner_checkpoint"), cost=1.0,
         choices=lambda here: ["None", *here.checkpoints()]),
    Axis("Refiner switch at", "float", _field("refiner_switch_at")),
    Axis("RNG source", apply=_option("randn_source"), choices=_choices_of("randn_source")),
    Axis("FP8 mode"),
    Axis("Size", apply=_size),
    # ours, behind WebUI's
    Axis("Mask blur", "int", _mask_blur, txt2img=False),
    Axis("Masked content", apply=_masked_content, choices=lambda here: tuple(MASKED_CONTENT), txt2img=False),
    Axis("Only masked padding, pixels", "int", _field("only_masked_padding"), txt2img=False),
    Axis("DDIM loop", apply=_option("ddim_loop"), choices=_choices_of("ddim_loop")),
    Axis("Mask noise", apply=_option("mask_noise"), choices=_choices_of("mask_noise"), txt2img=False),
    Axis("CFG rescale", "float", _option("cfg_rescale")),
)


def axes(*, img2img: bool) -> list[Axis]:
    """The axes of a tab; their places are the indexes that programs send."""
    return [axis for axis in AXES if (axis.img2img if img2img else axis.txt2img)]


def find_axis(label: str, *, img2img: bool) -> Axis:
    """The axis of that label."""
    return next(axis for axis in axes(img2img=img2img) if axis.label == label)
