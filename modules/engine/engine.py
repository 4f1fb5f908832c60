"""The engine: `generate(request)` with a catalog of checkpoints, the model in use and the options in force.

It knows nothing of the browser, of HTTP, or of saving pictures. Only one thread at a time may call `load` and
`generate`; the job queue's worker is that thread.
"""

from __future__ import annotations

import contextlib
import dataclasses
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from modules.base.config import Config
from modules.engine import control, detailing, redo, removing
from modules.engine.cards import Cards
from modules.engine.clicking import Clicking
from modules.engine.describing import Describers
from modules.engine.file_keys import file_keys
from modules.engine.grounding import Grounding
from modules.engine.limits import PROMPTS, check_limits
from modules.engine.model_cache import Loaded
from modules.engine.models import FileLoader, LoadModel, ModelSlot, compute_device, precision_keys
from modules.engine.networks import Networks, with_default_networks
from modules.engine.options_in_force import OptionsInForce
from modules.engine.postprocessing import Tools, load_tools
from modules.engine.predictions import Predictions
from modules.engine.wildcards import Wildcards
from modules.errors import InvalidInput, NotFound, UserError
from modules.hooks.choices import Available
from modules.hooks.forms import Script
from modules.hooks.in_job import Hooks
from modules.hooks.loading import Extensions
from modules.imaging.detectors.registry import Detectors
from modules.imaging.faces import Restore
from modules.networks.annotators.annotators import Annotators
from modules.networks.image_encoder import ImageEncoders
from modules.request import RANDOM_SEEDS, Img2Img, Inpaint, MaskedContent, ScriptCall, Txt2Img, going_on
from modules.request.job_context import JobContext
from modules.request.options import Options
from modules.request.photograph import Photograph
from modules.request.result import GeneratedImage, Result
from modules.scripts.context import Context, NestedJob
from modules.scripts.registry import BUILT_IN, Registry
from modules.settings import Settings
from modules.text import infotext
from modules.text.network_tags import network_tags
from modules.text.prompt import strip_comments
from modules.text.styles import load_styles
from modules.weights.catalog import Catalog, CheckpointFile, VaeFile
from modules.weights.control_files import ControlFiles

if TYPE_CHECKING:
    from modules.generation.batch import Models, Picture
    from modules.sampling.registry import Sampler
    from modules.sampling.types import FirstNoise, Inputs, SDModel


