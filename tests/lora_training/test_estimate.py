"""The bytes that an estimate counts are those that are there."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from networks.loading import load
from torch import nn

from modules.networks.families.sd1 import SD1
from modules.networks.model import DiffusionModel
from modules.sampling.conditioning import Conditioning
from modules.training.config import TrainingConfig
from modules.training.estimate import TOKENS, LiveBytes, _step
from modules.training.low_rank import LowRankNetwork
from modules.training.recomputing import recomputed


def test_live_bytes_are_those_of_tensors_that_are_not_given_back() -> None:
    weight = torch.zeros(1000)
    with LiveBytes([weight]) as live:
        first = weight * 2  # 4000 bytes
        second = first + 1  # 8000
        seen = second.view(10, 100)[:5]  # no more
        del first  # 4000
        third = weight.t() + 1  # 8000; the known one does not count
        del second, third  # 4000: a view of the second is left
        fourth = torch.cat([seen.flatten(), weight])  # 10000
        del seen, fourth
    assert live.most == 10_000


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_step_on_tensors_without_numbers_takes_what_a_real_one_takes(checkpointing: bool, tiny: Path) -> None:
    model, shape = load(tiny, packs=False), (2, 4, 32, 32)
    unet = model.unet
    unet.requires_grad_(False)

    def network(model: DiffusionModel) -> LowRankNetwork:
        return LowRankNetwork(model.parts, model.layers, kind="lora", rank=2, alpha=2.0, convolutions=False, seed=0,
                              texts=False, blocks=[])

    learned = network(model)
    words = Conditioning(torch.randn(2, TOKENS, unet.config.cross_attention_dim))  # type: ignore[union-attr, arg-type]
    known: list[nn.Parameter] = [*unet.parameters(), *learned.parameters()]
    with learned.attached(), recomputed(unet) if checkpointing else nullcontext(), LiveBytes(known) as live:
        model.network.answers(torch.randn(shape), torch.tensor([1.0, 500.0]), words).square().mean().backward()
    other = load(tiny, packs=False)
    with torch.device("meta"):
        without_numbers = network(other)
    config = TrainingConfig("tiny", "robot", checkpointing=checkpointing)
    assert _step(other.unet, without_numbers, config, shape, SD1.ask) == pytest.approx(live.most, rel=0.1)
