"""The limits of `Settings` that protect the machine from requests it could never finish."""

from __future__ import annotations

from modules.errors import InvalidInput
from modules.request import Img2Img, Txt2Img
from modules.settings import Settings

PROMPTS = ("prompt", "negative_prompt", "hr_prompt", "hr_negative_prompt", "then_prompt", "then_negative_prompt")
"""The fields of a request with prompts."""
LONGEST_PROMPT = 100_000
"""Characters of a prompt, after styles and scripts have changed it."""


def check_limits(request: Txt2Img, settings: Settings) -> None:
    """Raise InvalidInput, with WebUI's field, if `request` exceeds a limit of `settings`."""
    for name in PROMPTS:
        if len(getattr(request, name)) > LONGEST_PROMPT:
            raise InvalidInput(f"{name} has more than {LONGEST_PROMPT} characters, styles included.", field=name)
    _at_most(request.width, settings.max_size, "width", "--max-size")
    _at_most(request.height, settings.max_size, "height", "--max-size")
    _at_most(request.steps, settings.max_steps, "steps", "--max-steps")
    _at_most(request.n_iter, settings.max_count, "n_iter", "--max-count")
    _at_most(request.batch_size, settings.max_batch, "batch_size", "--max-batch")
    batch = request.batch_size
    if isinstance(request, Img2Img):
        batch = max(batch, len(request.init_images))
        check_count(len(request.init_images), settings)
    if request.enable_hr and not isinstance(request, Img2Img):
        _check_hires(request, settings)
    _at_most(request.seed_resize_from_w, settings.max_size, "seed_resize_from_w", "--max-size")
    _at_most(request.seed_resize_from_h, settings.max_size, "seed_resize_from_h", "--max-size")
    if request.width * request.height * batch > settings.max_pixels:
        raise InvalidInput(f"{request.width} x {request.height} in batches of {batch} is more than the "
                           f"{settings.max_pixels} pixels allowed here (--max-pixels).", field="batch_size")


def check_count(init_images: int, settings: Settings) -> None:
    """Raise InvalidInput for more init images than `settings` allow."""
    _at_most(init_images, settings.max_batch, "init_images", "--max-batch")


def _check_hires(request: Txt2Img, settings: Settings) -> None:
    """Check the limits for the second pass: its steps and its size."""
    _at_most(request.hr_second_pass_steps, settings.max_steps, "hr_second_pass_steps", "--max-steps")
    _at_most(request.hr_resize_x, settings.max_size, "hr_resize_x", "--max-size")
    _at_most(request.hr_resize_y, settings.max_size, "hr_resize_y", "--max-size")
    scale = request.hr_scale
    if request.hr_resize_x or request.hr_resize_y:
        scale = max(request.hr_resize_x / request.width, request.hr_resize_y / request.height)
    if max(request.width, request.height) * scale > settings.max_size or \
            request.width * request.height * scale**2 * request.batch_size > settings.max_pixels:
        raise InvalidInput(f"hr_scale {scale:g} makes more of {request.width} x {request.height} than is allowed here "
                           "(--max-size, --max-pixels).", field="hr_scale")


def _at_most(value: int, limit: int, name: str, flag: str) -> None:
    if value > limit:
        raise InvalidInput(f"{name} may be at most {limit} here ({flag}), not {value}.", field=name)
