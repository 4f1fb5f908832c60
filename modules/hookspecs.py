"""Every hook that an extension can use, and what it may rely on.

An extension is a folder `extensions/<name>/` with an `__init__.py`. The first line of that file's docstring says what
the extension is for. Its hooks are functions marked with `@hookimpl` that have the names of the functions here. A hook
declares only the arguments that it needs:

    \"\"\"Turns every picture to grey.\"\"\"

    from modules.hookspecs import hookimpl

    @hookimpl
    def filter_image(image):
        return image.convert("L").convert("RGB")

An extension may also import the types that are annotated here, `modules.errors` and `modules.imaging`. It should import
heavy libraries inside its hooks, so that the program starts quickly. It never needs gradio.

A hook that changes something returns the changed thing: a value, a wrapper around a function, or a context manager.
None changes nothing. The engine calls the extensions in the order of their names (pluggy's `tryfirst` and `trylast`
work). Each gets what the one before it returned, so the last wrapper is the outermost. An extension that raises, or
returns something of the wrong kind, is left out for the rest of the job; the job's warnings say so.

Arguments that many hooks have: `request` is the current request, `arguments` are the values of the extension's controls
by name (empty without controls), `settings` are the values of its settings by name. An extension with controls on the
request's tab is called only while the switch of its controls is on. One without controls is called in every job.
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
    from modules.hooks.steps import Run, Watch
    from modules.hooks.types import GenerationContext
    from modules.request import Txt2Img
    from modules.request.result import GeneratedImage
    from modules.sampling.mask import Blend
    from modules.sampling.registry import Sampler
    from modules.sampling.types import Answer, RowPredict, SDModel

PROJECT = "inpaint_webui"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a function as a hook."""

Values = Mapping[str, Any]


# called once, when the program starts

@hookspec
def register_samplers() -> Sequence[Sampler]:  # type: ignore[empty-body]
    """Return additional samplers; see `modules.sampling.registry.Sampler`. A sampler whose name is taken, or whose
    function asks for an argument that nobody passes, is left out.

    Called when the list of samplers is first needed; torch may be imported.
    """


@hookspec
def register_scripts() -> Sequence[Script]:  # type: ignore[empty-body]
    """Return additional scripts for the Script dropdown and `script_name`; see `modules.hooks.forms.Script`."""


@hookspec
def register_settings() -> Sequence[Input]:  # type: ignore[empty-body]
    """Return the settings that the Extensions tab shows. Values are stored in config.json as `<extension>_<name>`."""


@hookspec
def controls(tab: str) -> Controls | None:
    """Return the controls that the extension adds to a tab ("txt2img", "img2img", "inpaint"), or None.

    They are shown behind a switch with their title. The declaration, a `modules.hooks.forms.Controls`, also gives
    `alwayson_scripts` in the HTTP API ({title: {"args": [switch, then the inputs in their order]}}), the API's
    script-info, and the keys of the parameters text. A title must have the same inputs on every tab.
    """


# called for each job

@hookspec
def prepare_request(request: Txt2Img, arguments: Values, settings: Values) -> Txt2Img | None:
    """Return a changed request, made with `dataclasses.replace`. It must be of the same class.

    Called once for each job, before its script runs. Seeds may still be -1, and sampler names may be short forms.
    With `--workers` it is the server that calls this and `saved`; all hooks that see a model or a picture on its way
    are called in the workers, which are processes of their own.
    """


@hookspec
def wrap_model(model: SDModel, request: Txt2Img, arguments: Values,
               settings: Values) -> AbstractContextManager[Any] | None:
    """A context manager that changes `model` on entry and undoes that on exit. It is entered before the prompt and the
    picture are encoded, and left when the pictures are done or another checkpoint comes into use.

    Change the modules in `model.unet`, `model.vae` and `model.text.clip`, not `model.predict`. A function that is set
    as a module's `forward` is called whenever that module is computed, and it is the same object on the module after
    each step. It must return a new tensor and must not write into what it is given. A weight is exchanged, with
    `networks.packing.replaced`, not written into: packed weights would not follow. Some options decide what a function
    is called with, and whether other weights count:

    Step cache: steps that use deep features again do not compute the deep levels, so nothing in them is called.

    Small masks: between two whole passes the UNet computes a window of the picture, and a module is given the cells or
    tokens of the window. A 3 x 3 convolution is given one cell more on each side, two where it halves the size; a group
    norm the whole picture; their results are cut to the window. So all patches that look no further than their module
    does give in the window what they give in the whole picture.

    --cpu-engine openvino: a UNet with a patched `forward` or a hook is computed by PyTorch, without OpenVINO.

    --compile: a UNet with a patched `forward` runs uncompiled. Compiled programs keep the weights that they were
    compiled with, so changed weights have no effect there.
    """


