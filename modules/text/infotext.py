"""The parameters text: what made a picture, in the words and the order of WebUI, written and read back.

Three lines: the prompt, "Negative prompt: ..." when there is one, and a comma list of keys and values that ends in the
program's version. Our own keys are `DDIM loop`, `Mask noise`, `Small masks`, `Step cache` and `CFG rescale`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from modules.errors import InvalidInput
from modules.request import (
    MASKED_CONTENT,
    SOFT_LABELS,
    Img2Img,
    Inpaint,
    MaskedContent,
    ScriptCall,
    SoftInpainting,
    Txt2Img,
)
from modules.request.options import Options
from modules.text.prompt import parse_attention
from modules.text.styles import Style, extract_styles

VERSION = "Inpaint WebUI 0.1.0"

# What Automatic means for a sampler, and which samplers a key concerns, as WebUI 1.10.1 has it.
_AUTOMATIC = {
    **dict.fromkeys(("DPM++ 2M", "DPM++ SDE", "DPM++ 2S a", "DPM2", "DPM2 a", "Restart"), "Karras"),
    **dict.fromkeys(("DPM++ 2M SDE", "DPM++ 2M SDE Heun", "DPM++ 3M SDE"), "Exponential")}
_TIMESTEPS = ("DDIM", "DDIM CFG++", "DDPM", "PLMS", "UniPC")
_ETA_DDIM = ("DDIM", "DDIM CFG++")
_ETA = ("DPM++ SDE", "DPM++ 2M SDE", "DPM++ 2M SDE Heun", "DPM++ 2S a", "DPM++ 3M SDE", "Euler a", "DPM2 a", "DPM fast",
        "DPM adaptive")
_ENSD = ("DPM++ 2S a", "Euler a", "DPM2 a", "DPM fast", "DPM adaptive")
_CHURN = ("Euler", "Heun", "DPM2")

SOFT_KEYS = {f"Soft inpainting {label.lower()}": name for name, label in SOFT_LABELS.items()}


def write(request: Txt2Img, *, seed: int, subseed: int, model_name: str, model_hash: str | None,
          vae_name: str | None = None, vae_hash: str | None = None, nine_channels: bool = False,
          version: str = VERSION, extra: Mapping[str, Any] | None = None) -> str:
    """The text of one picture of a resolved `request`. `extra` adds keys before the version; a key it shares is its.

    `model_hash` is the first 10 digits of the file's SHA-256. `nine_channels`: the checkpoint is an inpainting one.
    """
    options = request.options
    varied = request.subseed_strength != 0
    resized = request.seed_resize_from_w > 0 and request.seed_resize_from_h > 0
    values: dict[str, Any] = {
        "Steps": request.steps,
        "Sampler": request.sampler,
        "Schedule type": _schedule(request),
        "CFG scale": request.cfg_scale,
        "Seed": seed,
        "Face restoration": options.face_restoration_model if options.face_restoration else None,
        "Size": f"{request.width}x{request.height}",
        "Model hash": model_hash,
        "Model": model_name,
        "VAE hash": vae_hash,
        "VAE": vae_name,
        "Variation seed": subseed if varied else None,
        "Variation seed strength": request.subseed_strength if varied else None,
        "Seed resize from": f"{request.seed_resize_from_w}x{request.seed_resize_from_h}" if resized else None,
        "Denoising strength": request.denoising_strength if isinstance(request, Img2Img) or request.enable_hr else None,
        "Conditional mask weight": options.inpainting_mask_weight if nine_channels else None,
        "Clip skip": options.CLIP_stop_at_last_layers if options.CLIP_stop_at_last_layers > 1 else None,
        "ENSD": _ensd(request),
        "RNG": options.randn_source if options.randn_source != "GPU" else None,
        "Tiling": options.tiling or None,
        **dict(generation_params(request)),
        **(extra or {}),
        "Version": version}
    pairs = ", ".join(f"{key}: {quote(value)}" for key, value in values.items() if value is not None)
    negative = f"\nNegative prompt: {request.negative_prompt}" if request.negative_prompt else ""
    return f"{request.prompt}{negative}\n{pairs}".strip()


def _schedule(request: Txt2Img) -> str:
    """The schedule's label; what Automatic stands for where the sampler has a schedule of its own."""
    if request.sampler in _TIMESTEPS:
        return "Automatic"
    return _AUTOMATIC.get(request.sampler, "Automatic") if request.scheduler == "Automatic" else request.scheduler


