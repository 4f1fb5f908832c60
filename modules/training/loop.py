"""Trains a LoRA: reads the pictures once, then learns step by step, keeps its state, and writes the file.

All that is random in a step is drawn from the seed and the step's number, so a training that goes on after a stop is
the one that was never stopped, to the bit on one machine.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from modules.base.files import write_whole
from modules.errors import CheckpointError, InvalidInput
from modules.gallery.saving import CannotSave
from modules.networks.model import DiffusionModel
from modules.sampling.conditioning import Conditioning, SizeIds, TextOptions, stack
from modules.training.config import TrainingConfig
from modules.training.dataset import Example, bucket, cut, open_picture
from modules.training.lesson import draw_lesson, loss_of
from modules.training.low_rank import LowRankNetwork, in_halves
from modules.weights.tensors import read_tensors

STEP = 64
"""Sides of pictures are multiples of that many pixels, or of less where the pictures are small."""


@dataclass(frozen=True)
class Learned:
    """A picture as the network learns it: its latent (C, h, w), its words, and how often it counts."""

    latent: Tensor
    cond: Conditioning
    repeats: int


@dataclass(frozen=True)
class Progress:
    """After a step: its number from 1, of how many, and the mean loss of its batch."""

    step: int
    steps: int
    loss: float


def train(model: DiffusionModel, config: TrainingConfig, found: Sequence[Example], *, size: int, state: Path,
          told: Callable[[Progress], None] = lambda progress: None,
          stage: Callable[[str], None] = lambda text: None) -> dict[str, Tensor]:
    """The differences that are learned from the pictures `found`, under kohya's names, float16. `size`: that of the
    pictures, where the settings have none.

    `told` is called after each step; when it raises, the state is kept first. `state` keeps the step, the weights and
    the optimizer; a training of the same settings goes on there. Raises InvalidInput: nothing to learn from, a model
    that cannot be trained, a state of other settings; CannotSave.
    """
    if model.inputs.name != "plain" or not hasattr(model.unet, "down_blocks"):
        raise InvalidInput(f"{model.name} cannot be trained: only UNets that read no picture can.", field="checkpoint")
    pictures, empty = _learned(model, config, found, config.size or size, stage)
    for part in model.parts.values():
        part.requires_grad_(False)
    network = LowRankNetwork(model.unet, model.layers, rank=config.rank, alpha=config.alpha,
                             convolutions=config.layers == "all", seed=config.seed).to(model.device)
    optimizer = torch.optim.AdamW(network.parameters(), config.rate, (0.9, 0.99), weight_decay=config.decay)
    digest = _digest(config, found)
    step = _resumed(state, network, optimizer, digest)
    groups = _groups(pictures)
    saved = time.monotonic()
    stage("Training")
    with network.attached():
        try:
            while step < config.steps:
                value = _step(model, config, network, optimizer, groups, empty, step)
                step += 1
                if not math.isfinite(value):
                    raise InvalidInput(f"The loss is no number after {step} steps; a lower rate may help.",
                                       field="rate")
                if time.monotonic() - saved > 60 * config.save_minutes:
                    saved = time.monotonic()
                    _keep(state, network, optimizer, step, digest)
                told(Progress(step, config.steps, value))
        except BaseException:
            if all(bool(one.isfinite().all()) for one in network.parameters()):
                _keep(state, network, optimizer, step, digest)
            raise
    return in_halves(network.tensors())


def _learned(model: DiffusionModel, config: TrainingConfig, found: Sequence[Example], side: int,
             stage: Callable[[str], None]) -> tuple[list[Learned], Conditioning]:
    """All pictures as latents with their words, mirrored ones too if wanted; and no words."""
    step = min(STEP, max(model.latent.cell * 2 ** (len(model.unet.down_blocks) - 1), side // 8))  # type: ignore[arg-type]
    how = TextOptions(clip_skip=config.clip_skip)
    made: list[Learned] = []
    for number, example in enumerate(found, start=1):
        stage(f"Reading picture {number} of {len(found)}")
        image = open_picture(example.path)
        size = bucket(image.size, side, step)
        part = cut(image, size)
        pixels = torch.from_numpy(np.asarray(part.image, np.float32)).permute(2, 0, 1)[None] / 127.5 - 1
        sizes = SizeIds(part.original, part.crop, size)
        cond = model.encode_prompts([example.caption], replace(how, sizes=sizes))[0]
        for turned in (pixels, pixels.flip(-1))[: 1 + config.flip]:
            with torch.no_grad():
                made.append(Learned(model.encode_image(turned.to(model.device))[0], cond, example.repeats))
    return made, model.encode_prompts([""], how)[0]


def _groups(pictures: Sequence[Learned]) -> list[list[Learned]]:
    """Those of one size together: a batch is of one size."""
    groups: dict[torch.Size, list[Learned]] = {}
    for one in pictures:
        groups.setdefault(one.latent.shape, []).append(one)
    return list(groups.values())


def _step(model: DiffusionModel, config: TrainingConfig, network: nn.Module, optimizer: torch.optim.Optimizer,
          groups: Sequence[Sequence[Learned]], empty: Conditioning, step: int) -> float:
    seed = hashlib.sha256(f"{config.seed}/{step}".encode()).digest()[:7]
    chance = torch.Generator().manual_seed(int.from_bytes(seed))
    group = groups[_drawn([sum(one.repeats for one in group) for group in groups], 1, chance)[0]]
    batch = [group[i] for i in _drawn([one.repeats for one in group], config.batch, chance)]
    unsaid = torch.rand(len(batch), generator=chance) < config.dropout
    cond = stack([replace(empty, vector=one.cond.vector) if bool(silent) else one.cond
                  for one, silent in zip(batch, unsaid, strict=True)])
    latents = torch.stack([one.latent for one in batch])
    lesson = draw_lesson(latents.shape, chance, config.noise_offset)
    for group_of_rate in optimizer.param_groups:
        group_of_rate["lr"] = config.rate * _rate(config, step)
    with torch.autocast(model.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
        loss = loss_of(model.network.answers, latents, cond, lesson, model.levels, model.prediction, config.min_snr)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
    return float(loss.detach())


def _drawn(weights: Sequence[float], count: int, chance: torch.Generator) -> list[int]:
    found: list[int] = torch.multinomial(torch.tensor(weights, dtype=torch.float), count, replacement=True,
                                         generator=chance).tolist()
    return found


def _rate(config: TrainingConfig, step: int) -> float:
    """The part of the rate at a step: a warm-up, then constant, or a cosine to zero at the end."""
    rising = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
    falling = 0.5 * (1 + math.cos(math.pi * step / config.steps)) if config.schedule == "cosine" else 1.0
    return rising * falling


# the state of a training

def write(path: Path, content: bytes) -> None:
    """`content` whole at `path`, or nothing. Raises CannotSave."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
    except OSError as error:
        raise CannotSave(f"{path} cannot be written: {error.strerror or error}.") from error


