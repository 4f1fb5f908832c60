"""Gradients of our low-rank differences against PEFT's over diffusers' own UNet, and the file against what was
trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from networks.loading import load, said
from peft import LoraConfig, inject_adapter_in_model
from safetensors.torch import save_file

from modules.networks.model import DiffusionModel
from modules.networks.patches.lora import Lora, read_lora
from modules.networks.patches.patches import NOTHING, Patches
from modules.sampling.conditioning import TextOptions, stack
from modules.sampling.levels import EPSILON, FLOW, V_PREDICTION, Level
from modules.training.lesson import Lesson, draw_lesson, loss_of
from modules.training.low_rank import LowRankNetwork

RANK, ALPHA = 3, 6.0


@pytest.fixture(scope="module")
def model(tiny: Path) -> DiffusionModel:
    model = load(tiny, packs=False)
    for part in model.parts.values():
        part.requires_grad_(False)
    return model


def network(model: DiffusionModel, *, convolutions: bool) -> LowRankNetwork:
    """One that has learned something: nothing in it is zero."""
    made = LowRankNetwork(model.unet, model.layers, rank=RANK, alpha=ALPHA, convolutions=convolutions, seed=4)
    chance = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=chance))
    return made


def batch(model: DiffusionModel) -> tuple[torch.Tensor, Any, Lesson]:
    latents = torch.randn(2, 4, 8, 16, generator=torch.Generator().manual_seed(6))
    cond = stack(model.encode_prompts(["a lighthouse", "rain"], TextOptions()))
    return latents, cond, draw_lesson(latents.shape, torch.Generator().manual_seed(7), 0.1)


@pytest.mark.parametrize("convolutions", [False, True])
def test_gradients_are_those_of_peft(model: DiffusionModel, convolutions: bool) -> None:
    ours = network(model, convolutions=convolutions)
    latents, cond, lesson = batch(model)
    with ours.attached():
        loss = loss_of(model.network.answers, latents, cond, lesson, model.levels, model.prediction, 0.0)
        loss.backward()

    theirs: Any = UNet2DConditionModel.from_config(model.unet.config)
    theirs.load_state_dict(model.unet.state_dict())
    theirs.requires_grad_(False)
    paths = [name for name, _ in theirs.named_modules() if name in ours.paths]
    assert len(paths) == len(ours.paths)
    inject_adapter_in_model(LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=paths, lora_dropout=0.0), theirs)
    pairs = []
    for path, difference in zip(ours.paths, ours.differences, strict=True):
        layer = theirs.get_submodule(path)
        for kind, own in (("lora_A", difference.down), ("lora_B", difference.up)):
            weight = getattr(layer, kind)["default"].weight
            weight.data.copy_(own.weight.data)
            pairs.append((f"{path} {kind}", own.weight, weight))
    signal = model.levels.alphas_cumprod[lesson.times].sqrt()[:, None, None, None]
    x = signal * latents + (1 - signal**2).sqrt() * lesson.noise
    out = theirs(x, lesson.times, cond.tokens, return_dict=False)[0]
    expected = torch.nn.functional.mse_loss(out, lesson.noise)
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    for name, own, other in pairs:
        assert float((own.grad - other.grad).norm()) <= 1e-4 * float(other.grad.norm()), name
    whole = [torch.cat([pair[n].grad.flatten() for pair in pairs]) for n in (1, 2)]
    assert float((whole[0] - whole[1]).norm()) <= 1e-5 * float(whole[1].norm())


def test_the_file_makes_the_pictures_that_were_trained(model: DiffusionModel, tmp_path: Path) -> None:
    trained = network(model, convolutions=True)
    save_file(trained.tensors(), tmp_path / "x.safetensors")
    x, cond = torch.randn(1, 4, 8, 16, generator=torch.Generator().manual_seed(8)), said(model, "a lighthouse")
    level = Level(500, 0.5, 0.5)
    with trained.attached():
        expected = model.predict(x, level, cond)
    plain = model.predict(x, level, cond)
    assert model.put_on(Patches(loras=(Lora(read_lora(tmp_path / "x.safetensors", "x")),))) == ()
    torch.testing.assert_close(model.predict(x, level, cond), expected, rtol=1e-4, atol=1e-5)
    assert float((expected - plain).abs().max()) > 1e-3
    model.put_on(NOTHING)


def test_a_fresh_one_changes_nothing(model: DiffusionModel) -> None:
    fresh = LowRankNetwork(model.unet, model.layers, rank=RANK, alpha=ALPHA, convolutions=True, seed=4)
    x, cond = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(8)), said(model, "a lighthouse")
    plain = model.predict(x, Level(500, 0.5, 0.5), cond)
    with fresh.attached():
        torch.testing.assert_close(model.predict(x, Level(500, 0.5, 0.5), cond), plain)
    assert not any("forward" in vars(layer) for layer in model.unet.modules())


@pytest.mark.parametrize("prediction", [EPSILON, V_PREDICTION, FLOW], ids=lambda one: one.name)
def test_the_right_answer_has_no_loss(model: DiffusionModel, prediction: Any) -> None:
    """The answer that the prediction type itself turns into the clean latents and the noise."""
    latents, _, lesson = batch(model)

    def answer(x: torch.Tensor, t: torch.Tensor, cond: object) -> torch.Tensor:
        rows = []
        for row, (z, noise) in enumerate(zip(latents, lesson.noise, strict=True)):
            level = model.levels.at_t(int(lesson.times[row]))
            rows.append({"epsilon": noise, "v_prediction": level.signal * noise - level.noise * z,
                         "flow": noise - z}[prediction.name])
            if prediction is not FLOW:
                both = prediction.both(x[row], rows[-1], level)
                torch.testing.assert_close(both.eps, noise, rtol=1e-3, atol=1e-3)
        return torch.stack(rows)

    assert float(loss_of(answer, latents, None, lesson, model.levels, prediction, 5.0)) < 1e-10  # type: ignore[arg-type]


def test_min_snr_weighs_easy_levels_less(model: DiffusionModel) -> None:
    latents = torch.zeros(1, 4, 8, 8)
    for time, expected in ((0, 5.0 / float(1 / (1 / model.levels.alphas_cumprod[0] - 1))), (900, 1.0)):
        lesson = Lesson(torch.tensor([time]), torch.ones_like(latents))
        values = [float(loss_of(lambda x, t, cond: torch.zeros_like(x), latents, None, lesson, model.levels,  # type: ignore[arg-type]
                                EPSILON, gamma)) for gamma in (0.0, 5.0)]
        assert values[1] / values[0] == pytest.approx(expected, rel=1e-4)
