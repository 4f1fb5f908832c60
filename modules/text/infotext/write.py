"""Writing the parameters text of a picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from modules.request import Img2Img, Inpaint, MaskedContent, Txt2Img
from modules.text.infotext import control, detail
from modules.text.infotext.keys import SOFT_KEYS, VERSION, plain, quote

AUTOMATIC = "Automatic"
RHO = {"Karras": 7.0, "Polyexponential": 1.0}
"""The schedules that have a rho, and their own."""


class Sampler(Protocol):
    """What the text says about a sampler; `modules.sampling.registry.Sampler` is one."""

    @property
    def timesteps(self) -> bool:
        """Whether it walks DDIM's timesteps: no schedule, no sigmas, and its eta is "Eta DDIM"."""

    @property
    def schedule_label(self) -> str:
        """The schedule that Automatic stands for."""

    @property
    def uses_eta(self) -> bool:
        """Whether eta changes its pictures."""

    @property
    def uses_ensd(self) -> bool:
        """Whether the eta noise seed delta changes its pictures."""

    @property
    def uses_churn(self) -> bool:
        """Whether `s_churn`, `s_tmin` and `s_tmax` change its pictures."""

    @property
    def uses_s_noise(self) -> bool:
        """Whether `s_noise` changes its pictures."""

    @property
    def discard_next_to_last(self) -> bool:
        """Whether it leaves the smallest sigma out in any case."""

    @property
    def uses_ddim_loop(self) -> bool:
        """Whether `ddim_loop`, `mask_noise` and `small_mask` change its pictures."""


def write(request: Txt2Img, sampler: Sampler, *, seed: int, subseed: int, model_name: str, model_hash: str | None,
          vae_name: str | None = None, vae_hash: str | None = None, hires_title: str | None = None,
          refiner_title: str | None = None, inpainting: bool = False, edits: bool = False,
          second: Sampler | None = None, version: str = VERSION, extra: Mapping[str, Any] | None = None,
          happened: Mapping[str, Any] | None = None) -> str:
    """Return the text of one picture of a resolved `request`, made with `sampler`, and its second pass with `second`
    where that is another one.

    `model_hash` is the first 10 digits of the file's SHA-256. The titles of the hires checkpoint and the refiner are
    like "name [0123456789]". `inpainting`: the checkpoint is an inpainting one; `edits`: it edits a picture. `extra`
    are the keys of scripts and extensions; they replace the values of keys that are there already. `happened` are those
    of what was found out while the picture was made; None leaves a key out.
    """
    options = request.options
    varied = request.subseed_strength != 0
    resized = request.seed_resize_from_w > 0 and request.seed_resize_from_h > 0
    first: dict[str, Any] = {
        "Steps": request.steps,
        "Sampler": request.sampler,
        "Schedule type": _schedule(request.scheduler, sampler),
        "CFG scale": request.cfg_scale,
        "Image CFG scale": request.image_cfg_scale if edits and isinstance(request, Img2Img) else None,
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
        "Conditional mask weight": options.inpainting_mask_weight if inpainting else None,
        "Clip skip": options.CLIP_stop_at_last_layers if options.CLIP_stop_at_last_layers > 1 else None,
        "ENSD": _ensd(request, sampler),
        "RNG": options.randn_source if options.randn_source != "GPU" else None,
        "Tiling": options.tiling or None}
    extra = extra or {}
    values = {**first, **extra, **dict(generation_params(request, sampler, second)), **(happened or {}),
              **dict(_own_params(request, sampler)), **extra}
    for key, title in (("Hires checkpoint", hires_title), ("Refiner", refiner_title)):
        if title and values.get(key):
            values[key] = title
    pairs = ", ".join(f"{key}: {quote(value)}" for key, value in {**values, "Version": version}.items()
                      if value is not None)
    negative = f"\nNegative prompt: {request.negative_prompt}" if request.negative_prompt else ""
    return f"{request.prompt}{negative}\n{pairs}".strip()


def write_removed(model: str, seed: int, size: tuple[int, int]) -> str:
    """The text of a picture from which Remove took something: `size` is (width, height)."""
    return f"Remove with: {quote(model)}, Seed: {seed}, Size: {size[0]}x{size[1]}, Version: {VERSION}"


def _schedule(scheduler: str, sampler: Sampler) -> str:
    """The schedule's label. Automatic stays where the sampler has a grid of its own or no preferred schedule."""
    return sampler.schedule_label if scheduler == AUTOMATIC else scheduler


def _eta(request: Txt2Img, sampler: Sampler) -> tuple[str, float] | None:
    """(key, eta) if the sampler uses eta and its value is not the default."""
    options = request.options
    key, option, usual = ("Eta DDIM", options.eta_ddim, 0.0) if sampler.timesteps else ("Eta", options.eta_ancestral,
                                                                                       1.0)
    eta = option if request.eta is None else request.eta
    return (key, eta) if sampler.uses_eta and eta != usual else None


def _ensd(request: Txt2Img, sampler: Sampler) -> int | None:
    """The seed delta, if it changes anything."""
    eta = _eta(request, sampler)
    used = sampler.uses_ensd and not (eta and eta[1] == 0)
    return request.options.eta_noise_seed_delta or None if used else None


