"""Ultimate SD upscale: a picture is enlarged by an upscaler, and then each tile of it is inpainted, with its
surroundings in view. A second pass may go over the seams between the tiles.

Title, arguments and what they do are those of the extension of that title for WebUI. Each part is worked on in a piece
cut out of the picture, so that a part takes as much memory and time in a large picture as in a small one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image

from modules.annotate import registry
from modules.errors import InvalidInput
from modules.hooks.forms import Arguments, Input, Script
from modules.hooks.types import GenerationContext
from modules.imaging.mask import Box
from modules.imaging.resize import Size, flatten
from modules.request import ControlUnit, Img2Img, MaskedContent, Txt2Img
from modules.request.result import GeneratedImage
from modules.scripts.context import as_inpaint, check_size

LINEAR, CHESS, NONE = "Linear", "Chess", "None"
BANDS, HALVES, CROSSINGS = "Band pass", "Half tile offset pass", "Half tile offset pass + intersections"
REQUESTED, CUSTOM, SCALED = "From img2img settings", "Custom size", "Scale from image size"
CELL = 64
"""Pixels: sizes that are drawn, and those of Scale from image size, are multiples of it."""
LEAST = 8
"""Pixels of a side of the result."""
KERNEL = 3
"""A mask's blur of so many sigmas is over."""


Line = npt.NDArray[np.float64]
"""(length,): values 0 to 1 along a side of a mask."""


@dataclass(frozen=True)
class Part:
    """What is drawn anew at a time: the `box` of the picture, as far as the L `mask` of its size is white."""

    box: Box
    mask: Image.Image


@dataclass(frozen=True)
class Pass:
    """Some parts that are drawn in the same way: at `size` (width, height), with so much `blur` of the masks' edges and
    `padding` around them in view, both in pixels. `denoising` is img2img's strength."""

    parts: Sequence[Part]
    size: Size
    blur: int
    padding: int
    denoising: float


def run(request: Txt2Img, arguments: Arguments, context: GenerationContext) -> list[GeneratedImage]:
    """Return the picture after its tiles were drawn, and, if its seams are fixed, the picture after that too.

    All parts have the same seed. After an interruption the remaining ones stay as they are.
    """
    assert isinstance(request, Img2Img)
    request = context.resolve(request)
    assert isinstance(request, Img2Img)
    image = flatten(request.init_images[0], request.options.img2img_background_color)
    image = _enlarged(image, target_size(image.size, request, arguments), arguments["upscaler"], context)
    tile = tile_size(arguments)
    passes = [_tiles(image.size, tile, request, arguments), _seams(image.size, tile, arguments)]
    context.plan(sum(len(one.parts) for one in passes if one))
    made: list[GeneratedImage] = []
    text = context.text(request, ULTIMATE_UPSCALE.describe(arguments))
    for one, save in zip(passes, ("save_upscaled", "save_seams_fix"), strict=True):
        if one is None or (context.interrupted and made):
            continue
        drawn = _drawn(image, one, request, arguments, context)
        if not drawn and context.interrupted:
            break
        picture = GeneratedImage(image.copy(), request.seed, request.subseed, text)
        made += context.keep([picture], request) if arguments[save] else [picture]
    return made


def target_size(size: Size, request: Img2Img, arguments: Arguments) -> Size:
    """The (width, height) that a picture of `size` is enlarged to. Raises InvalidInput for one that is too large."""
    kind = arguments["target_size"]
    wanted = request.width, request.height
    if kind == CUSTOM:
        wanted = arguments["custom_width"], arguments["custom_height"]
    elif kind == SCALED:
        wanted = _up(size[0] * arguments["custom_scale"]), _up(size[1] * arguments["custom_scale"])
    if min(wanted) < LEAST:
        raise InvalidInput(f"Ultimate SD upscale cannot make a picture of {wanted[0]} x {wanted[1]} pixels.",
                           field="script_args")
    check_size(*wanted)
    return wanted


def tile_size(arguments: Arguments) -> Size:
    """The (width, height) of a tile; 0 for one of both is the other. Raises InvalidInput."""
    width, height = arguments["tile_width"], arguments["tile_height"]
    if not width and not height:
        raise InvalidInput("Ultimate SD upscale needs a tile's width or height.", field="script_args")
    return width or height, height or width


