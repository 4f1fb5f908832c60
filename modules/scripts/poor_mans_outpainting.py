"""Poor man's outpainting: the grown picture is cut into tiles, and those with a new part are inpainted one by one.

Source: WebUI's script of that title.
"""

from __future__ import annotations

from dataclasses import replace

from modules.hooks.forms import Arguments, Input, Script
from modules.hooks.types import GenerationContext
from modules.imaging.resize import flatten
from modules.request import MASKED_CONTENT, Img2Img, Txt2Img
from modules.request.result import GeneratedImage
from modules.scripts.context import as_inpaint, later
from modules.scripts.outpaint import DIRECTIONS, framed, grown_mask, growth
from modules.scripts.tiles import Tiles


def run(request: Txt2Img, arguments: Arguments, context: GenerationContext) -> list[GeneratedImage]:
    """Return one grown picture. Each tile has the next seed. Tiles inside the old picture stay as they are."""
    assert isinstance(request, Img2Img)
    request = context.resolve(request)
    assert isinstance(request, Img2Img)
    blur, pixels = arguments["blur"], arguments["pixels"]
    image = flatten(request.init_images[0], request.options.img2img_background_color)
    grow = growth(image.size, pixels, arguments["directions"])
    grown = framed(image, grow)
    tiles = Tiles(grown.size, (request.width, request.height), pixels)
    old = (grow.left, grow.up, grow.left + image.width, grow.up + image.height)
    work = [number for number, box in enumerate(tiles.boxes)
            if not (box[0] >= old[0] and box[1] >= old[1] and box[2] <= old[2] and box[3] <= old[3])]
    masks, latent_masks = (tiles.cut(grown_mask(image.size, grow, inset)) for inset in (2 * blur, blur // 2))
    parts = tiles.cut(grown)
    context.plan(len(work))
    extra = POOR_MANS_OUTPAINTING.describe(arguments)
    made: list[GeneratedImage] = []
    for count, number in enumerate(work):
        part = replace(
            as_inpaint(later(request, count), masks[number]), init_images=(parts[number],), n_iter=1, batch_size=1,
            latent_mask=latent_masks[number], mask_blur_x=2 * blur, mask_blur_y=2 * blur,
            masked_content=MASKED_CONTENT[arguments["content"]], only_masked=False, mask_invert=False, soft=None)
        result = context.generate(part, keep=False, extra=extra)
        if not result.images:
            break
        made += result.images
        parts[number] = result.images[0].image
    if not made:
        return []
    return list(context.keep([replace(made[0], image=tiles.join(parts), extras=())], request))


POOR_MANS_OUTPAINTING = Script(title="Poor man's outpainting", run=run, inputs=(
    Input(name="pixels", label="Pixels to expand",
          help="By how many pixels each chosen side grows. 128 is a good step; do it again for more.", kind="slider",
          default=128, low=8, high=256, step=8, key="Outpainting pixels"),
    Input(name="blur", label="Mask blur",
          help="By how many pixels the edge of the new part is softened. Raise it where a seam shows.", kind="slider",
          default=4, low=0, high=64, step=1, key="Outpainting mask blur"),
    Input(name="content", label="Masked content",
          help="What the new part holds before sampling. fill continues the colours of the edge.", kind="radio",
          default="fill", choices=tuple(MASKED_CONTENT), key="Outpainting masked content"),
    Input(name="directions", label="Outpainting direction",
          help="The sides at which the picture grows. One side at a time gives the best results.", kind="checkboxes",
          default=DIRECTIONS, choices=DIRECTIONS, key="Outpainting direction")))