def _eta(request: Txt2Img) -> tuple[str, float] | None:
    """(key, eta) when the sampler has one and it is not the usual one."""
    options = request.options
    for samplers, key, option, usual in ((_ETA_DDIM, "Eta DDIM", options.eta_ddim, 0.0),
                                         (_ETA, "Eta", options.eta_ancestral, 1.0)):
        eta = option if request.eta is None else request.eta
        if request.sampler in samplers and eta != usual:
            return key, eta
    return None


def _ensd(request: Txt2Img) -> int | None:
    """The seed delta, where it changes anything."""
    eta = _eta(request)
    used = request.sampler in _ENSD and not (eta and eta[1] == 0)
    return request.options.eta_noise_seed_delta or None if used else None


def generation_params(request: Txt2Img) -> Iterator[tuple[str, Any]]:
    """The keys after RNG, in the order in which WebUI comes across them."""
    options = request.options
    if isinstance(request, Inpaint):
        yield from _soft_params(request)
        yield from _mask_params(request)
    if request.enable_hr:
        yield from _hires_params(request)
    if options.use_downcasted_alpha_bar:
        yield "Downcast alphas_cumprod", True
    prompts = request.prompt + request.negative_prompt
    if options.use_old_scheduling and "[" in prompts:
        yield "Old prompt editing timelines", True
    if options.emphasis != "Original" and ("(" in prompts or "[" in prompts):
        yield "Emphasis", options.emphasis
    if isinstance(request, Img2Img):
        multiplier = request.initial_noise_multiplier
        multiplier = options.initial_noise_multiplier if multiplier is None else multiplier
        if multiplier != 1:
            yield "Noise multiplier", multiplier
        if options.img2img_extra_noise > 0:
            yield "Extra noise", options.img2img_extra_noise
    yield from _sampler_params(request)
    if options.cfg_rescale:
        yield "CFG rescale", options.cfg_rescale
    if options.step_cache > 1:
        yield "Step cache", options.step_cache
    if options.pad_cond_uncond:
        yield "Pad conds", True
    if options.pad_cond_uncond_v0:
        yield "Pad conds v0", True
    if request.sampler in ("DDIM", "DDPM") or (isinstance(request, Inpaint) and request.misplaced):
        yield "DDIM loop", options.ddim_loop
        if isinstance(request, Inpaint) and options.ddim_loop == "classic":
            yield "Mask noise", options.mask_noise
            if options.small_mask != "off":
                yield "Small masks", options.small_mask


def _hires_params(request: Txt2Img) -> Iterator[tuple[str, Any]]:
    for key, value in (("Hires prompt", request.hr_prompt), ("Hires negative prompt", request.hr_negative_prompt),
                       ("Hires checkpoint", request.hr_checkpoint), ("Hires sampler", request.hr_sampler),
                       ("Hires schedule type", request.hr_scheduler)):
        if value:
            yield key, value
    if request.hr_resize_x or request.hr_resize_y:
        yield "Hires resize", f"{request.hr_resize_x}x{request.hr_resize_y}"
    else:
        yield "Hires upscale", request.hr_scale
    if request.hr_second_pass_steps:
        yield "Hires steps", request.hr_second_pass_steps
    yield "Hires upscaler", request.hr_upscaler
    if request.refiner_checkpoint and request.options.hires_fix_refiner_pass != "second pass":
        yield "Hires refiner", request.options.hires_fix_refiner_pass


def _soft_params(request: Inpaint) -> Iterator[tuple[str, Any]]:
    soft = request.soft
    if soft is None:
        return
    yield "Soft inpainting enabled", True
    for key, name in SOFT_KEYS.items():
        yield key, getattr(soft, name)


def _mask_params(request: Inpaint) -> Iterator[tuple[str, Any]]:
    if request.mask_invert:
        yield "Mask mode", "Inpaint not masked"
    if request.mask_blur_x == request.mask_blur_y > 0:  # WebUI has no key for two different ones
        yield "Mask blur", request.mask_blur_x
    if request.only_masked:
        yield "Inpaint area", "Only masked"
        yield "Masked area padding", request.only_masked_padding
    if request.masked_content != MaskedContent.ORIGINAL:
        yield "Masked content", request.masked_content.label