def _up(length: float) -> int:
    """`length` rounded up to whole cells."""
    return math.ceil(length / CELL) * CELL


def _enlarged(image: Image.Image, size: Size, upscaler: str, context: GenerationContext) -> Image.Image:
    """`image` at `size`, by the upscaler where that is larger. Raises InvalidInput, CheckpointError."""
    factor = max(size[0] / image.width, size[1] / image.height)
    larger = (context.enlarge(upscaler, image, factor) if factor > 1 else image).convert("RGB")
    return larger if larger.size == size else larger.resize(size, Image.Resampling.LANCZOS)


# the passes

def _tiles(size: Size, tile: Size, request: Img2Img, arguments: Arguments) -> Pass | None:
    """Every tile, row by row, or first the one colour of a chessboard and then the other. None where only the seams are
    drawn."""
    mode, padding = arguments["redraw"], arguments["padding"]
    cells = [(x, y) for y in range(math.ceil(size[1] / tile[1])) for x in range(math.ceil(size[0] / tile[0]))]
    if mode == CHESS:
        cells.sort(key=lambda cell: (cell[0] + cell[1]) % 2)
    white = Image.new("L", tile, 255)
    parts = [_part((x * tile[0], y * tile[1], (x + 1) * tile[0], (y + 1) * tile[1]), white, size)
             for x, y in cells if mode != NONE]
    drawn = _up(tile[0] + padding), _up(tile[1] + padding)
    if not parts and arguments["seams"] != NONE:
        return None
    return Pass(parts, drawn, arguments["mask_blur"], padding, request.denoising_strength)


def _seams(size: Size, tile: Size, arguments: Arguments) -> Pass | None:
    """What lies over the seams between the tiles. None where they are not fixed."""
    kind, padding, denoising = arguments["seams"], arguments["seams_padding"], arguments["seams_denoising"]
    if kind == NONE:
        return None
    if kind == BANDS:
        parts = list(_bands(size, tile, max(arguments["seams_width"], 1)))
        drawn = _up(max(tile) + 2 * padding), _up(max(tile) + 2 * padding)
        return Pass(parts, drawn, 0, padding, denoising)
    parts = [*_half_tiles(size, tile), *(_crossings(size, tile) if kind == CROSSINGS else ())]
    return Pass(parts, (_up(tile[0]), _up(tile[1])), arguments["seams_blur"], padding, denoising)


