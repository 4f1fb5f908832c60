"""What an X/Y/Z plot can vary, in WebUI's order: programs name an axis by its place in the list.

Fields and options that declare an axis and have no place in that order follow at its end.
"""

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
from modules.request import MASKED_CONTENT, RANDOM_SEEDS, Inpaint, Txt2Img
from modules.request.fields import Declared, declared
from modules.request.options import Options
from modules.text.network_tags import LORA, network_tags, weighted_loras
from modules.text.styles import Style, apply_styles

MOST_VALUES = 1000

Apply = Callable[[Txt2Img, Any, Sequence[Any], Sequence[Style]], Txt2Img]
"""(request, this value, all values of the axis, the prompt styles) -> the request with it. Raises InvalidInput."""


@dataclass(frozen=True)
class Axis:
    """One kind of axis. Axes with a larger `cost` change less often. One without `apply` is WebUI's and not available
    here: it keeps the places of those behind it. `bare`: a label shows the value without the axis's name."""

    label: str
    kind: Literal["int", "float", "text", "orders"] = "text"
    apply: Apply | None = None
    cost: float = 0.0
    choices: Callable[[Available], Sequence[str]] | None = None
    bare: bool = False
    txt2img: bool = True
    img2img: bool = True

    def read(self, text: str) -> list[Any]:
        """Return the values in a comma list: texts, numbers, or ranges of numbers. Raises InvalidInput."""
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
        """Return the value as it stands at the grid's edge."""
        if self.label == "Nothing":
            return ""
        if isinstance(value, list):
            return ", ".join(value)
        text = f"{round(value, 8):g}" if isinstance(value, float) else str(value)
        if self.label in ("Checkpoint name", "Refiner checkpoint"):
            return PurePath(text).name
        return text if self.bare else f"{self.label}: {text}"

    def _range(self, item: str) -> list[float]:
        """Read a number; first-last; first-last (+step); first-last [count]. Ends are included."""
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
    """Return `values` with a random seed for each -1."""
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
    """Set a field whose "None" is an empty text."""
    field = _field(name)
    return lambda request, value, values, styles: field(request, "" if value.lower() == "none" else value, values,
                                                        styles)


def _flag(item: Declared) -> Apply:
    """Set a field that is True or False."""
    field = _field(item.name)

    def apply(request: Txt2Img, value: str, values: Sequence[Any], styles: Sequence[Style]) -> Txt2Img:
        try:
            return field(request, item.read(value), values, styles)
        except ValueError as error:
            raise InvalidInput(f"{item.axis} cannot be {value[:100]!r}.", field="script_args") from error

    return apply


def _option(name: str) -> Apply:
    return lambda request, value, values, styles: replace(request, options=request.options.replaced({name: value}))


def _search_and_replace(request: Txt2Img, value: str, values: Sequence[str], styles: Sequence[Style]) -> Txt2Img:
    wanted = values[0]
    if wanted not in request.prompt and wanted not in request.negative_prompt:
        raise InvalidInput(f"Prompt S/R did not find {wanted!r} in the prompt or the negative prompt.",
                           field="script_args")
    return replace(request, prompt=request.prompt.replace(wanted, value),
                   negative_prompt=request.negative_prompt.replace(wanted, value))


def _order(request: Txt2Img, value: Sequence[str], values: Sequence[Any], styles: Sequence[Style]) -> Txt2Img:
    """Put the words of `value` into the prompt in their order, at the places where they stand there."""
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
    """Switch face restoration on or off (WebUI's words for yes and no), or on with the model of that name."""
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


def _lora_weight(request: Txt2Img, value: float, values: Sequence[float], styles: Sequence[Style]) -> Txt2Img:
    """Give all LoRAs of the prompts that weight."""
    if not any(tag.kind == LORA for tag in network_tags(request.prompt)[0]):
        raise InvalidInput("There is no LoRA in the prompt whose weight could be varied.", field="script_args")
    return replace(request, prompt=weighted_loras(request.prompt, value),
                   hr_prompt=weighted_loras(request.hr_prompt, value))


DECLARED = {item.name: item for table in (Options, Inpaint) for item in declared(table) if item.axis}
"""The fields and options that declare an axis, by name."""