def _sampler_params(request: Txt2Img) -> Iterator[tuple[str, Any]]:
    options = request.options
    if options.always_discard_next_to_last_sigma:
        yield "Discard penultimate sigma", True
    if request.sampler not in _TIMESTEPS:
        for key, value in (("Schedule min sigma", options.sigma_min), ("Schedule max sigma", options.sigma_max)):
            if value:
                yield key, value
        if options.rho and _schedule(request) in ("Karras", "Polyexponential"):
            yield "Schedule rho", options.rho
        if _schedule(request) == "Beta":
            yield "Beta schedule alpha", options.beta_dist_alpha
            yield "Beta schedule beta", options.beta_dist_beta
    eta = _eta(request)
    if eta is not None:
        yield eta
    if request.sampler in _CHURN:
        for key, value in (("Sigma churn", options.s_churn), ("Sigma tmin", options.s_tmin),
                           ("Sigma tmax", options.s_tmax)):
            if value:
                yield key, value
    if options.s_noise != 1 and request.sampler not in _TIMESTEPS:
        yield "Sigma noise", options.s_noise


def quote(value: Any) -> Any:
    """`value` as the comma list shows it: as a JSON string where a comma, a colon or a line break would confuse."""
    if not isinstance(value, str) or not any(sign in value for sign in ",:\n"):
        return value
    return json.dumps(value, ensure_ascii=False)


def unquote(text: str) -> str:
    """The inverse of `quote`; what is no JSON string stays as it is."""
    if len(text) < 2 or not (text.startswith('"') and text.endswith('"')):
        return text
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, str) else text


# reading

# Lengths are bounded so that a hostile text costs linear time and no number is too long for int().
_PAIR = re.compile(r'(\w[\w /-]{1,99}):\s*("(?:[^"\\]|\\.)+"|[^,]*)(?:,|$)')
_SIZE = re.compile(r"(\d{1,9})x(\d{1,9})")
_VERSION = re.compile(r"v?(\d{1,9})\.(\d{1,9})\.(\d{1,9})(?:-(\w{1,9}))?")
_NEGATIVE = "Negative prompt:"

_DEFAULTS: Mapping[str, Any] = {
    "Clip skip": "1", "Hires resize-1": 0, "Hires resize-2": 0, "Hires sampler": "Use same sampler",
    "Hires schedule type": "Use same scheduler", "Hires checkpoint": "Use same checkpoint", "Hires prompt": "",
    "Hires negative prompt": "", "Mask mode": "Inpaint masked", "Masked content": "original",
    "Inpaint area": "Whole picture", "Masked area padding": 32, "RNG": "GPU", "Schedule type": "Automatic",
    "Schedule max sigma": 0, "Schedule min sigma": 0, "Schedule rho": 0, "VAE Encoder": "Full", "VAE Decoder": "Full",
    "FP8 weight": "Disable", "Refiner switch by sampling steps": False}


def parse(text: str, styles: Sequence[Style] = (), *, keep_empty_styles: bool = False) -> dict[str, Any]:
    """Keys to values as WebUI reads them: strings, "Size" as "Size-1" and "Size-2", its defaults for what is absent.

    The last line counts as the comma list only with at least three pairs. `styles` are taken out of the prompts and
    listed under "Styles array"; with `keep_empty_styles` that key is there even when none was found. Never raises.
    """
    lines, found = _split(text)
    result: dict[str, Any] = {}
    for key, value in found:
        size = _SIZE.fullmatch(value)
        if size:
            result[f"{key}-1"], result[f"{key}-2"] = size.groups()
        else:
            result[key] = unquote(value)
    result["Prompt"], result["Negative prompt"] = _prompts(lines)
    version = _version(result.get("Version"))
    _take_styles_out(result, styles, version, keep_empty_styles)
    _understand_old_keys(result)
    for key, value in _DEFAULTS.items():
        result.setdefault(key, value)
    if result["FP8 weight"] != "Disable":
        result.setdefault("Cache FP16 weight for LoRA", False)
    weights = parse_attention(result["Prompt"]) + parse_attention(result["Negative prompt"])
    if "Emphasis" not in result and any(weight != 1 for _, weight in weights):
        result["Emphasis"] = "Original"
    _remember_old_behaviour(result, version)
    return result


