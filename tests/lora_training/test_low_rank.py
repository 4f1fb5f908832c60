"""Gradients of our low-rank differences against PEFT's over diffusers' own UNet, and the file against what was
trained."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from networks.loading import load, said
from peft import LoHaConfig, LoraConfig, inject_adapter_in_model
from safetensors.torch import save_file

from modules.networks.model import DiffusionModel
from modules.networks.patches.lora import Lora, read_lora
from modules.networks.patches.patches import NOTHING, Patches
from modules.networks.text.clip_tokenizer import END
from modules.sampling.conditioning import TextOptions, stack
from modules.sampling.levels import EPSILON, FLOW, V_PREDICTION, Level
from modules.training.lesson import Lesson, draw_lesson, loss_of
from modules.training.low_rank import LowRankNetwork
from modules.training.recomputing import recomputed

RANK, ALPHA = 3, 6.0


@pytest.fixture(scope="module")
def model(tiny: Path) -> DiffusionModel:
    model = load(tiny, packs=False)
    for part in model.parts.values():
        part.requires_grad_(False)
    return model


def network(model: DiffusionModel, *, convolutions: bool, kind: str = "lora") -> LowRankNetwork:
    """One that has learned something: nothing in it is zero."""
    made = LowRankNetwork(model.parts, model.layers, kind=kind, rank=RANK, alpha=ALPHA, convolutions=convolutions,
                          seed=4)
    chance = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            drawn = 0.1 * torch.randn(parameter.shape, generator=chance)
            parameter.copy_(parameter * (1 + drawn) if name.endswith("magnitude") else drawn)
    return made


def batch(model: DiffusionModel) -> tuple[torch.Tensor, Any, Lesson]:
    latents = torch.randn(2, 4, 8, 16, generator=torch.Generator().manual_seed(6))
    cond = stack(model.encode_prompts(["a lighthouse", "rain"], TextOptions()))
    return latents, cond, draw_lesson(latents.shape, torch.Generator().manual_seed(7), 0.1)


OTHERS: dict[str, tuple[Any, dict[str, str]]] = {
    "lora": (LoraConfig(r=RANK, lora_alpha=ALPHA), {"down.weight": "lora_A", "up.weight": "lora_B"}),
    "dora": (LoraConfig(r=RANK, lora_alpha=ALPHA, use_dora=True),
             {"down.weight": "lora_A", "up.weight": "lora_B", "magnitude": "lora_magnitude_vector"}),
    "loha": (LoHaConfig(r=RANK, alpha=ALPHA),
             {name: f"hada_{name}" for name in ("w1_a", "w1_b", "w2_a", "w2_b")})}
"""PEFT's settings for each kind, and its names for what is trained."""


def twin(kind: str, theirs: torch.nn.Module, paths: list[str], differences: Any) -> list[tuple[str, Any, Any]]:
    """Puts PEFT's layers of a kind on `theirs`, with our numbers in them: their names, our parameters and PEFT's."""
    how, names = OTHERS[kind]
    theirs.requires_grad_(False)
    there = [name for name, _ in theirs.named_modules() if name in paths]
    assert len(there) == len(paths)
    inject_adapter_in_model(replace(how, target_modules=there), theirs)
    pairs = []
    for path, difference in zip(paths, differences, strict=True):
        for own, name in names.items():
            parameter, other = difference.get_parameter(own), getattr(theirs.get_submodule(path), name)["default"]
            other = getattr(other, "weight", other)
            other.data.copy_(parameter.data.view(other.shape))
            pairs.append((f"{path} {own}", parameter, other))
    return pairs


def assert_same_gradients(pairs: list[tuple[str, Any, Any]]) -> None:
    whole = [torch.cat([pair[n].grad.flatten() for pair in pairs]) for n in (1, 2)]
    size = float(whole[1].norm())
    assert float((whole[0] - whole[1]).norm()) <= 1e-5 * size
    for name, own, other in pairs:
        difference = float((own.grad - other.grad.view(own.shape)).norm())
        assert difference <= 1e-4 * float(other.grad.norm()) + 2e-6 * size, name  # a norm behind a layer cancels much


