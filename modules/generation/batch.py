"""From a prepared start to pictures: for each batch noise, guidance, sampling, the second pass, decoding, paste back.

It knows one kind of request from another only by its `Prepared`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from modules.base.stopping import asking
from modules.errors import BadResult, Interrupted, InvalidInput, Stopped
from modules.generation import conditioning, hires, wrapping
from modules.generation.control import Control
from modules.generation.detail import Detail
from modules.generation.going_on import (
    Change,
    ChangingDenoiser,
    Reached,
    begun_again,
    changed_blend,
    changed_source,
    denoiser,
)
from modules.generation.replay import Replay, fingerprint
from modules.generation.watching import telling, watched, watching
from modules.hooks.in_job import Hooks
from modules.hooks.steps import Run
from modules.imaging import tensors
from modules.imaging.faces import Restore
from modules.imaging.resize import pad_to_multiple
from modules.imaging.upscale import LATENT_UPSCALERS, Upscalers
from modules.request import Img2Img, Txt2Img, going_on, seed_after
from modules.request.job_context import JobContext
from modules.request.options import Options
from modules.request.photograph import Photograph
from modules.sampling import registry
from modules.sampling.guidance import Guidance, Refiner, SkipUncond
from modules.sampling.levels import Level
from modules.sampling.mask import Blend
from modules.sampling.noise import ImageNoise
from modules.sampling.sample import InitLatent, Plan, Wraps, pace, sample, steps_walked, total_calls
from modules.sampling.types import FirstNoise, SDModel
from modules.text.network_tags import without_loras

Models = Callable[[Options, str], SDModel]
"""(options, prompt) -> the model that the options name, loaded if need be, with the networks on it that the prompt
names and no others. Raises NotFound, CheckpointError."""

OnBatch = Callable[[Sequence["Picture"], Mapping[str, Any]], None]
"""Told of each finished batch: its pictures, and what the parameters text has to say of how they were made."""


@dataclass(frozen=True)
class Finished:
    """A result with its mask and composite, when the options ask for them. `photograph` is the result in the depth and
    colours of the init image's file."""

    image: Image.Image
    extras: tuple[Image.Image, ...] = ()
    photograph: Photograph | None = None


Finish = Callable[[Image.Image, int, Tensor], Finished]
"""(decoded picture, its number in the batch, its latent (4, h, w)) -> the result."""

NO_MODELS = Upscalers()

SLOW_PIXELS = 2**20
"""A batch of more takes a CPU ten seconds and longer to decode."""

ROUGH = "It was interrupted, so the picture is drawn roughly, without the decoder."


@dataclass(frozen=True)
class Prepared:
    """What a recipe prepares once and every batch shares.

    `source` is None for txt2img. `beside` (B, c, h, w) are the channels that the network reads beside x.
    `first_noise` is for a picture to start from, `upscalers` for the second pass. `samplers` are all that there
    are, `hooks` the extensions; `restore` restores faces, and `detail` is the detailer. `control` are the control
    units. `keys` are for the parameters text; None leaves a key out. `later` is what the mask is on the way where it
    changes.
    """

    source: InitLatent | None
    beside: Tensor | None
    finish: Finish
    warnings: tuple[str, ...] = ()
    first_noise: FirstNoise | None = None
    upscalers: Upscalers = NO_MODELS
    samplers: Sequence[registry.Sampler] = registry.SAMPLERS
    hooks: Hooks = field(default_factory=Hooks)
    restore: Restore | None = None
    detail: Detail | None = None
    control: Control | None = None
    keys: Mapping[str, Any] = field(default_factory=dict)
    later: Prepared | None = None


@dataclass(frozen=True)
class Picture:
    """One result; see `Finished`. `keys` are further ones for its parameters text."""

    image: Image.Image
    seed: int
    subseed: int
    extras: tuple[Image.Image, ...] = ()
    photograph: Photograph | None = None
    keys: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """All results of one request, and what the person should be told about them.

    `work` is the network's work as a share of what it would be without savings. `maps` are what control units followed.
    """

    pictures: tuple[Picture, ...]
    warnings: tuple[str, ...] = ()
    interrupted: bool = False
    work: float = 1.0
    maps: tuple[Image.Image, ...] = ()