def pairs(text: str) -> dict[str, str]:
    """Keys and values as the last line has them, in its order; empty when it is no such line."""
    return {key: unquote(value) for key, value in _split(text)[1]}


def _split(text: str) -> tuple[list[str], list[tuple[str, str]]]:
    """(lines of the prompts, pairs of the last line); with fewer than three pairs it belongs to the prompts."""
    *lines, last = text.strip().split("\n")
    found: list[tuple[str, str]] = _PAIR.findall(last)
    return (lines, found) if len(found) >= 3 else ([*lines, last], [])


def _prompts(lines: Sequence[str]) -> tuple[str, str]:
    prompt: list[str] = []
    negative: list[str] | None = None
    for line in (line.strip() for line in lines):
        if line.startswith(_NEGATIVE):
            negative = negative or []
            line = line[len(_NEGATIVE):].strip()
        (prompt if negative is None else negative).append(line)
    return _joined(prompt), _joined(negative or [])


def _joined(lines: Sequence[str]) -> str:
    """Lines put together; empty ones at the beginning vanish."""
    text = ""
    for line in lines:
        text += f"\n{line}" if text else line
    return text


def _version(text: Any) -> tuple[int, int, int, int] | None:
    """A WebUI version as numbers that compare: v1.7.0-225-gabc is (1, 7, 0, 225); a release candidate has -1."""
    match = _VERSION.match(text) if isinstance(text, str) else None
    if match is None:
        return None
    after = match[4]
    count = 0 if after is None else int(after) if after.isdecimal() else -1
    return int(match[1]), int(match[2]), int(match[3]), count


def _understand_old_keys(result: dict[str, Any]) -> None:
    """Hypernetworks were keys once, and hires fix said the first pass' size instead of the last's."""
    if "Hypernet" in result:
        result["Prompt"] += f"<hypernet:{result['Hypernet']}:{result.get('Hypernet strength', '1.0')}>"
    if "First pass size-1" not in result or "Size-1" not in result:
        return
    first = int(result["First pass size-1"]), int(result["First pass size-2"])
    final = int(result["Size-1"]), int(result["Size-2"])
    result["Hires resize-1"], result["Hires resize-2"] = final
    result["Size-1"], result["Size-2"] = first if all(first) else _old_first_pass(*final)


def _old_first_pass(width: int, height: int) -> tuple[int, int]:
    """The first pass of old hires fix: about 512 x 512 pixels in the final picture's shape, in multiples of 64."""
    scale = math.sqrt(512 * 512 / max(width * height, 1))
    return math.ceil(scale * width / 64) * 64, math.ceil(scale * height / 64) * 64


def _remember_old_behaviour(result: dict[str, Any], version: tuple[int, int, int, int] | None) -> None:
    """What an old version did without saying so."""
    if version is None:
        return
    if version < (1, 6, 0, 0):
        if "[" in result["Prompt"]:
            result["Old prompt editing timelines"] = True
        if result.get("Sampler") in ("DDIM", "PLMS"):
            result["Pad conds v0"] = True
    if version < (1, 7, 0, 225):
        result["Downcast alphas_cumprod"] = True
    if version < (1, 8, 0, 0) and "Refiner" in result:
        result["Refiner switch by sampling steps"] = True


def _take_styles_out(result: dict[str, Any], styles: Sequence[Style], version: tuple[int, int, int, int] | None,
                     keep_empty: bool) -> None:
    found, prompt, negative = extract_styles(styles, result["Prompt"], result["Negative prompt"])
    if found or keep_empty:
        result["Styles array"] = found
    if not found:
        return
    result["Prompt"], result["Negative prompt"] = prompt, negative
    if "Hires prompt" in result and (version is None or version >= (1, 8, 0, 139)):
        found_hires, hires, _ = extract_styles(styles, result["Hires prompt"], result.get("Hires negative prompt", ""),
                                               positive_only=True)
        if found_hires:
            result["Hires prompt"] = "" if hires == prompt else hires


# from text to request

@dataclass(frozen=True)
class Changes:
    """What a parameters text asks for: request fields by name, options by name, and words about what cannot be done."""

    fields: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    unsupported: tuple[str, ...] = ()


_FIELDS = {"Prompt": "prompt", "Negative prompt": "negative_prompt", "Steps": "steps", "Sampler": "sampler",
           "Schedule type": "scheduler", "CFG scale": "cfg_scale", "Seed": "seed", "Size-1": "width",
           "Size-2": "height", "Variation seed": "subseed", "Variation seed strength": "subseed_strength",
           "Seed resize from-1": "seed_resize_from_w", "Seed resize from-2": "seed_resize_from_h"}
