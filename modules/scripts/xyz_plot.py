"""X/Y/Z plot: up to three settings are varied, and each combination of values is a cell of a grid.

Source: WebUI's script of that title.
"""

from __future__ import annotations

import csv
import io
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from modules.hooks.forms import Arguments, Input, Script
from modules.hooks.types import GenerationContext
from modules.request import Img2Img, Txt2Img
from modules.request.result import GeneratedImage
from modules.scripts.axes import Axis, axes, find_axis, settled
from modules.scripts.context import check_size, later
from modules.scripts.grid import Label, cell_size, image_grid, with_legend

Place = tuple[int, int, int]
"""The indices of a cell on the axes x, y and z."""


@dataclass(frozen=True)
class Scale:
    """An axis and the values on it."""

    axis: Axis
    values: tuple[Any, ...]

    @property
    def labels(self) -> list[list[Label]]:
        """The legend's labels for each value."""
        return [[Label(self.axis.show(value))] for value in self.values]

    @property
    def text(self) -> str:
        """The values as a comma-separated list."""
        line = io.StringIO()
        values = self.values[0] if self.axis.kind == "orders" else self.values
        csv.writer(line).writerow(int(value) if isinstance(value, float) and value.is_integer() else value
                                  for value in values)
        return line.getvalue().strip()


def run(request: Txt2Img, arguments: Arguments, context: GenerationContext) -> list[GeneratedImage]:
    """Return the grid, then, if requested, a grid for each z, then, if requested, the pictures.

    A cell that fails is left empty, unless it is the first to be made: its error is raised. After an interruption the
    remaining cells are empty.
    """
    fixed = not arguments["no_fixed_seeds"]
    if fixed:
        request = context.resolve(request)
    scales = [_scale(name, arguments, img2img=isinstance(request, Img2Img), fixed=fixed) for name in "xyz"]
    context.plan(math.prod(len(scale.values) for scale in scales) * request.n_iter)
    places = _in_order(scales)
    cells = {place: _cell(request, place, scales, arguments, context) for place in places}
    check_size(max(cell.width for cell in cells.values()) * len(scales[0].values) * len(scales[2].values),
               max(cell.height for cell in cells.values()) * len(scales[1].values))
    for cell in cells.values():
        context.check(cell)
    context.plan(len(cells) * request.n_iter)
    results = context.generate_all([cells[place] for place in places], lenient=True)
    made = {place: result.images for place, result in zip(places, results, strict=True)}
    lone = [image for place in sorted(made, key=lambda place: place[::-1]) for image in made[place]]
    if not lone:
        return []
    request = context.resolve(replace(request, seed=lone[0].seed if request.seed == -1 else request.seed))
    text = context.text(request, _describe(scales, arguments, img2img=isinstance(request, Img2Img)))
    sheets = [GeneratedImage(sheet, request.seed, request.subseed, text, grid="xyz_grid")
              for sheet in _sheets(made, scales, arguments)]
    if not arguments["sub_grids"] or len(sheets) == 2:
        sheets = sheets[:1]
    return [*context.keep(sheets, request), *(lone if arguments["lone_images"] else ())]


def _scale(name: str, arguments: Arguments, *, img2img: bool, fixed: bool) -> Scale:
    """The scale of the axis `name` ("x", "y" or "z"). Without values it is "Nothing". Raises InvalidInput."""
    axis = find_axis(arguments[f"{name}_type"], img2img=img2img)
    chosen: Sequence[str] = arguments[f"{name}_chosen"]
    text = arguments[f"{name}_values"]
    values: list[Any] = list(chosen) if chosen and axis.choices and not arguments["csv_mode"] else axis.read(text)
    if axis.label == "Nothing" or not any(value != "" for value in values):
        return Scale(find_axis("Nothing", img2img=img2img), ("",))
    return Scale(axis, tuple(settled(axis, values) if fixed else values))


def _in_order(scales: Sequence[Scale]) -> list[Place]:
    """All places in the order of work: the axis whose change costs most is the outermost loop; among equal ones z is
    outside y, and y outside x."""
    order = sorted((2, 1, 0), key=lambda number: -scales[number].axis.cost)
    ranges = [range(len(scales[number].values)) for number in order]
    places = []
    for steps in itertools.product(*ranges):
        at = dict(zip(order, steps, strict=True))
        places.append((at[0], at[1], at[2]))
    return places


def _cell(request: Txt2Img, place: Place, scales: Sequence[Scale], arguments: Arguments,
          context: GenerationContext) -> Txt2Img:
    """The request of one cell. Raises InvalidInput."""
    for scale, number in zip(scales, place, strict=True):
        assert scale.axis.apply is not None
        request = scale.axis.apply(request, scale.values[number], scale.values, context.styles)
    more, stride = 0, 1
    for name, scale, number in zip("xyz", scales, place, strict=True):
        if arguments[f"vary_seeds_{name}"]:
            more += number * stride
            stride *= len(scale.values)
    return later(request, more) if more and request.seed != -1 else request


