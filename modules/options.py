"""The options that shape a picture beyond its request, under the names that WebUI gives them.

`Options` is a frozen value that travels inside every request, so a job keeps the options it was submitted with
whatever is changed afterwards.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from modules.errors import InvalidInput


def _option(default: Any, help: str, *, choices: tuple[str, ...] = (), low: float | None = None,
            high: float | None = None) -> Any:
    return field(default=default, metadata={"help": help, "choices": choices, "low": low, "high": high})


@dataclass(frozen=True, kw_only=True)
class Options:
    """Every option that the engine obeys. Units and ranges are in the help; defaults are WebUI's unless noted."""

    # models
    sd_model_checkpoint: str = _option("", "checkpoint: a title, name, file name or hash; empty takes the first")
    sd_vae: str = _option("Automatic", "VAE: Automatic, None (the checkpoint's own), or a file name")
    # prompt
    CLIP_stop_at_last_layers: int = _option(1, "clip skip: 1 uses the text encoder's last layer", low=1, high=12)
    comma_padding_backtrack: int = _option(20, "tokens to look back for a comma when a chunk of 75 is full",
                                           low=0, high=74)
    emphasis: str = _option("Original", "what weights in a prompt do",
                            choices=("Original", "No norm", "Ignore", "None"))
    use_old_emphasis_implementation: bool = _option(False, "weights by brackets in single tokens, as in 2022")
    use_old_scheduling: bool = _option(False, "prompt editing as before WebUI 1.6")
    # noise
    randn_source: str = _option("CPU", "where noise is drawn (WebUI's default is GPU; CPU is alike on every machine)",
                                choices=("GPU", "CPU", "NV"))
    eta_noise_seed_delta: int = _option(0, "added to the seed for all noise after the first", low=0, high=2**32 - 1)
    no_dpmpp_sde_batch_determinism: bool = _option(False, "one Brownian tree for the whole batch")
    # sampling
    cfg_rescale: float = _option(0.0, "how far guidance is brought back to the contrast of the prompt alone",
                                 low=0, high=1)
    eta_ddim: float = _option(0.0, "eta of DDIM and its kin", low=0, high=1)
    eta_ancestral: float = _option(1.0, "eta of the ancestral samplers", low=0, high=1)
    s_churn: float = _option(0.0, "sigma churn", low=0, high=100)
    s_tmin: float = _option(0.0, "sigma tmin", low=0, high=10)
    s_tmax: float = _option(0.0, "sigma tmax; 0 means no limit", low=0, high=999)
    s_noise: float = _option(1.0, "sigma noise", low=0, high=1.1)
    sigma_min: float = _option(0.0, "smallest sigma of the schedule; 0 takes the model's", low=0, high=2)
    sigma_max: float = _option(0.0, "largest sigma of the schedule; 0 takes the model's", low=0, high=60)
    rho: float = _option(0.0, "rho of the Karras and polyexponential schedules; 0 takes their own", low=0, high=30)
    beta_dist_alpha: float = _option(0.6, "alpha of the Beta schedule", low=0.01, high=5)
    beta_dist_beta: float = _option(0.6, "beta of the Beta schedule", low=0.01, high=5)
    always_discard_next_to_last_sigma: bool = _option(False, "leave the last but one sigma out")
    use_old_karras_scheduler_sigmas: bool = _option(False, "Karras schedule from 0.1 to 10")
    use_downcasted_alpha_bar: bool = _option(False, "alphas_cumprod rounded to half precision, as before WebUI 1.7")
    uni_pc_variant: str = _option("bh1", "UniPC variant", choices=("bh1", "bh2", "vary_coeff"))
    uni_pc_skip_type: str = _option("time_uniform", "UniPC time grid",
                                    choices=("time_uniform", "time_quadratic", "logSNR"))
    uni_pc_order: int = _option(3, "UniPC order", low=1, high=50)
    uni_pc_lower_order_final: bool = _option(True, "UniPC lowers its order at the end")
    pad_cond_uncond: bool = _option(False, "pad the shorter prompt with empty chunks")
    pad_cond_uncond_v0: bool = _option(False, "pad or cut the negative prompt to the prompt's length, as before 1.6")
    tiling: bool = _option(False, "pictures that tile")
    # inpainting
    ddim_loop: str = _option("classic", "DDIM's loop: classic noises the original at each step, webui-1.10 does not",
                             choices=("classic", "webui-1.10"))
    mask_noise: str = _option("initial", "noise of the kept part in the classic loop", choices=("initial", "fresh"))
    inpainting_mask_weight: float = _option(1.0, "how much of the photograph an inpainting checkpoint is not shown "
                                                 "under the mask", low=0, high=1)
    initial_noise_multiplier: float = _option(1.0, "factor on img2img's noise", low=0, high=1.5)
    img2img_fix_steps: bool = _option(False, "do exactly the number of steps asked for in img2img")
    img2img_extra_noise: float = _option(0.0, "noise added to the img2img latent", low=0, high=1)
    img2img_color_correction: bool = _option(False, "match the colours of an img2img result to its original")
    img2img_background_color: str = _option("#ffffff", "what shows through transparent parts of an image")
    overlay_inpaint: bool = _option(True, "put the original back outside the mask")
    return_mask: bool = _option(False, "return the mask as a picture too")
    return_mask_composite: bool = _option(False, "return the painted part alone, on transparency, too")
    # hires and refiner
    hires_fix_refiner_pass: str = _option("second pass", "which pass the refiner works in",
                                          choices=("first pass", "second pass", "both passes"))
    refiner_switch_by_sample_steps: bool = _option(False, "switch to the refiner by steps, not by noise level")
    # saving
    samples_save: bool = _option(True, "save pictures made in the page")
    save_images_add_number: bool = _option(True, "begin file names with a number")

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            _check(item, getattr(self, item.name))

    def replaced(self, changes: Mapping[str, Any]) -> Options:
        """A copy with `changes`, their values made to fit each option's type; names that are not ours are left out.

        Raises InvalidInput naming the option whose value does not fit.
        """
        known = {item.name: item for item in dataclasses.fields(self)}
        return dataclasses.replace(self, **{name: _fit(known[name], value) for name, value in changes.items()
                                            if name in known and value is not None})


def _fit(item: dataclasses.Field[Any], value: Any) -> Any:
    kind: Any = type(item.default)
    if kind is float and type(value) is int:
        return value  # 0 stays 0: the parameters text shows a number as it was given
    try:
        if kind is bool:
            return value if isinstance(value, bool) else bool(json.loads(str(value).lower()))
        if kind is int:
            number = float(value)
            if not number.is_integer():
                raise ValueError
            return int(number)
        return kind(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidInput(f"The option {item.name} cannot be {value!r}.", field=item.name) from error


def _check(item: dataclasses.Field[Any], value: Any) -> None:
    choices, low, high = item.metadata["choices"], item.metadata["low"], item.metadata["high"]
    if choices and value not in choices:
        raise InvalidInput(f"The option {item.name} is one of {', '.join(choices)}, not {value!r}.", field=item.name)
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return
    if not math.isfinite(value) or (low is not None and value < low) or (high is not None and value > high):
        raise InvalidInput(f"The option {item.name} lies between {low:g} and {high:g}, not {value!r}.",
                           field=item.name)