_IMG2IMG_FIELDS = {"Denoising strength": "denoising_strength", "Noise multiplier": "initial_noise_multiplier"}
_INPAINT_FIELDS = {"Masked area padding": "only_masked_padding"}
_SECOND_PASS_FIELDS = {
    "Hires upscale": "hr_scale", "Hires upscaler": "hr_upscaler", "Hires steps": "hr_second_pass_steps",
    "Hires resize-1": "hr_resize_x", "Hires resize-2": "hr_resize_y", "Hires sampler": "hr_sampler",
    "Hires schedule type": "hr_scheduler", "Hires prompt": "hr_prompt", "Hires negative prompt": "hr_negative_prompt",
    "Hires checkpoint": "hr_checkpoint", "Refiner": "refiner_checkpoint", "Refiner switch at": "refiner_switch_at"}
_ALL_FIELDS = _FIELDS | _IMG2IMG_FIELDS | _INPAINT_FIELDS | _SECOND_PASS_FIELDS
_SAME = ("Use same sampler", "Use same scheduler", "Use same checkpoint")
OPTION_KEYS = {
    "Clip skip": "CLIP_stop_at_last_layers", "CFG rescale": "cfg_rescale",
    "Step cache": "step_cache", "ENSD": "eta_noise_seed_delta",
    "RNG": "randn_source",
    "Conditional mask weight": "inpainting_mask_weight", "Extra noise": "img2img_extra_noise", "Eta": "eta_ancestral",
    "Eta DDIM": "eta_ddim", "Sigma churn": "s_churn", "Sigma tmin": "s_tmin", "Sigma tmax": "s_tmax",
    "Sigma noise": "s_noise", "Schedule min sigma": "sigma_min", "Schedule max sigma": "sigma_max",
    "Schedule rho": "rho", "Beta schedule alpha": "beta_dist_alpha", "Beta schedule beta": "beta_dist_beta",
    "Discard penultimate sigma": "always_discard_next_to_last_sigma", "Downcast alphas_cumprod":
    "use_downcasted_alpha_bar", "Old prompt editing timelines": "use_old_scheduling", "Emphasis": "emphasis",
    "Pad conds": "pad_cond_uncond", "Pad conds v0": "pad_cond_uncond_v0", "Tiling": "tiling",
    "UniPC variant": "uni_pc_variant", "UniPC skip type": "uni_pc_skip_type", "UniPC order": "uni_pc_order",
    "UniPC lower order final": "uni_pc_lower_order_final", "DDIM loop": "ddim_loop", "Mask noise": "mask_noise",
    "Small masks": "small_mask", "Face restoration": "face_restoration_model",
    "Hires refiner": "hires_fix_refiner_pass", "Refiner switch by sampling steps": "refiner_switch_by_sample_steps"}
"""Keys of the text that stand for an option, and that option."""
_UNDERSTOOD = ("Model", "Model hash", "VAE", "VAE hash", "Version", "Mask mode", "Mask blur", "Inpaint area",
               "Masked content", "Soft inpainting enabled", "Styles array", "Hypernet", "Hypernet strength", "User",
               "First pass size-1", "First pass size-2")


class Scripts(Protocol):
    """What reading a text wants of the list of scripts; `modules.scripts.registry.Registry` is one."""

    @property
    def keys(self) -> Collection[str]:
        """The keys that belong to scripts."""

    def recall(self, parameters: Mapping[str, Any], /) -> ScriptCall | None:
        """The script that the text names, with its arguments."""

    def recall_always_on(self, parameters: Mapping[str, Any], /) -> tuple[ScriptCall, ...]:
        """The extensions' controls that the text says were on, with their arguments."""


