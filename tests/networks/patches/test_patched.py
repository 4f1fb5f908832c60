"""Networks on a model: what it computes then, and that nothing of it stays."""

from __future__ import annotations

import contextlib
import gc
import random
import weakref
from pathlib import Path

import pytest
import torch
from networks.loading import level, load, said
from networks.patches.files import KINDS, LAYERS, write
from safetensors.torch import load_file, save_file
from torch import Tensor

from modules.base.stopping import asking
from modules.errors import CheckpointError, Interrupted
from modules.networks.model import DiffusionModel
from modules.networks.parts import Parts
from modules.networks.patches.kinds import added
from modules.networks.patches.lora import Lora, read_lora
from modules.networks.patches.patches import NOTHING, Patches
from modules.sampling.conditioning import TextOptions


def of(*loras: Lora) -> Patches:
    return Patches(loras=loras)


def answer(model: DiffusionModel) -> tuple[Tensor, Tensor]:
    """What both networks compute."""
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    cond = said(model, "a lighthouse")
    return cond.tokens, model.predict(x, level(400), cond)


def same(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.fixture(scope="module")
def model(tiny: Path) -> DiffusionModel:
    return load(tiny)


@pytest.mark.parametrize("kind", KINDS)
def test_a_patched_model_is_the_model_of_the_changed_file(kind: str, model: DiffusionModel, tiny: Path,
                                                          tmp_path: Path) -> None:
    file = read_lora(write(tmp_path / "x.safetensors", model, kind), "x")
    before = answer(model)
    assert model.put_on(of(Lora(file, 0.7, -0.4))) == ()
    patched = answer(model)
    model.put_on(NOTHING)
    assert same(answer(model), before)

    tensors = {key: value.float() for key, value in load_file(tiny).items()}
    prefixes = {"text": "cond_stage_model.transformer.text_model.", "unet": "model.diffusion_model."}
    for name, module in file.modules.items():
        layer = model.layers.find(name)
        assert layer is not None
        key, multiplier = prefixes[layer.part] + layer.key, 0.7 if layer.part == "text" else -0.4
        weight, bias = added(module, tensors[f"{key}.weight"], tensors.get(f"{key}.bias"), multiplier)
        tensors |= {f"{key}.weight": weight} if bias is None else {f"{key}.weight": weight, f"{key}.bias": bias}
    save_file(tensors, tmp_path / "merged.safetensors")
    merged = answer(load(tmp_path / "merged.safetensors"))
    for ours, theirs, plain in zip(patched, merged, before, strict=True):
        assert torch.equal(ours, theirs)
        assert not torch.equal(ours, plain)


def test_norms_are_changed_too(model: DiffusionModel, tmp_path: Path) -> None:
    name = "lora_unet_input_blocks_1_0_in_layers_0"
    tensors = {f"{name}.{part}": torch.full((32,), 0.5) for part in ("w_norm", "b_norm")}
    save_file(tensors, tmp_path / "n.safetensors")
    norm = model.unet.get_submodule("down_blocks.0.resnets.0.norm1")
    weight, bias = norm.weight.clone(), norm.bias.clone()
    assert model.put_on(of(Lora(read_lora(tmp_path / "n.safetensors", "n")))) == ()
    assert torch.equal(norm.weight, weight + 0.5)
    assert torch.equal(norm.bias, bias + 0.5)
    model.put_on(NOTHING)
    assert torch.equal(norm.weight, weight)
    assert torch.equal(norm.bias, bias)


def test_the_order_counts_and_history_does_not(model: DiffusionModel, tmp_path: Path) -> None:
    first, second = (Lora(read_lora(write(tmp_path / f"{kind}.safetensors", model, kind), kind), weight, weight)
                     for kind, weight in (("lora", 0.7), ("boft", 1.0)))
    answers = []
    for patches in (of(first, second), of(second, first), of(first), of(first, second)):
        model.put_on(patches)
        answers.append(answer(model))
    assert same(answers[0], answers[3])
    assert not torch.equal(answers[0][1], answers[1][1])
    model.put_on(NOTHING)


def test_the_same_set_again_touches_nothing(model: DiffusionModel, tmp_path: Path) -> None:
    path = write(tmp_path / "x.safetensors", model, "lora")
    layer = model.unet.get_submodule("mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj")
    model.put_on(of(Lora(read_lora(path, "x"), 0.5, 0.5)))
    weight, writes = layer.weight, layer.weight._version
    model.put_on(of(Lora(read_lora(path, "x"), 0.9, 0.5)))  # another weight of the text encoder alone
    assert layer.weight is weight
    assert weight._version == writes
    model.put_on(of(Lora(read_lora(path, "x"), 0.9, 0.6)))
    assert layer.weight is not weight or weight._version > writes
    model.put_on(NOTHING)


def test_a_weight_of_halves_is_kept_in_half_its_memory(tiny: Path, tmp_path: Path) -> None:
    """Those of a file in float16 are overwritten and come back to the bit; those of one in float32 are set aside."""
    path = "up_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
    for dtype in (torch.float16, torch.float32):
        save_file({key: value.to(dtype) + torch.tensor(1e-5 if dtype == torch.float32 else 0, dtype=dtype)
                   for key, value in load_file(tiny).items()}, tmp_path / f"{dtype}.safetensors")
        model = load(tmp_path / f"{dtype}.safetensors")
        layer, before = model.unet.get_submodule(path), answer(model)
        weight, values = layer.weight, layer.weight.clone()
        model.put_on(of(Lora(read_lora(write(tmp_path / "x.safetensors", model, "lora"), "x"))))
        assert (layer.weight is weight) == (dtype == torch.float16)
        assert not torch.equal(layer.weight, values)
        model.put_on(NOTHING)
        assert layer.weight is weight
        assert torch.equal(layer.weight, values)
        assert same(answer(model), before)


def test_a_packed_weight_of_halves_is_there_once(tiny: Path, tmp_path: Path) -> None:
    """What was packed goes while a LoRA is on, and is packed anew afterwards with the same results."""
    model = load(tiny)
    before = answer(model)
    layer = model.unet.get_submodule("mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj")
    values = layer.plain_weight().clone()
    packed = [weakref.ref(one) for one in layer._packed.values()]
    assert packed
    model.put_on(of(Lora(read_lora(write(tmp_path / "x.safetensors", model, "lora"), "x"))))
    assert not any(one() is not None for one in packed)
    assert not torch.equal(layer.plain_weight(), values)
    answer(model)
    model.put_on(NOTHING)
    assert torch.equal(layer.plain_weight(), values)
    assert same(answer(model), before)


def test_a_weight_of_zero_is_none(model: DiffusionModel, tmp_path: Path) -> None:
    before = answer(model)
    model.put_on(of(Lora(read_lora(write(tmp_path / "x.safetensors", model, "lora"), "x"), 0.0, 0.0)))
    assert same(answer(model), before)


@pytest.mark.parametrize("layers", [1, 3, 5])
def test_an_interrupt_on_the_way_leaves_the_originals(layers: int, model: DiffusionModel, tmp_path: Path) -> None:
    file = read_lora(write(tmp_path / "x.safetensors", model, "lora"), "x")
    before, left = answer(model), iter(range(layers))

    def stop() -> None:
        if next(left, None) is None:
            raise Interrupted

    with asking(stop), pytest.raises(Interrupted):
        model.put_on(of(Lora(file)))
    model.put_on(NOTHING)
    assert same(answer(model), before)
    model.put_on(of(Lora(file)))  # nothing is remembered of the first try
    assert not same(answer(model), before)
    model.put_on(NOTHING)


def test_an_error_on_the_way_leaves_the_originals(model: DiffusionModel, tmp_path: Path,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    file = read_lora(write(tmp_path / "x.safetensors", model, "lora"), "x")
    before = answer(model)
    from modules.networks.patches import lora

    monkeypatch.setattr(lora, "added", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model.put_on(of(Lora(file)))
    assert same(answer(model), before)


def test_models_that_share_a_part_share_what_is_in_force(tiny: Path, tmp_path: Path) -> None:
    parts = Parts()
    one, other = load(tiny, parts=parts), load(tiny, parts=parts)
    assert one.unet is other.unet
    before = answer(other)
    one.put_on(of(Lora(read_lora(write(tmp_path / "x.safetensors", one, "lora"), "x"))))
    other.put_on(NOTHING)
    assert same(answer(other), before)


def test_a_hundred_changing_sets_leave_no_tensors_behind(model: DiffusionModel, tmp_path: Path) -> None:
    files = [read_lora(write(tmp_path / f"{kind}.safetensors", model, kind), kind) for kind in ("lora", "loha", "full")]
    chance = random.Random(3)
    before = answer(model)

    def tensors() -> int:
        gc.collect()
        return sum(isinstance(one, Tensor) for one in gc.get_objects())

    for file in files:
        model.put_on(of(Lora(file)))  # from now on the model keeps halves
    model.put_on(NOTHING)
    count = tensors()
    for _ in range(100):
        model.put_on(of(*(Lora(file, chance.random(), chance.random())
                          for file in chance.sample(files, chance.randint(0, 3)))))
    model.put_on(NOTHING)
    assert tensors() <= count
    assert same(answer(model), before)


def test_files_of_strangers_never_change_a_later_picture(model: DiffusionModel, tmp_path: Path) -> None:
    good = {kind: load_file(write(tmp_path / f"{kind}.safetensors", model, kind)) for kind in KINDS}
    chance = random.Random(5)
    before = answer(model)
    for number in range(60):
        tensors = dict(good[chance.choice(list(KINDS))])
        for key in chance.sample(sorted(tensors), 4):
            spoil = chance.choice(["nan", "huge", "cut", "rank 0", "rename", "flat"])
            value = tensors.pop(key)
            rows = value if value.dim() else value[None]
            tensors[f"other_model_{key}" if spoil == "rename" else key] = {
                "nan": value.float() * float("nan"), "huge": value.float() * 1e30, "cut": rows[:1], "rank 0": rows[:0],
                "rename": value, "flat": value.flatten()}[spoil].contiguous()
        path = tmp_path / f"{number}.safetensors"
        save_file(tensors, path)
        if chance.random() < 0.3:
            path.write_bytes(path.read_bytes()[: chance.randrange(path.stat().st_size)])
        with contextlib.suppress(CheckpointError):
            model.put_on(of(Lora(read_lora(path, "x"))))
            assert all(torch.isfinite(one).all() for part in model.parts.values() for one in part.state_dict().values())
    model.put_on(NOTHING)
    assert same(answer(model), before)


def test_a_file_that_does_not_fit_is_named_with_what_was_used(model: DiffusionModel, tmp_path: Path) -> None:
    tensors = load_file(write(tmp_path / "x.safetensors", model, "lora", LAYERS[:1]))
    tensors |= {"lora_unet_elsewhere.alpha": torch.tensor(1.0), "junk": torch.zeros(1)}
    save_file(tensors, tmp_path / "y.safetensors")
    said = model.put_on(of(Lora(read_lora(tmp_path / "y.safetensors", "y"))))
    assert said == ("y does not wholly fit this checkpoint: 3 of its 5 keys were used.",)
    save_file({"lora_unet_elsewhere.alpha": torch.tensor(1.0)}, tmp_path / "z.safetensors")
    said = model.put_on(of(Lora(read_lora(tmp_path / "z.safetensors", "z"))))
    assert said == ("z does not fit this checkpoint: none of its 1 keys was used.",)
    model.put_on(NOTHING)


@pytest.mark.parametrize("name", [
    "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.lora_{}.weight",
    "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora_{}.weight",
    "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora.{}.weight",
    "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora.{}.weight",
    "diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_q.lora_{}.weight",
    "lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q.lora_{}.weight"])
def test_a_layer_is_known_by_every_trainers_name(name: str, model: DiffusionModel, tmp_path: Path) -> None:
    layer = model.unet.get_submodule("down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q")
    before = layer.weight.clone()
    tensors = {name.format("up"): torch.ones(32, 1), name.format("down"): torch.ones(1, 32)}
    save_file(tensors, tmp_path / "x.safetensors")
    assert model.put_on(of(Lora(read_lora(tmp_path / "x.safetensors", "x")))) == ()
    assert torch.equal(layer.weight, before + 1)
    model.put_on(NOTHING)


def test_the_context_of_a_prompt_is_computed_anew(model: DiffusionModel, tmp_path: Path) -> None:
    plain = model.encode_prompts(["a cat"], TextOptions())[0].tokens
    model.put_on(of(Lora(read_lora(write(tmp_path / "x.safetensors", model, "lora"), "x"))))
    changed = model.encode_prompts(["a cat"], TextOptions())[0].tokens
    model.put_on(NOTHING)
    assert not torch.equal(changed, plain)
    assert torch.equal(model.encode_prompts(["a cat"], TextOptions())[0].tokens, plain)
