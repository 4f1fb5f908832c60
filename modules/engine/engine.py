"""The engine: a catalog of checkpoints, the one that is loaded, and `generate`. It knows no browser, no HTTP, no files
of pictures. Only one thread at a time may call `load` and `generate`; the job queue's worker is that thread."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import logging
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modules.base.config import Config
from modules.base.free_memory import free_memory
from modules.engine.model_cache import Loaded, ModelCache
from modules.engine.postprocessing import Tools
from modules.errors import InvalidInput, NotFound, UserError
from modules.hooks.choices import Available
from modules.hooks.forms import Script
from modules.hooks.in_job import Hooks
from modules.hooks.loading import Extensions
from modules.imaging.faces import FaceRestorers, Restore
from modules.imaging.network_files import Network
from modules.imaging.upscale import Upscalers
from modules.request import RANDOM_SEEDS, Img2Img, ScriptCall, Txt2Img
from modules.request.job_context import JobContext
from modules.request.options import Options
from modules.request.result import GeneratedImage, Result
from modules.scripts.context import Context, NestedJob
from modules.scripts.registry import Registry
from modules.settings import Settings, check_limits
from modules.text import infotext
from modules.text.styles import load_styles
from modules.weights.catalog import Catalog, CheckpointFile, VaeFile

if TYPE_CHECKING:
    from modules.generation.batch import Picture
    from modules.sampling.registry import Sampler
    from modules.sampling.types import FirstNoise, SDModel


log = logging.getLogger(__name__)

LoadModel = Callable[[CheckpointFile, VaeFile | None, Settings, Callable[[float], None], "SDModel | None"], "SDModel"]
"""(checkpoint, vae, settings, on_progress, sibling) -> model. A sibling is a model of the same checkpoint with another
autoencoder: all but that is taken from it. Raises CheckpointError."""


def load_from_file(checkpoint: CheckpointFile, vae: VaeFile | None, settings: Settings,
                   on_progress: Callable[[float], None], sibling: SDModel | None) -> SDModel:
    """The real loader, imported when first needed: it brings the heavy libraries."""
    import torch

    from modules.networks.loader import load_model, with_other_vae
    from modules.networks.model import StableDiffusion

    if isinstance(sibling, StableDiffusion):
        return with_other_vae(sibling, checkpoint, vae, on_progress)
    device = torch.device(compute_device(settings))
    dtype = torch.float32 if device.type == "cpu" or settings.no_half else torch.float16
    return load_model(checkpoint, vae=vae, device=device, dtype=dtype, tiled_vae=settings.tiled_vae,
                      compile_in=settings.programs_dir if settings.compile else None, on_progress=on_progress)


def compute_device(settings: Settings) -> str:
    """What `--device` means here."""
    return best_device() if settings.device == "auto" else settings.device


def best_device() -> str:
    """The fastest device that is here: cuda, mps or cpu."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