def to_changes(parameters: Mapping[str, Any], *, with_checkpoint: bool = False,
               scripts: Scripts | None = None) -> Changes:
    """What `parse` found, as changes to a request. Options that shape a picture and are absent get our defaults.

    The checkpoint and VAE are left alone unless `with_checkpoint`; with `scripts` the text's script is found. A value
    that is no number where one is wanted is left out. Raises nothing.
    """
    usual = Options()
    fields: dict[str, Any] = {"subseed": -1, "subseed_strength": 0.0, "seed_resize_from_w": 0, "seed_resize_from_h": 0,
                              "eta": None, "initial_noise_multiplier": 1.0, "mask_blur_x": 0, "mask_blur_y": 0,
                              "hr_second_pass_steps": 0, "refiner_checkpoint": "", "refiner_switch_at": None,
                              "enable_hr": _second_pass(parameters), "soft": _soft(parameters)}
    fields |= {name: "" if parameters[key] in _SAME else parameters[key]
               for key, name in _ALL_FIELDS.items() if key in parameters}
    if "Mask blur" in parameters:
        fields["mask_blur_x"] = fields["mask_blur_y"] = parameters["Mask blur"]
    fields["mask_invert"] = parameters.get("Mask mode") == "Inpaint not masked"
    fields["only_masked"] = parameters.get("Inpaint area") == "Only masked"
    fields["masked_content"] = MASKED_CONTENT.get(parameters.get("Masked content", ""), MaskedContent.ORIGINAL)
    options = {name: parameters.get(key, getattr(usual, name)) for key, name in OPTION_KEYS.items()}
    options |= _loop(parameters) | {"face_restoration": "Face restoration" in parameters}
    if with_checkpoint:
        options |= {name: parameters[key] for key, name in (("Model", "sd_model_checkpoint"), ("VAE", "sd_vae"))
                    if key in parameters}
    numbers = {name: number for name, value in fields.items() if (number := _number(name, value)) is not _NO_NUMBER}
    known = {*_ALL_FIELDS, *OPTION_KEYS, *_UNDERSTOOD, *_DEFAULTS, *SOFT_KEYS}
    if scripts:
        numbers |= {"script": scripts.recall(parameters), "always_on": scripts.recall_always_on(parameters)}
        known |= {*scripts.keys}
    return Changes(numbers, options, tuple(f"{key}: {value}" for key, value in parameters.items() if key not in known))


def _second_pass(parameters: Mapping[str, Any]) -> bool:
    """Whether hires fix was on. `parse` gives a text without a size for it one of 0 x 0, as WebUI does."""
    named = "Hires upscale" in parameters or "Hires upscaler" in parameters
    return "Denoising strength" in parameters and (named or str(parameters.get("Hires resize-1", 0)) != "0")


def _soft(parameters: Mapping[str, Any]) -> SoftInpainting | None:
    """Soft inpainting as the text has it; None when it is off or its numbers make no sense."""
    if parameters.get("Soft inpainting enabled") != "True":
        return None
    try:
        return SoftInpainting(**{name: _as_written(parameters[key]) for key, name in SOFT_KEYS.items()
                                 if key in parameters})
    except (ValueError, InvalidInput):
        return None


def _as_written(text: str) -> float:
    """A number that will be written again as it was: 1 stays 1, and 1.0 stays 1.0."""
    return int(text) if text.isdecimal() else float(text)


def _loop(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Which DDIM loop made a picture whose text does not say so: WebUI changed it in 1.6.0."""
    version = _version(parameters.get("Version"))
    if version is None:
        loop, noise = "classic", "initial"
    elif version < (1, 6, 0, 0):
        loop, noise = "classic", "fresh"
    else:
        loop, noise = "webui-1.10", "initial"
    return {"ddim_loop": parameters.get("DDIM loop", loop), "mask_noise": parameters.get("Mask noise", noise)}


_NO_NUMBER = object()
_WHOLE = ("steps", "seed", "subseed", "width", "height", "seed_resize_from_w", "seed_resize_from_h", "mask_blur_x",
          "mask_blur_y", "only_masked_padding", "hr_second_pass_steps", "hr_resize_x", "hr_resize_y")
_DECIMAL = ("cfg_scale", "subseed_strength", "denoising_strength", "initial_noise_multiplier", "hr_scale",
            "refiner_switch_at")


def _number(name: str, value: Any) -> Any:
    """`value` in the type of the request field `name`; `_NO_NUMBER` when it is none."""
    if not isinstance(value, str) or name not in _WHOLE + _DECIMAL:
        return value
    try:
        number = float(value)
        if name in _DECIMAL:
            return number if math.isfinite(number) else _NO_NUMBER
        return int(value) if value.lstrip("+-").isdecimal() else int(number)
    except (ValueError, OverflowError):
        return _NO_NUMBER
