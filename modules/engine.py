"""The engine: a catalog of checkpoints, the one that is loaded, and `generate`. It knows no browser, no HTTP, no files
of pictures. Only one thread at a time may call `load` and `generate`; the job queue's worker is that thread."""

from __future__ import annotations

import dataclasses
import gc
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from modules import infotext
from modules.errors import NotFound
from modules.options import Options
from modules.progress import JobContext
from modules.request import MAX_SEED, Img2Img, Txt2Img
from modules.result import GeneratedImage, Result
from modules.settings import Settings, check_limits
from modules.weights.catalog import Catalog, CheckpointFile, VaeFile

if TYPE_CHECKING:
    from modules.batches import Picture
    from modules.sampling.types import SDModel


@dataclass(frozen=True)
class Loaded:
    """The model in use and the files that it came from."""

    model: SDModel
    checkpoint: CheckpointFile
    vae: VaeFile | None


LoadModel = Callable[[CheckpointFile, VaeFile | None, str, Callable[[float], None]], "SDModel"]
"""(checkpoint, vae, device, on_progress) -> model. Raises CheckpointError."""


def load_from_file(checkpoint: CheckpointFile, vae: VaeFile | None, device: str,
                   on_progress: Callable[[float], None]) -> SDModel:
    """The real loader, imported when first needed: it brings the heavy libraries."""
    import torch

    from modules.weights.loader import load_model

    chosen = torch.device(best_device() if device == "auto" else device)
    dtype = torch.float32 if chosen.type == "cpu" else torch.float16
    return load_model(checkpoint, vae=vae, device=chosen, dtype=dtype, on_progress=on_progress)


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
    catalog: Catalog = field(init=False)
    loaded: Loaded | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.catalog = Catalog(self.settings.checkpoint_dirs, self.settings.vae_dirs,
                               self.settings.cache_dir / "hashes.json")
        if self.settings.ckpt:
            self.set_options({"sd_model_checkpoint": self.settings.ckpt})

    @property
    def model_name(self) -> str | None:
        """The name of the checkpoint in use, None before the first is loaded."""
        return self.loaded.checkpoint.name if self.loaded else None

    def set_options(self, changes: Mapping[str, Any]) -> None:
        """Changes the options in force; nothing is loaded yet. Raises InvalidInput and NotFound, changing nothing."""
        options = self.options.replaced(changes)
        self.files_of(options)
        self.options = options

    def files_of(self, options: Options) -> tuple[CheckpointFile | None, VaeFile | None]:
        """The files that `options` name: an empty checkpoint is the first there is. Raises NotFound."""
        wanted = options.sd_model_checkpoint
        checkpoints = self.catalog.checkpoints()
        checkpoint = self.catalog.find(wanted) if wanted else checkpoints[0] if checkpoints else None
        if options.sd_vae == "None":
            return checkpoint, None
        if options.sd_vae == "Automatic":
            return checkpoint, self.catalog.automatic_vae(checkpoint) if checkpoint else None
        return checkpoint, self.catalog.find_vae(options.sd_vae)

    def load(self, options: Options, job: JobContext) -> SDModel:
        """The model that `options` name. The one in use stays until the new one is whole, and if that fails.

        Raises NotFound, CheckpointError.
        """
        checkpoint, vae = self.files_of(options)
        if checkpoint is None:
            raise NotFound(f"There is no checkpoint yet: put one into {self.settings.checkpoint_dirs[0]}.")
        loaded = self.loaded
        if loaded and (loaded.checkpoint.path, loaded.vae) == (checkpoint.path, vae):
            loaded.model.set_tiling(options.tiling)
            return loaded.model
        job.stage(f"Loading {checkpoint.name}")
        model = self.load_file(checkpoint, vae, self.settings.device,
                               lambda share: job.stage(f"Loading {checkpoint.name}: {share:.0%}"))
        model.set_tiling(options.tiling)
        self.loaded = Loaded(model, checkpoint, vae)
        del loaded
        gc.collect()  # torch modules hold reference cycles: else the old weights stay for a while
        return model

    def generate(self, request: Txt2Img, job: JobContext) -> Result:
        """Carries `request` out. Raises UserError with one sentence; the model in use stays as it was then, and the job
        has kept the batches that were finished before."""
        from modules import processing

        check_limits(request, self.settings)
        request = resolve(request)
        nine_channels = self.load(request.options, job).in_channels == 9
        made: list[GeneratedImage] = []

        def keep(pictures: Sequence[Picture], refined: bool) -> None:
            files = self._file_keys(request, refined=refined)
            made.extend(job.keep([
                GeneratedImage(one.image, one.seed, one.subseed, extras=one.extras, infotext=infotext.write(
                    request, seed=one.seed, subseed=one.subseed, nine_channels=nine_channels, **files))
                for one in pictures], request))

        outcome = processing.generate(lambda options: self.load(options, job), request, job, keep)
        return Result(tuple(made), request, outcome.warnings, outcome.interrupted)

    def _file_keys(self, request: Txt2Img, *, refined: bool) -> dict[str, Any]:
        """What the parameters text says of the files that made a picture, as arguments of `infotext.write`."""
        checkpoint, vae = self.files_of(request.options)
        assert checkpoint is not None
        extra: dict[str, Any] = {}
        if refined:
            refiner = self.catalog.find(request.refiner_checkpoint)
            extra = {"Refiner": f"{refiner.name} [{self.catalog.sha256(refiner)[:10]}]",
                     "Refiner switch at": request.refiner_switch_at}
        if request.options.refiner_switch_by_sample_steps:
            extra["Refiner switch by sampling steps"] = True
        return {"model_name": checkpoint.name, "model_hash": self.catalog.sha256(checkpoint)[:10],
                "vae_name": vae.name if vae else None, "vae_hash": self.catalog.sha256(vae)[:10] if vae else None,
                "extra": extra}


def resolve(request: Txt2Img) -> Txt2Img:
    """`request` with nothing left open: seeds drawn, the sampler by its own name, the batch as large as its pictures.

    Raises InvalidInput for an unknown sampler or schedule.
    """
    from modules.sampling import registry

    sampler, schedule = registry.resolve(request.sampler, request.scheduler)
    changes: dict[str, Any] = {"sampler": sampler.name, "scheduler": schedule}
    changes |= {name: random.randrange(MAX_SEED) for name in ("seed", "subseed") if getattr(request, name) == -1}
    if isinstance(request, Img2Img) and len(request.init_images) > 1:
        changes["batch_size"] = len(request.init_images)
    return dataclasses.replace(request, **changes)