@pytest.mark.parametrize("convolutions", [False, True])
@pytest.mark.parametrize("kind", OTHERS)
def test_gradients_are_those_of_peft(model: DiffusionModel, kind: str, convolutions: bool) -> None:
    ours = network(model, convolutions=convolutions, kind=kind)
    latents, cond, lesson = batch(model)
    theirs: Any = UNet2DConditionModel.from_config(model.unet.config)
    theirs.load_state_dict(model.unet.state_dict())
    pairs = twin(kind, theirs, ours.paths, ours.differences)
    with ours.attached(), recomputed(model.unet):
        loss = loss_of(model.network.answers, latents, cond, lesson, model.levels, model.prediction, 0.0)
        loss.backward()
    signal = model.levels.alphas_cumprod[lesson.times].sqrt()[:, None, None, None]
    x = signal * latents + (1 - signal**2).sqrt() * lesson.noise
    out = theirs(x, lesson.times, cond.tokens, return_dict=False)[0]
    expected = torch.nn.functional.mse_loss(out, lesson.noise)
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert_same_gradients(pairs)


def test_gradients_of_the_text_encoder_are_those_of_peft(model: DiffusionModel) -> None:
    ours = LowRankNetwork(model.parts, model.layers, rank=RANK, alpha=ALPHA, convolutions=False, seed=4, texts=True)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(5)))
    trained = ours.parameters_of(texts=True)
    (part,) = [name for name in model.layers.prefixes if name != "unet"]
    theirs: Any = copy.deepcopy(model.parts[part])
    own = [(path, one) for path, one in zip(ours.paths, ours.differences, strict=True)
           if next(one.parameters()) in set(trained)]
    pairs = twin("lora", theirs, [path for path, _ in own], [one for _, one in own])
    with ours.attached():
        told = model.read_prompts(["a lighthouse"], TextOptions())
        told.tokens.square().sum().backward()
    tokens = torch.tensor([model.text.columns(["a lighthouse"], TextOptions())[0][0].padded(END)[0]])  # type: ignore[attr-defined]
    expected = theirs(input_ids=tokens).last_hidden_state
    torch.testing.assert_close(told.tokens, expected)
    expected.square().sum().backward()
    assert_same_gradients(pairs)
    assert not any(value.requires_grad for value in model.encode_prompts(["a lighthouse"], TextOptions())[0].tokens)


@pytest.mark.parametrize("kind", OTHERS)
def test_the_file_makes_the_pictures_that_were_trained(model: DiffusionModel, kind: str, tmp_path: Path) -> None:
    trained = network(model, convolutions=True, kind=kind)
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


@pytest.mark.parametrize("kind", OTHERS)
def test_a_fresh_one_changes_nothing(model: DiffusionModel, kind: str) -> None:
    fresh = LowRankNetwork(model.parts, model.layers, kind=kind, rank=RANK, alpha=ALPHA, convolutions=True, seed=4)
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


def test_only_what_the_mask_shows_counts_and_as_much_as_its_weight(model: DiffusionModel) -> None:
    latents, mask = torch.zeros(2, 4, 8, 8), torch.zeros(2, 1, 8, 8)
    lesson = Lesson(torch.tensor([500, 500]), torch.zeros(2, 4, 8, 8))
    mask[:, :, :4] = 1

    def answer(x: torch.Tensor, t: torch.Tensor, cond: object) -> torch.Tensor:
        out = torch.full_like(x, 3.0)
        out[:, :, :4] = torch.tensor([1.0, 2.0])[:, None, None, None]
        return out

    def loss(**more: Any) -> float:
        return float(loss_of(answer, latents, None, lesson, model.levels, EPSILON, 0.0, **more))  # type: ignore[arg-type]

    assert loss() == pytest.approx(((1 + 9) / 2 + (4 + 9) / 2) / 2)
    assert loss(mask=mask) == pytest.approx((1 + 4) / 2)
    assert loss(mask=mask, weights=torch.tensor([1.0, 0.5])) == pytest.approx((1 + 2) / 2)
