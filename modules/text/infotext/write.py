"""Writing the parameters text of a picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from modules.request import Img2Img, Inpaint, MaskedContent, Txt2Img
from modules.text.infotext.keys import SOFT_KEYS, VERSION, plain, quote

AUTOMATIC = "Automatic"


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
    def uses_ddim_loop(self) -> bool:
        """Whether `ddim_loop`, `mask_noise` and `small_mask` change its pictures."""


def write(request: Txt2Img, sampler: Sampler, *, seed: int, subseed: int, model_name: str, model_hash: str | None,
          vae_name: str | None = None, vae_hash: str | None = None, inpainting: bool = False,
          version: str = VERSION, extra: Mapping[str, Any] | None = None) -> str:
    """Return the text of one picture of a resolved `request`, made with `sampler`.

    `model_hash` is the first 10 digits of the file's SHA-256. `inpainting`: the checkpoint is an inpainting one.
    `extra` adds keys before the version, and replaces the values of keys that are there already.
    """
    options = request.options
    varied = request.subseed_strength != 0
    resized = request.seed_resize_from_w > 0 and request.seed_resize_from_h > 0
    values: dict[str, Any] = {
        "Steps": request.steps,
        "Sampler": request.sampler,
        "Schedule type": _schedule(request, sampler),
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
        "Conditional mask weight": options.inpainting_mask_weight if inpainting else None,
        "Clip skip": options.CLIP_stop_at_last_layers if options.CLIP_stop_at_last_layers > 1 else None,
        "ENSD": _ensd(request, sampler),
        "RNG": options.randn_source if options.randn_source != "GPU" else None,
        "Tiling": options.tiling or None,
        **dict(generation_params(request, sampler)),
        **(extra or {}),
        "Version": version}
    pairs = ", ".join(f"{key}: {quote(value)}" for key, value in values.items() if value is not None)
    negative = f"\nNegative prompt: {request.negative_prompt}" if request.negative_prompt else ""
    return f"{request.prompt}{negative}\n{pairs}".strip()


def _schedule(request: Txt2Img, sampler: Sampler) -> str:
    """The schedule's label. Automatic stays where the sampler has a grid of its own or no preferred schedule."""
    if sampler.timesteps or request.scheduler == AUTOMATIC:
        return sampler.schedule_label
    return request.scheduler


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


def generation_params(request: Txt2Img, sampler: Sampler) -> Iterator[tuple[str, Any]]:
    """Yield the keys after Tiling and their values, in the order in which WebUI adds them."""
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
    yield from _sampler_params(request, sampler)
    yield from _plain_params(request)
    if sampler.uses_ddim_loop or (isinstance(request, Inpaint) and request.misplaced):
        yield "DDIM loop", options.ddim_loop
        if isinstance(request, Inpaint) and options.ddim_loop == "classic":
            yield "Mask noise", options.mask_noise
            if options.small_mask != "off":
                yield "Small masks", options.small_mask


def _plain_params(request: Txt2Img) -> Iterator[tuple[str, Any]]:
    for values in (request.options, request):
        for item in plain(type(values)):
            value = getattr(values, item.name)
            if value != item.default and request.tab in item.tabs:
                yield item.text, value


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


def _sampler_params(request: Txt2Img, sampler: Sampler) -> Iterator[tuple[str, Any]]:
    options = request.options
    if options.always_discard_next_to_last_sigma:
        yield "Discard penultimate sigma", True
    if not sampler.timesteps:
        for key, value in (("Schedule min sigma", options.sigma_min), ("Schedule max sigma", options.sigma_max)):
            if value:
                yield key, value
        if options.rho and _schedule(request, sampler) in ("Karras", "Polyexponential"):
            yield "Schedule rho", options.rho
        if _schedule(request, sampler) == "Beta":
            yield "Beta schedule alpha", options.beta_dist_alpha
            yield "Beta schedule beta", options.beta_dist_beta
    eta = _eta(request, sampler)
    if eta is not None:
        yield eta
    if sampler.uses_churn:
        for key, value in (("Sigma churn", options.s_churn), ("Sigma tmin", options.s_tmin),
                           ("Sigma tmax", options.s_tmax)):
            if value:
                yield key, value
    if options.s_noise != 1 and not sampler.timesteps:
        yield "Sigma noise", options.s_noise
