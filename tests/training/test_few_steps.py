"""The LoRA with which the default checkpoint draws in few steps: both walks, and that the program reads it."""

import sys
from pathlib import Path

import torch
from networks.loading import level, load, said
from torch import Tensor, nn
from torch.nn.functional import mse_loss

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "training"))

import few_steps  # noqa: E402
from evaluate import GUIDANCE, Checkpoint  # noqa: E402

from modules.networks.patches.lora import Lora, read_lora  # noqa: E402
from modules.networks.patches.patches import Patches  # noqa: E402

CHECKPOINT = ROOT / "models/Stable-diffusion/emoji-mini.safetensors"


def learned(pairs: nn.ModuleDict) -> None:
    """Gives the pairs something to add, as fp16 has it."""
    torch.manual_seed(1)
    with torch.no_grad():
        for pair in pairs.values():
            pair.up.weight.copy_((0.05 * torch.randn_like(pair.up.weight)).half())
            pair.down.weight.copy_(pair.down.weight.half())


@torch.no_grad()
def test_a_fresh_pair_changes_nothing(model: Checkpoint) -> None:
    student, pairs = few_steps.patched(model.unet)
    x, time, context = torch.randn(1, 4, 8, 8), torch.tensor([400]), model.words(["a red apple"])
    assert torch.equal(student(x, time, context), model.unet(x, time, context))
    assert not any(parameter.requires_grad for name, parameter in student.named_parameters() if ".pair." not in name)
    learned(pairs)
    assert not torch.equal(student(x, time, context), model.unet(x, time, context))


@torch.no_grad()
def test_the_program_reads_what_is_written(model: Checkpoint, tmp_path: Path) -> None:
    student, pairs = few_steps.patched(model.unet)
    learned(pairs)
    few_steps.write(pairs, model, 7, tmp_path / "few.safetensors")
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    expected = student(x, torch.tensor([400]), model.words(["a red apple"]))

    ours = load(CHECKPOINT)
    assert ours.put_on(Patches(loras=(Lora(read_lora(tmp_path / "few.safetensors", "few")),))) == ()
    found = ours.predict(x, level(400), said(ours, "a red apple"))
    assert mse_loss(found, expected) <= 1e-6 * expected.square().mean()


def test_both_walks_end_in_the_same_place_for_a_network_that_knows_the_noise() -> None:
    """Each way of the student is one of the teacher's PARTS, and the last one ends at the picture."""
    steps, chance = few_steps.Steps(torch.device("cpu")), torch.Generator().manual_seed(3)
    z, noise = (torch.randn(4, 4, 8, 8, generator=chance) for _ in range(2))
    at = torch.tensor([0, 1, 2, 3])
    times: list[Tensor] = []

    def knowing(x: Tensor, time: Tensor, context: Tensor) -> Tensor:
        times.append(time[:4])
        return noise.repeat(len(x) // 4, 1, 1, 1)

    now, after = (steps.level(250 * part - 1) for part in (at + 1, at))
    x = now.sqrt() * z + (1 - now).sqrt() * noise
    words = torch.zeros(4)
    for made in (steps.student(knowing, x, at, words), steps.teacher(knowing, x, at, words, words)):
        assert torch.allclose(made, after.sqrt() * z + (1 - after).sqrt() * noise, atol=1e-3)
    assert torch.stack(times).tolist()[:2] == [[249, 499, 749, 999]] * 2
    assert [int(time[3]) for time in times[1:]] == [999, 949, 899, 849, 799]
    assert torch.allclose(steps.student(knowing, x, at, words)[0], z[0], atol=1e-3)


def test_the_teacher_is_guided() -> None:
    steps = few_steps.Steps(torch.device("cpu"))

    def network(x: Tensor, time: Tensor, context: Tensor) -> Tensor:
        return context.view(-1, 1, 1, 1).expand_as(x)

    x, at = torch.randn(1, 4, 8, 8), torch.tensor([1])
    guided = steps.teacher(network, x, at, torch.tensor([2.0]), torch.tensor([1.0]))
    plain = steps.student(network, x, at, torch.tensor([1 + GUIDANCE]))
    assert torch.allclose(guided, plain, atol=1e-4)
