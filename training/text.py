"""The text encoder's own words, and its first lesson: what does a caption say?"""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

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
}


class Words:
    """CLIP's 49,408 tokens, of which our captions use a few hundred. While training, those have the rows 1, 2, ... and
    all others share row 0, which learns to mean nothing."""

    def __init__(self, merges: Path) -> None:
        self.tokenizer = Tokenizer(merges)
        rng = random.Random(5)
        used = {START, END}
        for _ in range(4000):
            scene = scenes.sample_scene(rng, None, 0.1, tuple(scenes.OBJECTS))
            for chinese in (False, True):
                used.update(self.tokenizer(scenes.caption(scene, rng, chinese)[1]))
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


def answers(scene: scenes.Scene, text: str) -> list[int]:
    """The numbers of what a caption says, in ANSWERS' order."""
    things = [*scene.things, (NONE, NONE)]
    said = scene.background if "背景" in text or "background" in text or scene.background in scenes.PLACES else NONE
    if scene.background in scenes.PLACES:
        phrases = (*scenes.PLACES[scene.background][0], scenes.PLACES[scene.background][1])
        said = scene.background if any(p in text for p in phrases) else NONE
    values = (*things[0], *things[1], said, scene.size, scene.position)
    return [choices.index(v) for choices, v in zip(ANSWERS.values(), values, strict=True)]


def train_text(worker: Worker, data: Path, folder: Path, sizes: Sizes, samples: int) -> None:
    torch.manual_seed(0)
    words = Words(data / "bpe.txt.gz")
    plan = Plan("text", samples, 32, 2e-3, warmup=50, average=0.99)
    rng = random.Random(f"text/{worker.rank}/{random.random()}")
    text = TextEncoder(replace(sizes, vocabulary=len(words)))
    heads = nn.ModuleList([nn.Linear(sizes.text_width, len(choices)) for choices in ANSWERS.values()])
    modules = nn.ModuleDict({"text": text, "heads": heads}).to(worker.device)

    def loss(step: int, done: float) -> Tensor:
        said = [scenes.caption(scenes.sample_scene(rng, False, 0.1, tuple(scenes.OBJECTS)), rng,
                               rng.random() < 0.3) for _ in range(plan.batch)]
        texts = [t for _, t in said]
        tokens = words(texts, rng)
        end = (tokens == words.rows[END]).int().argmax(dim=1)
        hidden = text(tokens.to(worker.device))
        at = torch.stack([end, (end + 4).clamp(max=76), (end + torch.randint(0, 60, end.shape)).clamp(max=76)], 1)
        picked = hidden[torch.arange(len(texts))[:, None], at].flatten(0, 1)
        truth = torch.tensor([answers(*s) for s in said]).repeat_interleave(3, 0).to(worker.device)
        return sum((F.cross_entropy(h(picked), truth[:, i]) for i, h in enumerate(heads)),
                   torch.zeros((), device=worker.device))

    train(plan, worker, [{"params": list(modules.parameters())}], modules, loss, folder)
