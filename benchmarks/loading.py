"""Loading a 2 GB checkpoint on the CPU in float32: time and peak memory, each in a process of its own.

Ours against diffusers' single-file loader (which gets a folder of configurations and leaves the tokenizer out) and
against reading the file. Libraries are imported before the clock starts, and the file is in the page cache. With one
thread its CPU time is counted, so that other programs on the machine disturb less.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import timing
from benchmarks.checkpoints import checkpoint
from benchmarks.timing import Row, interleaved, medians

CONFIG_UNET = {
    "in_channels": 4, "out_channels": 4, "block_out_channels": [320, 640, 1280, 1280], "layers_per_block": 2,
    "cross_attention_dim": 768, "attention_head_dim": 8,
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3}
"""Stable Diffusion 1.5's UNet, as diffusers is told."""
LOADER_TARGET, MEMORY_TARGET = 0.6, 1.15


def run(cache: Path, threads: int, rounds: int) -> list[Row]:
    """Times, then peaks."""
    path = checkpoint("sd15", cache)
    peaks: dict[str, list[float]] = {"ours": [], "diffusers": []}
    resident: dict[str, list[float]] = {"ours": [], "diffusers": []}

    def child(kind: str) -> list[float]:
        figures = measured(kind, path, threads)
        peaks.setdefault(kind, []).append(figures["anonymous"])
        resident.setdefault(kind, []).append(figures["resident"])
        return [figures["seconds"]]

    child("read")  # brings the file into the page cache
    time_of = medians(interleaved({kind: lambda kind=kind: child(kind) for kind in COMPARED}, rounds))
    own, mapped = medians(peaks), medians(resident)
    weights = weights_gb(path)
    return [
        Row("Load 2.1 GB (fp16 file to float32)", time_of["ours"], time_of["diffusers"],
            "diffusers from_single_file", "s", LOADER_TARGET),
        Row("Load 2.1 GB (fp16 file to float32)", time_of["ours"], time_of["floor"],
            "reading the file + writing the weights once", "s", 1.5),
        Row("Load 2.1 GB (fp16 file to float32)", time_of["ours"], time_of["read"], "reading the file", "s"),
        Row("Swap back to a 2.1 GB checkpoint that is warm", time_of["warm"], time_of["ours"], "loading it", "s"),
        Row("Peak memory of the load, own pages", own["ours"], own["diffusers"], "diffusers from_single_file", "GB"),
        Row("Peak memory of the load, mapped file pages too", mapped["ours"], mapped["diffusers"],
            "diffusers from_single_file", "GB"),
        Row("Peak memory of the load, mapped file pages too", mapped["ours"], weights, "the float32 weights", "GB",
            MEMORY_TARGET),
    ]


def measured(kind: str, path: Path, threads: int) -> dict[str, float]:
    """One of CHILDREN in a process of its own: its seconds, and its peaks of memory in GB."""
    figures: dict[str, float] = timing.child("benchmarks.loading", kind, path, threads)
    return figures


def weights_gb(path: Path) -> float:
    """The file's weights in float32."""
    from safetensors import safe_open

    with safe_open(str(path), framework="numpy") as file:
        shapes = [file.get_slice(key).get_shape() for key in file.keys()]  # noqa: SIM118
    total = 0
    for shape in shapes:
        count = 1
        for side in shape:
            count *= side
        total += count
    return total * 4 / 1e9


# What the child processes do. Each returns the work to be timed, with its imports done.


def ours(path: Path) -> Callable[[], object]:
    """Our loader, the packing of weights included."""
    import diffusers.models.autoencoders.autoencoder_kl
    import diffusers.models.unets.unet_2d_condition  # noqa: F401
    import torch
    import transformers.models.clip  # noqa: F401

    from modules.networks.loader import load_model
    from modules.weights.catalog import CheckpointFile

    file = CheckpointFile(path, path.name)
    return lambda: load_model(file, device=torch.device("cpu"), dtype=torch.float32)


def warm(path: Path) -> Callable[[], object]:
    """The engine goes back to the checkpoint from a small one; both are in memory."""
    from modules.engine.engine import Engine
    from modules.request.job_context import NullJob
    from modules.request.options import Options
    from modules.settings import Settings

    folder = Path(tempfile.mkdtemp())
    checkpoint("tiny", path.parent)
    engine = Engine(Settings(data_dir=folder, ckpt_dir=path.parent, device="cpu", model_cache=8 * 10**9))
    large, small = Options(sd_model_checkpoint=path.name), Options(sd_model_checkpoint="tiny.safetensors")
    for options in (large, small):
        engine.load(options, NullJob())
    return lambda: engine.load(large, NullJob())