class Engine:
    """Carries out requests. `load_file` is a parameter so that tests need no weights.

    Raises NotFound for a checkpoint in `--ckpt` that is not in the catalog.
    """

    def __init__(self, settings: Settings, load_file: LoadModel | None = None) -> None:
        self.settings = settings
        self.catalog = Catalog(settings.checkpoint_dirs, settings.vae_dirs, settings.cache_dir / "hashes.json")
        self.config = Config(settings.config_file)
        self.models = ModelSlot(settings, load_file or FileLoader())
        tools = load_tools(settings)
        self.upscalers, self.restorers, self.removers = tools.upscalers, tools.restorers, tools.removers
        self.subjects = tools.subjects
        self.networks = Networks(settings)
        self.control_files = ControlFiles(settings.control_dirs)
        self.annotators = Annotators(settings.folders("annotators"), lambda: compute_device(settings))
        self.control = control.ControlNetworks(settings, self.control_files, self.annotators,
                                               ImageEncoders(settings.folders("image encoders")))
        self.describers = Describers(settings)
        self.clicking = Clicking(settings)
        self.grounding = Grounding(settings, self.clicking)
        self.detectors = Detectors(settings.folders("detectors"))
        self.wildcards = Wildcards(settings.wildcard_dirs)
        self.cards = Cards(settings, self.catalog, self.networks)
        self.extensions = Extensions(settings.extension_dirs, self.config, lambda: self.available)
        self.scripts = Registry((*BUILT_IN, *self.extensions.scripts()), self.extensions.forms())
        self._in_force = OptionsInForce(settings, self.catalog, self.config)
        self.predictions = Predictions(self.config, self.catalog)

    # the options in force and the model in use

    @property
    def options(self) -> Options:
        """The options in force."""
        return self._in_force.options

    def set_options(self, changes: Mapping[str, Any]) -> None:
        """Change and remember the options in force; see `OptionsInForce.set`. Raises InvalidInput and NotFound."""
        self._in_force.set(changes)

    def files_of(self, options: Options) -> tuple[CheckpointFile | None, VaeFile | None]:
        """The checkpoint and VAE files that `options` name; see `OptionsInForce.files_of`. Raises NotFound."""
        return self._in_force.files_of(options)

    @property
    def loaded(self) -> Loaded | None:
        """The model in use with its files. None before the first is loaded."""
        return self.models.in_use

    @property
    def model_name(self) -> str | None:
        """The name of the checkpoint in use. None before the first is loaded."""
        return self.loaded.checkpoint.name if self.loaded else None

    def summary(self) -> str:
        """In a few words for the page, what is ready to make pictures. Empty if nothing is."""
        return f"{self.model_name} is ready" if self.model_name else ""

    def workers(self) -> list[dict[str, Any]]:
        """What page and programs are told of each worker; see `modules.jobs.workers`. Empty where there are none."""
        return []

    def load(self, options: Options, job: JobContext) -> SDModel:
        """Return the model named by `options`, loaded if need be, with its tiling set.

        The model in use stays until the new one is complete. Raises NotFound, CheckpointError.
        """
        checkpoint, vae = self.files_of(options)
        if checkpoint is None:
            raise NotFound(f"There is no checkpoint yet: put one into {self.settings.checkpoint_dirs[0]}.")
        model = self.models.load(checkpoint, vae, job)
        model.predict_as(self.predictions.of(checkpoint, options))
        return model

    def warm(self, options: Options, job: JobContext) -> None:
        """Load the model that `options` name, for the requests to come. Raises as `load`."""
        self.load(options, job)

    def unload(self) -> None:
        """Drop every network: models, control networks, captioners, taggers, segmenters, networks for words. What is
        needed again is read again."""
        self.models.unload()
        self.control.clear()
        self.describers.forget()
        self.clicking.forget()
        self.grounding.forget()

    # carrying out requests

    def generate(self, request: Txt2Img, job: JobContext) -> Result:
        """Carry out `request`, with its script if it has one.

        Raises UserError. The model in use stays as it was then, and the job has kept the batches that were finished.
        """
        check_limits(request, self.settings)
        hooks = Hooks.of(self.extensions, request, lambda: self._context(NestedJob(job), Hooks()))
        result = self.carry_out(hooks.prepare_request(request), job, hooks)
        return dataclasses.replace(result, warnings=(*result.warnings, *hooks.warnings))

    def hooks(self, job: JobContext, arguments: Mapping[str, Mapping[str, Any]], switched_off: frozenset[str]) -> Hooks:
        """The extensions of a job, with `arguments` and `switched_off` as in `Hooks`."""
        return Hooks(self.extensions, arguments, switched_off, lambda: self._context(NestedJob(job), Hooks()))

    def carry_out(self, request: Txt2Img, job: JobContext, hooks: Hooks) -> Result:
        """Carry out a request that `hooks` have prepared, with its script if it has one. Raises as `generate`."""
        if request.script is None:
            return self.generate_one(request, job, hooks=hooks)
        return self.run_script(request, request.script, job, hooks)

    def run_script(self, request: Txt2Img, call: ScriptCall, job: JobContext, hooks: Hooks) -> Result:
        """Carry out a request by the script that `call` names. Raises as `generate`."""
        script, arguments = self.bound_script(request, call)
        context = self._context(job, hooks)
        made = script.run(dataclasses.replace(request, script=None), arguments, context)
        return Result(tuple(made), request, tuple(context.warnings), context.interrupted)

    def _context(self, job: JobContext, hooks: Hooks) -> Context:
        return Context(self, job, self.available, load_styles(self.settings.styles_file), hooks)

    def generate_one(self, request: Txt2Img, job: JobContext, *, extra: Mapping[str, Any] | None = None,
                     first_noise: FirstNoise | None = None, hooks: Hooks | None = None) -> Result:
        """Carry out a request without a script.

        `extra` adds keys to the parameters text. `first_noise` makes the noise that sampling begins with. `hooks` are
        the extensions to ask. Raises as `generate`.
        """
        hooks = hooks or Hooks()
        request = self.settled(request)
        if (singles := self.wildcards.singles(request)) is not None:
            return self._with_wildcards(request, singles, job, extra or {}, first_noise, hooks)
        return self.make(request, job, extra or {}, first_noise, hooks)

    def generate_together(self, requests: Sequence[Txt2Img], job: JobContext, *, extras: Sequence[Mapping[str, Any]],
                          hooks: Hooks, lenient: bool) -> list[Result | UserError] | None:
        """Carry out requests without scripts at the same time, with the keys of `extras` each. An error is raised; with
        `lenient` only the first one's is, and the others' are returned. None: one after the other is as good here."""
        return None

    def settled(self, request: Txt2Img) -> Txt2Img:
        """`request`, which has no script, checked and with everything decided. Raises InvalidInput."""
        from modules.generation import hires

        check_limits(request, self.settings)
        if request.enable_hr:
            hires.check_upscaler(request.hr_upscaler, self.upscalers)
        return self.resolve(with_default_networks(request))

    def make(self, request: Txt2Img, job: JobContext, extra: Mapping[str, Any], first_noise: FirstNoise | None,
             hooks: Hooks, numbers: Sequence[int] | None = None) -> Result:
        """Carry out a resolved request without a script and without wildcards.

        `numbers` are the batches of it to make, from 0; by default all. A batch is the same whichever others are made
        with it. The rest is as in `generate_one`.
        """
        from modules.generation import spots

        request, restore, notes = self._restoring(request)
        check_going_on(request)
        self.control.check(request)
        request, stand_ins = detailing.named(request, self.detectors)
        if any("upscale" in key and "Hires" not in key for key in extra):  # as the ControlNet extension
            request = dataclasses.replace(request, control_units=tuple(
                dataclasses.replace(unit, crop_input_image=True) for unit in request.control_units))
        networks = self.networks.of(request)
        model = self.load(request.options, job)
        request, reads = _fitted(request, model.latent.multiple), model.inputs
        # Name and hash the files before sampling: afterwards they may be gone or replaced.
        files = self._file_keys(request)
        named, remembered = networks.keys, self._remembered(request.options)
        sampler, second = self.sampler_of(request), self._second_sampler(request)
        made: list[GeneratedImage] = []

        def keep(pictures: Sequence[Picture], happened: Mapping[str, Any]) -> None:
            keys = {**precision_keys(self.settings), **extra, **remembered, **hooks.keys(request)}
            texts = [infotext.write(request, sampler, seed=one.seed, subseed=one.subseed,
                                    inpainting=_notes_mask(reads, request), edits=reads.name == "edit", second=second,
                                    extra=keys, happened={**named, **one.keys, **happened}, **files)
                     for one in pictures]
            kept = job.keep([
                GeneratedImage(one.image, one.seed, one.subseed, extras=one.extras, infotext=text,
                               photograph=_recorded(one.photograph, k, request, "" if first_noise else text))
                for k, (one, text) in enumerate(zip(pictures, texts, strict=True))], request)
            for image in kept:
                hooks.saved(image, request)
            made.extend(kept)

        unfit: dict[str, None] = {}
        detail = detailing.detailer(request, self.detectors, lambda: self._context(NestedJob(job), Hooks()), job,
                                    stand_ins)

        def load(options: Options, prompt: str) -> SDModel:
            model = self.load(options, job)
            unfit.update(dict.fromkeys(model.put_on(networks.of(prompt).patches)))
            return model

        with _tiling(load) as models:
            outcome = spots.generate(models, request, job, keep, first_noise, self.upscalers, self.samplers, hooks,
                                     restore, self.removers, self.control.tools(job), detail, numbers)
        warnings = (*notes, *stand_ins, *networks.warnings, *unfit, *outcome.warnings)
        return Result(tuple(made), request, warnings, outcome.interrupted, outcome.work, outcome.maps)

    def _with_wildcards(self, request: Txt2Img, singles: Sequence[Txt2Img], job: JobContext, extra: Mapping[str, Any],
                        first_noise: FirstNoise | None, hooks: Hooks) -> Result:
        """Carry out a resolved request whose pictures have prompts of their own."""
        context = self._context(job, hooks)
        context.plan(len(singles))
        drawn = [self.wildcards.drawn(one) for one in singles]
        notes = dict.fromkeys(sentence for _, _, unknown in drawn for sentence in unknown)
        results = context.generate_all([one for one, _, _ in drawn], extras=[{**keys, **extra} for _, keys, _ in drawn],
                                       first_noise=first_noise)
        made = [image for result in results for image in result.images]
        return Result(tuple(made), request, (*notes, *context.warnings), context.interrupted)

    def remove(self, request: Txt2Img, job: JobContext) -> Result:
        """Fill what the mask of an inpaint `request` paints over from its surroundings. Needs no checkpoint; of the
        request only picture, mask, mask mode, seed and options count. Raises UserError and Stopped."""
        assert isinstance(request, Inpaint)
        return removing.remove(request, self.removers, job)

    def _restoring(self, request: Txt2Img) -> tuple[Txt2Img, Restore | None, tuple[str, ...]]:
        """The face restorer of a resolved request, or None.

        If its model cannot be used, the returned request is without face restoration and the notes say why.
        """
        options = request.options
        if not options.face_restoration:
            return request, None, ()
        try:
            return request, self.restorers.find(options.face_restoration_model), ()
        except UserError as error:
            options = options.replaced({"face_restoration": False})
            return dataclasses.replace(request, options=options), None, (error.message,)

    def bound_script(self, request: Txt2Img, call: ScriptCall) -> tuple[Script, dict[str, Any]]:
        """The script that `call` names, and its arguments checked and completed. Raises InvalidInput."""
        script = self.scripts.find(call.title, img2img=isinstance(request, Img2Img))
        return script, script.bind(call.arguments, self.available)

    def check(self, request: Txt2Img) -> None:
        """Raise the UserError with which `generate` would refuse `request` before it starts."""
        check_limits(request, self.settings)
        check_going_on(request)
        self.files_of(self.resolve(request).options)
        self.control.check(request)
        self.check_detail(request)
        for name in (request.refiner_checkpoint, request.hr_checkpoint):
            if name:
                self.catalog.find(name)

    def check_detail(self, request: Txt2Img) -> None:
        """Raise the UserError with which the detailer's passes would be refused."""
        detailing.check(request, self.detectors, lambda: self.samplers, self.files_of, self.control)

    def text(self, request: Txt2Img, extra: Mapping[str, Any]) -> str:
        """The parameters text of a resolved `request` for the model in use, with the keys of `extra` added."""
        reads = self.inputs_of(request.options)
        refiner = {"Refiner": request.refiner_checkpoint, "Refiner switch at": request.refiner_switch_at}
        return infotext.write(request, self.sampler_of(request), seed=request.seed, subseed=request.subseed,
                              inpainting=bool(reads and _notes_mask(reads, request)),
                              edits=bool(reads and reads.name == "edit"),
                              second=self._second_sampler(request),
                              extra={**precision_keys(self.settings), **extra},
                              happened=refiner if request.refiner_checkpoint else None, **self._file_keys(request))

    def inputs_of(self, options: Options) -> Inputs | None:
        """What the model reads beside the noise that was used last, for `options`. None if that is not known."""
        return self.loaded.model.inputs if self.loaded else None

    def resolve(self, request: Txt2Img) -> Txt2Img:
        """Like the function `resolve`, with the full names of the models that restore faces and remove. Raises
        InvalidInput."""
        twice = request.subseed == -1  # as in the ControlNet extension, the variation seed is the seed then
        request = resolve(request, self.samplers)
        if request.control_units:
            seed = request.seed + (request.seed if twice else request.subseed)
            request = dataclasses.replace(request, control_units=control.resolved(request, seed))
        options = request.options
        if options.face_restoration:
            with contextlib.suppress(InvalidInput):  # `generate_one` reports a missing model
                name = self.restorers.full_name(options.face_restoration_model)
                options = options.replaced({"face_restoration_model": name})
        if isinstance(request, Inpaint) and request.masked_content == MaskedContent.SURROUNDINGS:
            options = options.replaced({"remove_model": self.removers.full_name(options.remove_model)})
        return dataclasses.replace(request, options=options)

    @property
    def available(self) -> Available:
        """The choices that scripts and extensions may offer."""
        return Available(self.catalog, self.upscalers, self.settings.styles_file, lambda: self.samplers)

    @property
    def tools(self) -> Tools:
        """The models that postprocessing uses."""
        return Tools(self.upscalers, self.restorers, self.removers, self.subjects)

    @property
    def samplers(self) -> tuple[Sampler, ...]:
        """All samplers, the built-in ones before those of extensions. Imports torch."""
        from modules.sampling.registry import joined

        return joined(self.extensions.samplers())

    def sampler_of(self, request: Txt2Img) -> Sampler:
        """Return the sampler that `request` names. Brings torch. Raises InvalidInput if there is none."""
        from modules.sampling.registry import find_sampler

        return find_sampler(request.sampler, self.samplers)[0]

    def _remembered(self, options: Options) -> dict[str, str]:
        """The key of the parameters text for what is remembered of the checkpoint and not said by `options`."""
        checkpoint = self.files_of(options)[0]
        kept = self.predictions.of(checkpoint, options) if checkpoint else options.prediction_type
        return {} if kept == options.prediction_type else {"Prediction type": kept}

    def _second_sampler(self, request: Txt2Img) -> Sampler | None:
        """The sampler of hires fix where that is another one. Raises InvalidInput if there is none of that name."""
        from modules.sampling.registry import find_sampler

        return find_sampler(request.hr_sampler, self.samplers)[0] if request.enable_hr and request.hr_sampler else None

    def _file_keys(self, request: Txt2Img) -> dict[str, Any]:
        checkpoint, vae = self.files_of(request.options)
        assert checkpoint is not None
        return file_keys(request, checkpoint, vae, self.catalog)


