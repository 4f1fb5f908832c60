"""Detailer: finds faces in a finished picture and makes each of them anew at full resolution (Only masked)."""

from __future__ import annotations

from dataclasses import fields

from PIL import Image, ImageDraw

from extensions.detailer.detectors import DETECTORS
from modules.errors import Stopped
from modules.hookspecs import hookimpl
from modules.request import MAX_SEED, Inpaint, MaskedContent, Txt2Img
from modules.scripts.script import Controls, Input

__version__ = "1.0"

CONTROLS = Controls(title="Detailer", inputs=(
    Input(name="detector", label="Detector",
          help="What looks for the parts to redraw. Choose the one for what you want to mend.", kind="dropdown",
          default=next(iter(DETECTORS)), choices=tuple(DETECTORS), key="Detailer detector"),
    Input(name="prompt", label="Detailer prompt (empty: the picture's)",
          help="What the redrawn parts should show. Empty takes the picture's prompt.", kind="text", default="",
          key="Detailer prompt"),
    Input(name="negative_prompt", label="Detailer negative prompt (empty: the picture's)",
          help="What the redrawn parts should not show. Empty takes the picture's.", kind="text", default="",
          key="Detailer negative prompt"),
    Input(name="denoising_strength", label="Inpaint denoising strength",
          help="How much the finds may change. 0.4 keeps who it is; more draws another face.", kind="slider",
          default=0.4, low=0, high=1, step=0.01, key="Detailer denoising strength"),
    Input(name="padding", label="Inpaint only masked padding, pixels",
          help="How many pixels around a find the sampler sees. Raise it where the face does not fit.", kind="slider",
          default=32, low=0, high=256, step=4, key="Detailer padding"),
    Input(name="grow", label="Grow each find, pixels",
          help="By how many pixels the area grows on all sides. Raise it where too little is covered.", kind="slider",
          default=4, low=0, high=128, step=1, key="Detailer grow"),
    Input(name="blur", label="Inpaint mask blur",
          help="By how many pixels the edge of the new part is softened. Raise it where a seam shows.", kind="slider",
          default=4, low=0, high=64, step=1, key="Detailer mask blur"),
    Input(name="most", label="Most finds (0: all)",
          help="How many finds are redrawn, the largest first. 0 redraws all.", kind="slider", default=0, low=0,
          high=20, step=1, key="Detailer most finds")))

SETTINGS = (
    Input(name="neighbours", label="Hits that make a find (more: fewer false finds)",
          help="How many hits make a find. Raise it if things are found that are no faces.", kind="slider", default=5,
          low=1, high=20, step=1),
    Input(name="smallest", label="Smallest find, percent of the picture's shorter side",
          help="The smallest find, in percent of the picture's shorter side. Lower it for small faces.", kind="slider",
          default=5, low=1, high=50, step=1))


@hookimpl
def controls(tab):
    return CONTROLS


@hookimpl
def register_settings():
    return SETTINGS


@hookimpl
def filter_image(image, seed, request, arguments, settings, context):
    """Inpaint each detected region, the largest first, with consecutive seeds from the picture's own. Interrupt keeps
    the regions that are finished."""
    boxes = sorted(DETECTORS[arguments["detector"]](image, settings), key=lambda box: (-area(box), box))
    boxes = boxes[: arguments["most"] or None]
    try:
        for number, box in enumerate(boxes):
            context.stage(f"Detailer: {number + 1} of {len(boxes)}")
            inner = detail(image, box, (seed + number) % (MAX_SEED + 1), request, arguments)
            made = context.generate(inner, keep=False)
            if made.images and not made.interrupted:
                image = made.images[0].image
    except Stopped:
        pass  # the job itself stops at its next step
    return image


def area(box):
    """The area of a box in pixels."""
    left, top, right, bottom = box
    return (right - left) * (bottom - top)


def detail(image, box, seed, request, arguments):
    """The request that inpaints the inside of `box`. Everything that is not set here is taken from `request`."""
    common = {one.name: getattr(request, one.name) for one in fields(Txt2Img)}
    left, top, right, bottom = box
    grow = arguments["grow"]
    mask = Image.new("L", image.size)
    ImageDraw.Draw(mask).rectangle((left - grow, top - grow, right + grow - 1, bottom + grow - 1), fill=255)
    options = request.options.replaced({"return_mask": False, "return_mask_composite": False, "overlay_inpaint": True,
                                        "face_restoration": False})
    return Inpaint(**common | {
        "prompt": arguments["prompt"].replace("[PROMPT]", request.prompt) or request.prompt,
        "negative_prompt": arguments["negative_prompt"].replace("[PROMPT]", request.negative_prompt)
        or request.negative_prompt,
        "init_images": (image,), "mask": mask, "seed": seed, "n_iter": 1, "batch_size": 1, "subseed_strength": 0.0,
        "denoising_strength": min(arguments["denoising_strength"], 1.0), "only_masked": True,
        "only_masked_padding": min(arguments["padding"], 4096), "mask_blur_x": min(arguments["blur"], 512),
        "mask_blur_y": min(arguments["blur"], 512), "masked_content": MaskedContent.ORIGINAL, "enable_hr": False,
        "refiner_checkpoint": "", "script": None, "always_on": (), "options": options})