def run(models: Models, request: Txt2Img, start: Prepared, job: JobContext, on_batch: OnBatch,
        numbers: Sequence[int] | None = None) -> Outcome:
    """One batch for each of `numbers`, by default for all of the batch count; stops where the job says so, keeping the
    newest guess of the batch it was in. A batch is the same whichever others are made with it."""
    numbers = range(request.n_iter) if numbers is None else numbers
    pictures: list[Picture] = []
    interrupted = False
    work = 1.0
    rough: tuple[str, ...] = ()
    unspared: tuple[str, ...] = ()
    notes: list[str] = []
    for done, number in enumerate(numbers):
        job.batches(done, len(numbers))
        batch = _Batch(models, request, start, number, job)
        unspared = wrapping.warnings(request, start.hooks, batch.model)
        try:
            job.check()
            with asking(job.check):
                latent: Tensor | None = batch.sample()
        except Stopped as stop:
            interrupted = isinstance(stop, Interrupted)
            latent = batch.newest
        if latent is not None:
            try:
                with asking(job.check) if not interrupted else nullcontext():
                    made = batch.finish(latent, rough=interrupted and batch.decodes_slowly)
            except Stopped as stop:
                interrupted = isinstance(stop, Interrupted)
                made = batch.finish(latent, rough=True)
            on_batch(made, batch.happened)
            pictures += made
        work = batch.work
        notes += batch.warnings
        if batch.rough:
            rough = (ROUGH,)
        if interrupted:
            break
    control = start.control
    notes += control.notes if control else []
    warnings = (*start.warnings, *hires.stand_ins(request, start.upscalers), *unspared, *rough, *notes)
    return Outcome(tuple(pictures), warnings, interrupted, work, control.maps if control else ())