def generation_params(request: Txt2Img, sampler: Sampler,
                      second: Sampler | None = None) -> Iterator[tuple[str, Any]]:
    """Yield the keys after Tiling and their values, in the order in which WebUI adds them."""
    options = request.options
    if isinstance(request, Inpaint):
        yield from _soft_params(request)
    yield from control.written(request.control_units)
    if isinstance(request, Inpaint):
        yield from _mask_params(request)
    if request.enable_hr:
        yield from _hires_params(request, sampler, second or sampler)
    prompts = request.prompt + request.negative_prompt
    if options.use_old_scheduling and "[" in prompts:
        yield "Old prompt editing timelines", True
    if options.emphasis != "Original" and ("(" in prompts or "[" in prompts):
        yield "Emphasis", options.emphasis
    if options.use_downcasted_alpha_bar:
        yield "Downcast alphas_cumprod", True
    if options.sd_noise_schedule != "Default":
        yield "Noise Schedule", options.sd_noise_schedule
    yield from _pass_params(request, sampler, request.scheduler, from_picture=isinstance(request, Img2Img))
    if request.enable_hr:
        yield from _pass_params(request, second or sampler, request.hr_scheduler or request.scheduler,
                                from_picture=True)
    yield from detail.written(request.detail)


def _own_params(request: Txt2Img, sampler: Sampler) -> Iterator[tuple[str, Any]]:
    """The keys that WebUI does not have."""
    options = request.options
    for values in (options, request):
        for item in plain(type(values)):
            value = getattr(values, item.name)
            if value != item.default and request.tab in item.tabs:
                yield item.text, value
    if isinstance(request, Inpaint) and request.then_mask:
        yield "Then mask", True
    if sampler.uses_ddim_loop or (isinstance(request, Inpaint) and request.misplaced):
        yield "DDIM loop", options.ddim_loop
        if isinstance(request, Inpaint) and options.ddim_loop == "classic":
            yield "Mask noise", options.mask_noise
            if options.small_mask != "off":
                yield "Small masks", options.small_mask


def _hires_params(request: Txt2Img, first: Sampler, second: Sampler) -> Iterator[tuple[str, Any]]:
    """What WebUI adds before it begins: names and prompts only where they are not those of the first pass."""
    if request.hr_checkpoint:
        yield "Hires checkpoint", request.hr_checkpoint
    if request.hr_sampler and request.hr_sampler != request.sampler:
        yield "Hires sampler", request.hr_sampler
    if request.hr_prompt and request.hr_prompt != request.prompt:
        yield "Hires prompt", request.hr_prompt
    if request.hr_negative_prompt and request.hr_negative_prompt != request.negative_prompt:
        yield "Hires negative prompt", request.hr_negative_prompt
    schedule = _sigma_schedule(request.hr_scheduler or request.scheduler, second)
    if schedule and schedule != _sigma_schedule(request.scheduler, first):
        yield "Hires schedule type", schedule
    if request.hr_resize_x or request.hr_resize_y:
        yield "Hires resize", f"{request.hr_resize_x}x{request.hr_resize_y}"
    else:
        yield "Hires upscale", request.hr_scale
    if request.hr_second_pass_steps:
        yield "Hires steps", request.hr_second_pass_steps
    yield "Hires upscaler", request.hr_upscaler


def _sigma_schedule(scheduler: str, sampler: Sampler) -> str | None:
    """The label of the schedule whose sigmas `sampler` walks; None for the model's own and for timesteps."""
    label = _schedule(scheduler, sampler)
    return None if sampler.timesteps or label == AUTOMATIC else label


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
    if request.masked_content == MaskedContent.SURROUNDINGS:
        yield "Remove with", request.options.remove_model


def _pass_params(request: Txt2Img, sampler: Sampler, scheduler: str, *,
                 from_picture: bool) -> Iterator[tuple[str, Any]]:
    """What WebUI adds when it samples. `from_picture`: not from noise alone."""
    options = request.options
    if isinstance(request, Img2Img):
        multiplier = request.initial_noise_multiplier
        multiplier = options.initial_noise_multiplier if multiplier is None else multiplier
        if multiplier != 1:
            yield "Noise multiplier", multiplier
    if options.always_discard_next_to_last_sigma and not sampler.discard_next_to_last:
        yield "Discard penultimate sigma", True
    schedule = _sigma_schedule(scheduler, sampler)
    if schedule:
        for key, value in (("Schedule min sigma", options.sigma_min), ("Schedule max sigma", options.sigma_max)):
            if value:
                yield key, value
        if options.rho and options.rho != RHO.get(schedule, options.rho):
            yield "Schedule rho", options.rho
        if schedule == "Beta":
            yield "Beta schedule alpha", options.beta_dist_alpha
            yield "Beta schedule beta", options.beta_dist_beta
    if from_picture and options.img2img_extra_noise > 0:
        yield "Extra noise", options.img2img_extra_noise
    if not from_picture and options.sgm_noise_multiplier and not sampler.timesteps:
        yield "SGM noise multiplier", True
    eta = _eta(request, sampler)
    if eta is not None:
        yield eta
    if sampler.uses_churn:
        for key, value in (("Sigma churn", options.s_churn), ("Sigma tmin", options.s_tmin),
                           ("Sigma tmax", options.s_tmax)):
            if value:
                yield key, value
    if sampler.uses_s_noise and options.s_noise != 1:
        yield "Sigma noise", options.s_noise
