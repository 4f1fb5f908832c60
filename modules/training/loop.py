"""Trains: reads the pictures once, then learns step by step, keeps its state, and returns what was learned.

All that is random in a step is drawn from the seed and the step's number, so a training that goes on after a stop is
the one that was never stopped, to the bit on one machine.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from modules.errors import InvalidInput
from modules.networks.model import DiffusionModel
from modules.sampling.conditioning import Conditioning, stack
from modules.sampling.types import Inputs
from modules.training import state as states
from modules.training.config import EMBEDDING, TrainingConfig
from modules.training.dataset import Example
from modules.training.holes import random_hole
from modules.training.invented_word import InventedWord
from modules.training.lesson import Lesson, draw_lesson, loss_of
from modules.training.low_rank import LowRankNetwork, in_halves
from modules.training.optimizers import optimizer_for, set_rates
from modules.training.pictures import Learned, Words, by_size, read_pictures, shares, words_stay
from modules.training.recomputing import recomputed
from modules.training.samples import draw_samples

ASKED = 4
"""Noise levels at which a picture is asked in a validation."""
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Progress:
    """After a step: its number from 1, of how many, and the mean loss of its batches. `validation` is the loss of the
    pictures that are not learned, `samples` are pictures for the prompts, where it was time for them."""

    step: int
    steps: int
    loss: float
    validation: float | None = None
    samples: tuple[Image.Image, ...] = ()


@dataclass(frozen=True)
class Trained:
    """What was learned, under the names that its file has; and whether the last step was taken."""

    tensors: dict[str, Tensor]
    finished: bool


def train(model: DiffusionModel, config: TrainingConfig, found: Sequence[Example], *, size: int, state: Path,
          told: Callable[[Progress], object] = lambda progress: None,
          stage: Callable[[str], None] = lambda text: None, spends: bool = False) -> Trained:
    """Learns from the pictures `found`. `size`: that of the pictures, where the settings have none.

    `told` is called after each step; False ends the training there. The state is kept at the end, and when `told`
    raises; a training of the same settings goes on at `state`. With a validation the best of what was learned is
    returned, else the last. With `spends` the networks that are not needed any more are let go for their memory, and
    the model cannot be used afterwards.

    Raises InvalidInput: nothing to learn from, a model that cannot be trained, a state of other settings;
    CheckpointError; CannotSave.
    """
    check_kind(model.name, model.inputs, model.unet)
    training = Training(model, replace(config, size=config.size or size), _named(config, found))
    digest = states.digest_of(config, found)
    kept = states.read_state(state, digest)
    if kept:
        try:
            training.resume(*kept)
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise states.damaged(state) from error
    training.read_pictures(stage)
    if spends:
        training.let_go()
    saved = time.monotonic()
    stage("Training")
    going = True
    with training.attached():
        try:
            while training.step < config.steps and going:
                loss = training.learn()
                if not math.isfinite(loss):
                    raise InvalidInput(f"The loss is no number after {training.step} steps; a lower rate may help.",
                                       field="rate")
                validation = training.validate() if training.is_time_to_validate() else None
                samples = tuple(training.samples()) if training.is_time_for_samples() else ()
                if time.monotonic() - saved > 60 * config.save_minutes:
                    saved = time.monotonic()
                    states.keep(state, *training.kept(), digest)
                going = told(Progress(training.step, config.steps, loss, validation, samples)) is not False
            states.keep(state, *training.kept(), digest)
        except BaseException:
            if training.is_sound():
                states.keep(state, *training.kept(), digest)
            raise
    return Trained(training.tensors(), training.step >= config.steps)


def check_kind(name: str, inputs: Inputs, unet: nn.Module) -> None:
    """Raise InvalidInput for a checkpoint of a kind that is not trained."""
    if inputs.name not in ("plain", "inpaint") or not hasattr(unet, "down_blocks"):
        raise InvalidInput(f"{name} cannot be trained: only UNets of Stable Diffusion 1, 2 and XL that draw or inpaint "
                           "can.", field="checkpoint")


def let_go(config: TrainingConfig, inputs: Inputs, parts: Iterable[str]) -> list[str]:
    """Those of a model's parts, by name, that no step needs once the pictures are read: the autoencoder, and the text
    encoders where words keep their meaning."""
    if config.samples or inputs.name != "plain":
        return []
    return [name for name in parts if name != "unet" and (name == "vae" or words_stay(config))]


def _named(config: TrainingConfig, found: Sequence[Example]) -> list[Example]:
    """The pictures of an embedding, whose captions have its word."""
    if config.kind != EMBEDDING:
        return list(found)
    return [one if config.name in one.caption or one.regular else
            replace(one, trigger=", ".join(word for word in (config.name, one.trigger) if word)) for one in found]


class Training:
    """A model, what it learns, and how far it is. `step` steps are done."""

    def __init__(self, model: DiffusionModel, config: TrainingConfig, found: Sequence[Example]) -> None:
        self.model, self.config, self.step = model, config, 0
        self._found, self._held = _apart(found, config)
        self._words = Words(model, config)
        for part in model.parts.values():
            part.requires_grad_(False)
        self._learner: LowRankNetwork | InventedWord
        of_texts: list[nn.Parameter] = []
        if config.kind == EMBEDDING:
            self._learner = InventedWord(model, config.name, config.vectors, config.initial).to(model.device)
            parameters = list(self._learner.parameters())
        else:
            self._learner = LowRankNetwork(
                model.parts, model.layers, kind=config.kind, rank=config.rank, alpha=config.alpha,
                convolutions=config.layers == "all", seed=config.seed, texts=config.text_rate > 0,
                blocks=[name for part in config.blocks.split(",") if (name := part.strip())]).to(model.device)
            parameters = self._learner.parameters_of(texts=False)
            of_texts = self._learner.parameters_of(texts=True)
        self._optimizer = optimizer_for(config, parameters, of_texts)
        self._scaler = torch.amp.GradScaler(model.device.type, enabled=config.precision == "fp16")
        self._average = self._snapshot() if config.ema else {}
        self._best: dict[str, Tensor] = {}
        self._best_loss = math.inf
        self._groups: list[list[Learned]] = []
        self._weights: dict[Example, float] = {}
        self._asked: list[Learned] = []

    def read_pictures(self, stage: Callable[[str], None]) -> None:
        """Reads them all. Raises InvalidInput, and what `stage` raises."""
        pictures = read_pictures(self.model, self.config, self._found, self.config.size, stage)
        self._groups, self._weights = by_size(pictures), shares(pictures)
        self._asked = read_pictures(self.model, replace(self.config, flip=False), self._held, self.config.size, stage)

    def let_go(self) -> None:
        """Gives back the memory of the networks that no step needs, for good."""
        if self._words.stay:
            for one in (*(one for group in self._groups for one in group), *self._asked):
                for text in ("", one.example.caption):
                    self._words.read(text, one.sizes)
        for name in let_go(self.config, self.model.inputs, self.model.parts):
            self.model.parts[name].to("meta")

    @contextlib.contextmanager
    def attached(self) -> Iterator[None]:
        """While this lasts the model computes with what is learned."""
        with self._learner.attached():
            again = self.config.checkpointing and self.config.kind != EMBEDDING
            with recomputed(self.model.unet) if again else contextlib.nullcontext():
                yield

    def learn(self) -> float:
        """One step: the mean loss of its batches."""
        config, total = self.config, 0.0
        set_rates(self._optimizer, config, self.step)
        self._optimizer.zero_grad(set_to_none=True)
        for part in range(config.accumulate):
            batch, chance = self.drawn(part)
            with self._half():
                cond = stack([self._words.of(one, chance) for one in batch])
                loss = self._loss(batch, cond, chance) / config.accumulate
            self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        self._scaler.unscale_(self._optimizer)
        nn.utils.clip_grad_norm_(self._learner.parameters(), 1.0)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self.step += 1
        decay, now = min(config.ema, (1 + self.step) / (10 + self.step)), self._learner.state_dict()
        for name, value in self._average.items():
            value.lerp_(now[name], 1 - decay)
        return total

    def drawn(self, part: int) -> tuple[list[Learned], torch.Generator]:
        """The pictures of a batch of the next step, and what all else that is random in it is drawn from."""
        config = self.config
        seed = hashlib.sha256(f"{config.seed}/{self.step * config.accumulate + part}".encode()).digest()[:7]
        chance = torch.Generator().manual_seed(int.from_bytes(seed))
        group = self._groups[_drawn([sum(map(self._weight, group)) for group in self._groups], 1, chance)[0]]
        return [group[at] for at in _drawn([self._weight(one) for one in group], config.batch, chance)], chance

    def is_time_to_validate(self) -> bool:
        """Whether the pictures that are not learned are to be asked after this step."""
        return bool(self._held) and (self.step % self.config.validate_every == 0 or self.step == self.config.steps)

    @torch.no_grad()
    def validate(self) -> float:
        """The mean loss of the pictures that are not learned, always at the same noise. The best is kept."""
        losses = []
        with self._averaged(), self._half():
            for number, one in enumerate(self._asked):
                chance = torch.Generator().manual_seed(number)
                cond = stack([self._words.read(one.example.caption, one.sizes)] * ASKED)
                losses.append(float(self._loss([one] * ASKED, cond, chance)))
            loss = sum(losses) / len(losses)
            if loss < self._best_loss:
                self._best, self._best_loss = self._snapshot(), loss
        return loss

    def is_time_for_samples(self) -> bool:
        """Whether sample pictures are to be drawn after this step."""
        every = self.config.sample_every
        return bool(self.config.samples) and (self.step == self.config.steps or bool(every and self.step % every == 0))

    def samples(self) -> list[Image.Image]:
        """A picture for each prompt, by what is learned now."""
        config = self.config
        with self._averaged(), self._half():
            return draw_samples(self.model, config.samples, size=config.size, scale=config.sample_scale,
                                clip_skip=config.clip_skip, seed=config.seed)

    def is_sound(self) -> bool:
        """Whether all that is learned is finite."""
        return all(bool(one.isfinite().all()) for one in self._learner.parameters())

    def tensors(self) -> dict[str, Tensor]:
        """What is learned, under the names that its file has: the best where there is a validation, else the last."""
        with self._with(self._best or self._average):
            tensors = self._learner.tensors()
        return tensors if self.config.kind == EMBEDDING else in_halves(tensors)

    def kept(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that a training needs to go on, as tensors and facts."""
        tensors = {f"{kind}.{name}": value for kind, values in
                   (("weights", self._learner.state_dict()), ("average", self._average), ("best", self._best))
                   for name, value in values.items()}
        numbers: dict[str, dict[str, Any]] = {}
        for place, moments in self._optimizer.state_dict()["state"].items():
            for name, value in moments.items():
                if isinstance(value, Tensor):
                    tensors[f"moments.{place}.{name}"] = value
                else:
                    numbers.setdefault(str(place), {})[name] = value
        groups = [{name: value for name, value in group.items() if isinstance(value, int | float)}
                  for group in self._optimizer.param_groups]
        return tensors, {"step": self.step, "best": self._best_loss if self._best else None, "numbers": numbers,
                         "groups": groups, "scaler": self._scaler.state_dict()}

    def resume(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Go on where `kept` was. Raises RuntimeError, ValueError, KeyError, TypeError for what does not fit."""
        def of(kind: str) -> dict[str, Tensor]:
            return {name.removeprefix(f"{kind}."): value.to(self.model.device) for name, value in tensors.items()
                    if name.startswith(f"{kind}.")}

        self._learner.load_state_dict(of("weights"))
        self._average, self._best = of("average"), of("best")
        self._best_loss = math.inf if facts["best"] is None else facts["best"]
        moments: dict[int, dict[str, Any]] = {int(place): dict(values) for place, values in facts["numbers"].items()}
        for name, value in of("moments").items():
            place, kind = name.split(".")
            moments.setdefault(int(place), {})[kind] = value
        now = self._optimizer.state_dict()
        groups = [group | kept for group, kept in zip(now["param_groups"], facts["groups"], strict=True)]
        self._optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self._scaler.load_state_dict(facts["scaler"])
        self.step = int(facts["step"])

    def _loss(self, batch: Sequence[Learned], cond: Conditioning, chance: torch.Generator) -> Tensor:
        config, model = self.config, self.model
        latents = torch.stack([one.latent for one in batch])
        lesson: Lesson = draw_lesson(latents.shape, chance, config.noise_offset)
        mask = None
        if any(one.mask is not None for one in batch):
            mask = torch.stack([torch.ones_like(one.latent[:1]) if one.mask is None else one.mask for one in batch])
        weights = torch.tensor([config.prior if one.example.regular else 1.0 for one in batch])
        beside = self._beside(batch, chance)

        def answer(x: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
            return model.network.answers(x if beside is None else torch.cat([x, beside], dim=1), t, cond)

        return loss_of(answer, latents, cond, lesson, model.levels, model.prediction, config.min_snr, mask=mask,
                       weights=weights)

    def _beside(self, batch: Sequence[Learned], chance: torch.Generator) -> Tensor | None:
        """What an inpainting network reads beside x: the pictures with random holes."""
        rows = []
        for one in batch:
            if one.pixels is not None:
                hole = random_hole((one.pixels.shape[3], one.pixels.shape[2]), chance)
                rows.append(self.model.inputs.beside(self.model, one.pixels, hole, 1.0))
        return torch.cat([row for row in rows if row is not None]) if rows else None

    def _weight(self, one: Learned) -> float:
        return self._weights[one.example]

    def _half(self) -> torch.autocast:
        precision = TYPES[self.config.precision]
        return torch.autocast(self.model.device.type, precision, enabled=precision != torch.float32)

    def _snapshot(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self._learner.state_dict().items()}

    def _averaged(self) -> contextlib.AbstractContextManager[None]:
        return self._with(self._average)

    @contextlib.contextmanager
    def _with(self, weights: Mapping[str, Tensor]) -> Iterator[None]:
        """While this lasts the learned weights are others, if there are any."""
        if not weights:
            yield
            return
        own = self._snapshot()
        self._learner.load_state_dict(dict(weights))
        try:
            yield
        finally:
            self._learner.load_state_dict(own)


def _apart(found: Sequence[Example], config: TrainingConfig) -> tuple[list[Example], list[Example]]:
    """The pictures that are learned, and those that are only asked. Raises InvalidInput where none is left."""
    new = [one for one in found if not one.regular]
    if not config.validation:
        return list(found), []
    if len(new) < 2:
        raise InvalidInput("A validation needs two pictures at least.", field="validation")
    order = torch.randperm(len(new), generator=torch.Generator().manual_seed(config.seed)).tolist()
    held = [new[at] for at in order[: min(len(new) - 1, max(1, round(config.validation * len(new))))]]
    return [one for one in found if one not in held], held


def _drawn(weights: Sequence[float], count: int, chance: torch.Generator) -> list[int]:
    found: list[int] = torch.multinomial(torch.tensor(weights, dtype=torch.float), count, replacement=True,
                                         generator=chance).tolist()
    return found