def _sheets(made: dict[Place, tuple[GeneratedImage, ...]], scales: Sequence[Scale],
            arguments: Arguments) -> list[Image.Image]:
    """The whole grid, then the grid of each z. Several pictures of one cell are a small grid in it."""
    images = {place: image_grid([one.image for one in cell]) for place, cell in made.items() if cell}
    blank = Image.new("RGB", cell_size(list(images.values())))
    xs, ys, zs = (range(len(scale.values)) for scale in scales)
    parts = []
    for z in zs:
        part = image_grid([images.get((x, y, z), blank) for y in ys for x in xs], rows=len(ys), cell=blank.size)
        if arguments["draw_legend"]:
            part = with_legend(part, blank.size, scales[0].labels, scales[1].labels, arguments["margin"])
        parts.append(part)
    whole = image_grid(parts, rows=1)
    if arguments["draw_legend"]:
        whole = with_legend(whole, parts[0].size, scales[2].labels, [[Label("")]])
    return [whole, *parts]


def _describe(scales: Sequence[Scale], arguments: Arguments, *, img2img: bool) -> dict[str, Any]:
    """The keys of the parameters text that repeat the plot: WebUI's keys for the axes, with drawn seeds."""
    script = XYZ_IMG2IMG if img2img else XYZ_TXT2IMG
    keys = {key: value for key, value in script.describe(arguments).items()
            if not key.endswith((" Type", " Values"))}
    for name, scale in zip("XYZ", scales, strict=True):
        if scale.axis.label != "Nothing":
            keys |= {f"{name} Type": scale.axis.label, f"{name} Values": scale.text}
    return keys


def _inputs(*, img2img: bool) -> tuple[Input, ...]:
    labels = tuple(axis.label for axis in axes(img2img=img2img))
    absent = tuple(axis.label for axis in axes(img2img=img2img) if axis.apply is None)
    inputs: list[Input] = []
    for name, default in (("x", "Seed"), ("y", "Nothing"), ("z", "Nothing")):
        upper = name.upper()
        inputs += [
            Input(name=f"{name}_type", label=f"{upper} type", kind="dropdown", default=default, choices=labels,
                  help="What changes along this axis. Nothing leaves the axis out.", absent=absent,
                  key=f"{upper} Type"),
            Input(name=f"{name}_values", label=f"{upper} values", kind="text", default="", key=f"{upper} Values",
                  help="The values between commas. 1-5 counts, 1-9 (+2) has steps of 2, 0-1 [5] has five values."),
            Input(name=f"{name}_chosen", label=f"{upper} values", kind="values", default=(),
                  help="The values to compare. Each makes a row, a column or a grid.")]
    inputs += [
        Input(name="draw_legend", label="Draw legend",
              help="Writes the values beside the grid. Switch it off for a grid without text.", kind="checkbox",
              default=True, key="Draw legend"),
        Input(name="lone_images", label="Include Sub Images",
              help="Returns each picture beside the grid. Switch it on to use single pictures.", kind="checkbox",
              default=False, key="Include sub images"),
        Input(name="sub_grids", label="Include Sub Grids",
              help="Returns the grid of each Z value too. It matters with three axes only.", kind="checkbox",
              default=False, key="Include sub grids"),
        Input(name="no_fixed_seeds", label="Keep -1 for seeds",
              help="Draws another seed for each picture where the seed is -1. Otherwise all use the same.",
              kind="checkbox", default=False, key="Keep -1 for seeds"),
        *(Input(name=f"vary_seeds_{name}", label=f"Vary seeds for {name.upper()}", kind="checkbox", default=False,
                help="Adds 1 to the seed at each value of this axis. Otherwise the seed stays.",
                key=f"Vary seeds for {name.upper()}") for name in "xyz"),
        Input(name="margin", label="Grid margins (px)",
              help="The pixels between the pictures of the grid. 0 puts them side by side.", kind="slider", default=0,
              low=0, high=500, step=2, key="Grid margins"),
        Input(name="csv_mode", label="Use text inputs instead of dropdowns",
              help="Types the values as text instead of choosing them. Use it for names with a pattern.",
              kind="checkbox", default=False)]
    return tuple(inputs)


XYZ_TXT2IMG = Script(title="X/Y/Z plot", txt2img=True, img2img=False, run=run, inputs=_inputs(img2img=False))
XYZ_IMG2IMG = Script(title="X/Y/Z plot", run=run, inputs=_inputs(img2img=True))
