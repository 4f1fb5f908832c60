"""A step of classic DDIM inpainting, ours against diffusers' pipeline with its own UNet, eager, of the same weights.

Ours runs as in the app: engine, job queue, progress, and a watcher that asks for previews as the page does. diffusers
runs bare, without progress bar, previews or safety checker. Hooks on the UNets tell when they begin and end; a step
lasts from one beginning to the next, and what is not spent in the UNet is the loop.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from PIL import Image, ImageDraw

from benchmarks.checkpoints import checkpoint
from benchmarks.timing import Row, interleaved, medians
from modules.engine.engine import Engine
from modules.jobs.job import Job
from modules.jobs.queue import JobQueue
from modules.networks.loader import load_model
from modules.networks.model import DiffusionModel
from modules.request import Inpaint
from modules.request.options import Options
from modules.sampling.conditioning import TextOptions, stack
from modules.settings import Settings
from modules.weights.catalog import CheckpointFile

STEP_TARGETS = {("sd15", 256): 0.68, ("sd15", 512): 0.88}
LOOP_LIMIT_MS = 2.0
LOOP_SHARE = 0.01
WORDS = "a lighthouse on a cliff"
AGAINST = "diffusers inpaint pipeline"


class Clock:
    """When each call of a network began and ended, in seconds."""

    def __init__(self, network: torch.nn.Module) -> None:
        self.begun: list[float] = []
        self.ended: list[float] = []
        self.networks: list[float] = []  # seconds inside the network, of all calls but each work's last
        network.register_forward_pre_hook(lambda *_: self.begun.append(time.perf_counter()))
        network.register_forward_hook(lambda *_: self.ended.append(time.perf_counter()))

    def during(self, work: Callable[[], object]) -> list[float]:
        """Runs `work`; the seconds between one call's end and the next one's beginning."""
        self.begun.clear()
        self.ended.clear()
        work()
        self.networks += [end - begin for begin, end in zip(self.begun, self.ended, strict=True)][:-1]
        return [begin - end for end, begin in zip(self.ended, self.begun[1:], strict=False)]

    def until_first(self, work: Callable[[], object]) -> list[float]:
        """Runs `work`; the seconds until the network is called for the first time."""
        began = time.perf_counter()
        self.during(work)
        return [self.begun[0] - began]


def run(name: str, cache: Path, *, size: int, calls: int, rounds: int) -> list[Row]:
    """The rows for one checkpoint at `size` x `size` pixels: `calls` network calls a run, `rounds` runs of each."""
    path = checkpoint(name, cache)
    model = load_model(CheckpointFile(path, path.name), device=torch.device("cpu"), dtype=torch.float32)
    plain = diffusers_unet(model.unet)
    clocks = {"ours": Clock(model.unet), "diffusers": Clock(plain)}

    def timed(who: str, work: Callable[[], object]) -> list[float]:
        outside = clocks[who].during(work)
        if len(outside) != calls - 1:
            raise RuntimeError(f"{who} called the network {len(outside) + 1} times, not {calls}")
        return outside

    with tempfile.TemporaryDirectory() as folder:
        ours = OurInpaint(model, path, Path(folder), size, calls)
        theirs = diffusers_inpaint(model, plain, size, calls)
        ours.paint()  # hashes the file, fits the preview, packs the weights: once
        clocks["ours"].networks.clear()
        loops = interleaved({"ours": lambda: timed("ours", ours.paint),
                             "diffusers": lambda: timed("diffusers", theirs)}, rounds)
        starts = interleaved({"seed": lambda: clocks["ours"].until_first(ours.paint),
                              "all": lambda: clocks["ours"].until_first(ours.paint_another)}, 1)
        ours.close()
    networks = medians({who: clock.networks for who, clock in clocks.items()})
    return _rows(name, size, medians(loops), networks, medians(starts))


def _rows(name: str, size: int, loops: dict[str, float], networks: dict[str, float],
          starts: dict[str, float]) -> list[Row]:
    label = f"{name} {size} x {size}"
    steps = {who: networks[who] + loops[who] for who in loops}
    return [
        Row(f"Step, {label}", steps["ours"], steps["diffusers"], AGAINST, "s", STEP_TARGETS.get((name, size))),
        Row(f"Loop outside the UNet, a step, {label}", loops["ours"] * 1e3, loops["diffusers"] * 1e3, AGAINST, "ms"),
        Row(f"Loop outside the UNet, a step, {label}", loops["ours"] * 1e3, LOOP_LIMIT_MS, "a limit", "ms", 1.0),
        Row(f"Loop outside the UNet, a step, {label}", loops["ours"], steps["ours"], "the whole step", "s",
            LOOP_SHARE if name == "sd15" else None),
        Row(f"Until the first step with a new seed, {label}", starts["seed"], starts["all"],
            "with a new picture and new words", "s"),
    ]


def diffusers_unet(ours: torch.nn.Module) -> torch.nn.Module:
    """diffusers' UNet as it is, with the weights of ours: shared, until ours packs its own."""
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    with torch.device("meta"):
        plain = UNet2DConditionModel.from_config(cast(Any, ours).config)
    plain.load_state_dict(ours.state_dict(), assign=True)
    return cast(torch.nn.Module, plain.eval().requires_grad_(False))


class OurInpaint:
    """Inpainting through an engine and its queue, watched as the page watches it."""

    def __init__(self, model: DiffusionModel, path: Path, folder: Path, size: int, calls: int) -> None:
        settings = Settings(data_dir=folder, ckpt_dir=path.parent, ckpt=path.name)
        self._queue = JobQueue(Engine(settings, load_file=lambda *_: model), lambda image, request: folder)
        self.close = self._queue.close
        picture, mask = scene(size)
        # WebUI takes int(0.999 * steps) steps at full strength.
        self._request = Inpaint(prompt=WORDS, steps=calls + 1, width=size, height=size, seed=1, denoising_strength=1.0,
                                init_images=(picture,), mask=mask, options=Options(
                                    sd_model_checkpoint=path.name, img2img_fix_steps=False))

    def paint(self) -> None:
        """The same picture and words with the next seed."""
        self._request = replace(self._request, seed=self._request.seed + 1)
        job = self._queue.submit(self._request, save=False)
        watcher = threading.Thread(target=watch, args=(job,))
        watcher.start()
        job.wait()
        watcher.join()
        if job.error:
            raise job.error

    def paint_another(self) -> None:
        """Another picture and other words."""
        (picture,) = self._request.init_images
        self._request = replace(self._request, prompt=f"{self._request.prompt}, {self._request.seed}",
                                init_images=(picture.rotate(90),))
        self.paint()


def watch(job: Job) -> None:
    """What the page does: waits for a change, shows a preview, five times a second at most."""
    version = -1
    while not job.over:
        job.preview()
        version = job.wait_change(version, timeout=1.0)
        job.wait(0.2)


def diffusers_inpaint(model: DiffusionModel, unet: torch.nn.Module, size: int, calls: int) -> Callable[[], object]:
    """One inpaint through diffusers, the prompt already encoded, the result left a latent."""
    from diffusers import DDIMScheduler, StableDiffusionInpaintPipeline

    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
                              set_alpha_to_one=False, steps_offset=1)
    cast(Any, unet).register_to_config(sample_size=64)  # the pipeline asks for it, the network does not
    pipeline: Any = StableDiffusionInpaintPipeline(
        vae=model.vae, text_encoder=model.text.clip, tokenizer=None, unet=unet, scheduler=scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    picture, mask = scene(size)
    words = stack(model.encode_prompts([WORDS, ""], TextOptions(emphasis="No norm"))).tokens
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
