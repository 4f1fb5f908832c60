"""Outpainting mk2: the picture grows one side at a time. Each new part is filled with a texture, then inpainted.

Sizes, masks and the order of the sides are those of WebUI's script of that title. The texture is made by
`modules.imaging.texture`, in a way of our own.
"""

from __future__ import annotations

from dataclasses import replace

from PIL import Image

from modules.errors import Interrupted
from modules.hooks.forms import Arguments, Input, Script
from modules.hooks.types import GenerationContext
from modules.imaging.outpaint import Sides
from modules.imaging.resize import flatten
from modules.imaging.texture import continue_texture
from modules.request import Img2Img, MaskedContent, Txt2Img
from modules.request.result import GeneratedImage
from modules.scripts.context import as_inpaint, later
from modules.scripts.outpaint import DIRECTIONS, framed, grown_mask, growth


def run(request: Txt2Img, arguments: Arguments, context: GenerationContext) -> list[GeneratedImage]:
    """Return Batch count times Batch size grown pictures. Each has the next seed; all its sides use the same seed."""
    assert isinstance(request, Img2Img)
    request = context.resolve(request)
    assert isinstance(request, Img2Img)
    image = flatten(request.init_images[0], request.options.img2img_background_color)
    grow = growth(image.size, arguments["pixels"], arguments["directions"])
    sides = [side for side in (Sides(left=grow.left), Sides(right=grow.right), Sides(up=grow.up),
                               Sides(down=grow.down)) if side != Sides()]
    count = request.n_iter * request.batch_size
    context.plan(len(sides) * count)
    shown: list[GeneratedImage] = []
    for number in range(count):
        present, made = image, None
        for side in sides:
            if context.interrupted:
                break
            grown = _grown(later(request, number), present, side, grow, arguments, context)
            if grown is None:
                break
            present, made = grown.image, grown
        if made is None:
            break
        shown += context.keep([made], request)  # after an interruption, with the sides that are finished
    return shown


def _grown(request: Img2Img, image: Image.Image, side: Sides, grow: Sides, arguments: Arguments,
           context: GenerationContext) -> GeneratedImage | None:
    """`image` grown on one side. None if it was interrupted before there was a picture.

    Only the strip at that side is generated; across, it has the width or height of the request.
    """
    blur = arguments["blur"]
    try:
        context.stage("Continuing the texture")
    except Interrupted:
        return None
    canvas = continue_texture(framed(image, side), framed(Image.new("RGB", image.size, "white"), side),
                              fall_off=arguments["fall_off"], colour_variation=arguments["variation"])
    width, height = canvas.size
    across = min(request.width, width) if side.left or side.right else width
    down = min(request.height, height) if side.up or side.down else height
    left, top = (0 if side.left else width - across), (0 if side.up else height - down)
    box = (left, top, left + across, top + down)
    part = replace(
        as_inpaint(request, grown_mask(image.size, side, blur).crop(box)), init_images=(canvas.crop(box),),
        latent_mask=grown_mask(image.size, side, 2 * blur).crop(box), width=across, height=down, n_iter=1, batch_size=1,
        mask_blur_x=4 * blur if grow.left or grow.right else 0, mask_blur_y=4 * blur if grow.up or grow.down else 0,
        masked_content=MaskedContent.ORIGINAL, only_masked=False, mask_invert=False, soft=None)
    result = context.generate(part, keep=False, extra=OUTPAINTING_MK2.describe(arguments) | {
        "Size": f"{request.width}x{request.height}"})
    if not result.images:
        return None
    canvas.paste(result.images[0].image, box)
    return replace(result.images[0], image=canvas, extras=())


OUTPAINTING_MK2 = Script(title="Outpainting mk2", run=run, inputs=(
    Input(name="info", label="Recommended settings: Sampling Steps: 80-100, Sampler: Euler a, Denoising strength: 0.8",
          kind="note", default=""),
    Input(name="pixels", label="Pixels to expand",
          help="By how many pixels each chosen side grows. 128 is a good step; do it again for more.", kind="slider",
          default=128, low=8, high=256, step=8, key="Outpainting pixels"),
    Input(name="blur", label="Mask blur",
          help="By how many pixels the edge of the new part is softened. Raise it where a seam shows.", kind="slider",
          default=8, low=0, high=64, step=1, key="Outpainting mask blur"),
    Input(name="directions", label="Outpainting direction",
          help="The sides at which the picture grows. One side at a time gives the best results.", kind="checkboxes",
          default=DIRECTIONS, choices=DIRECTIONS, key="Outpainting direction"),
    Input(name="fall_off", label="Fall-off exponent (lower=higher detail)",
          help="How fast the invented colours lose the picture's structure. Lower it for more detail.", kind="slider",
          default=1.0, low=0, high=4, step=0.01, key="Outpainting fall-off"),
    Input(name="variation", label="Color variation",
          help="How much the invented colours vary. Raise it where the new part is flat.", kind="slider", default=0.05,
          low=0, high=1, step=0.01, key="Outpainting color variation")))