def _axis(name: str, **changes: Any) -> Axis:
    """The axis that the field or option `name` declares, with `changes`."""
    item = DECLARED[name]
    is_field = item in declared(Inpaint)
    if not is_field:
        apply = _option(name)
    else:
        apply = _flag(item) if item.kind is bool else _field(name)
    choices = ("False", "True") if item.kind is bool else item.choices
    for_txt2img = "txt2img" in item.tabs and (item in declared(Txt2Img) or not is_field)
    return replace(Axis(item.axis, "int" if item.kind is int else "float" if item.kind is float else "text", apply,
                        choices=(lambda here: choices) if choices else None, txt2img=for_txt2img,
                        img2img=item.tabs != ("txt2img",)), **changes)


_PLACED: tuple[Axis, ...] = (
    Axis("Nothing", apply=lambda request, value, values, styles: request),
    _axis("seed"),
    _axis("subseed"),
    _axis("subseed_strength"),
    _axis("steps"),
    _axis("hr_second_pass_steps"),
    _axis("cfg_scale"),
    _axis("image_cfg_scale"),
    Axis("Prompt S/R", apply=_search_and_replace, bare=True),
    Axis("Prompt order", "orders", _order),
    Axis("Sampler", apply=_field("sampler"), choices=Available.samplers, bare=True, img2img=False),
    Axis("Hires sampler", apply=_field("hr_sampler"), choices=Available.samplers, img2img=False),
    Axis("Sampler", apply=_field("sampler"), choices=Available.samplers, bare=True, txt2img=False),
    Axis("Checkpoint name", apply=_option("sd_model_checkpoint"), cost=1.0, choices=Available.checkpoints),
    _axis("s_min_uncond"),
    _axis("s_churn"),
    _axis("s_tmin"),
    _axis("s_tmax"),
    _axis("s_noise"),
    Axis("Schedule type", apply=_field("scheduler"), choices=Available.schedules),
    _axis("sigma_min"),
    _axis("sigma_max"),
    _axis("rho"),
    _axis("beta_dist_alpha"),
    _axis("beta_dist_beta"),
    _axis("eta"),
    _axis("CLIP_stop_at_last_layers"),
    _axis("denoising_strength"),
    _axis("initial_noise_multiplier"),
    _axis("img2img_extra_noise", txt2img=True),
    _axis("hr_upscaler", choices=Available.hires_upscalers),
    _axis("inpainting_mask_weight"),
    Axis("VAE", apply=_option("sd_vae"), cost=0.7, choices=Available.vaes),
    Axis("Styles", apply=_styles, choices=Available.styles),
    Axis("UniPC Order", "int", _uni_pc_order, cost=0.5),
    Axis("Face restore", apply=_face_restore),
    Axis("Token merging ratio", "float"),
    Axis("Token merging ratio high-res", "float"),
    _axis("always_discard_next_to_last_sigma"),
    _axis("sgm_noise_multiplier"),
    Axis("Refiner checkpoint", apply=_named("refiner_checkpoint"), cost=1.0,
         choices=lambda here: ["None", *here.checkpoints()]),
    _axis("refiner_switch_at"),
    _axis("randn_source"),
    Axis("FP8 mode"),
    Axis("Size", apply=_size),
    # ours, behind WebUI's
    Axis("Mask blur", "int", _mask_blur, txt2img=False),
    Axis("Masked content", apply=_masked_content, choices=lambda here: tuple(MASKED_CONTENT), txt2img=False),
    _axis("only_masked_padding"),
    _axis("ddim_loop"),
    _axis("mask_noise"),
    _axis("cfg_rescale"),
    _axis("tcd_gamma"),
    Axis("Lora weight", "float", _lora_weight),
)

AXES = (*_PLACED, *(_axis(name) for name, item in DECLARED.items()
                    if item.axis not in {axis.label for axis in _PLACED}))


def axes(*, img2img: bool) -> list[Axis]:
    """Return the axes of a tab. Their places are the indexes that programs send."""
    return [axis for axis in AXES if (axis.img2img if img2img else axis.txt2img)]


def find_axis(label: str, *, img2img: bool) -> Axis:
    """Return the axis of that label."""
    return next(axis for axis in axes(img2img=img2img) if axis.label == label)