@dataclass
class Engine:
    """Owns the options in force and the model in use. `load_file` is a parameter so that tests need no weights."""

    settings: Settings
    load_file: LoadModel = load_from_file
    options: Options = field(default_factory=Options)
    scripts: Registry = field(default_factory=Registry)
    catalog: Catalog = field(init=False)
    config: Config = field(init=False)
    extensions: Extensions = field(init=False)
    upscalers: Upscalers = field(init=False)
    restorers: FaceRestorers = field(init=False)
    loaded: Loaded | None = field(default=None, init=False)
    _usual: Path | None = field(default=None, init=False)
    _options_lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    model_cache: ModelCache = field(init=False)

    def __post_init__(self) -> None:
        self.catalog = Catalog(self.settings.checkpoint_dirs, self.settings.vae_dirs,
                               self.settings.cache_dir / "hashes.json")
        self.model_cache = ModelCache(self.settings.model_cache, lambda: free_memory(compute_device(self.settings)))
        self.upscalers = Upscalers(self.settings.folders("upscalers"), self._load_upscaler)
        self.restorers = FaceRestorers(self.settings.folders("face restorers"), self._load_face_restorer)
        self.config = Config(self.settings.config_file)
        self.extensions = Extensions(self.settings.extension_dirs, self.config, lambda: self.available)
        self.scripts = Registry((*self.scripts.scripts, *self.extensions.scripts()), self.extensions.forms())
        self._remember_options()
        if self.settings.ckpt:
            self.options = self.options.replaced({"sd_model_checkpoint": self.settings.ckpt})
            self.files_of(self.options)

    @property
    def model_name(self) -> str | None:
        """The name of the checkpoint in use, None before the first is loaded."""
        return self.loaded.checkpoint.name if self.loaded else None

    def set_options(self, changes: Mapping[str, Any]) -> None:
        """Changes the options in force, and what is remembered; names that are not ours are remembered only.

        Nothing is loaded yet. Raises InvalidInput and NotFound, changing nothing.
        """
        with self._options_lock:
            options = self.options.replaced(changes)
            if {"sd_model_checkpoint", "sd_vae"} & set(changes):
                self.files_of(options)
            ours = {name: getattr(options, name) for name in changes if hasattr(options, name)}
            self.config.update({**changes, **ours})
            self.options = options

    def _remember_options(self) -> None:
        """Puts the remembered options into force, but for those that fit no more."""
        for name, value in self.config.values().items():
            try:
                options = self.options.replaced({name: value})
                self.files_of(options)
                self.options = options
            except UserError as error:
                log.warning("%s: %s", self.settings.config_file.name, error.message)

    def files_of(self, options: Options) -> tuple[CheckpointFile | None, VaeFile | None]:
        """The files that `options` name; an empty checkpoint is the first that there was. Raises NotFound.

        The words for no VAE and for the one beside the checkpoint count however they are written, as in WebUI.
        """
        wanted = options.sd_model_checkpoint
        checkpoint = self.catalog.find(wanted) if wanted else self._usual_checkpoint()
        vae = options.sd_vae.strip().lower()
        if vae == "none":
            return checkpoint, None
        if vae in ("automatic", "auto", ""):
            return checkpoint, self.catalog.automatic_vae(checkpoint) if checkpoint else None
        return checkpoint, self.catalog.find_vae(options.sd_vae)

    def _usual_checkpoint(self) -> CheckpointFile | None:
        """While none was ever chosen: the first, and still that when one comes that sorts before it."""
        there = self.catalog.checkpoints()
        first = next((file for file in there if file.path == self._usual), there[0] if there else None)
        self._usual = first.path if first else None
        return first

    def load(self, options: Options, job: JobContext) -> SDModel:
        """The model that `options` name, out of memory if it is there still and its files are the same. The one in use
        stays until the new one is whole, and if that fails.

        Raises NotFound, CheckpointError.
        """
        checkpoint, vae = self.files_of(options)
        if checkpoint is None:
            raise NotFound(f"There is no checkpoint yet: put one into {self.settings.checkpoint_dirs[0]}.")
        kept = self.loaded
        if kept is None or kept.checkpoint.path != checkpoint.path:
            kept = self.model_cache.find(checkpoint)
        if kept and not kept.current:
            kept = None
        if kept is None or kept.vae != vae:
            sibling = kept.model if kept else None
            kept = Loaded.of(lambda: self._read(checkpoint, vae, sibling, job), checkpoint, vae)
        kept.model.set_tiling(options.tiling)
        if kept is not self.loaded:
            let_go = self.model_cache.swap(kept, self.loaded)
            self.loaded = kept
            if let_go:
                gc.collect()  # torch modules hold reference cycles: else the weights stay for a while
        return kept.model

    def unload(self) -> None:
        """Lets go of every model; the next `load` reads its files again."""
        self.loaded = None
        self.model_cache.clear()
        gc.collect()

    def _read(self, checkpoint: CheckpointFile, vae: VaeFile | None, sibling: SDModel | None,
              job: JobContext) -> SDModel:
        job.stage(f"Loading {checkpoint.name}")
        return self.load_file(checkpoint, vae, self.settings,
                              lambda share: job.stage(f"Loading {checkpoint.name}: {share:.0%}"), sibling)

    def generate(self, request: Txt2Img, job: JobContext) -> Result:
        """Carries `request` out. Raises UserError with one sentence; the model in use stays as it was then, and the job
        has kept the batches that were finished before."""
        check_limits(request, self.settings)
        hooks = Hooks.of(self.extensions, request, lambda: self._context(NestedJob(job), Hooks()))
        request = hooks.prepare_request(request)
        result = self.generate_one(request, job, hooks=hooks) if request.script is None else \
            self._run_script(request, request.script, job, hooks)
        return dataclasses.replace(result, warnings=(*result.warnings, *hooks.warnings))

    def _run_script(self, request: Txt2Img, call: ScriptCall, job: JobContext, hooks: Hooks) -> Result:
        script, arguments = self.bound_script(request, call)
        context = self._context(job, hooks)
        made = script.run(dataclasses.replace(request, script=None), arguments, context)
        return Result(tuple(made), request, tuple(context.warnings), context.interrupted)

    def _context(self, job: JobContext, hooks: Hooks) -> Context:
        return Context(self, job, self.available, load_styles(self.settings.styles_file), hooks)

    def generate_one(self, request: Txt2Img, job: JobContext, *, extra: Mapping[str, Any] | None = None,
             first_noise: FirstNoise | None = None, hooks: Hooks | None = None) -> Result:
        """Carries out a request that has no script. `extra` adds keys to the parameters text; `first_noise` makes the
        noise that sampling begins with; `hooks` are the extensions to ask. Raises as `generate`."""
        from modules.generation import hires, recipes

        hooks = hooks or Hooks()
        check_limits(request, self.settings)
        if request.enable_hr:
            hires.check_upscaler(request.hr_upscaler, self.upscalers)
        request, restore, notes = self._restoring(self.resolve(request))
        nine_channels = self.load(request.options, job).in_channels == 9
        # Now: later the files may be gone or be others.
        files = self._file_keys(request)
        refiner = {refined: self._refiner_keys(request, refined=refined)
                   for refined in {False, bool(request.refiner_checkpoint)}}
        made: list[GeneratedImage] = []

        def keep(pictures: Sequence[Picture], refined: bool) -> None:
            keys = {**hooks.keys(request), **(extra or {}), **refiner[refined]}
            kept = job.keep([
                GeneratedImage(one.image, one.seed, one.subseed, extras=one.extras, infotext=infotext.write(
                    request, seed=one.seed, subseed=one.subseed, nine_channels=nine_channels, extra=keys, **files))
                for one in pictures], request)
            for image in kept:
                hooks.saved(image, request)
            made.extend(kept)

        outcome = recipes.generate(lambda options: self.load(options, job), request, job, keep, first_noise,
                                      self.upscalers, self.samplers, hooks, restore)
        return Result(tuple(made), request, (*notes, *outcome.warnings), outcome.interrupted, outcome.work)

    def _restoring(self, request: Txt2Img) -> tuple[Txt2Img, Restore | None, tuple[str, ...]]:
        """What restores the faces in a resolved request's pictures, if it asks for that. Where it cannot be had, the
        request without it, and why in words."""
        options = request.options
        if not options.face_restoration:
            return request, None, ()
        try:
            return request, self.restorers.find(options.face_restoration_model), ()
        except UserError as error:
            options = options.replaced({"face_restoration": False})
            return dataclasses.replace(request, options=options), None, (error.message,)

    def bound_script(self, request: Txt2Img, call: ScriptCall) -> tuple[Script, dict[str, Any]]:
        """The script that `call` names for such a request, and its arguments. Raises InvalidInput."""
        script = self.scripts.find(call.title, img2img=isinstance(request, Img2Img))
        return script, script.bind(call.arguments, self.available)

    def check(self, request: Txt2Img) -> None:
        """Raises the UserError that carrying `request` out would begin with."""
        check_limits(request, self.settings)
        self.files_of(self.resolve(request).options)
        for name in (request.refiner_checkpoint, request.hr_checkpoint):
            if name:
                self.catalog.find(name)

    def text(self, request: Txt2Img, extra: Mapping[str, Any]) -> str:
        """The parameters text of a resolved `request` for the model in use, with `extra` keys."""
        nine_channels = self.loaded is not None and self.loaded.model.in_channels == 9
        keys = {**extra, **self._refiner_keys(request, refined=bool(request.refiner_checkpoint))}
        return infotext.write(request, seed=request.seed, subseed=request.subseed, nine_channels=nine_channels,
                              extra=keys, **self._file_keys(request))

    def resolve(self, request: Txt2Img) -> Txt2Img:
        """`request` with nothing left open. Raises InvalidInput."""
        request = resolve(request, self.samplers)
        options = request.options
        if options.face_restoration:
            with contextlib.suppress(InvalidInput):  # where there is none, `generate_one` says so
                name = self.restorers.full_name(options.face_restoration_model)
                options = options.replaced({"face_restoration_model": name})
        return dataclasses.replace(request, options=options)

    @property
    def available(self) -> Available:
        """What there is to choose from."""
        return Available(self.catalog, self.upscalers, self.settings.styles_file, lambda: self.samplers)

    @property
    def samplers(self) -> tuple[Sampler, ...]:
        """All samplers, ours before those of extensions. Brings torch."""
        from modules.sampling.registry import joined

        return joined(self.extensions.samplers())

    @property
    def tools(self) -> Tools:
        """What finished pictures are worked on with."""
        return Tools(self.upscalers, self.restorers)

    def _load_upscaler(self, path: Path) -> Network:
        """The real loader of upscalers, imported when first needed."""
        from modules.networks.pixel_networks import load_upscaler

        return load_upscaler(path, compute_device(self.settings))

    def _load_face_restorer(self, path: Path) -> Network:
        """The real loader of networks for faces, likewise."""
        from modules.networks.pixel_networks import load_face_restorer

        return load_face_restorer(path, compute_device(self.settings))

    def _file_keys(self, request: Txt2Img) -> dict[str, Any]:
        """What the parameters text says of the files that make a picture, as arguments of `infotext.write`. Raises
        NotFound."""
        checkpoint, vae = self.files_of(request.options)
        assert checkpoint is not None
        return {"model_name": checkpoint.name, "model_hash": self.catalog.sha256(checkpoint)[:10],
                "vae_name": vae.name if vae else None, "vae_hash": self.catalog.sha256(vae)[:10] if vae else None}

    def _refiner_keys(self, request: Txt2Img, *, refined: bool) -> dict[str, Any]:
        """What it says of the refiner."""
        keys: dict[str, Any] = {}
        if refined:
            refiner = self.catalog.find(request.refiner_checkpoint)
            keys |= {"Refiner": f"{refiner.name} [{self.catalog.sha256(refiner)[:10]}]",
                     "Refiner switch at": request.refiner_switch_at}
        if request.options.refiner_switch_by_sample_steps:
            keys["Refiner switch by sampling steps"] = True
        return keys


def resolve(request: Txt2Img, samplers: Sequence[Sampler] | None = None) -> Txt2Img:
    """`request` with nothing left open: seeds drawn, the sampler by its own name, the batch as large as its pictures.

    Raises InvalidInput for an unknown sampler or schedule.
    """
    from modules.sampling import registry

    sampler, schedule = registry.resolve(request.sampler, request.scheduler, samplers or registry.SAMPLERS)
    changes: dict[str, Any] = {"sampler": sampler.name, "scheduler": schedule}
    changes |= {name: random.randrange(RANDOM_SEEDS) for name in ("seed", "subseed") if getattr(request, name) == -1}
    if isinstance(request, Img2Img) and len(request.init_images) > 1:
        changes["batch_size"] = len(request.init_images)
    return dataclasses.replace(request, **changes)