def _recorded(made: Photograph | None, k: int, request: Txt2Img, text: str) -> Photograph | None:
    """The photograph of result `k` of a batch, with the record of its edits. An empty text says that it would not make
    the same picture again."""
    before = request.photograph(k) if isinstance(request, Inpaint) else None
    if made is None or before is None or not isinstance(request, Inpaint):
        return made
    return redo.recorded(made, before, request, text)


def _fitted(request: Txt2Img, multiple: int) -> Txt2Img:
    """`request` with width and height cut to multiples of `multiple` pixels, as WebUI does for SD3."""
    width, height = (max(side - side % multiple, multiple) for side in (request.width, request.height))
    return dataclasses.replace(request, width=width, height=height)


def check_going_on(request: Txt2Img) -> None:
    """Raise InvalidInput for a request that cannot change on its way as it asks."""
    going_on.check(request)
    then = request.then_prompt if request.go_on_after else ""
    if then and network_tags(then) != network_tags(request.prompt):
        raise InvalidInput("On the way the prompt cannot name other LoRAs or hypernetworks: repeat the tags of the "
                           "first prompt.", field="then_prompt")


def _notes_mask(reads: Inputs, request: Txt2Img) -> bool:
    """Whether the parameters text has the mask weight of an inpainting checkpoint."""
    return reads.name == "inpaint" and (isinstance(request, Img2Img) or reads.noted_in_txt2img)


