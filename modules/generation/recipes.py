"""txt2img, img2img and inpaint: three recipes over the floors below. Each makes all the pictures of one request.

The requests that come here are resolved (no -1 seeds). Latents are (B, C, h, w) of whole cells: the
request's size is rounded up to those, and what was added is cut off again at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from modules.base.stopping import asking
from modules.errors import InvalidInput
from modules.generation import batch, control
from modules.generation.batch import Finish, Finished, Prepared
from modules.generation.detail import Detail
from modules.hooks.in_job import Hooks
from modules.imaging import tensors
from modules.imaging.colour import match_colours
from modules.imaging.faces import Restore
from modules.imaging.fill import fill
from modules.imaging.framing import blur_warning, used_mask, working_region
from modules.imaging.grain import fitted
from modules.imaging.mask import CropRegion, of_size, to_luminance
from modules.imaging.overlay import apply_overlay, make_overlay, uncrop
from modules.imaging.photograph import painted, with_pixels
from modules.imaging.remove import Removers, leaves_enough
from modules.imaging.resize import flatten, pad_to_multiple, resize
from modules.imaging.soft import adaptive_mask
from modules.imaging.upscale import Upscalers
from modules.request import Img2Img, Inpaint, MaskedContent, ResizeMode, Txt2Img, going_on, seed_after
from modules.request.job_context import JobContext
from modules.request.photograph import Photograph
from modules.sampling.mask import SoftBlend, soft_blend
from modules.sampling.noise import ImageNoise
from modules.sampling.registry import SAMPLERS, Sampler
from modules.sampling.sample import InitLatent
from modules.sampling.types import FirstNoise, SDModel

Size = tuple[int, int]
NO_FILES = Removers()


def generate(models: batch.Models, request: Txt2Img, job: JobContext,
             on_batch: batch.OnBatch = lambda pictures, happened: None,
             first_noise: FirstNoise | None = None,
             upscalers: Upscalers = batch.NO_MODELS, samplers: Sequence[Sampler] = SAMPLERS,
             hooks: Hooks | None = None, restore: Restore | None = None,
             removers: Removers = NO_FILES, tools: control.ControlTools = control.NO_NETWORKS,
             detail: Detail | None = None, numbers: Sequence[int] | None = None) -> batch.Outcome:
    """The pictures of `request`; `on_batch` gets them as they come. `first_noise` replaces the noise of img2img,
    `upscalers` are those of hires fix, `samplers` all that there are, `hooks` the extensions, `restore` restores faces,
    `removers` fill for masked content "surroundings", `tools` carry control units out, `detail` is the
    detailer. `numbers` are the batches to make, from 0; by default all.

    Raises InvalidInput, NotFound, CheckpointError, BadResult.
    """
    hooks = hooks or Hooks()
    with hooks.patched(models, request) as models:
        model = models(request.options, request.prompt)
        with asking(job.check):
            prepared = _prepare(model, request, job, removers)
            if isinstance(request, Inpaint) and request.then_mask and request.go_on_after:
                later = _prepare(model, going_on.rest_of(request), job, removers)
                prepared = replace(prepared, later=later, finish=later.finish)
            units = control.prepare(model, request, tools)
        prepared = replace(prepared, control=units, first_noise=first_noise, upscalers=upscalers, samplers=samplers,
                           hooks=hooks, restore=restore, detail=detail)
        return batch.run(models, request, prepared, job, on_batch, numbers)


def _prepare(model: SDModel, request: Txt2Img, job: JobContext, removers: Removers) -> Prepared:
    """By the recipe for such a request."""
    if isinstance(request, Inpaint):
        return inpaint(model, request, job, removers)
    if isinstance(request, Img2Img):
        return img2img(model, request, job)
    return txt2img(model, request)


def txt2img(model: SDModel, request: Txt2Img) -> Prepared:
    """Nothing to start from. An inpainting checkpoint is told that all of a grey picture is to be painted."""
    beside = None
    if model.inputs.needs_picture:
        raise InvalidInput(f"{model.name} starts from a picture: use it in img2img or inpaint.",
                           field="sd_model_checkpoint")
    if model.inputs.channels:
        width, height = model.latent.whole((request.width, request.height))
        grey = torch.zeros(request.batch_size, 3, height, width)
        beside = model.inputs.beside(model, grey, torch.ones(1, 1, height, width), 1.0)
    return Prepared(None, beside, lambda image, k, latent: Finished(image))


def img2img(model: SDModel, request: Img2Img, job: JobContext) -> Prepared:
    """The whole picture, fitted and encoded."""
    job.stage("Encoding the picture")
    images = [_fit(flatten(image, request.options.img2img_background_color), request)
              for image in request.init_images]
    return _prepare_whole(model, request, images, depth=_fitted_depth(request))


def inpaint(model: SDModel, request: Inpaint, job: JobContext, removers: Removers = NO_FILES) -> Prepared:
    """Only the white part of the mask is made anew."""
    options, size = request.options, (request.width, request.height)
    # 1. The mask as painted becomes the effective one: luminance, turned round, blurred.
    mask = used_mask(request)
    originals = [flatten(image, options.img2img_background_color) for image in request.init_images]
    # 2. Only masked: the surroundings of the mask are cut out and worked on at full size.
    region = None
    if request.only_masked:
        mask = of_size(mask, originals[0].size)
        region = working_region(request, mask)
        if region is None:
            prepared = img2img(model, _without_mask(request), job)
            return replace(prepared, warnings=("The mask is empty, so the whole picture was made anew.",),
                           keys=dict.fromkeys(("Inpaint area", "Masked area padding", "Masked content")))
    # 3. Picture and mask are brought to the working size, and the overlay that restores the rest is cut.
    if region:
        overlay_mask = mask
        overlays = [make_overlay(image, of_size(mask, image.size)) for image in originals]
        mask = resize(ResizeMode.RESIZE_AND_FILL, mask.crop(region.box), size).convert("L")
        starts = [_filled(request, image, overlay_mask, removers, job) for image in originals]
        images = [resize(ResizeMode.RESIZE_AND_FILL, image.crop(region.box), size) for image in starts]
    else:
        mask = resize(_pixel_mode(request), mask, size).convert("L")
        images = [_fit(image, request) for image in originals]
        # Doubling the mask makes its blurred rim fully new, so that no ghost of the original shows through.
        overlay_mask = mask.point(lambda value: min(value * 2, 255))
        overlays = [_whole_overlay(request, image, overlay_mask) for image in images]
        originals = [resize(ResizeMode.JUST_RESIZE, image, size) for image in images]
    # 4. Masked content: every mode but "original" fills the hole with what is around it first.
    latent_mask = to_luminance(request.latent_mask, hard=request.mask_round) if request.latent_mask else mask
    if request.masked_content == MaskedContent.SURROUNDINGS:
        images = images if region else [_filled(request, image, latent_mask, removers, job) for image in images]
    elif request.masked_content != MaskedContent.ORIGINAL:
        images = [fill(image, of_size(latent_mask, image.size)) for image in images]
    # 5. Encode, and bring the mask to the latent's size.
    job.stage("Encoding the picture")
    prepared = _prepare_whole(model, request, images, mask, latent_mask, _fitted_depth(request, region))
    warnings: tuple[str, ...] = () if mask.getbbox() else ("The mask is empty, so nothing was painted.",)
    if hidden := blur_warning(request):
        warnings += hidden[:1]
    if request.misplaced:
        warnings += ("As in WebUI 1.10, a latent upscale lays the unresized picture's corner over the result; "
                     "the classic loop keeps everything in its place.",)
    warnings += _photograph_warnings(request, overlays[0].size)
    paste_back = _paste_back(request, originals, overlays if options.overlay_inpaint else None, overlay_mask, region)
    if request.soft and prepared.source:
        paste_back = _paste_back_softly(request, prepared.source, originals, region)

    def finish(image: Image.Image, k: int, latent: Tensor) -> Finished:
        return paste_back(prepared.finish(image, k, latent).image, k, latent)

    return replace(prepared, finish=finish, warnings=warnings)


def _prepare_whole(model: SDModel, request: Img2Img, images: Sequence[Image.Image],
                   mask: Image.Image | None = None, latent_mask: Image.Image | None = None,
                   depth: Image.Image | None = None) -> Prepared:
    """Encodes `images` into what sampling starts from. Both masks have the request's size: what an inpainting
    checkpoint is shown, and what is sampled anew. `depth`, L, is what a depth checkpoint is shown."""
    width, height = model.latent.whole((request.width, request.height))
    latent_size = model.latent.cells((width, height))
    hard = request.mask_round and not request.soft if isinstance(request, Inpaint) else True
    # One by one: before a latent upscale the pictures have their own sizes.
    pixels = [tensors.to_tensor([pad_to_multiple(image, model.latent.cell)]) for image in images]
    encoded = [model.encode_image(one.to(model.device)) for one in pixels]
    if request.resize_mode == ResizeMode.LATENT_UPSCALE:
        encoded = [F.interpolate(one, size=latent_size[::-1], mode="bilinear") for one in encoded]
    latent = torch.cat(encoded).repeat(request.batch_size // len(images), 1, 1, 1)
    paint = None
    if mask is not None and latent_mask is not None:
        mask = pad_to_multiple(mask, model.latent.cell)
        paint = tensors.latent_mask(pad_to_multiple(latent_mask, model.latent.cell), latent_size, hard=hard)
        paint = paint.to(latent.device)
        latent = _latent_content(model, request, latent, paint)
    beside = None
    if model.inputs.channels:
        hole = tensors.pixel_mask(mask, hard=hard) if mask else torch.ones(1, 1, height, width)
        near = tensors.pixel_mask(pad_to_multiple(depth, model.latent.cell), hard=False) if depth else None
        shown = [model.inputs.beside(model, one, F.interpolate(hole, size=one.shape[2:]),
                                     request.options.inpainting_mask_weight, depth=near) for one in pixels]
        beside = torch.cat([F.interpolate(one, size=latent.shape[2:]) for one in shown if one is not None])
        beside = beside.repeat(request.batch_size // len(images), 1, 1, 1)
    multiplier = request.initial_noise_multiplier
    source = InitLatent(latent, request.denoising_strength, paint,
                    request.options.initial_noise_multiplier if multiplier is None else multiplier,
                    request.options.img2img_fix_steps, _soft(request, paint))
    return Prepared(source, beside, _correct_colours(request, images))


def _fitted_depth(request: Img2Img, region: CropRegion | None = None) -> Image.Image | None:
    """The depth picture of the request, L, cut and brought to the size asked for like the picture."""
    if request.depth_map is None:
        return None
    depth = of_size(request.depth_map.convert("L"), request.init_images[0].size)
    wanted = (request.width, request.height)
    if region:
        return resize(ResizeMode.RESIZE_AND_FILL, depth.crop(region.box), wanted).convert("L")
    return _fit(depth, request).convert("L")


def _correct_colours(request: Img2Img, targets: Sequence[Image.Image]) -> Finish:
    """The finish of img2img: the colours of the k-th original, when the option asks for them."""
    if not request.options.img2img_color_correction:
        return lambda image, k, latent: Finished(image)
    return lambda image, k, latent: Finished(match_colours(image, targets[k % len(targets)]))


def _filled(request: Inpaint, image: Image.Image, mask: Image.Image, removers: Removers,
            job: JobContext) -> Image.Image:
    """Masked content "surroundings": RGB `image` with all that the L `mask` touches filled by Remove, and as "fill" has
    it where the mask leaves too little to fill from."""
    if request.masked_content != MaskedContent.SURROUNDINGS:
        return image
    mask = of_size(mask, image.size)
    hole = mask.point(lambda value: 255 if value else 0)
    if not hole.getbbox():
        return image
    if not leaves_enough(hole):
        return fill(image, mask)
    job.stage("Removing what is painted over")
    return removers.remove(image, hole, name=request.options.remove_model, seed=request.seed, check=job.check)


def _latent_content(model: SDModel, request: Img2Img, latent: Tensor, paint: Tensor) -> Tensor:
    """Masked content "latent noise" and "latent nothing": what the hole holds in the latent."""
    content = request.masked_content if isinstance(request, Inpaint) else MaskedContent.ORIGINAL
    if content == MaskedContent.LATENT_NOISE:
        # The same block that sampling will start from, and always that of the first batch, as WebUI does.
        seeds = [seed_after(request.seed, k) for k in range(request.batch_size)]
        noise = ImageNoise(model.latent.shape((request.width, request.height)), seeds,
                           source=request.options.randn_source, device=latent.device)
        return latent * (1 - paint) + noise.first() * paint
    if content == MaskedContent.LATENT_NOTHING:
        return latent * (1 - paint)
    return latent


def _paste_back(request: Inpaint, originals: Sequence[Image.Image], overlays: Sequence[Image.Image] | None,
                mask: Image.Image, region: CropRegion | None) -> Finish:
    """The finish of inpainting: the original over the result, and the extras that the options ask for. Without
    `overlays` the result stays as it is, with a `region` in the size of the request."""
    options = request.options

    def finish(image: Image.Image, k: int, latent: Tensor) -> Finished:
        overlay = overlays[k % len(overlays)] if overlays else None
        whole = uncrop(image, region, overlay.size) if region and overlay else image.convert("RGBA")
        if region and overlay and request.patch_fit:
            whole = fitted(whole, originals[k % len(originals)], of_size(mask, whole.size), request.patch_fit)
        result = apply_overlay(whole, overlay) if overlay else image
        extras = [mask.convert("RGB")] if options.return_mask else []
        if options.return_mask_composite:
            clear = Image.new("RGBa", whole.size)
            shown = resize(ResizeMode.RESIZE_AND_FILL, mask, whole.size).convert("L")
            extras.append(Image.composite(whole.convert("RGBa"), clear, shown).convert("RGBA"))
        photograph = request.photograph(k)
        if photograph is None or not _is_kept(request, photograph, whole.size):
            return Finished(result, tuple(extras))
        photograph = _retouched(photograph, result, whole, of_size(mask, whole.size))
        return Finished(photograph.image, tuple(extras), photograph)

    return finish


def _is_kept(request: Inpaint, photograph: Photograph, size: Size) -> bool:
    """Whether results of `size` keep what `photograph` is beyond 8-bit sRGB."""
    return photograph.size == size and request.options.overlay_inpaint and not request.misplaced


def _photograph_warnings(request: Inpaint, size: Size) -> tuple[str, ...]:
    """What the photographs lose, in sentences."""
    if any(request.photograph(k) is None for k in range(len(request.photographs))):
        return ("A script or an extension replaced the photograph, so its profile, EXIF and depth are not kept.",)
    if any(not _is_kept(request, one, size) for one in request.photographs if one.exif or not one.is_plain):
        return ("The photograph was resized, so its profile, EXIF, transparency and depth are not kept; "
                "Only masked keeps them.",)
    return tuple(dict.fromkeys(sentence for one in request.photographs for sentence in one.warnings))


def _retouched(photograph: Photograph, result: Image.Image, whole: Image.Image, paint: Image.Image) -> Photograph:
    """`photograph` with `whole` mixed in by `paint`. `result` is the same in 8-bit sRGB, and if the photograph has no
    other values, it has exactly these."""
    if photograph.is_plain:
        return with_pixels(photograph, np.asarray(result), result)
    return painted(photograph, whole, paint)


def _paste_back_softly(request: Inpaint, source: InitLatent, originals: Sequence[Image.Image],
                       region: CropRegion | None) -> Finish:
    """The finish of soft inpainting: the same with a mask made from how far each picture's latent has moved, whatever
    `overlay_inpaint` says, as in WebUI."""
    soft, paint = request.soft, source.paint
    assert soft is not None
    assert paint is not None

    def finish(image: Image.Image, k: int, latent: Tensor) -> Finished:
        # WebUI 1.10 paints everywhere what its loop leaves of the kept part.
        mask = adaptive_mask(source.latent[k], latent, paint[0, 0], soft, (request.width, request.height),
                             bounded=request.options.ddim_loop == "classic")
        original = originals[k % len(originals)]
        if region:
            mask = uncrop(mask, region, original.size).convert("RGB").convert("L")
        return _paste_back(request, originals, [make_overlay(original, mask)], mask, region)(image, k, latent)

    return finish


def _soft(request: Img2Img, paint: Tensor | None) -> SoftBlend | None:
    soft = request.soft if isinstance(request, Inpaint) else None
    if soft is None or paint is None:
        return None
    return soft_blend(paint, power=soft.power, scale=soft.scale, detail=soft.detail)


def _pixel_mode(request: Inpaint) -> ResizeMode:
    """The resize mode for the mask: a latent upscale stretches it."""
    if request.misplaced:
        return ResizeMode.RESIZE_AND_FILL
    latent = request.resize_mode == ResizeMode.LATENT_UPSCALE
    return ResizeMode.JUST_RESIZE if latent else request.resize_mode


def _whole_overlay(request: Inpaint, image: Image.Image, mask: Image.Image) -> Image.Image:
    """The overlay for a result of the whole picture: `image` as `_fit` left it, at the size of `mask` and cut by it.

    Where WebUI 1.10 misplaces it (`Inpaint.misplaced`), the mask is fitted into the picture's own size instead.
    """
    if request.misplaced:
        return make_overlay(image, resize(ResizeMode.RESIZE_AND_FILL, mask, image.size).convert("L"))
    return make_overlay(resize(ResizeMode.JUST_RESIZE, image, mask.size), mask)


def _fit(image: Image.Image, request: Img2Img) -> Image.Image:
    """RGB `image` at the request's size, or as it is when its latent will be resized instead."""
    if request.resize_mode == ResizeMode.LATENT_UPSCALE:
        return image
    return resize(request.resize_mode, image, (request.width, request.height))


def _without_mask(request: Inpaint) -> Img2Img:
    return Img2Img(**{item.name: getattr(request, item.name) for item in fields(Img2Img)})