def _digest(config: TrainingConfig, found: Sequence[Example]) -> str:
    """What has to be equal for a training to go on: all settings but when it is saved, the pictures and their words."""
    settings = asdict(replace(config, save_minutes=1.0))
    pictures = [(example.path.name, example.caption, example.repeats) for example in found]
    return hashlib.sha256(json.dumps([settings, pictures]).encode()).hexdigest()


def _keep(path: Path, network: nn.Module, optimizer: torch.optim.Optimizer, step: int, digest: str) -> None:
    tensors = {f"weights.{name}": value for name, value in network.state_dict().items()}
    for number, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"moments.{number}.{name}": value for name, value in moments.items()}
    write(path, save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
                     {"step": str(step), "digest": digest}))


def _resumed(path: Path, network: nn.Module, optimizer: torch.optim.Optimizer, digest: str) -> int:
    """The step at which the training goes on; 0 without a state. Raises InvalidInput, CheckpointError."""
    if not path.exists():
        return 0
    with read_tensors(path) as file:
        if file.metadata.get("digest") != digest:
            raise InvalidInput(f"{path.name} is the state of a training with other settings or pictures: give this one "
                               f"another name, or delete {path}.", field="name")
        try:
            network.load_state_dict({name.removeprefix("weights."): file.tensor(name) for name in file.shapes
                                     if name.startswith("weights.")})
            moments: dict[int, dict[str, Tensor]] = {}
            for name in file.shapes:
                if name.startswith("moments."):
                    _, number, kind = name.split(".")
                    moments.setdefault(int(number), {})[kind] = file.tensor(name)
            optimizer.load_state_dict(optimizer.state_dict() | {"state": moments})
            return int(file.metadata["step"])
        except (RuntimeError, ValueError, KeyError) as error:
            raise CheckpointError(f"{path.name}, the state of this training, is damaged: delete it to begin "
                                  "anew.") from error
