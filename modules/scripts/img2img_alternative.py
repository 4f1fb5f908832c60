"""img2img alternative test: first find the noise from which the model would make the picture, then sample from it.

This changes what the prompt changes and keeps the rest of the picture. Source: WebUI's script of that title.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from modules.errors import InvalidInput
from modules.hooks.forms import Arguments, Input, Script
from modules.hooks.types import GenerationContext
from modules.request import Img2Img, Txt2Img
from modules.request.result import GeneratedImage

if TYPE_CHECKING:
    from torch import Tensor

    from modules.sampling.types import SDModel


def run(request: Txt2Img, arguments: Arguments, context: GenerationContext) -> list[GeneratedImage]:
    """Return the pictures sampled from the noise that was found."""
    assert isinstance(request, Img2Img)
    request = _overridden(context.resolve(request), arguments)
    context.plan(request.n_iter)
    extra = IMG2IMG_ALTERNATIVE.describe(arguments) | {
        "Decode prompt": arguments["prompt"], "Decode negative prompt": arguments["negative"],
        "Decode CFG scale": arguments["cfg"], "Decode steps": arguments["steps"],
        "Randomness": arguments["randomness"], "Sigma Adjustment": arguments["adjust"]}

    def first_noise(model: SDModel, latent: Tensor, drawn: Tensor) -> Tensor:
        return _noise(model, latent, drawn, request, arguments, context)

    return list(context.generate(request, extra=extra, first_noise=first_noise).images)


def _overridden(request: Txt2Img, arguments: Arguments) -> Txt2Img:
    changes: dict[str, Any] = {}
    if arguments["override_sampler"]:
        changes |= {"sampler": "Euler", "scheduler": "Automatic"}
    if arguments["override_prompt"]:
        changes |= {"prompt": arguments["prompt"], "negative_prompt": arguments["negative"]}
    if arguments["override_steps"]:
        changes["steps"] = arguments["steps"]
    if arguments["override_strength"]:
        changes["denoising_strength"] = 1.0
    return replace(request, **changes)


def _noise(model: SDModel, latent: Tensor, drawn: Tensor, request: Txt2Img, arguments: Arguments,
           context: GenerationContext) -> Tensor:
    """The initial noise: the noise that was found, mixed with the drawn noise, minus the picture that img2img adds."""
    from modules.generation import conditioning
    from modules.imaging import tensors
    from modules.sampling.guidance import GuidedDenoiser, SigmaDenoiser
    from modules.sampling.registry import resolve
    from modules.sampling.sample import Plan, build_sigmas
    from modules.sampling.schedules import ScheduleRange, uniform
    from modules.sampling.solvers.inversion import find_noise, mixed

    if model.inputs.channels:
        raise InvalidInput("The img2img alternative test wants an ordinary checkpoint, not one for inpainting.")
    levels = model.levels
    steps = arguments["steps"]
    guidance = conditioning.encode(model, arguments["prompt"], arguments["negative"],
                                   size=(request.width, request.height), images=len(latent), calls=steps,
                                   scale=arguments["cfg"], options=request.options)
    guided = GuidedDenoiser(model, guidance)
    denoise = SigmaDenoiser(guided, guided, levels)
    sigmas = uniform(steps, ScheduleRange(levels, levels.sigma_min, levels.sigma_max))

    def on_step(done: int, x: Tensor) -> None:
        context.step(done, steps, lambda: tensors.to_image(model.preview(x[0]) * 2 - 1))

    context.stage("Finding the noise")
    found = find_noise(denoise, latent, sigmas, on_step, adjust=arguments["adjust"])
    sampler, schedule = resolve(request.sampler, request.scheduler)
    highest = build_sigmas(Plan(sampler, schedule, request.steps, options=request.options), levels, request.steps)[0]
    return mixed(found, drawn, arguments["randomness"]) - latent / float(highest)


IMG2IMG_ALTERNATIVE = Script(title="img2img alternative test", run=run, whole=True, inputs=(
    Input(name="info", label="CFG Scale should be 2 or lower.", kind="note", default=""),
    Input(name="override_sampler", label="Override `Sampling method` to Euler?(this method is built for it)",
          help="Takes Euler, which this method was made for. Switch it off to try another sampler.", kind="checkbox",
          default=True, key="Override sampling method"),
    Input(name="override_prompt",
          label="Override `prompt` to the same value as `original prompt`?(and `negative prompt`)",
          help="Takes the original prompts for the tab's. Switch it off to change what the picture shows.",
          kind="checkbox", default=True, key="Override prompt"),
    Input(name="prompt", label="Original prompt",
          help="What the source shows, as a prompt. The better it fits, the closer the result.", kind="text",
          default="", key="Decode prompt"),
    Input(name="negative", label="Original negative prompt",
          help="What the source does not show. Leave it empty if you do not know.", kind="text", default="",
          key="Decode negative prompt"),
    Input(name="override_steps", label="Override `Sampling Steps` to the same value as `Decode steps`?",
          help="Takes as many sampling steps as decode steps. Other numbers rarely fit.", kind="checkbox",
          default=True, key="Override steps"),
    Input(name="steps", label="Decode steps",
          help="The steps in which the noise of the picture is found. 50 are usual.", kind="slider", default=50, low=1,
          high=150, step=1, key="Decode steps"),
    Input(name="override_strength", label="Override `Denoising strength` to 1?",
          help="Takes a denoising strength of 1, which this method needs. Switch it off to keep more of the picture.",
          kind="checkbox", default=True, key="Override denoising strength"),
    Input(name="cfg", label="Decode CFG scale",
          help="The guidance while the noise is found. 1 finds it exactly; stay below 2.", kind="slider", default=1.0,
          low=0, high=15, step=0.1, key="Decode CFG scale"),
    Input(name="randomness", label="Randomness",
          help="How much of the noise is drawn anew. 0 keeps the picture's layout.", kind="slider", default=0.0, low=0,
          high=1, step=0.01, key="Randomness"),
    Input(name="adjust", label="Sigma adjustment for finding noise for image",
          help="Takes each slope at the noise level that a step leaves. Try it where the result has too much contrast.",
          kind="checkbox", default=False, key="Sigma Adjustment")))