@hookspec
def wrap_denoiser(denoise: Answer, request: Txt2Img, arguments: Values, settings: Values) -> Answer | None:
    """Return a wrapper around the guided network: (x, level) -> its answer, both (B, C, h, w).

    `level` is a `sampling.levels.Level`: x = level.signal * x0 + level.noise * eps. The answer is eps for Stable
    Diffusion 1.x; `model.prediction` says what it is for other families. The interface is the same for every sampler.
    The mask blend is applied outside of it, so the kept part stays unchanged. Called once for each run of a sampler. A
    second call of `denoise` in one step counts as another step for prompts with a schedule.
    """


@hookspec
def wrap_predict(predict: RowPredict, model: SDModel, request: Txt2Img, arguments: Values,
                 settings: Values) -> RowPredict | None:
    """Return a wrapper around each call of the network, inside guidance: (x, level, cond, call) -> its answer.

    x (B, C, h, w) has the rows of one call: those told the prompt, those told the negative prompt, or both. `call`, a
    `sampling.types.Call`, says which image each row is for, which rows are told the negative prompt, and how many steps
    are done. C counts the channels that an inpainting checkpoint reads beside the latent; the answer has the latent's
    channels alone. `level` is a `sampling.levels.Level`. `cond` is a `sampling.conditioning.Conditioning` of B rows. A
    changed one is made with `dataclasses.replace`; its `residuals` are added inside a UNet, and those of ControlNet's
    units are there already. `predict` may be asked several times, or not at all.

    Called once for each run of a sampler, and once more for a refiner. `model` is the model that `predict` asks. With
    this hook small masks and the step cache are off. Prompts that are followed more from step to step:

        def wrap_predict(predict):
            def ask(x, level, cond, call):
                louder = replace(cond, tokens=cond.tokens * (0.5 + 0.5 * call.share))
                return predict(x, level, louder, call)
            return ask
    """


@hookspec
def blend_mask(blend: Blend, paint: Tensor, request: Txt2Img, arguments: Values, settings: Values) -> Blend | None:
    """Return another blend for sampling: (original, current, level) -> blended, all latents (B, C, h, w).

    `paint` (1, 1, h, w) in [0, 1] is 1 where the picture is generated. `level` is the noise level, a
    `sampling.levels.Level`. `original` is noised to the level in the classic loop and clean otherwise. After the last
    step the kept part is restored in any case. "Small masks" has no effect with another blend. A ramp that keeps less
    at lower noise:

        def blend_mask(paint):
            def blend(original, current, level):
                keep = level.noise * (1 - paint)
                return keep * original + (1 - keep) * current
            return blend
    """


@hookspec
def watch_steps(run: Run, request: Txt2Img, arguments: Values, settings: Values) -> Watch | None:
    """Return a function that is told of each call of the network in one run of the sampler, by a
    `modules.hooks.steps.Call`: x, the answers, the guess, the blend and the noise level. It must not change the
    tensors, so the picture is the same with it. It is called in the job's thread, once the sampler's step is done.
    "Record steps" writes what it is told here. The deviation of the guess at each step:

        def watch_steps(run):
            return lambda call: print(call.step, call.level.sigma, call.x0.std().item())
    """


@hookspec
def filter_image(image: Image.Image, seed: int, request: Txt2Img, arguments: Values, settings: Values,
                 context: GenerationContext) -> Image.Image | None:
    """Return a changed picture of the same size (RGB). `seed` is the picture's own seed.

    Called after decoding and before the kept part of the original is pasted over the picture, so in inpainting the
    result does not reach the kept part. With Only masked, `image` is the crop at the size of the request.
    `context.generate(..., keep=False)` makes further pictures; extensions are not called for those.
    """


@hookspec
def saved(image: GeneratedImage, request: Txt2Img, arguments: Values, settings: Values) -> None:
    """Called after a picture or a grid has been written to `image.path`."""
