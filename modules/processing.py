"""txt2img, img2img and inpaint: three recipes over the floors below. Each makes all the pictures of one request.

The requests that come here are resolved (no -1 seeds). Latents are (B, 4, h, w), h and w an eighth of the working size,
which is the request's size rounded up to multiples of 8; what was added is cut off again at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from modules import conditioning
from modules.errors import BadResult, Interrupted, Stopped
from modules.imaging import tensors
from modules.imaging.colour import match_colours
from modules.imaging.fill import fill
from modules.imaging.mask import CropRegion, crop_region, prepare
from modules.imaging.overlay import apply_overlay, make_overlay, uncrop
from modules.imaging.resize import flatten, pad_to_multiple, resize
from modules.progress import JobContext
from modules.request import Img2Img, Inpaint, MaskedContent, ResizeMode, Txt2Img
from modules.sampling import registry
from modules.sampling.guidance import GuidedDenoiser
from modules.sampling.noise import ImageNoise
from modules.sampling.sample import Plan, Source, sample, total_calls
from modules.sampling.types import SDModel

Size = tuple[int, int]

Finish = Callable[[Image.Image, int], tuple[Image.Image, ...]]
"""(decoded picture, its number in the batch) -> the result, then its extras."""


@dataclass(frozen=True)
class Picture:
    """One result. `extras` are the mask and the composite, when the options ask for them."""

    image: Image.Image
    seed: int
    subseed: int
    extras: tuple[Image.Image, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """All results of one request, and what the person should be told about them."""

    pictures: tuple[Picture, ...]
    warnings: tuple[str, ...] = ()
    interrupted: bool = False


@dataclass(frozen=True)
class Start:
    """What a recipe prepares once and every batch shares.

    `finish(image, k)` turns the decoded k-th picture of a batch into the result and its extras. `extra_channels`
    (B, 5, h, w) is what an inpainting checkpoint reads beside x.
    """

    source: Source | None
    extra_channels: Tensor | None
    finish: Finish
    warnings: tuple[str, ...] = field(default=())


def generate(model: SDModel, request: Txt2Img, job: JobContext) -> Outcome:
    """The pictures of `request`. Raises InvalidInput, BadResult."""
    if isinstance(request, Inpaint):
        start = inpaint(model, request, job)
    elif isinstance(request, Img2Img):
        start = img2img(model, request, job)
    else:
        start = txt2img(model, request)
    return _run_batches(model, request, start, job)


def txt2img(model: SDModel, request: Txt2Img) -> Start:
    """Nothing to start from. An inpainting checkpoint is told that all of a grey picture is to be painted."""
    extra = None
    if model.in_channels == 9:
        width, height = working_size(request)
        grey = torch.zeros(request.batch_size, 3, height, width)
        extra = _extra_channels(model, grey, torch.ones(1, 1, height, width), weight=1.0)
    return Start(None, extra, lambda image, k: (image,))


def img2img(model: SDModel, request: Img2Img, job: JobContext) -> Start:
    """The whole picture, fitted and encoded."""
    job.stage("Encoding the picture")
    images = [_fit(flatten(image, request.options.img2img_background_color), request)
              for image in request.init_images]
    return _start_whole(model, request, images)


def inpaint(model: SDModel, request: Inpaint, job: JobContext) -> Start:
    """Only the white part of the mask is made anew."""
    options, size = request.options, (request.width, request.height)
    # 1. The mask as painted becomes the effective one: luminance, turned round, blurred.
    mask = prepare(request.mask, invert=request.mask_invert, blur_x=request.mask_blur_x, blur_y=request.mask_blur_y,
                   hard=request.mask_round)
    originals = [flatten(image, options.img2img_background_color) for image in request.init_images]
    # 2. Only masked: the surroundings of the mask are cut out and worked on at full size.
    region = None
    if request.only_masked:
        mask = _of_size(mask, originals[0].size)
        region = crop_region(mask, request.only_masked_padding, size)
        if region is None:
            start = img2img(model, _without_mask(request), job)
            return replace(start, warnings=("The mask is empty, so the whole picture was made anew.",))
    # 3. Picture and mask are brought to the working size, and the overlay that restores the rest is cut.
    if region:
        overlays = [make_overlay(image, _of_size(mask, image.size)) for image in originals]
        overlay_mask = mask
        mask = resize(ResizeMode.RESIZE_AND_FILL, mask.crop(region.box), size).convert("L")
        images = [resize(ResizeMode.RESIZE_AND_FILL, image.crop(region.box), size) for image in originals]
    else:
        mask = resize(_pixel_mode(request), mask, size).convert("L")
        images = [_fit(image, request) for image in originals]
        # Doubling the mask makes its blurred rim fully new, so that no ghost of the original shows through.
        overlay_mask = mask.point(lambda value: min(value * 2, 255))
        overlays = [make_overlay(resize(ResizeMode.JUST_RESIZE, image, size), overlay_mask) for image in images]
    # 4. Masked content: every mode but "original" fills the hole with the colours around it first.
    if request.masked_content != MaskedContent.ORIGINAL:
        images = [fill(image, _of_size(mask, image.size)) for image in images]
    # 5. Encode, and bring the mask to the latent's size.
    job.stage("Encoding the picture")
    start = _start_whole(model, request, images, mask)
    warnings = () if mask.getbbox() else ("The mask is empty, so nothing was painted.",)
    paste_back = _paste_back(request, overlays, overlay_mask, region)
    return replace(start, finish=lambda image, k: paste_back(*start.finish(image, k), k), warnings=warnings)


def _start_whole(model: SDModel, request: Img2Img, images: Sequence[Image.Image],
                 mask: Image.Image | None = None) -> Start:
    """Encodes `images` (and `mask`, of the request's size) into what sampling starts from."""
    width, height = working_size(request)
    latent_size = (width // 8, height // 8)
    hard = request.mask_round if isinstance(request, Inpaint) else True
    pixels = tensors.to_tensor([pad_to_multiple(image) for image in images])
    latent = torch.cat([model.encode_image(picture[None].to(model.device)) for picture in pixels])
    if request.resize_mode == ResizeMode.LATENT_UPSCALE:
        latent = F.interpolate(latent, size=latent_size[::-1], mode="bilinear")
    latent = latent.repeat(request.batch_size // len(images), 1, 1, 1)
    paint = None
    if mask is not None:
        mask = pad_to_multiple(mask)
        paint = tensors.latent_mask(mask, latent_size, hard=hard).to(latent.device)
        latent = _latent_content(request, latent, paint)
    extra = None
    if model.in_channels == 9:
        hole = tensors.pixel_mask(mask, hard=hard) if mask else torch.ones(1, 1, *pixels.shape[2:])
        hole = F.interpolate(hole, size=pixels.shape[2:]) if hole.shape[2:] != pixels.shape[2:] else hole
        extra = _extra_channels(model, pixels, hole, weight=request.options.inpainting_mask_weight)
        extra = F.interpolate(extra, size=latent.shape[2:]).repeat(request.batch_size // len(images), 1, 1, 1)
    multiplier = request.initial_noise_multiplier
    source = Source(latent, request.denoising_strength, paint,
                    request.options.initial_noise_multiplier if multiplier is None else multiplier,
                    request.options.img2img_fix_steps)
    return Start(source, extra, _correct_colours(request, images))


def _correct_colours(request: Img2Img, targets: Sequence[Image.Image]) -> Finish:
    """The finish of img2img: the colours of the k-th original, when the option asks for them."""
    if not request.options.img2img_color_correction:
        return lambda image, k: (image,)
    return lambda image, k: (match_colours(image, targets[k % len(targets)]),)


def _latent_content(request: Img2Img, latent: Tensor, paint: Tensor) -> Tensor:
    """Masked content "latent noise" and "latent nothing": what the hole holds in the latent."""
    content = request.masked_content if isinstance(request, Inpaint) else MaskedContent.ORIGINAL
    if content == MaskedContent.LATENT_NOISE:
        # The same block that sampling will start from, and always that of the first batch, as WebUI does.
        noise = ImageNoise(_shape(request), [request.seed + k for k in range(request.batch_size)],
                           source=request.options.randn_source, device=latent.device)
        return latent * (1 - paint) + noise.first() * paint
    if content == MaskedContent.LATENT_NOTHING:
        return latent * (1 - paint)
    return latent


def _extra_channels(model: SDModel, pixels: Tensor, hole: Tensor, *, weight: float) -> Tensor:
    """An inpainting checkpoint's five channels: the mask, and the picture encoded with its hole greyed by `weight`.

    pixels (B, 3, H, W) in [-1, 1], hole (1, 1, H, W) in [0, 1] -> (B, 5, H/8, W/8).
    """
    masked = torch.lerp(pixels, pixels * (1 - hole), weight)
    latent = torch.cat([model.encode_image(picture[None].to(model.device)) for picture in masked])
    small = F.interpolate(hole.to(latent.device), size=latent.shape[2:])
    return torch.cat([small.expand(len(latent), -1, -1, -1), latent], dim=1)


def _paste_back(request: Inpaint, overlays: Sequence[Image.Image], mask: Image.Image,
                region: CropRegion | None) -> Finish:
    """The finish of inpainting: the original over the result, and the extras that the options ask for."""
    options = request.options

    def finish(image: Image.Image, k: int) -> tuple[Image.Image, ...]:
        overlay = overlays[k % len(overlays)]
        whole = uncrop(image, region, overlay.size) if region else image.convert("RGBA")
        result = [apply_overlay(image, overlay, region) if options.overlay_inpaint else image]
        if options.return_mask:
            result.append(mask.convert("RGB"))
        if options.return_mask_composite:
            clear = Image.new("RGBa", whole.size)
            result.append(Image.composite(whole.convert("RGBa"), clear, _of_size(mask, whole.size)).convert("RGBA"))
        return tuple(result)

    return finish


def _run_batches(model: SDModel, request: Txt2Img, start: Start, job: JobContext) -> Outcome:
    """Batch count times: noise for the seeds, guidance, sampling, decoding, paste back. Stops where the job says so."""
    pictures: list[Picture] = []
    interrupted = False
    for batch in range(request.n_iter):
        job.batches(batch, request.n_iter)
        seeds, subseeds = batch_seeds(request, batch)
        latest: list[Tensor] = []
        try:
            latent: Tensor | None = _sample_batch(model, request, start, seeds, subseeds, job, latest)
        except Stopped as stop:
            interrupted = interrupted or isinstance(stop, Interrupted)
            latent = latest[-1] if latest else None
            if latent is not None and start.source:
                latent = start.source.blend_end(latent)
        if latent is not None:
            for k, image in enumerate(_decode(model, latent, request)):
                result, *extras = start.finish(image, k)
                pictures.append(Picture(result, seeds[k], subseeds[k], tuple(extras)))
        if interrupted:
            break
    job.batches(len(pictures) // request.batch_size, request.n_iter)
    return Outcome(tuple(pictures), start.warnings, interrupted)


def _sample_batch(model: SDModel, request: Txt2Img, start: Start, seeds: Sequence[int], subseeds: Sequence[int],
                  job: JobContext, latest: list[Tensor]) -> Tensor:
    """One batch's latent. `latest` receives the newest guess of it, for a job that is stopped half-way."""
    options = request.options
    sampler, schedule = registry.resolve(request.sampler, request.scheduler)
    plan = Plan(sampler, schedule, request.steps, request.eta, options)
    resize_from = (4, request.seed_resize_from_h // 8, request.seed_resize_from_w // 8)
    noise = ImageNoise(_shape(request), seeds, subseeds=subseeds, subseed_strength=request.subseed_strength,
                       resize_from=resize_from if all(resize_from) else None,
                       seed_delta=options.eta_noise_seed_delta, source=options.randn_source, device=model.device)
    job.check()
    job.stage("Reading the prompt")
    guidance = conditioning.encode(model, request.prompt, request.negative_prompt, images=len(seeds),
                                   calls=total_calls(plan), scale=request.cfg_scale / sampler.scale_divisor,
                                   options=options,
                                   extra_channels=start.extra_channels)
    job.stage("Sampling")

    def report(step: int, steps: int, x0: Tensor) -> None:
        latest[:] = [x0]
        job.step(step, steps, lambda: tensors.to_image(model.preview(x0[0]) * 2 - 1))

    return sample(GuidedDenoiser(model, guidance), noise, plan, report, start.source)


def _decode(model: SDModel, latent: Tensor, request: Txt2Img) -> list[Image.Image]:
    """Latents to RGB pictures of the request's size. Raises BadResult on NaN or infinity."""
    pixels = torch.cat([model.decode_latent(one[None]).cpu() for one in latent])
    if not bool(torch.isfinite(pixels).all()):
        raise BadResult("The model gave a picture that is not a number (NaN), so nothing was saved; "
                        "another VAE or full precision may help.")
    return [tensors.to_image(one).crop((0, 0, request.width, request.height)) for one in pixels]


def batch_seeds(request: Txt2Img, batch: int) -> tuple[list[int], list[int]]:
    """(seeds, subseeds) of batch number `batch`. With a variation all share the seed and count the subseed up."""
    numbers = range(batch * request.batch_size, (batch + 1) * request.batch_size)
    step = 0 if request.subseed_strength else 1
    return [request.seed + step * n for n in numbers], [request.subseed + n for n in numbers]


def working_size(request: Txt2Img) -> Size:
    """(width, height) rounded up to multiples of 8."""
    return request.width + -request.width % 8, request.height + -request.height % 8


def _shape(request: Txt2Img) -> tuple[int, int, int]:
    width, height = working_size(request)
    return 4, height // 8, width // 8


def _pixel_mode(request: Img2Img) -> ResizeMode:
    """The resize mode for pixels: a latent upscale stretches them."""
    latent = request.resize_mode == ResizeMode.LATENT_UPSCALE
    return ResizeMode.JUST_RESIZE if latent else request.resize_mode


def _fit(image: Image.Image, request: Img2Img) -> Image.Image:
    """RGB `image` at the request's size, or as it is when its latent will be resized instead."""
    if request.resize_mode == ResizeMode.LATENT_UPSCALE:
        return image
    return resize(request.resize_mode, image, (request.width, request.height))


def _of_size(mask: Image.Image, size: Size) -> Image.Image:
    return mask if mask.size == size else mask.resize(size, Image.Resampling.LANCZOS)


def _without_mask(request: Inpaint) -> Img2Img:
    names = Img2Img.__dataclass_fields__
    return Img2Img(**{name: getattr(request, name) for name in names})
