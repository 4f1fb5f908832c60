"""Every hook that an extension can use, and all that it is promised.

An extension is a folder `extensions/<name>/` with an `__init__.py`; the first line of that file's docstring says what
it is for. It marks functions with `@hookimpl`, named as those here, and names of their arguments those that it wants:

    \"\"\"Turns every picture to grey.\"\"\"

    from modules.hookspecs import hookimpl

    @hookimpl
    def filter_image(image):
        return image.convert("L").convert("RGB")

What it may import besides is what the annotations here name, `modules.errors` and `modules.imaging`. Heavy libraries
are best imported inside the hooks, so that the page is there quickly; gradio is never needed.

A hook that changes something returns it: a value, a function around a function, a context manager; None changes
nothing. The engine asks the extensions one after another in the order of their names (`tryfirst` and `trylast` are
obeyed), and each gets what the one before it returned, so the last one to wrap is the outermost. An extension that
raises, or returns what does not fit, is left out for the rest of the job, which says so; nothing else comes to harm.

Arguments that many hooks can name: `request` is the request at hand, `arguments` are the values of the extension's
controls by name (empty without controls), `settings` those of its settings. An extension with controls on the
request's tab is asked only while their switch is on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from modules.hooks.forms import Controls, Input, Script
    from modules.hooks.types import GenerationContext
    from modules.request import Txt2Img
    from modules.request.result import GeneratedImage
    from modules.sampling.mask import Blend
    from modules.sampling.registry import Sampler
    from modules.sampling.types import Answer, SDModel

PROJECT = "inpaint_webui"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""The mark of a function that is a hook."""

Values = Mapping[str, Any]


# asked once, when the program starts

@hookspec
def register_samplers() -> Sequence[Sampler]:  # type: ignore[empty-body]
    """Samplers besides our own; see `modules.sampling.registry.Sampler`. Names that are taken are left out. Asked when
    the list is first wanted, with torch there."""


@hookspec
def register_scripts() -> Sequence[Script]:  # type: ignore[empty-body]
    """Scripts besides our own, for the Script dropdown and `script_name`; see `modules.hooks.forms.Script`."""


@hookspec
def register_settings() -> Sequence[Input]:  # type: ignore[empty-body]
    """What the Extensions tab lets a person set for good; remembered in config.json as `<extension>_<name>`."""


@hookspec
def controls(tab: str) -> Controls | None:
    """What the extension adds to a tab ("txt2img", "img2img", "inpaint"), behind a switch with its title.

    `modules.hooks.forms.Controls` declares it. From that come the page's widgets, `alwayson_scripts` in the HTTP API
    ({title: {"args": [switch, then the inputs in their order]}}), its script-info, and the keys of the parameters text.
    A title has the same inputs on every tab.
    """


# asked for each job

@hookspec
def prepare_request(request: Txt2Img, arguments: Values, settings: Values) -> Txt2Img | None:
    """A changed request (`dataclasses.replace`), before anything is done with it: seeds may still be -1, names short.

    Once a job, before its script. It must stay what it was: txt2img, img2img or inpaint.
    """


@hookspec
def wrap_model(model: SDModel, request: Txt2Img, arguments: Values,
               settings: Values) -> AbstractContextManager[Any] | None:
    """A context manager that changes `model` on entry and undoes that on exit. It is entered before the prompt and the
    picture are encoded, and left when the pictures are done or another checkpoint comes into use.

    Change its networks (`unet`, `vae`, `text`) rather than `predict`: small masks and the step cache ask the UNet
    itself. Nothing may write into what a network is given: the sampler goes on with it.
    """


@hookspec
def wrap_denoiser(denoise: Answer, request: Txt2Img, arguments: Values, settings: Values) -> Answer | None:
    """A function around the guided network: x (B, C, h, w) and its `sampling.levels.Level` -> the network's answer, of
    the same shape. The answer is eps for Stable Diffusion 1.x; `model.prediction` says what it is for others.

    The same for every sampler. The mask is outside of it, so what is kept stays what it is. Once for each run of a
    sampler; asking `denoise` twice in a step counts as two steps for prompts that change on the way.
    """


@hookspec
def blend_mask(blend: Blend, paint: Tensor, request: Txt2Img, arguments: Values, settings: Values) -> Blend | None:
    """Another way to mix what is kept with what is painted while sampling: (original, current, level) -> blended.

    All latents (B, C, h, w); `paint` (1, 1, h, w) in [0, 1] is 1 where the picture is made anew. `level` is the noise
    level, a `sampling.levels.Level`. `original` is noised to the level in the classic loop and clean otherwise. After
    the last step the kept part is put back as always.
    """


@hookspec
def filter_image(image: Image.Image, seed: int, request: Txt2Img, arguments: Values, settings: Values,
                 context: GenerationContext) -> Image.Image | None:
    """A changed picture of the same size (RGB). `seed` is its own.

    It comes after decoding and before the original is put back over it: with Only masked it is the cut-out at the size
    worked at, and in inpainting nothing that is returned reaches what is kept. `context.generate(..., keep=False)`
    makes further pictures; extensions are not asked about those.
    """


@hookspec
def saved(image: GeneratedImage, request: Txt2Img, arguments: Values, settings: Values) -> None:
    """A picture or a grid has been written to `image.path`."""
