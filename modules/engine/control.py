"""The control networks in memory, and what a request asks of its units."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

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
    from modules.generation.control import AnyNetwork, ControlTools
    from modules.networks.annotators.annotators import Annotators
    from modules.networks.control.network import EncoderInUse
    from modules.networks.image_encoder import ImageEncoder, ImageEncoders, Wanted
    from modules.sampling.types import SDModel

    Kept = TypeVar("Kept", AnyNetwork, ImageEncoder)

Key = tuple[object, ...]


class ControlNetworks:
    """The control networks and image encoders that were used last.

    These may take what `--model-cache` allows, or half of the memory that would be free without them; the ones in use
    stay in any case. Only the thread that carries out requests may call `load`.
    """

    def __init__(self, settings: Settings, files: ControlFiles, annotators: Annotators,
                 encoders: ImageEncoders) -> None:
        self._settings, self._files, self._annotators, self._encoders = settings, files, annotators, encoders
        self._kept: dict[Key, AnyNetwork | ImageEncoder] = {}

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
        from modules.networks.control.network import EncoderInUse

        used: set[Key] = set()

        def load(unit: ControlUnit, model: SDModel) -> AnyNetwork:
            file = self.find(unit.model)
            key = self._key(file.path, model)
            used.add(key)
            return self._keep(key, lambda: self._read(file, model, job), used)

        def encoder(wanted: Wanted, reader: str, model: SDModel) -> EncoderInUse:
            file = self._encoders.find(wanted, reader)
            key = (file.key, model.device, model.dtype)

            def read() -> ImageEncoder:
                name = file.path.name
                job.stage(f"Loading {name}")
                return file.read(model.device, model.dtype, lambda share: job.stage(f"Loading {name}: {share:.0%}"))

            return EncoderInUse(key, lambda: self._keep(key, read, used))

        return ControlTools(load, self._annotators.control_map, encoder)

    def _keep(self, key: Key, make: Callable[[], Kept], used: set[Key]) -> Kept:
        """What is kept under `key`, or what `make` makes, which is kept from now on; those in `used` stay."""
        kept = self._kept.pop(key, None) or make()
        self._kept[key] = kept
        self._make_room(used)
        return cast("Kept", kept)

    def _key(self, path: Path, model: SDModel) -> Key:
        from modules.networks.control.loading import Base, needs_base

        base = Base(model.unet)
        shares: tuple[object, ...] = (weakref.ref(model.unet),) if needs_base(path) else ()
        version: FileVersion | None = file_version(path)
        return (path, version, base.head_channels, base.context_channels, base.vector_channels, model.dtype, *shares)

    def _read(self, file: ControlFile, model: SDModel, job: JobContext) -> AnyNetwork:
        from modules.networks.control.ip_adapter import IPAdapter
        from modules.networks.control.lllite import LLLite
        from modules.networks.control.loading import Base, load_control, needs_base
        from modules.networks.control.network import ControlNetwork, IPAdapterNetwork, LLLiteNetwork
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
        if isinstance(network, IPAdapter):
            return IPAdapterNetwork(file.name, network, model.device, model.dtype)
        if isinstance(network, LLLite):
            return LLLiteNetwork(file.name, network, model.device, model.dtype)
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
        self.check_units(request.control_units, has_picture=isinstance(request, Img2Img))

    def check_units(self, units: Sequence[ControlUnit], *, has_picture: bool) -> None:
        """Raise the UserError with which units would be refused. `has_picture` says that those without one of their own
        have one to follow."""
        for unit in units:
            preprocessor = registry.find(unit.module)
            if not preprocessor.model_free:
                self.find(unit.model)
            if unit.image is None and not has_picture:
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