def picture(path: Path) -> Callable[[], object]:
    """The engine loads the checkpoint and makes a picture of 512 x 512 in one step."""
    import diffusers.models.autoencoders.autoencoder_kl
    import diffusers.models.unets.unet_2d_condition  # noqa: F401
    import transformers.models.clip  # noqa: F401

    from modules.engine.engine import Engine
    from modules.request import Txt2Img
    from modules.request.job_context import NullJob
    from modules.request.options import Options
    from modules.settings import Settings

    engine = Engine(Settings(data_dir=Path(tempfile.mkdtemp()), ckpt_dir=path.parent, device="cpu"))
    request = Txt2Img(prompt="a lighthouse on a cliff", negative_prompt="rain", steps=1, seed=1, width=512, height=512,
                      options=Options(sd_model_checkpoint=path.name))
    return lambda: engine.generate(request, NullJob())


def diffusers(path: Path) -> Callable[[], object]:
    """diffusers' loader, offline: it needs the configurations that it would otherwise download."""
    import torch
    from diffusers import StableDiffusionPipeline
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel  # noqa: F401

    folder = Path(tempfile.mkdtemp())
    write_configs(folder)
    return lambda: StableDiffusionPipeline.from_single_file(
        str(path), config=str(folder), local_files_only=True, torch_dtype=torch.float32, tokenizer=None,
        safety_checker=None, feature_extractor=None, image_encoder=None)


def write_configs(folder: Path) -> None:
    """Stable Diffusion 1.5's configuration as diffusers wants it: a folder a component."""
    configs = {
        "unet": {"_class_name": "UNet2DConditionModel", "sample_size": 64, **CONFIG_UNET},
        "vae": {"_class_name": "AutoencoderKL", "in_channels": 3, "out_channels": 3, "latent_channels": 4,
                "sample_size": 512, "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2,
                "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4},
        "text_encoder": {"architectures": ["CLIPTextModel"], "model_type": "clip_text_model", "vocab_size": 49408,
                         "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
                         "num_attention_heads": 12, "max_position_embeddings": 77, "hidden_act": "quick_gelu"},
        "scheduler": {"_class_name": "DDIMScheduler", "beta_start": 0.00085, "beta_end": 0.012,
                      "beta_schedule": "scaled_linear", "clip_sample": False, "set_alpha_to_one": False,
                      "steps_offset": 1, "num_train_timesteps": 1000},
    }
    for name, config in configs.items():
        (folder / name).mkdir()
        file = "scheduler_config.json" if name == "scheduler" else "config.json"
        (folder / name / file).write_text(json.dumps(config))
    index = {"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"],
             "vae": ["diffusers", "AutoencoderKL"], "text_encoder": ["transformers", "CLIPTextModel"],
             "tokenizer": ["transformers", "CLIPTokenizer"], "scheduler": ["diffusers", "DDIMScheduler"],
             "safety_checker": [None, None], "feature_extractor": [None, None], "image_encoder": [None, None]}
    (folder / "model_index.json").write_text(json.dumps(index))


def read(path: Path) -> Callable[[], object]:
    """Every byte of the file into one small buffer, over and over."""
    def work() -> None:
        buffer = bytearray(2**24)
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass

    return work


def floor(path: Path) -> Callable[[], object]:
    """The least that any loader does: the file is read, and float32 weights are written once."""
    import torch

    def work() -> list[torch.Tensor]:
        buffer, written = bytearray(2**24), []
        halves = torch.frombuffer(buffer, dtype=torch.float16)
        with path.open("rb", buffering=0) as file:
            while got := file.readinto(buffer):
                written.append(halves[: got // 2].float())
        return written

    return work


COMPARED = ("ours", "warm", "diffusers", "floor", "read")
CHILDREN = {"ours": ours, "warm": warm, "diffusers": diffusers, "floor": floor, "read": read,
            "picture": picture}


class Peaks(threading.Thread):
    """Watches the process's own (anonymous) memory every 2 ms; the kernel keeps a peak of all resident pages only."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.anonymous, self.over = 0, threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.002):
            self.anonymous = max(self.anonymous, status("RssAnon"))


def status(field: str) -> int:
    """A field of /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024


def main(kind: str, path: Path, threads: int) -> None:
    """Does one of the works and prints its figures as JSON; memory is counted from where the imports left it."""
    import torch

    torch.set_num_threads(threads)
    work = CHILDREN[kind](path)
    Path("/proc/self/clear_refs").write_text("5")  # the kernel's peak starts anew
    before = {"anonymous": status("RssAnon"), "resident": status("VmRSS")}
    peaks = Peaks()
    peaks.start()
    clock = time.thread_time if threads == 1 else time.perf_counter
    began = clock()
    kept = work()
    seconds = clock() - began
    peaks.over.set()
    peaks.join()
    peak = {"anonymous": peaks.anonymous, "resident": status("VmHWM")}
    print(json.dumps({"seconds": seconds} | {name: (peak[name] - before[name]) / 1e9 for name in peak}))
    del kept


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
