"""The ControlNet of the default checkpoint: what it begins as, that the program reads it, and how it is judged."""

import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from networks.loading import load, said

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "training"))

import control  # noqa: E402
import scenes  # noqa: E402
from evaluate import Checkpoint  # noqa: E402
from torch.nn.functional import mse_loss  # noqa: E402

from modules.networks.control.loading import Base, load_control  # noqa: E402

CHECKPOINT = ROOT / "models/Stable-diffusion/emoji-mini.safetensors"


def noisy() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Latents, a time and the edges of a square."""
    chance = torch.Generator().manual_seed(3)
    picture = np.zeros((64, 96, 3), np.uint8)
    picture[16:48, 24:72] = 255
    return torch.randn(1, 4, 8, 12, generator=chance), torch.tensor([400]), control.edges([picture])


@torch.no_grad()
def test_a_fresh_network_changes_nothing(model: Checkpoint) -> None:
    x, time, hint = noisy()
    context = model.words(["a red apple"])
    controlled = control.Controlled(model.unet, control.begin(model), hint)
    assert torch.equal(controlled(x, time, context), model.unet(x, time, context))


@torch.no_grad()
def test_the_program_reads_what_is_written(model: Checkpoint, tmp_path: Path) -> None:
    network = control.begin(model)
    torch.manual_seed(1)
    for parameter in network.parameters():
        if not parameter.any():
            parameter.copy_(0.1 * torch.randn_like(parameter))
    control.write(network, model, 7, tmp_path / "edges.safetensors")
    for parameter in network.parameters():
        parameter.copy_(parameter.half())
    x, time, hint = noisy()
    expected = network(x, time, model.words(["a red apple"]), hint)

    base = load(CHECKPOINT)
    ours = load_control(tmp_path / "edges.safetensors", Base(base.unet), device=base.device, dtype=torch.float32)
    found = ours(x, time, said(base, "a red apple"), ours.encode_hint(hint))
    for one, other in zip((*found.skips, found.middle), expected, strict=True):
        assert mse_loss(one, other) <= 1e-8 * other.square().mean()


@torch.no_grad()
def test_it_learns_to_follow(model: Checkpoint) -> None:
    """A few steps on one picture bring the answer nearer to the noise, through the network's own weights alone."""
    x, time, hint = noisy()
    context, noise = model.words([""]), torch.randn(1, 4, 8, 12, generator=torch.Generator().manual_seed(4))
    network = control.begin(model)
    for part in (model.unet, model.text):
        part.requires_grad_(False)
    controlled, optimizer = control.Controlled(model.unet, network, hint), torch.optim.Adam(network.parameters(), 1e-3)
    losses = []
    for _ in range(8):
        with torch.enable_grad():
            loss = mse_loss(controlled(x, time, context), noise)
            loss.backward()
        losses.append(float(loss))
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < 0.9 * losses[0]


def test_things_anywhere_are_whole_and_in_their_order() -> None:
    rng = random.Random(3)
    for _ in range(200):
        scene, places = control.anywhere(scenes.sample_scene(rng), rng)
        assert len(places) == len(scene.things)
        assert (scene.size, scene.position) == ("normal", "centre")
        assert all(scale / 2 <= part <= 1 - scale / 2 for scale, centre in places for part in centre)
        assert [x for _, (x, _) in places] == sorted(x for _, (x, _) in places)


def test_overlap_is_that_of_the_filled_things() -> None:
    def picture(left: int, hole: bool) -> np.ndarray:
        made = np.full((64, 64, 3), 240, np.uint8)
        made[20:40, left:left + 20] = (200, 30, 40)
        if hole:
            made[28:32, left + 8:left + 12] = 240
        return made

    drawn = [picture(20, hole=True)]
    for left, expected in ((20, 1.0), (30, 1 / 3), (60, 0.0)):
        made = torch.from_numpy(picture(left, hole=False)).permute(2, 0, 1)[None].float() / 127.5 - 1
        if left == 60:
            made = torch.full_like(made, 0.9)
        assert control.overlap(made, drawn) == pytest.approx(expected, abs=0.01)
