"""The control networks in memory, and what a request asks of its units."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from modules.annotate import registry
from modules.base.files import FileVersion, file_version
from modules.base.free_memory import free_memory
from modules.engine.models import compute_device
from modules.errors import InvalidInput, NotFound
from modules.request import ControlUnit, Img2Img, Txt2Img
from modules.request.control import NO_MODEL
from modules.request.job_context import JobContext
from modules.settings import Settings
from modules.weights.control_files import ControlFile, ControlFiles

if TYPE_CHECKING:
    from modules.generation.control import ControlTools
    from modules.networks.annotators.annotators import Annotators
    from modules.networks.control.network import ControlNetwork
    from modules.sampling.types import SDModel

Key = tuple[object, ...]


class ControlNetworks:
    """The control networks that were used last.

    These may take what `--model-cache` allows, or half of the memory that would be free without them; the ones in use
    stay in any case. Only the thread that carries out requests may call `load`.
    """

    def __init__(self, settings: Settings, files: ControlFiles, annotators: Annotators) -> None:
        self._settings, self._files, self._annotators = settings, files, annotators
        self._kept: dict[Key, ControlNetwork] = {}

    def find(self, text: str) -> ControlFile:
        """The file that `text` means, after another look into the folders if need be. Raises InvalidInput, NotFound."""
        if text.strip() in ("", NO_MODEL):
            raise InvalidInput("A ControlNet unit names no model.", field="model")
        try:
            return self._files.find(text)
        except NotFound:
            self._files.refresh()
            return self._files.find(text)

    def tools(self, job: JobContext) -> ControlTools:
        """What the units of one job need."""
        from modules.generation.control import ControlTools

        return ControlTools(self._loader(job), self._annotators.control_map)

    def _loader(self, job: JobContext) -> Callable[[ControlUnit, SDModel], ControlNetwork]:
        """What loads the networks of one job. Raises InvalidInput, NotFound, CheckpointError."""
        used: set[Key] = set()

        def load(unit: ControlUnit, model: SDModel) -> ControlNetwork:
            file = self.find(unit.model)
            key = self._key(file.path, model)
            used.add(key)
            network = self._kept.pop(key, None) or self._read(file, model, job)
            self._kept[key] = network
            self._make_room(used)
            return network

        return load

    def _key(self, path: Path, model: SDModel) -> Key:
        from modules.networks.control.loading import Base, needs_base

        base = Base(model.unet)
        shares: tuple[object, ...] = (weakref.ref(model.unet),) if needs_base(path) else ()
        version: FileVersion | None = file_version(path)
        return (path, version, base.head_channels, base.context_channels, base.vector_channels, model.dtype, *shares)

    def _read(self, file: ControlFile, model: SDModel, job: JobContext) -> ControlNetwork:
        from modules.networks.control.loading import Base, load_control, needs_base
        from modules.networks.control.network import ControlNetwork
        from modules.networks.patches.patches import NOTHING

        job.stage(f"Loading {file.name}")
        patches = model.patches
        lends = needs_base(file.path)
        if lends:
            model.put_on(NOTHING)  # the UNet lends its own weights
        try:
            network = load_control(file.path, Base(model.unet), device=model.device, dtype=model.dtype,
                                   on_progress=lambda share: job.stage(f"Loading {file.name}: {share:.0%}"))
        finally:
            if lends:
                model.put_on(patches)
        return ControlNetwork(file.name, network, model.device, model.dtype)

    def _make_room(self, used: set[Key]) -> None:
        """Forget the networks that were not used for longest until the rest fits."""
        held = sum(network.nbytes for network in self._kept.values())
        budget = self._settings.model_cache
        if budget is None:
            budget = (free_memory(compute_device(self._settings)) + held) // 2
        for key in [key for key in self._kept if key not in used]:
            if held <= budget:
                break
            held -= self._kept.pop(key).nbytes

    def clear(self) -> None:
        """Forget all networks."""
        self._kept.clear()

    # what a request asks

    def check(self, request: Txt2Img) -> None:
        """Raise the UserError with which the units of `request` would be refused."""
        for unit in request.control_units:
            preprocessor = registry.find(unit.module)
            if not preprocessor.model_free:
                self.find(unit.model)
            if unit.image is None and not isinstance(request, Img2Img):
                raise InvalidInput("A ControlNet unit has no picture to follow.", field="image")


def resolved(request: Txt2Img, seed: int) -> tuple[ControlUnit, ...]:
    """The units of `request` with their preprocessors' numbers, and with `seed` for those that have none of their own.

    Raises InvalidInput for an unknown preprocessor.
    """
    units = []
    for unit in request.control_units:
        resolution, a, b = registry.find(unit.module).inside(unit.processor_res, unit.threshold_a, unit.threshold_b)
        units.append(dataclasses.replace(
            unit, processor_res=resolution, threshold_a=a, threshold_b=b,
            annotator_seed=seed if unit.annotator_seed is None else unit.annotator_seed))
    return tuple(units)
