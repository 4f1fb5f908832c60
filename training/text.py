"""The text encoder's own words, and its first lesson: what does a caption say?"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import captions
import scenes
import torch
import torch.nn.functional as F
from loop import Plan, Worker, train
from model import Sizes, TextEncoder
from tokens import END, START, Tokenizer
from torch import Tensor, nn

NONE = "-"
ANSWERS: dict[str, tuple[str, ...]] = {
    "object": tuple(scenes.OBJECTS),
    "colour": tuple(scenes.COLOURS),
    "second": (NONE, *scenes.OBJECTS),
    "second_colour": (NONE, *scenes.COLOURS),
    "background": (NONE, *scenes.BACKGROUNDS),
    "size": tuple(scenes.SIZES),
    "position": tuple(scenes.POSITIONS),
    "time": tuple(scenes.TIMES),
    "style": tuple(scenes.STYLES),
}


def spoken(count: int = 6000) -> Iterator[str]:
    """Captions of so many scenes in both languages, always the same."""
    rng = random.Random(5)
    for _ in range(count):
        scene = scenes.sample_scene(rng, None)
        for chinese in (False, True):
            yield captions.caption(scene, rng, chinese)[1]


class Words:
    """CLIP's 49,408 tokens, of which captions use a few hundred. While training, those have the rows 1, 2, ... and all
    others share row 0, which learns to mean nothing."""

    def __init__(self, merges: Path, texts: Iterable[str] | None = None) -> None:
        """texts: all that will be said; captions of scenes if not given."""
        self.tokenizer = Tokenizer(merges)
        used = {START, END}
        for text in spoken() if texts is None else texts:
            used.update(self.tokenizer(text))
        self.used = sorted(used)
        self.rows = {token: i + 1 for i, token in enumerate(self.used)}

    def __len__(self) -> int:
        return len(self.used) + 1

    def __call__(self, texts: list[str], rng: random.Random | None = None) -> Tensor:
        """Rows (B, 77). With rng, now and then a strange word stands in front or behind."""
        out = []
        for text in texts:
            tokens = [self.rows.get(t, 0) for t in self.tokenizer(text)]
            if rng is not None and text and rng.random() < 0.1:
                tokens.insert(1 if rng.random() < 0.3 else min(tokens.index(self.rows[END]), 75), 0)
                tokens = [*tokens[:76], self.rows[END]]
            out.append(tokens)
        return torch.tensor(out)

    def expand(self, table: Tensor) -> Tensor:
        """The trained rows (len, D) -> CLIP's whole table (49408, D)."""
        whole = table[:1].repeat(49408, 1)
        whole[torch.tensor(self.used)] = table[1:]
        return whole

    def reduce(self, whole: Tensor) -> Tensor:
        """The inverse of `expand`; row 0 is that of any token which is not used."""
        used = set(self.used)
        strange = next(token for token in range(len(whole)) if token not in used)
        return whole[torch.tensor([strange, *self.used])].clone()


def answers(scene: scenes.Scene, said: captions.Said) -> list[int]:
    """The numbers of what a caption says, in ANSWERS' order."""
    things = [*scene.things, (NONE, NONE)]
    background = scene.background if said.background else NONE
    values = (*things[0], *things[1], background, scene.size, scene.position, scene.time, scene.style)
    return [choices.index(v) for choices, v in zip(ANSWERS.values(), values, strict=True)]


def train_text(worker: Worker, data: Path, folder: Path, sizes: Sizes, samples: int) -> None:
    torch.manual_seed(0)
    words = Words(data / "bpe.txt.gz")
    plan = Plan("text", batch=32, rate=2e-3, samples=samples, warmup=50, averages=(0.99,))
    rng = random.Random(f"text/{worker.rank}/{random.random()}")
    text = TextEncoder(replace(sizes, vocabulary=len(words)))
    heads = nn.ModuleList([nn.Linear(sizes.text_width, len(choices)) for choices in ANSWERS.values()])
    modules = nn.ModuleDict({"text": text, "heads": heads}).to(worker.device)

    def loss(step: int) -> tuple[Tensor, int]:
        heard = [captions.caption(scenes.sample_scene(rng, False, 0.35), rng, rng.random() < 0.3)
                 for _ in range(plan.batch)]
        texts = [text for _, text, _ in heard]
        tokens = words(texts, rng)
        end = (tokens == words.rows[END]).int().argmax(dim=1)
        hidden = text(tokens.to(worker.device))
        at = torch.stack([end, (end + 4).clamp(max=76), (end + torch.randint(0, 60, end.shape)).clamp(max=76)], 1)
        picked = hidden[torch.arange(len(texts))[:, None], at].flatten(0, 1)
        truth = torch.tensor([answers(scene, said) for scene, _, said in heard]).repeat_interleave(3, 0)
        truth = truth.to(worker.device)
        value = sum((F.cross_entropy(h(picked), truth[:, i]) for i, h in enumerate(heads)),
                    torch.zeros((), device=worker.device))
        return value, plan.batch

    train(plan, worker, [{"params": list(modules.parameters())}], modules, loss, folder)
