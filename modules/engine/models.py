"""The model slot: the one model in use, the cache of those used before it, and the loader of checkpoint files."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TYPE_CHECKING

from modules.base.free_memory import free_memory
from modules.engine.model_cache import Loaded, ModelCache
from modules.request.job_context import JobContext
from modules.settings import Settings
from modules.weights.catalog import CheckpointFile, VaeFile

if TYPE_CHECKING:
    import torch

    from modules.networks.depth import DepthNetwork
    from modules.networks.parts import Parts
    from modules.networks.turns import Turns
    from modules.sampling.types import SDModel

LoadModel = Callable[[CheckpointFile, VaeFile | None, Settings, Callable[[float], None]], "SDModel"]
"""(checkpoint, vae, settings, on_progress) -> model. `on_progress` gets the share that is read, 0 to 1. Raises
CheckpointError."""


class FileLoader:
    """The LoadModel for real files. The heavy libraries are imported at the first call.

    Parts that a model in memory has already, such as the UNet of the same checkpoint with another VAE, are shared.
    """

    def __init__(self) -> None:
        self._parts: Parts | None = None
        self._depth: DepthNetwork | None = None
        self._turns: Turns | None = None

    def __call__(self, checkpoint: CheckpointFile, vae: VaeFile | None, settings: Settings,
                 on_progress: Callable[[float], None]) -> SDModel:
        import torch

        from modules.networks.depth import DepthNetwork
        from modules.networks.doctor import spare_files
        from modules.networks.loader import load_model
        from modules.networks.parts import Parts

        if self._parts is None:
            self._parts = Parts()
        self._depth = self._depth or DepthNetwork(settings.folders("depth networks"))
        device = torch.device(compute_device(settings))
        denoiser = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision(settings)]
        self._turns = self._turns or turns_of(settings, device)
        return load_model(checkpoint, vae=vae, device=device,
                          dtype=torch.float32 if device.type == "cpu" else denoiser, denoiser_dtype=denoiser,
                          tiled_vae=settings.tiled_vae,
                          compile_in=settings.programs_dir if settings.compile else None,
                          openvino_from=openvino_from(settings), on_progress=on_progress,
                          parts=self._parts, depth=self._depth,
                          spare=spare_files(settings), turns=self._turns)


def turns_of(settings: Settings, device: torch.device) -> Turns | None:
    """The turns that parts of models take on a GPU with memory of its own; None for other devices."""
    from modules.networks.turns import Turns

    if device.type != "cuda":
        return None
    wanted = "lowvram" if settings.lowvram else "medvram" if settings.medvram else "auto"
    return Turns(device, wanted, lambda: free_memory(str(device)))


def precision(settings: Settings) -> str:
    """The numbers that denoisers compute with: "fp32", "bf16" or "fp16". On a GPU autoencoders do too, where they can.
    """
    return _usual_precision(settings) if settings.precision == "auto" else settings.precision


def precision_keys(settings: Settings) -> dict[str, str]:
    """What the parameters text says of it: nothing if it is what the device has without the flag."""
    found = precision(settings)
    return {} if found == _usual_precision(settings) else {"Precision": found}


def _usual_precision(settings: Settings) -> str:
    return "fp32" if settings.no_half or compute_device(settings) == "cpu" else "fp16"


def openvino_from(settings: Settings) -> int | None:
    """The numbers in the weights of a UNet from which OpenVINO computes it, where that is done on the CPU; None for no
    UNet."""
    from modules.networks.openvino_unet import LEAST, is_faster

    return {"openvino": 0, "torch": None}.get(settings.cpu_engine, LEAST if is_faster() else None)


def compute_device(settings: Settings) -> str:
    """The device that `--device` names; for "auto", the best one of this machine."""
    return best_device() if settings.device == "auto" else settings.device


def best_device() -> str:
    """The fastest device that PyTorch can use here: "cuda", "mps" or "cpu"."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


class ModelSlot:
    """Holds the model in use and the model cache behind it. Only the job queue's worker may change it."""

    def __init__(self, settings: Settings, load_file: LoadModel) -> None:
        self.load_file = load_file
        self.cache = ModelCache(settings.model_cache, lambda: free_memory(compute_device(settings)))
        self.in_use: Loaded | None = None
        self._settings = settings

    def load(self, checkpoint: CheckpointFile, vae: VaeFile | None, job: JobContext) -> SDModel:
        """Return the model of these files. It is not read again while it is in use or in the model cache and its
        files are unchanged. If only the VAE differs, only the VAE is read.

        The model in use stays until the new one is complete, also if loading fails. Raises CheckpointError.
        """
        kept = self.in_use
        if kept is None or kept.checkpoint.path != checkpoint.path:
            kept = self.cache.find(checkpoint)
        if kept and not kept.current:
            kept = None
        if kept is None or kept.vae != vae:
            kept = Loaded.of(lambda: self._read(checkpoint, vae, job), checkpoint, vae)
        if kept is not self.in_use:
            let_go = self.cache.swap(kept, self.in_use)
            self.in_use = kept
            if let_go:
                gc.collect()  # torch modules hold reference cycles; without this their weights stay for a while
        return kept.model

    def in_memory(self) -> list[Loaded]:
        """The model in use and those in the cache."""
        return [*([self.in_use] if self.in_use else []), *self.cache.kept()]

    def unload(self) -> None:
        """Drop every model. The next `load` reads its files again."""
        self.in_use = None
        self.cache.clear()
        gc.collect()

    def _read(self, checkpoint: CheckpointFile, vae: VaeFile | None, job: JobContext) -> SDModel:
        job.stage(f"Loading {checkpoint.name}")
        return self.load_file(checkpoint, vae, self._settings,
                              lambda share: job.stage(f"Loading {checkpoint.name}: {share:.0%}"))
