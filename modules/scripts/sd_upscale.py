"""SD upscale: a picture is enlarged by an upscaler, and then each tile of it passes img2img.

Source: WebUI's script of that title.
"""

from __future__ import annotations

import math
from dataclasses import replace

from PIL import Image

from modules.errors import InvalidInput
from modules.hooks.forms import Arguments, Input, Script
from modules.hooks.types import GenerationContext
from modules.imaging.resize import flatten
from modules.request import Img2Img, Txt2Img
from modules.request.result import GeneratedImage
from modules.scripts.context import check_size, later
from modules.scripts.tiles import Tiles


def run(request: Txt2Img, arguments: Arguments, context: GenerationContext) -> list[GeneratedImage]:
    """Return one enlarged picture for each of Batch count.

    Batch size tiles are generated together, and each such batch has the next seed. After an interruption the remaining
    tiles stay as the upscaler made them.
    """
    assert isinstance(request, Img2Img)
    request = context.resolve(request)
    assert isinstance(request, Img2Img)
    enlarged = _enlarged(request, arguments, context)
    tiles = Tiles(enlarged.size, (request.width, request.height), arguments["overlap"])
    work = tiles.cut(enlarged)
    batches = math.ceil(len(work) / request.batch_size)
    context.plan(batches * request.n_iter)
    extra = SD_UPSCALE.describe(arguments)
    results: list[GeneratedImage] = []
    for number in range(request.n_iter):
        if context.interrupted:
            break
        made: list[GeneratedImage] = []
        for batch in range(batches):
            part = tuple(work[len(made) : len(made) + request.batch_size])
            result = context.generate(replace(later(request, number + batch), init_images=part, n_iter=1,
                                              batch_size=len(part)), keep=False, extra=extra)
            made += result.images
            if not result.images or context.interrupted:
                break
        if made:
            rest = work[len(made):]
            whole = tiles.join([*(one.image for one in made), *rest])
            results += context.keep([replace(made[0], image=whole, extras=())], request)
    return results


def _enlarged(request: Img2Img, arguments: Arguments, context: GenerationContext) -> Image.Image:
    """The first init image, enlarged. Raises InvalidInput if it would be too large."""
    image = flatten(request.init_images[0], request.options.img2img_background_color)
    if arguments["scale"] < 1:
        raise InvalidInput("SD upscale enlarges: the scale factor is at least 1.", field="script_args")
    check_size(int(image.width * arguments["scale"]), int(image.height * arguments["scale"]))
    return context.enlarge(arguments["upscaler"], image, arguments["scale"])


SD_UPSCALE = Script(title="SD upscale", run=run, inputs=(
    Input(name="info", label="Will upscale the image by the selected scale factor; use width and height sliders to set "
                             "tile size", kind="note", default=""),
    Input(name="overlap", label="Tile overlap",
          help="By how many pixels neighbouring tiles overlap. Raise it where seams show.", kind="slider", default=64,
          low=0, high=256, step=16, key="SD upscale overlap", sign=True),
    Input(name="upscaler", label="Upscaler",
          help="What enlarges the picture before its tiles are refined. Lanczos is plain; a model file adds detail.",
          kind="radio", default="None", choices=lambda here: here.upscalers(),
          for_programs=lambda here: here.upscalers_for_programs(), beyond="Lanczos", key="SD upscale upscaler",
          sign=True),
    Input(name="scale", label="Scale Factor", help="By how much the picture is enlarged. 2 doubles width and height.",
          kind="slider", default=2.0, low=1, high=4, step=0.05, key="SD upscale scale factor")))
