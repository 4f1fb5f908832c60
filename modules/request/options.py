"""The options that shape a picture beyond its request, under the names that WebUI gives them.

`Options` is a frozen value that travels inside every request, so a job keeps the options it was submitted with
whatever is changed afterwards.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from PIL import ImageColor

from modules.errors import InvalidInput
from modules.request.fields import TABS
from modules.request.fields import field as option

AUTOMATIC = "Automatic"
PREDICTION_TYPES = (AUTOMATIC, "eps", "v")
AS_FOUND, LEFT_TO_RIGHT = "None", "Position (left to right)"
FROM_CENTRE, BY_AREA = "Position (center to edge)", "Area (large to small)"
"""Orders of the detailer's finds, in the ADetailer extension's words. None is the detector's, the surest first."""
PICTURE = TABS[1:]
"""The tabs that start from a picture."""
MASK = TABS[2:]
"""The tab that has a mask."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Named values, each with its default, its type and its range. Every field is declared."""

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            _check(item, getattr(self, item.name))

    def replaced(self, changes: Mapping[str, Any]) -> Self:
        """A copy with `changes`, their values made to fit each option's type; names that are not ours are left out.

        Raises InvalidInput naming the option whose value does not fit.
        """
        known = {item.name: item for item in dataclasses.fields(self)}
        return dataclasses.replace(self, **{name: _fit(known[name], value) for name, value in changes.items()
                                            if name in known and value is not None})