@contextlib.contextmanager
def _tiling(models: Models) -> Iterator[Models]:
    """`models`, where the model asked for last tiles if its options say so, until another is asked for or the end."""
    with contextlib.ExitStack() as tiled:
        current: SDModel | None = None

        def load(options: Options, prompt: str) -> SDModel:
            nonlocal current
            model = models(options, prompt)
            wanted = model if options.tiling else None
            if wanted is not current:
                tiled.close()
                current = wanted
                if wanted is not None:
                    tiled.enter_context(wanted.tiled())
            return model

        yield load


def resolve(request: Txt2Img, samplers: Sequence[Sampler] | None = None) -> Txt2Img:
    """Return `request` with everything decided: random seeds are drawn, sampler and schedule have their full names,
    several init images set the batch size, and comments are taken out of the prompts.

    `samplers` are those to choose from; by default the built-in ones. Raises InvalidInput for an unknown sampler or
    schedule.
    """
    from modules.sampling import registry

    request = going_on.settled(request)
    sampler, schedule = registry.resolve(request.sampler, request.scheduler, samplers or registry.SAMPLERS)
    changes: dict[str, Any] = {"sampler": sampler.name, "scheduler": schedule}
    if request.then_sampler:
        then, its_schedule = registry.resolve(request.then_sampler, "", samplers or registry.SAMPLERS)
        changes["then_sampler"] = then.name if its_schedule == "Automatic" else f"{then.name} {its_schedule}"
    changes |= {name: random.randrange(RANDOM_SEEDS) for name in ("seed", "subseed") if getattr(request, name) == -1}
    if isinstance(request, Img2Img) and len(request.init_images) > 1:
        changes["batch_size"] = len(request.init_images)
    if request.options.enable_prompt_comments:
        changes |= {name: strip_comments(getattr(request, name)) for name in PROMPTS}
    return dataclasses.replace(request, **changes)

