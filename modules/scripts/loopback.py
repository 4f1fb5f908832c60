"""Loopback: img2img several times, each time on the previous result, with a denoising strength that changes.

Source: WebUI's script of that title.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from modules.hooks.forms import Arguments, Input, Script
from modules.hooks.types import GenerationContext
from modules.request import Img2Img, Inpaint, MaskedContent, Txt2Img
from modules.request.result import GeneratedImage
from modules.scripts.context import later
from modules.scripts.grid import image_grid

CURVES: dict[str, Callable[[float], float]] = {
    "Aggressive": lambda share: math.sin(share * math.pi / 2), "Linear": lambda share: share,
    "Lazy": lambda share: 1 - math.cos(share * math.pi / 2)}


def strengths(first: float, last: float, loops: int, curve: str) -> list[float]:
    """The denoising strength of each loop, from `first` to `last`."""
    if loops == 1:
        return [first]
    return [first + (last - first) * CURVES[curve](number / (loops - 1)) for number in range(loops)]


def run(request: Txt2Img, arguments: Arguments, context: GenerationContext) -> list[GeneratedImage]:
    """Return a grid and all pictures of the series.

    With a Batch count above 1 each series starts from the original, and only its last picture is returned. The seed
    grows by 1 with each picture. All pictures have the same parameters text, which makes the whole series.
    """
    assert isinstance(request, Img2Img)
    request = context.resolve(request)
    assert isinstance(request, Img2Img)
    loops, count = arguments["loops"], request.n_iter
    curve = strengths(request.denoising_strength, arguments["final"], loops, arguments["curve"])
    extra = LOOPBACK.describe(arguments) | {"Final denoising strength": arguments["final"],
                                            "Denoising curve": arguments["curve"]}
    text = ""
    context.plan(loops * count)
    single = replace(request, n_iter=1, batch_size=1, init_images=request.init_images[:1])
    shown: list[GeneratedImage] = []
    for series in range(count):
        present = single
        last: tuple[GeneratedImage, ...] = ()
        for loop, strength in enumerate(curve):
            result = context.generate(replace(later(present, series * loops + loop), denoising_strength=strength),
                                      keep=False, extra=extra)
            if not result.images:
                break
            text = text or result.images[0].infotext
            last = context.keep([replace(result.images[0], infotext=text)], request)
            shown += last if count == 1 else ()
            present = replace(present, init_images=(last[0].image,))
            if isinstance(present, Inpaint):
                present = replace(present, masked_content=MaskedContent.ORIGINAL)
        shown += last if count > 1 else ()
    if len(shown) < 2:
        return shown
    grid = GeneratedImage(image_grid([one.image for one in shown], rows=1), request.seed, request.subseed, text,
                          grid="grid")
    return [*context.keep([grid], request), *shown]


LOOPBACK = Script(title="Loopback", run=run, inputs=(
    Input(name="loops", label="Loops", help="How often the result is the next start. 2 to 4 show where it leads.",
          kind="slider", default=2, low=1, high=32, step=1, key="Loops"),
    Input(name="final", label="Final denoising strength",
          help="The denoising strength of the last loop. The loops before approach it.", kind="slider", default=0.5,
          low=0, high=1, step=0.01, key="Final denoising strength"),
    Input(name="curve", label="Denoising strength curve",
          help="How the strength goes to the final one. Aggressive gets there early, Lazy late.", kind="dropdown",
          default="Linear", choices=("Aggressive", "Linear", "Lazy"), key="Denoising curve"),
    Input(name="interrogate", label="Append interrogated prompt at each iteration", kind="dropdown", default="None",
          choices=("None",), hidden=True)))