class _Batch:
    """One batch on its way: the model and plan change with the pass, `newest` is the latest guess of the latent."""

    def __init__(self, models: Models, request: Txt2Img, start: Prepared, number: int, job: JobContext) -> None:
        self.models, self.request, self.start, self.job, self.number = models, request, start, job, number
        self.seeds, self.subseeds = batch_seeds(request, number)
        self.model = models(request.options, request.prompt)
        self.embeddings: tuple[str, ...] = ()
        self.size: hires.Size = (request.width, request.height)
        self.newest: Tensor | None = None
        self.guess: Tensor | None = None
        self.happened: dict[str, Any] = dict(start.keys)
        self.work = 1.0
        self.rough = False
        self.warnings: list[str] = []

    @property
    def decodes_slowly(self) -> bool:
        """Whether the decoder takes longer than somebody who interrupts wants to wait."""
        return self.model.device.type == "cpu" and self.size[0] * self.size[1] * len(self.seeds) > SLOW_PIXELS

    def sample(self) -> Tensor:
        """The latent of the finished pictures, (B, 4, h, w)."""
        request = self.request
        plan = self._plan(request.sampler, request.scheduler, request.steps)
        # With hires fix the refiner works in the pass that the option names, without in the only one.
        refine = not request.enable_hr or request.options.hires_fix_refiner_pass != "second pass"
        if request.enable_hr and request.first_pass:
            return self._second_pass(plan, self._given(request.first_pass))
        latent = self._pass(plan, plan, self.start.source, self.start.beside, refine=refine)
        if not request.enable_hr:
            return latent
        return self._second_pass(plan, latent if request.hr_upscaler in LATENT_UPSCALERS else self._decode(latent))

    def finish(self, latent: Tensor, *, rough: bool = False) -> list[Picture]:
        """Decoded, or `rough`ly as previews are, then faces restored, changed by extensions, pasted back, with seeds.
        Raises BadResult on NaN or infinity."""
        pictures = []
        self.rough = rough
        for k, image in enumerate(self._like_previews(latent) if rough else self._decode(latent, finished=True)):
            if self.start.restore:
                self.job.stage("Restoring faces")
                image = self.start.restore(image)
            patches = self.model.patches
            if self.start.detail and not rough:
                image = self.start.detail(image, self.seeds[k], self.request)
            image = self.start.hooks.filter_image(image, self.seeds[k], self.request)
            self.model.put_on(patches)  # the detailer and extensions may have made pictures with others
            made = self.start.finish(image, k, latent[k])
            pictures.append(Picture(made.image, self.seeds[k], self.subseeds[k], made.extras, made.photograph,
                                    self.keys))
        return pictures

    def _given(self, picture: Image.Image) -> Tensor | list[Image.Image]:
        """The picture that takes the place of the first pass, as that would leave it."""
        picture = picture.convert("RGB")
        if self.request.hr_upscaler not in LATENT_UPSCALERS:
            return [picture] * len(self.seeds)
        pixels = tensors.to_tensor([pad_to_multiple(picture, self.model.latent.cell)]).to(self.model.device)
        return self.model.encode_image(pixels).repeat(len(self.seeds), 1, 1, 1)

    @property
    def keys(self) -> dict[str, str]:
        """What sampling adds to the parameters text."""
        shown = self.embeddings and self.request.options.textual_inversion_add_hashes_to_infotext
        return {"TI hashes": ", ".join(self.embeddings)} if shown else {}

    @staticmethod
    def _prompts(request: Txt2Img, second: bool) -> tuple[str, str]:
        """(prompt, negative prompt) of a pass."""
        if second:
            return request.hr_prompt or request.prompt, request.hr_negative_prompt or request.negative_prompt
        return request.prompt, request.negative_prompt

    def _second_pass(self, first: Plan, start: Tensor | list[Image.Image]) -> Tensor:
        """Hires fix: the first pass's latent or pictures enlarged, noised to the strength and sampled again."""
        request = self.request
        self.job.stage("Enlarging")
        checkpoint: dict[str, Any] = {"sd_model_checkpoint": request.hr_checkpoint} if request.hr_checkpoint else {}
        self.model = self.models(dataclasses.replace(request.options, **checkpoint), self._prompts(request, True)[0])
        latent = hires.enlarge(self.model, start, request, self.start.upscalers, self.job)
        self.size = hires.hires_size(request).cut
        self.newest = latent
        plan = self._plan(request.hr_sampler or request.sampler, request.hr_scheduler or request.scheduler,
                          request.hr_second_pass_steps or request.steps)
        source = InitLatent(latent, request.denoising_strength, exact_steps=True)
        beside = None
        if self.model.inputs.channels:
            pixels = torch.cat([self.model.decode_latent(one[None]) for one in latent])
            hole = torch.ones(1, 1, *pixels.shape[2:], device=pixels.device)
            beside = self.model.inputs.beside(self.model, pixels, hole, request.options.inpainting_mask_weight)
        return self._pass(first, plan, source, beside, second=True,
                          refine=request.options.hires_fix_refiner_pass != "first pass")

    def _plan(self, sampler_name: str, scheduler: str, steps: int) -> Plan:
        sampler, schedule = registry.resolve(sampler_name, scheduler, self.start.samplers)
        return Plan(sampler, schedule, steps, self.request.eta, self.request.options)

    def _pass(self, first: Plan, plan: Plan, source: InitLatent | None, beside: Tensor | None, *, refine: bool,
              second: bool = False, request: Txt2Img | None = None, noise: ImageNoise | None = None) -> Tensor:
        """One run of the sampler of `plan`; `first` is the first pass's, by which prompt schedules count. `request` and
        `noise` are those of the batch where nothing else is given."""
        request = request or self.request
        options = plan.options
        noise = noise or self._noise(self.seeds)
        self.job.stage("Reading the prompt")
        later = self.start.later or self.start
        change = self._change(self._guided_by(going_on.rest_of(request), later.beside, first, plan, second=second)) \
            if request.go_on_after else None
        before = source
        if change and not change.ends and source and later.source and later is not self.start:
            source = changed_source(source, later.source)
        guidance = self._guided_by(request, beside, first, plan, second=second)
        control = self.start.control
        if options.refiner_switch_by_sample_steps:
            self.happened["Refiner switch by sampling steps"] = True
        hooks, total = self.start.hooks, pace(plan, self.model.levels, source)
        run = Run(plan.sampler.name, request.cfg_scale, total.calls, source.paint if source else None,
                  bool(source and source.soft), second)
        units = control.wrapper(self.size, self.seeds, self.number) if control else None
        with watching(hooks, run, request, self.job, self.warnings,
                      lambda: "" if self.request.go_on_after else self._fingerprint()) as watcher:
            if watcher and units:
                units = telling(units, watcher)
            denoise = denoiser(watcher, change)(
                self.model, guidance(self.model),
                self._refiner(guidance, self._prompts(request, second)[0]) if refine else None,
                options.step_cache, total,
                SkipUncond(options.skip_early_cond, options.s_min_uncond, options.s_min_uncond_all), self.happened,
                wrapping.wrapper(units, hooks, request),
                steps_walked(plan, source))
            if self.start.first_noise and source and not second:
                noise = noise.with_first(self.start.first_noise(self.model, source.latent, noise.first()))
            unwatched = source
            if watcher and source:
                source = watched(source, watcher)
            compiles = self.model.compiles(self.model.latent.cells(self.size))
            self.job.stage("Compiling the network for this size" if compiles else "Sampling")

            def report(step: int, steps: int, x0: Tensor) -> None:
                self.model = denoise.model
                denoise.step = step - 1
                self.guess = x0
                self.newest = source.blend_end(x0) if source else x0
                if watcher:
                    watcher.stepped(step - 1, x0)
                self.job.step(step, steps, lambda: tensors.to_image(denoise.model.preview(x0[0]) * 2 - 1))

            def blended(blend: Blend, paint: Tensor) -> Blend:
                blend = hooks.blend(blend, paint, request)
                return changed_blend(blend, before, denoise, change.after) if change and before and \
                    before is not unwatched else blend

            wraps = Wraps(lambda inner: hooks.denoiser(inner, request), blended)
            sampled: Tensor | None = None
            level: Level | None = None
            initial = noise.first() if change and change.ends else None
            try:
                sampled = sample(denoise, noise, plan, report, source, wraps)
            except Reached as reached:
                level = reached.level
        self.model, self.work = denoise.model, denoise.work
        if sampled is None:
            assert isinstance(denoise, ChangingDenoiser)
            assert level is not None
            assert initial is not None
            return self._begin_again(denoise, level, noise, initial)
        if change and denoise.calls <= change.after:
            self.warnings.append(f"The run has {denoise.calls} calls of the network only, so nothing changed on the "
                                 "way.")
        if denoise.padded:
            self.happened["Pad conds v0" if options.pad_cond_uncond_v0 else "Pad conds"] = True
        return sampled

    def _guided_by(self, asked: Txt2Img, beside: Tensor | None, first: Plan, plan: Plan, *,
                   second: bool) -> Callable[[SDModel], Guidance]:
        """What guides a model in the pass of `plan` as `asked`, which notes the embeddings; `first` as in `_pass`."""
        prompt, negative = self._prompts(asked, second)
        size = hires.hires_size(self.request).asked if second else self.size

        def guidance(model: SDModel) -> Guidance:
            made = conditioning.encode(
                model, prompt, negative, size=size, images=len(self.seeds), calls=total_calls(first),
                hires_calls=total_calls(plan) if second else None, options=plan.options,
                scale=asked.cfg_scale / plan.sampler.scale_divisor, beside=_fitting(model, beside),
                beside_scale=_beside_scale(model, asked))
            new = tuple(one for one in made.embeddings if one not in self.embeddings)
            self.embeddings = new + self.embeddings if self.embeddings else made.embeddings
            return made

        return guidance

    def _noise(self, seeds: Sequence[int]) -> ImageNoise:
        """The noise of a pass in the present size."""
        request, latent = self.request, self.model.latent
        # Rounded down, as WebUI: less than a cell is no size to resize from.
        resize_from = (latent.channels, *(int(side / latent.cell) for side in (request.seed_resize_from_h,
                                                                               request.seed_resize_from_w)))
        return ImageNoise(latent.shape(self.size), seeds, subseeds=self.subseeds,
                          subseed_strength=request.subseed_strength,
                          resize_from=resize_from if all(resize_from) else None,
                          seed_delta=request.options.eta_noise_seed_delta, source=request.options.randn_source,
                          device=self.model.device)

    def _fingerprint(self) -> str:
        """Of the run without a change on its way."""
        subseeds = self.subseeds if self.request.subseed_strength else []
        return fingerprint(self.request, tuple(self.seeds), tuple(subseeds), self.model.name)

    def _change(self, guidance: Callable[[SDModel], Guidance]) -> Change:
        """What happens to the run on its way, and the recording of the calls before, if there is one."""
        request, replay = self.request, None
        if request.replayed and request.replayed.is_file() and not self.number:
            replay = Replay(request.replayed, self._fingerprint())
        return Change(request.go_on_after, guidance, replay, going_on.begins_again(request))

    def _begin_again(self, denoise: ChangingDenoiser, level: Level, noise: ImageNoise, initial: Tensor) -> Tensor:
        """The rest of a run that `denoise` has brought to `level`, as another walk. `initial` is the block that `noise`
        began with."""
        request, later = going_on.rest_of(self.request), self.start.later or self.start
        plan = self._plan(request.sampler, request.scheduler, request.steps)
        plan = dataclasses.replace(plan, options=plan.options.replaced({"img2img_extra_noise": 0.0}))
        if self.request.then_seed >= 0:
            changed = dataclasses.replace(self.request, seed=self.request.then_seed)
            noise = self._noise(batch_seeds(changed, self.number)[0])
            initial = noise.first()
        assert self.guess is not None
        start, block = begun_again(denoise.guess(self.guess), initial, level, plan, self.model, self.request,
                                   later.source)
        return self._pass(plan, plan, start, later.beside, refine=True, request=request, noise=noise.resumed(block))

    def _refiner(self, guidance: Callable[[SDModel], Guidance], prompt: str) -> Refiner | None:
        request, options = self.request, self.request.options
        if not request.refiner_checkpoint:
            return None

        def load() -> tuple[SDModel, Guidance]:
            before = self.model
            bare = without_loras(prompt)  # as in the pictures of WebUI, where a refiner works without them
            model = self.models(dataclasses.replace(options, sd_model_checkpoint=request.refiner_checkpoint), bare)
            if model is not before:
                if request.enable_hr and options.hires_fix_refiner_pass != "second pass":
                    self.happened["Hires refiner"] = options.hires_fix_refiner_pass
                self.happened |= {"Refiner": request.refiner_checkpoint, "Refiner switch at": request.refiner_switch_at}
            return model, guidance(model)

        return Refiner(load, request.refiner_switch_at, options.refiner_switch_by_sample_steps)

    def _like_previews(self, latent: Tensor) -> list[Image.Image]:
        """The same without the decoder, in milliseconds."""
        height, width = (self.model.latent.cell * cells for cells in latent.shape[2:])
        small = [tensors.to_image(self.model.preview(one) * 2 - 1) for one in latent]
        return [one.resize((width, height), Image.Resampling.BICUBIC).crop((0, 0, *self.size)) for one in small]

    def _decode(self, latent: Tensor, *, finished: bool = False) -> list[Image.Image]:
        """Latents to RGB pictures of the present size, which control units may change when they are `finished`. Raises
        BadResult on NaN or infinity."""
        pixels = torch.cat([self.model.decode_latent(one[None]).cpu() for one in latent])
        if not bool(torch.isfinite(pixels).all()):
            raise BadResult("The model gave a picture that is not a number (NaN), so nothing was saved; "
                            "another VAE may help, or --no-half on a GPU.")
        pixels = pixels[:, :, : self.size[1], : self.size[0]]
        if finished and self.start.control:
            return [tensors.shown(one) for one in self.start.control.finish(tensors.unit_range(pixels))]
        return [tensors.to_image(one) for one in pixels]


def _fitting(model: SDModel, beside: Tensor | None) -> Tensor | None:
    """`beside` if `model` reads it. Raises InvalidInput when an inpainting checkpoint would have to go without."""
    if not model.inputs.channels:
        return None
    if beside is None or beside.shape[1] != model.inputs.channels:
        raise InvalidInput(f"{model.name} reads a mask or a picture beside the noise, and cannot refine the "
                           "picture of a checkpoint that does not.", field="refiner_checkpoint")
    return beside


def _beside_scale(model: SDModel, request: Txt2Img) -> float | None:
    """How strongly a picture to edit is followed. None for 1, which needs no further row."""
    scale = request.image_cfg_scale if isinstance(request, Img2Img) and model.inputs.name == "edit" else None
    return None if scale == 1 else scale


def batch_seeds(request: Txt2Img, batch: int) -> tuple[list[int], list[int]]:
    """(seeds, subseeds) of batch number `batch`. With a variation all share the seed and count the subseed up."""
    numbers = range(batch * request.batch_size, (batch + 1) * request.batch_size)
    step = 0 if request.subseed_strength else 1
    return [seed_after(request.seed, step * n) for n in numbers], [seed_after(request.subseed, n) for n in numbers]
