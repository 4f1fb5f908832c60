"""A step of classic DDIM inpainting, ours against diffusers' pipeline over the very same modules.

Ours runs as in the app: engine, job queue, progress, and a watcher that asks for previews as the page does. diffusers
runs bare, without progress bar, previews or safety checker. Hooks on the UNet tell when it begins and ends; a step
lasts from one beginning to the next, and what is not spent in the UNet is the loop.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from PIL import Image, ImageDraw

from benchmarks.checkpoints import checkpoint
from benchmarks.timing import Row, interleaved
from modules.engine import Engine
from modules.jobs import Job, JobQueue
from modules.options import Options
from modules.request import Inpaint
from modules.settings import Settings
from modules.weights.catalog import CheckpointFile
from modules.weights.loader import load_model
from modules.weights.model import StableDiffusion

STEP_TARGET = 1.02
LOOP_TARGET_MS = 2.0
WORDS = "a lighthouse on a cliff"


@dataclass
class Clock:
    """When each call of a network began and ended, in seconds."""

    begun: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)

    def watch(self, network: torch.nn.Module) -> None:
        network.register_forward_pre_hook(lambda *_: self.begun.append(time.perf_counter()))
        network.register_forward_hook(lambda *_: self.ended.append(time.perf_counter()))

    def inside(self) -> list[float]:
        """Seconds in the network, each call."""
        return [end - begin for begin, end in zip(self.begun, self.ended, strict=True)]

    def outside(self) -> list[float]:
        """Seconds between one call's end and the next one's beginning."""
        return [begin - end for end, begin in zip(self.ended, self.begun[1:], strict=False)]

    def during(self, work: Callable[[], object]) -> list[float]:
        """Runs `work` and gives the seconds between calls; those inside add up in `networks`."""
        self.begun.clear()
        self.ended.clear()
        work()
        return self.outside()


def run(name: str, cache: Path, *, size: int, calls: int, rounds: int) -> list[Row]:
    """The rows for one checkpoint at `size` x `size` pixels: `calls` network calls a run, `rounds` runs of each."""
    path = checkpoint(name, cache)
    model = load_model(CheckpointFile(path, path.name), device=torch.device("cpu"), dtype=torch.float32)
    clock = Clock()
    clock.watch(model.unet)
    inside: dict[str, list[float]] = {"ours": [], "diffusers": []}

    def timed(who: str, work: Callable[[], object]) -> list[float]:
        outside = clock.during(work)
        inside[who] += clock.inside()[:-1]
        if len(outside) != calls - 1:
            raise RuntimeError(f"{who} called the network {len(outside) + 1} times, not {calls}")
        return outside

    with tempfile.TemporaryDirectory() as folder:
        ours, stop = our_inpaint(model, path, Path(folder), size, calls)
        theirs = diffusers_inpaint(model, size, calls)
        ours()  # hashes the file and fits the preview, once
        found = interleaved({"ours": lambda: timed("ours", ours), "diffusers": lambda: timed("diffusers", theirs)},
                            rounds)
        stop()
    return _rows(f"{name} {size} x {size}", found, inside)


def _rows(label: str, outside: dict[str, list[float]], inside: dict[str, list[float]]) -> list[Row]:
    network = statistics.median(inside["ours"] + inside["diffusers"])
    loop = {who: statistics.median(values) for who, values in outside.items()}
    against = "diffusers inpaint pipeline"
    return [
        Row(f"Loop outside the UNet, a step, {label}", loop["ours"] * 1e3, loop["diffusers"] * 1e3, against, "ms"),
        # The UNet is one module for both, so its time is taken over both; else its noise would hide the loop.
        Row(f"Whole step, {label}", network + loop["ours"], network + loop["diffusers"], against, "s", STEP_TARGET),
        Row(f"Loop as a share of the step, {label}", loop["ours"], network + loop["ours"], "the whole step", "s", 0.01),
    ]


def our_inpaint(model: StableDiffusion, path: Path, folder: Path, size: int,
                calls: int) -> tuple[Callable[[], None], Callable[[], None]]:
    """(one inpaint through the engine and its queue, the end of the queue)."""
    settings = Settings(data_dir=folder, ckpt_dir=path.parent, ckpt=path.name)
    queue = JobQueue(Engine(settings, load_file=lambda *_: model), lambda image, request: folder)
    picture, mask = scene(size)
    # WebUI takes int(0.999 * steps) steps at full strength.
    request = Inpaint(prompt=WORDS, steps=calls + 1, width=size, height=size, seed=1, denoising_strength=1.0,
                      init_images=(picture,), mask=mask, options=Options(sd_model_checkpoint=path.name,
                                                                          img2img_fix_steps=False))

    def once() -> None:
        job = queue.submit(request, save=False)
        watcher = threading.Thread(target=watch, args=(job,))
        watcher.start()
        job.wait()
        watcher.join()
        if job.error:
            raise job.error

    return once, queue.close


def watch(job: Job) -> None:
    """What the page does: waits for a change, shows a preview, five times a second at most."""
    version = -1
    while not job.over:
        job.preview()
        version = job.wait_change(version, timeout=1.0)
        job.wait(0.2)


def diffusers_inpaint(model: StableDiffusion, size: int, calls: int) -> Callable[[], object]:
    """One inpaint through diffusers, the prompt already encoded, the result left a latent."""
    from diffusers import DDIMScheduler, StableDiffusionInpaintPipeline

    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
                              set_alpha_to_one=False, steps_offset=1)
    cast(Any, model.unet).register_to_config(sample_size=64)  # the pipeline asks for it, the network does not
    pipeline: Any = StableDiffusionInpaintPipeline(
        vae=model.vae, text_encoder=model.text.clip, tokenizer=None, unet=model.unet, scheduler=scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    picture, mask = scene(size)
    words = model.encode_prompts([WORDS, ""], clip_skip=1, emphasis="No norm", comma_backtrack=20)
    return lambda: pipeline(
        prompt_embeds=words[:1], negative_prompt_embeds=words[1:], image=picture, mask_image=mask, height=size,
        width=size, num_inference_steps=calls, strength=1.0, guidance_scale=7.0, output_type="latent",
        generator=torch.Generator().manual_seed(1))


def scene(size: int) -> tuple[Image.Image, Image.Image]:
    """A picture of gradients and a mask with a disc in its middle."""
    ramp = Image.linear_gradient("L").resize((size, size))
    picture = Image.merge("RGB", (ramp, ramp.rotate(90), ramp.rotate(180)))
    mask = Image.new("L", (size, size))
    ImageDraw.Draw(mask).ellipse([size // 4, size // 4, size * 3 // 4, size * 3 // 4], fill=255)
    return picture, mask