def _half_tiles(size: Size, tile: Size) -> Iterator[Part]:
    """Tiles that lie half on one tile and half on the next, as far as they are near the seam: first those over the
    seams between rows, then those between columns."""
    width, height = tile
    over_rows = _mask(np.ones(width), _ramps(height))
    for top in range(height // 2, size[1] - height // 2, height):
        for left in range(0, size[0], width):
            yield _part((left, top, left + width, top + height), over_rows, size)
    over_columns = _mask(_ramps(width), np.ones(height))
    for top in range(0, size[1], height):
        for left in range(width // 2, size[0] - width // 2, width):
            yield _part((left, top, left + width, top + height), over_columns, size)


def _crossings(size: Size, tile: Size) -> Iterator[Part]:
    """Where four tiles meet: discs as wide as a tile that fade from their middle."""
    width, height = tile
    x, y = ((np.arange(length) + 0.5) / length * 2 - 1 for length in tile)
    disc = (1 - np.hypot(x[None, :], y[:, None])).clip(0, 1)
    mask = Image.fromarray((disc * 255).round().astype(np.uint8))
    for top in range(height // 2, size[1] - height // 2, height):
        for left in range(width // 2, size[0] - width // 2, width):
            yield _part((left, top, left + width, top + height), mask, size)


def _bands(size: Size, tile: Size, width: int) -> Iterator[Part]:
    """Bands of `width` pixels over the seams, first between columns, then between rows. Each goes along its seam in
    pieces as long as a tile, of which each fades into the one before."""
    for axis in (0, 1):
        along = 1 - axis
        for seam in range(tile[axis], size[axis], tile[axis]):
            for start in range(0, size[along], tile[along]):
                early = min(width, start)
                length = early + tile[along]
                fade = np.minimum(np.arange(length) / max(early, 1), 1.0) if early else np.ones(length)
                near, begin = seam - width // 2, start - early
                corner = (near, begin) if axis == 0 else (begin, near)
                lines = (_ramps(width), fade) if axis == 0 else (fade, _ramps(width))
                mask = _mask(*lines)
                yield _part((*corner, corner[0] + mask.width, corner[1] + mask.height), mask, size)


def _ramps(length: int) -> Line:
    """(length,): from 0 at both ends to 1 in the middle."""
    middle = (length - 1) / 2
    return np.asarray(1 - np.abs(np.arange(length) - middle) / (middle + 1))


def _mask(across: Line, down: Line) -> Image.Image:
    """The product of both lines, values 0 to 1, as L."""
    return Image.fromarray((across[None, :] * down[:, None] * 255).round().astype(np.uint8))


def _part(box: Box, mask: Image.Image, size: Size) -> Part:
    """A part, without what lies outside of a picture of `size`. Those that lie inside share their mask."""
    left, top, right, bottom = inside = max(box[0], 0), max(box[1], 0), min(box[2], size[0]), min(box[3], size[1])
    if inside == box:
        return Part(box, mask)
    return Part(inside, mask.crop((left - box[0], top - box[1], right - box[0], bottom - box[1])))


# drawing

def _drawn(image: Image.Image, one: Pass, request: Img2Img, arguments: Arguments, context: GenerationContext) -> int:
    """Draw the parts into `image`; returns how many were."""
    extra = ULTIMATE_UPSCALE.describe(arguments)
    for number, part in enumerate(one.parts):
        box = surroundings(part.box, one, image.size)
        mask = Image.new("L", (box[2] - box[0], box[3] - box[1]))
        mask.paste(part.mask, (part.box[0] - box[0], part.box[1] - box[1]))
        result = context.generate(replace(
            as_inpaint(request, mask), init_images=(image.crop(box),), width=one.size[0], height=one.size[1],
            n_iter=1, batch_size=1, denoising_strength=one.denoising, mask_blur_x=one.blur, mask_blur_y=one.blur,
            masked_content=MaskedContent.ORIGINAL, mask_invert=False, only_masked=True,
            only_masked_padding=one.padding, only_masked_frame="", each_spot=False, soft=None, latent_mask=None,
            then_mask=None, photographs=(),
            control_units=tuple(unit_inside(unit, box, image.size) for unit in request.control_units)),
            keep=False, extra=extra)
        if not result.images:
            return number
        image.paste(result.images[0].image, box[:2])
        if context.interrupted:
            return number + 1
    return len(one.parts)


def surroundings(box: Box, one: Pass, size: Size) -> Box:
    """The piece of a picture of `size` that the part in `box` is worked on in.

    Only masked sees a region in the shape of what is drawn, and pastes back what the mask's blur reaches. Both lie
    inside, so that the result is the same as in the whole picture.
    """
    reach = 2 * (KERNEL * one.blur + one.padding + 1)
    width, height = box[2] - box[0] + reach, box[3] - box[1] + reach
    more_x = max(math.ceil(height * one.size[0] / one.size[1]) - width, 0) + reach
    more_y = max(math.ceil(width * one.size[1] / one.size[0]) - height, 0) + reach
    return (max(box[0] - more_x, 0), max(box[1] - more_y, 0), min(box[2] + more_x, size[0]),
            min(box[3] + more_y, size[1]))


def unit_inside(unit: ControlUnit, box: Box, size: Size) -> ControlUnit:
    """A control unit of a picture of `size` as that of its piece in `box`: its own pictures are cut likewise. Those
    that are looked at whole (references, IP-Adapter) stay."""
    preprocessor = registry.find(unit.module)
    looked_at = preprocessor.model_free or preprocessor.encoder is not None

    def cut(picture: Image.Image, name: str) -> Image.Image:
        if looked_at and name != "effective_region_mask":
            return picture
        x, y = picture.width / size[0], picture.height / size[1]
        left, top = math.floor(box[0] * x), math.floor(box[1] * y)
        return picture.crop((left, top, max(math.ceil(box[2] * x), left + 1), max(math.ceil(box[3] * y), top + 1)))

    return unit.with_pictures(cut)


ULTIMATE_UPSCALE = Script(title="Ultimate SD upscale", run=run, inputs=(
    Input(name="info", label="The tile size is set here. Width and height count as the size of the result only where "
                             "Target size type says so.", kind="note", default=""),
    Input(name="tile_width", label="Tile width", kind="slider", default=512, low=0, high=2048, step=64,
          help="How wide a tile is before its padding. Take the size that the checkpoint draws well. 0 is as wide as "
               "high.", key="Ultimate SD upscale tile_width", sign=True),
    Input(name="tile_height", label="Tile height", kind="slider", default=0, low=0, high=2048, step=64,
          help="How high a tile is before its padding. 0 is as high as wide.", key="Ultimate SD upscale tile_height"),
    Input(name="mask_blur", label="Mask blur", kind="slider", default=8, low=0, high=64, step=1,
          help="By how many pixels a tile's edge fades into its neighbours. Raise it where seams show.",
          key="Ultimate SD upscale mask_blur"),
    Input(name="padding", label="Padding", kind="slider", default=32, low=0, high=512, step=1,
          help="How many pixels around a tile are in view while it is drawn. Raise it where tiles do not fit together.",
          key="Ultimate SD upscale padding"),
    Input(name="seams_width", label="Seam fix: width", kind="slider", default=64, low=0, high=128, step=1,
          help="How wide a band over a seam is, in pixels. It counts for Band pass.",
          key="Ultimate SD upscale seam width"),
    Input(name="seams_denoising", label="Seam fix: denoising strength", kind="slider", default=0.35, low=0, high=1,
          step=0.01, help="How much may change at the seams. Lower it where new things appear there.",
          key="Ultimate SD upscale seam denoising"),
    Input(name="seams_padding", label="Seam fix: padding", kind="slider", default=16, low=0, high=512, step=1,
          help="How many pixels around a seam's part are in view.", key="Ultimate SD upscale seam padding"),
    Input(name="upscaler", label="Upscaler", kind="radio", default="None", choices=lambda here: here.upscalers(),
          for_programs=lambda here: here.upscalers_for_programs(), beyond="Lanczos",
          help="What enlarges the picture before its tiles are drawn. None stretches it by Lanczos; a model file adds "
               "detail.", key="Ultimate SD upscale upscaler", sign=True),
    Input(name="save_upscaled", label="Save the picture with its tiles drawn", kind="checkbox", default=True,
          help="Without it the picture is shown and not saved before its seams are fixed.",
          key="Ultimate SD upscale saves tiles"),
    Input(name="redraw", label="Redraw", kind="dropdown", default=LINEAR, choices=(LINEAR, CHESS, NONE),
          help="The order of the tiles. Chess draws every second one first, which evens out the seams. None draws no "
               "tile.",
          key="Ultimate SD upscale redraw"),
    Input(name="save_seams_fix", label="Save the picture with its seams fixed", kind="checkbox", default=True,
          help="Without it the picture is shown and not saved after its seams were fixed.",
          key="Ultimate SD upscale saves seams"),
    Input(name="seams_blur", label="Seam fix: mask blur", kind="slider", default=4, low=0, high=64, step=1,
          help="By how many pixels the parts over the seams fade further. It does not count for Band pass.",
          key="Ultimate SD upscale seam mask blur"),
    Input(name="seams", label="Seam fix", kind="dropdown", default=NONE, choices=(NONE, BANDS, HALVES, CROSSINGS),
          help="Goes over the seams once more: by narrow bands, or by tiles that lie half on both sides, and by those "
               "where four tiles meet. Choose it where seams show.", key="Ultimate SD upscale seam fix"),
    Input(name="target_size", label="Target size type", kind="dropdown", default=REQUESTED,
          choices=(REQUESTED, CUSTOM, SCALED), help="Where the size of the result comes from.",
          key="Ultimate SD upscale target"),
    Input(name="custom_width", label="Custom width", kind="slider", default=2048, low=0, high=8192, step=64,
          help="The result's width in pixels. It counts for Custom size.", key="Ultimate SD upscale width"),
    Input(name="custom_height", label="Custom height", kind="slider", default=2048, low=0, high=8192, step=64,
          help="The result's height in pixels. It counts for Custom size.", key="Ultimate SD upscale height"),
    Input(name="custom_scale", label="Scale", kind="slider", default=2.0, low=0, high=16, step=0.01,
          help="By how much width and height are multiplied. It counts for Scale from image size.",
          key="Ultimate SD upscale scale")))