@dataclass(frozen=True, kw_only=True)
class Options(Table):
    """Every option that the engine obeys. Units and ranges are in the help; defaults are WebUI's unless noted."""

    # models
    sd_model_checkpoint: str = option("", "Checkpoint", "A title, name, file name or hash; empty takes the first.")
    sd_vae: str = option("Automatic", "VAE", "Automatic, None (the checkpoint's own), or a file name.")
    # saving
    samples_save: bool = option(True, "Always save all generated images",
                                "Those of txt2img, img2img and inpaint; programs ask for it themselves.")
    save_edits: bool = option(
        True, "Save how a photograph was edited",
        "Masks and parameters of all its edits, with which PNG Info makes them again. Switch it off for pictures that "
        "you publish.")
    save_places: bool = option(
        True, "Save the place and the photograph's file name",
        "The GPS position in EXIF, and the name of the file that was edited. Switch it off for pictures that you "
        "publish.")
    # prompts
    CLIP_stop_at_last_layers: int = option(
        1, "Clip skip",
        "Which layer of the text encoder is used. 1 is the last; 2 suits many checkpoints for drawings.", low=1,
        high=12, text="Clip skip", axis="Clip skip", advanced=True)
    comma_padding_backtrack: int = option(
        20, "Prompt word wrap length limit", "Tokens to look back for a comma when 75 are full.", low=0, high=74)
    emphasis: str = option(
        "Original", "Emphasis mode",
        "What weights like (word:1.2) do. No norm helps where strong weights break the picture; None shows "
        "brackets as they are.", choices=("Original", "No norm", "Ignore", "None"), text="Emphasis", advanced=True)
    use_old_emphasis_implementation: bool = option(
        False, "Use old emphasis implementation", "Every bracket weighs single tokens, as in 2022.")
    use_old_scheduling: bool = option(
        False, "Old prompt editing timelines", "As before WebUI 1.6.", text="Old prompt editing timelines")
    enable_prompt_comments: bool = option(
        True, "Enable comments in prompts", "What follows # up to the end of its line is left out.")
    wildcards: str = option(
        "page", "Wildcards in prompts",
        "Draws a line of wildcards/name.txt for __name__ and one of {a|b|c}, by each picture's seed. page leaves the "
        "prompts of programs as they are.", choices=("page", "everywhere", "off"))
    # SDXL
    sdxl_crop_top: int = option(
        0, "SDXL: top coordinate of the crop",
        "How many pixels SDXL is told were cut off in training; 0 keeps things in the middle of the picture.",
        low=0, high=1024)
    sdxl_crop_left: int = option(
        0, "SDXL: left coordinate of the crop",
        "How many pixels SDXL is told were cut off in training; 0 keeps things in the middle of the picture.",
        low=0, high=1024)
    sdxl_refiner_high_aesthetic_score: float = option(
        6.0, "SDXL: high aesthetic score", "How beautiful SDXL's refiner is told the picture is.", low=0, high=10)
    sdxl_refiner_low_aesthetic_score: float = option(
        2.5, "SDXL: low aesthetic score",
        "How beautiful SDXL's refiner is told the negative prompt's picture is.", low=0, high=10)
    sdxl_clip_l_skip: bool = option(
        False, "SDXL: clip skip", "SDXL's first text encoder obeys Clip skip.")
    # sampling
    eta_ddim: float = option(
        0.0, "Eta for DDIM", "Noise that DDIM adds at each step. 0 adds none and repeats exactly; 1 varies most.",
        low=0, high=1, text="Eta DDIM", advanced=True)
    eta_ancestral: float = option(
        1.0, "Eta for k-diffusion samplers",
        "Noise that ancestral samplers such as Euler a add. 1 is usual; 0 makes them calm.", low=0, high=1, text="Eta",
        advanced=True)
    tcd_gamma: float = option(
        0.3, "TCD gamma",
        "Noise that the sampler TCD adds at each step. 0 adds none; more steps want more, up to 1.", low=0, high=1,
        text="TCD gamma", axis="TCD gamma", advanced=True)
    cfg_rescale: float = option(
        0.0, "CFG rescale",
        "How far guidance is brought back to the contrast of the prompt alone. Try 0.7 where a high CFG scale "
        "gets harsh.", low=0, high=1, text="CFG rescale", axis="CFG rescale", advanced=True)
    s_min_uncond: float = option(
        0.0, "Negative Guidance minimum sigma",
        "Below this noise level the negative prompt is left out at every second step, which is faster; 0 never does.",
        low=0, high=1e6, shown=(0, 15), text="NGMS", axis="Negative Guidance minimum sigma")
    s_min_uncond_all: bool = option(
        False, "Negative Guidance minimum sigma all steps", "At each of these steps, not every second.",
        text="NGMS all steps")
    skip_early_cond: float = option(
        0.0, "Ignore negative prompt during early sampling",
        "In this share of the steps at the beginning; more variety, and faster.", low=0, high=1, text="Skip Early CFG")
    sd_noise_schedule: str = option(
        "Default", "Noise schedule for sampling",
        "Zero Terminal SNR is for models that were trained with it, such as most v-prediction models.",
        choices=("Default", "Zero Terminal SNR"), text="Noise Schedule")
    prediction_type: str = option(
        AUTOMATIC, "Prediction type",
        "What the checkpoint predicts, noise (eps) or velocity (v), where its file does not tell. Automatic is what is "
        "remembered of the checkpoint, else what the file tells. A flow stays one.", choices=PREDICTION_TYPES,
        text="Prediction type")
    sgm_noise_multiplier: bool = option(
        False, "SGM noise multiplier", "txt2img starts from a little more noise, as SDXL's official code does.",
        text="SGM noise multiplier", axis="SGM noise multiplier")
    tiling: bool = option(
        False, "Tiling", "Makes pictures whose edges fit together. Use it for textures.", text="Tiling", advanced=True)
    ddim_loop: str = option(
        "classic", "DDIM loop",
        "How the kept part is held at each step. classic noises the original (WebUI until 1.5.2); webui-1.10 "
        "does not, for parameters from there.", choices=("classic", "webui-1.10"), text="DDIM loop", axis="DDIM loop",
        advanced=True)
    s_churn: float = option(
        0.0, "Sigma churn", "Noise that Euler, Heun and DPM2 add and take away.", low=0, high=1e9,
        shown=(0, 100), text="Sigma churn",
        axis="Sigma Churn")
    s_tmin: float = option(
        0.0, "Sigma tmin", "The noise level below which there is no churn.", low=0, high=1e9, shown=(0, 10),
        text="Sigma tmin",
        axis="Sigma min")
    s_tmax: float = option(
        0.0, "Sigma tmax", "The noise level above which there is no churn; 0 means no limit.", low=0, high=1e12,
        shown=(0, 999), text="Sigma tmax", axis="Sigma max")
    s_noise: float = option(
        1.0, "Sigma noise", "Strength of the noise that churn adds.", low=0, high=1000, shown=(0, 1.1),
        text="Sigma noise",
        axis="Sigma noise")
    sigma_min: float = option(
        0.0, "Sigma min", "Smallest noise level of the schedule; 0 takes the model's.", low=0, high=2,
        text="Schedule min sigma", axis="Schedule min sigma")
    sigma_max: float = option(
        0.0, "Sigma max", "Largest noise level of the schedule; 0 takes the model's.", low=0, high=60,
        text="Schedule max sigma", axis="Schedule max sigma")
    rho: float = option(
        0.0, "Rho", "Of the Karras and polyexponential schedules; 0 takes their own.", low=0, high=30,
        text="Schedule rho", axis="Schedule rho")
    beta_dist_alpha: float = option(
        0.6, "Beta scheduler - alpha",
        "More steps at low noise levels when lower. 0.6 is even at both ends.",
        low=0.01, high=5, text="Beta schedule alpha", axis="Beta schedule alpha")
    beta_dist_beta: float = option(
        0.6, "Beta scheduler - beta",
        "More steps at high noise levels when lower. 0.6 is even at both ends.",
        low=0.01, high=5, text="Beta schedule beta", axis="Beta schedule beta")
    always_discard_next_to_last_sigma: bool = option(
        False, "Always discard next-to-last sigma", "Leaves the last but one noise level out.",
        text="Discard penultimate sigma", axis="Always discard next-to-last sigma")
    uni_pc_variant: str = option(
        "bh1", "UniPC variant", "bh1 suits few steps, bh2 many; vary_coeff is the third of its paper.",
        choices=("bh1", "bh2", "vary_coeff"), text="UniPC variant")
    uni_pc_skip_type: str = option(
        "time_uniform", "UniPC skip type", "How its steps are spread.",
        choices=("time_uniform", "time_quadratic", "logSNR"), text="UniPC skip type")
    uni_pc_order: int = option(
        3, "UniPC order", "How many steps it looks back. 3 is usual; 2 is steadier with few steps.",
        low=1, high=50, text="UniPC order")
    uni_pc_lower_order_final: bool = option(
        True, "UniPC lower order final", "The last steps are of a lower order.", text="UniPC lower order final")
    step_cache: int = option(
        1, "Step cache",
        "Computes one step of so many whole and reuses its deep features in the others. 1 computes all; 2 or 3 "
        "are faster and a little different.", low=1, high=5, text="Step cache", advanced=True)
    # networks
    sd_lora: str = option(
        "None", "Add network to prompt",
        "A LoRA that every prompt gets unless it names it. None adds none; write the name of its file.")
    sd_hypernetwork: str = option(
        "None", "Add hypernetwork to prompt",
        "A hypernetwork that every prompt gets unless it names it. None adds none; write the name of its file.")
    extra_networks_default_multiplier: float = option(
        1.0, "Default multiplier for extra networks",
        "How strong the LoRA and the hypernetwork of the two options above are. 0.6 to 0.8 are milder than 1.", low=0,
        high=2)
    lora_add_hashes_to_infotext: bool = option(
        True, "Add Lora hashes to infotext",
        "Writes the hashes of LoRAs into the parameters text. They tell one version of a file from another.")
    textual_inversion_add_hashes_to_infotext: bool = option(
        True, "Add Textual Inversion hashes to infotext",
        "Writes the hashes of embeddings into the parameters text. They tell one version of a file from another.")
    # noise
    randn_source: str = option(
        "CPU", "Random number generator source",
        "Where noise comes from. CPU makes the same picture on every machine; GPU and NV repeat pictures of WebUI.",
        choices=("GPU", "CPU", "NV"), text="RNG", axis="RNG source", advanced=True)
    eta_noise_seed_delta: int = option(
        0, "Eta noise seed delta", "Added to the seed for all noise after the first.", low=-(2**32), high=2**32,
        text="ENSD")
    no_dpmpp_sde_batch_determinism: bool = option(
        False, "Do not make DPM++ SDE deterministic across different batch sizes",
        "One Brownian tree for the whole batch.")
    # img2img and inpainting
    overlay_inpaint: bool = option(True, "Overlay original for inpaint", "Puts the original back outside the mask.")
    mask_noise: str = option(
        "initial", "Mask noise",
        "The noise of the kept part in the classic DDIM loop: that of the start, or fresh at each step. fresh "
        "repeats pictures of old WebUI.", choices=("initial", "fresh"), text="Mask noise", axis="Mask noise",
        tabs=MASK, advanced=True)
    small_mask: str = option(
        "off", "Small masks",
        "Works on a window around a small mask with classic DDIM, which is faster. auto stays where no "
        "difference is seen; strong is fastest.", choices=("off", "auto", "strong"), text="Small masks", tabs=MASK,
        advanced=True)
    inpainting_mask_weight: float = option(
        1.0, "Inpainting conditioning mask strength",
        "How much of the photograph an inpainting checkpoint is not shown under the mask. Lower it to keep the "
        "old shapes.", low=0, high=1, text="Conditional mask weight", axis="Cond. Image Mask Weight", tabs=MASK,
        advanced=True)
    initial_noise_multiplier: float = option(
        1.0, "Noise multiplier for img2img",
        "Multiplies the noise that img2img starts with. Below 1 gives calmer results with less detail.", low=0,
        high=1.5, tabs=PICTURE, advanced=True)
    img2img_extra_noise: float = option(
        0.0, "Extra noise multiplier for img2img",
        "Noise that is added to the picture before sampling. 0.05 brings out texture; 0 adds none.", low=0, high=1,
        text="Extra noise", axis="Extra noise", tabs=PICTURE, advanced=True)
    img2img_fix_steps: bool = option(
        False, "Do exactly the steps asked for", "Does all steps. Otherwise img2img does fewer with less denoising.",
        tabs=PICTURE, advanced=True)
    img2img_color_correction: bool = option(
        False, "Apply color correction",
        "Matches the colours of a result to its original. Use it where colours drift.", tabs=PICTURE, advanced=True)
    img2img_background_color: str = option("#ffffff", "Background color of transparent images",
                                           "What shows through transparent parts.", colour=True)
    return_mask: bool = option(False, "Show the mask among the results",
                                "Adds the mask as a picture. Use it to check what was painted.")
    return_mask_composite: bool = option(False, "Show the painted part alone among the results",
                                          "Adds the painted part on a transparent ground. Use it for layers.")
    # hires and refiner
    hires_fix_refiner_pass: str = option(
        "second pass", "Hires fix: which pass to enable refiner for",
        "first pass refines the small picture, second pass the enlarged one.",
        choices=("first pass", "second pass", "both passes"), text="Hires refiner")
    refiner_switch_by_sample_steps: bool = option(
        False, "Switch to refiner by sampling steps", "Otherwise by the noise level.",
        text="Refiner switch by sampling steps")
    # the detailer
    ad_bbox_sortby: str = option(
        AS_FOUND, "Order of the detailer's finds", "In which order finds are painted, and so which prompt of a pass is "
        "whose.", choices=(AS_FOUND, LEFT_TO_RIGHT, FROM_CENTRE, BY_AREA))
    # words for pictures
    interrogate_deepbooru_score_threshold: float = option(
        0.5, "Least share of a tag", "A tagger's words with less are left out of the prompt. 0.35 gets more of them.",
        low=0, high=1)
    mask_words_threshold: float = option(
        0.0, "Least confidence of word masks",
        "How sure the network must be of what words name. 0 takes what suits it; "
        "lower it where something is not found.", low=0, high=1)
    # face restoration
    face_restoration: bool = option(
        False, "Restore faces",
        "Repairs faces in every finished picture with a model from models/GFPGAN. Use it for small faces.",
        advanced=True)
    face_restoration_model: str = option(
        "Automatic", "Face restoration model", "A file's name, or how it begins; Automatic takes GFPGAN before others.",
        text="Face restoration")
    # removing
    remove_model: str = option(
        "Automatic", "Remove with",
        "What fills the removed part. Automatic takes the first file in models/inpaint (LaMa, MAT), otherwise "
        "PatchMatch.", text="Remove with", tabs=MASK)
    # control
    control_net_unit_count: int = option(
        3, "Multi-ControlNet: ControlNet unit number",
        "How many units there are. Programs may send more; those behind are left out.", low=1, high=10)
    control_net_no_detectmap: bool = option(
        False, "Do not append detectmap to output",
        "Leaves out the pictures of what the units follow, which come behind the results in the API's answer.")
    control_net_inpaint_blur_sigma: int = option(
        7, "ControlNet inpainting Gaussian blur sigma",
        "By how many pixels the edge of the mask is softened where inpaint_only puts the original back.", low=0,
        high=64)
    controlnet_ignore_noninpaint_mask: bool = option(
        False, "Ignore mask on ControlNet input image if control type is not inpaint",
        "Takes a unit's picture as it is. Otherwise a painted mask is the picture: a scribble.")
    # as it was
    use_old_karras_scheduler_sigmas: bool = option(False, "Use old karras scheduler sigmas", "From 0.1 to 10.")
    use_downcasted_alpha_bar: bool = option(
        False, "Downcast model alphas_cumprod to fp16 before sampling", "As before WebUI 1.7.",
        text="Downcast alphas_cumprod")
    pad_cond_uncond: bool = option(
        False, "Pad prompt/negative prompt", "The shorter one gets empty chunks, which is faster in batches.",
        text="Pad conds")
    pad_cond_uncond_v0: bool = option(
        False, "Pad prompt/negative prompt (v0)", "Cuts the negative prompt to the prompt's length, as before 1.6.",
        text="Pad conds v0")


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
    if item.metadata["colour"]:
        _check_colour(item, value)
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return
    low_enough, high_enough = high is None or value <= high, low is None or value >= low
    if value in (math.inf, -math.inf) or not low_enough or not high_enough:  # nor NaN
        raise InvalidInput(f"The option {item.name} lies between {low:g} and {high:g}, not {value!r}.",
                           field=item.name)


def _check_colour(item: dataclasses.Field[Any], value: str) -> None:
    try:
        ImageColor.getrgb(value)
    except ValueError as error:
        raise InvalidInput(f"The option {item.name} is a colour like #ffffff, not {value!r}.",
                           field=item.name) from error
