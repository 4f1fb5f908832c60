"""python -m benchmarks training [--checkpoint FILE]: a LoRA of rank 8 learned from 12 pictures, against a plain loop
with peft.

Theirs is the loop of diffusers' own example for LoRA over diffusers' UNet: in each step the pictures go through the
autoencoder and the captions through the text encoder, noise is added, and AdamW takes a step; peft's layers are on the
layers that ours has differences on. Both compute in float32 on the same weights, pictures and numbers of pictures in a
step. Each runs in a process of its own, in turns. The time is that of a training of `STEPS` steps: what is done once,
and so many times the median step. The memory is the highest during steps, without the libraries'. With one thread, CPU
time is measured.

The curves of their losses are those of trainings from the same pictures, times and noise in each step. What each learns
begins with random numbers of its own.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.checkpoints import checkpoint
from benchmarks.loading import status
from benchmarks.timing import Row, child, interleaved, medians
from modules.networks.loader import load_model
from modules.networks.model import DiffusionModel
from modules.training.config import Dataset, TrainingConfig
from modules.training.dataset import examples, open_picture
from modules.training.file import size_of
from modules.training.lesson import Lesson, draw_lesson
from modules.training.loop import Training
from modules.weights.catalog import CheckpointFile

Step = Callable[[], float]
Losses = NDArray[np.float64]
PICTURES, STEPS, MEASURED, WARM = 12, 300, 4, 1
TARGETS = {"time": 0.8, "memory": 0.9}
BATCH = {"default": 4}
"""Pictures in a step, of one that is not here 1. They have the size that the checkpoint was made for."""


def run(name: str, cache: Path, *, threads: int, rounds: int, curve: int) -> list[Row]:
    """The time and the memory of a training of the checkpoint `name`, which may be the path of a file, and the losses
    of `curve` steps; 0 leaves them out."""
    figures: dict[str, list[float]] = {}

    def measured(who: str) -> list[float]:
        for what, value in child("benchmarks.training", who, name, cache, threads, 0).items():
            figures.setdefault(f"{who}, {what}", []).append(value)
        return []

    interleaved({who: lambda who=who: measured(who) for who in WHO}, rounds)
    found = medians(figures)
    file = checkpoint_file(name, cache)
    side, against = size_of(file), "a plain loop with peft and diffusers"
    words = f"{file.model_name}, {BATCH.get(name, 1)} x {side} x {side}"
    rows = [Row(f"{what.capitalize()} of learning a LoRA, {words}", found[f"ours, {what}"], found[f"peft, {what}"],
                against, unit, TARGETS[what]) for what, unit in (("time", "s"), ("memory", "MB"))]
    if curve:
        ours, theirs = (np.array(child("benchmarks.training", who, name, cache, threads, curve)["losses"])
                        for who in WHO)
        print(f"Losses of {curve} steps of {words}: correlation {np.corrcoef(ours, theirs)[0, 1]:.4f}, mean relative "
              f"difference {100 * alike(ours, theirs):.2f} %", flush=True)
        rows.append(Row(f"Mean loss of the last quarter of {curve} steps, {words}", tail(ours), tail(theirs), against,
                        ""))
    return rows


def alike(ours: Losses, theirs: Losses) -> float:
    """The mean relative difference of two curves."""
    return float(np.mean(np.abs(ours - theirs) / theirs))


def tail(losses: Losses) -> float:
    """The mean of the last quarter."""
    return float(losses[-max(1, len(losses) // 4):].mean())


def checkpoint_file(name: str, cache: Path) -> CheckpointFile:
    """The checkpoint of that name, or at that path."""
    path = Path(name) if Path(name).suffix else checkpoint(name, cache)
    return CheckpointFile(path, path.name)


def ours(model: DiffusionModel, config: TrainingConfig, same: bool) -> tuple[Step, Step]:
    """What is done once, and a step, which returns its loss."""
    training, attached = Training(model, config, examples(config.datasets)), ExitStack()

    def begin() -> float:
        training.read_pictures(lambda text: None)
        training.let_go()
        attached.enter_context(training.attached())
        return 0.0

    return begin, training.learn


def peft(model: DiffusionModel, config: TrainingConfig, same: bool) -> tuple[Step, Step]:
    """As `ours`. With `same` the pictures, times and noise of each step are those that ours draws."""
    from diffusers import DDPMScheduler
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from peft import LoraConfig, inject_adapter_in_model

    from modules.networks.text.clip_tokenizer import END, START, load_tokenizer

    training = Training(model, config, examples(config.datasets))
    with torch.device("meta"):
        unet: Any = UNet2DConditionModel.from_config(model.unet.config)  # type: ignore[union-attr]
    unet.load_state_dict(model.unet.state_dict(), assign=True)
    paths = training._learner.paths  # type: ignore[union-attr]
    (text_name,) = [one for one in model.layers.prefixes if one != "unet"]
    text, vae = model.parts[text_name], model.vae
    for part in (unet, text, vae):
        part.requires_grad_(False)
    inject_adapter_in_model(LoraConfig(r=config.rank, lora_alpha=config.alpha, target_modules=paths), unet)
    parameters = [one for one in unet.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(parameters, config.rate, (0.9, 0.999), weight_decay=config.decay)
    schedule = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    encode, chance = load_tokenizer(), np.random.default_rng(1)
    data = []
    for one in examples(config.datasets):
        ids = [START, *encode(one.caption)]
        pixels = torch.from_numpy(np.asarray(open_picture(one.path), np.float32)).permute(2, 0, 1) / 127.5 - 1
        data.append((pixels, torch.tensor(ids + [END] * (77 - len(ids)))))

    def drawn() -> tuple[list[int], Lesson]:
        shape = torch.Size((config.batch, model.latent.channels, *model.latent.cells((config.size, config.size))))
        if not same:
            times = torch.randint(0, 1000, (config.batch,))
            return chance.integers(0, len(data), config.batch).tolist(), Lesson(times, torch.randn(shape))
        batch, generator = training.drawn(0)
        torch.rand(len(batch), generator=generator)  # which captions are left out
        training.step += 1
        return [places[one.example.path] for one in batch], draw_lesson(shape, generator, 0.0)

    def step() -> float:
        batch, lesson = drawn()
        pixels, ids = (torch.stack(some) for some in zip(*(data[at] for at in batch), strict=True))
        with torch.no_grad():
            latents = vae.encode(pixels).latent_dist.sample() * 0.18215  # type: ignore[operator]
            words = text(ids)[0]
        noise, times = lesson.noise, lesson.times
        answer = unet(schedule.add_noise(latents, noise, times), times, words, return_dict=False)[0]
        loss = torch.nn.functional.mse_loss(answer.float(), noise)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())

    if same:
        training.read_pictures(lambda text: None)
        places = {one.path: at for at, one in enumerate(examples(config.datasets))}
    return lambda: 0.0, step


WHO = {"ours": ours, "peft": peft}


def main(who: str, name: str, cache: Path, threads: int, curve: int) -> None:
    """Print the seconds and the megabytes of one of them as JSON, or the losses of `curve` steps."""
    torch.manual_seed(1)
    torch.set_num_threads(threads)
    clock = time.thread_time if threads == 1 else time.perf_counter
    libraries, file = status("VmRSS"), checkpoint_file(name, cache)
    side = size_of(file)
    with tempfile.TemporaryDirectory() as folder:
        chance = np.random.default_rng(1)
        for number in range(PICTURES):
            colours = Image.fromarray(chance.integers(0, 255, (6, 6, 3), np.uint8))
            colours.resize((side, side), Image.Resampling.BICUBIC).save(Path(folder) / f"{number:02}.png")
            (Path(folder) / f"{number:02}.txt").write_text(f"picture number {number}")
        model = load_model(file, device=torch.device("cpu"), dtype=torch.float32,
                           packs=False, keep_half=False)
        config = TrainingConfig(name, name, (Dataset(folder),), size=side, batch=BATCH.get(name, 1), steps=STEPS,
                                min_snr=0.0, warmup=0, dropout=0.0)
        began = clock()
        begin, step = WHO[who](model, config, bool(curve))
        begin()
        if curve:
            print(json.dumps({"losses": [step() for _ in range(curve)]}))
            return
        once, seconds = clock() - began, []
        del model
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew
        for _ in range(WARM + MEASURED):
            began = clock()
            step()
            seconds.append(clock() - began)
    print(json.dumps({"time": once + STEPS * statistics.median(seconds[WARM:]),
                      "memory": (status("VmHWM") - libraries) / 1e6}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
