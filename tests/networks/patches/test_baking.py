"""LoRAs in a checkpoint's file, and LoRAs from the difference of two."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from make_tiny import make_tiny
from networks.loading import level, load, said
from networks.patches.files import KINDS, LAYERS, write
from safetensors.torch import load_file, save_file
from torch import Tensor

from modules.errors import InvalidInput
from modules.networks.model import DiffusionModel
from modules.networks.patches.baking import Baking
from modules.networks.patches.extracting import extract, low_rank
from modules.networks.patches.lora import Lora, read_lora
from modules.networks.patches.patches import NOTHING, Patches
from modules.text.network_tags import NetworkTag
from modules.weights.catalog import CheckpointFile
from modules.weights.merge import Recipe, merge

SDXL_LAYERS = ("lora_te2_text_model_encoder_layers_0_self_attn_q_proj",
               "lora_te2_text_model_encoder_layers_0_self_attn_v_proj",
               "lora_te2_text_model_encoder_layers_1_mlp_fc2", "lora_te1_text_model_encoder_layers_0_mlp_fc1",
               "lora_unet_input_blocks_1_0_in_layers_2")


def answer(model: DiffusionModel) -> tuple[Tensor, Tensor]:
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    cond = said(model, "a lighthouse")
    return cond.tokens, model.predict(x, level(400), cond)


def as_float32(path: Path, to: Path) -> Path:
    save_file({key: value.float() if value.dtype == torch.float16 else value for key, value in load_file(path).items()},
              to)
    return to


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("baking")
    return {name: as_float32(make_tiny(name, folder / f"{name}-16.safetensors"), folder / f"{name}.safetensors")
            for name in ("tiny-sd15", "tiny-sdxl")}


@pytest.fixture(scope="module")
def models(checkpoints: dict[str, Path]) -> dict[str, DiffusionModel]:
    return {name: load(path) for name, path in checkpoints.items()}


def baked(path: Path, loras: list[Lora], folder: Path, *, half: bool = False) -> Path:
    checkpoint = CheckpointFile(path, path.name)
    recipe = Recipe(checkpoint, method="No interpolation", half=half,
                    loras=tuple(NetworkTag("lora", lora.file.name, lora.te, lora.unet) for lora in loras))
    baking = Baking(checkpoint, loras)
    made = merge(recipe, folder, lambda file: "0" * 64, changes=baking.changes)
    assert baking.warnings == ()
    return made


@pytest.mark.parametrize(("family", "layers", "kind"), [
    *(("tiny-sd15", LAYERS, kind) for kind in KINDS), *(("tiny-sdxl", SDXL_LAYERS, kind) for kind in ("full", "dora"))])
def test_a_merged_checkpoint_is_the_patched_model(family: str, layers: tuple[str, ...], kind: str, tmp_path: Path,
                                                  checkpoints: dict[str, Path],
                                                  models: dict[str, DiffusionModel]) -> None:
    model = models[family]
    before = answer(model)
    loras = [Lora(read_lora(write(tmp_path / f"{one}.safetensors", model, one, layers), one), te, unet)
             for one, te, unet in ((kind, 0.7, -0.4), ("lora", 0.5, 0.5))]
    model.put_on(Patches(loras=tuple(loras)))
    patched = answer(model)
    model.put_on(NOTHING)
    merged = answer(load(baked(checkpoints[family], loras, tmp_path)))
    for ours, theirs, plain in zip(patched, merged, before, strict=True):
        assert torch.equal(ours, theirs)
        assert not torch.equal(ours, plain)


def test_the_result_keeps_its_types_and_says_what_is_in_it(checkpoints: dict[str, Path], tmp_path: Path,
                                                           models: dict[str, DiffusionModel]) -> None:
    lora = Lora(read_lora(write(tmp_path / "x.safetensors", models["tiny-sd15"], "full"), "x"), 1.0, 0.5)
    path = baked(checkpoints["tiny-sd15"], [lora], tmp_path, half=True)
    assert path.name == "tiny-sd15 + 0.5(x).safetensors"
    before, after = load_file(checkpoints["tiny-sd15"]), load_file(path)
    key = "model.diffusion_model.input_blocks.1.0.in_layers.2.weight"
    diff = load_file(tmp_path / "x.safetensors")["lora_unet_input_blocks_1_0_in_layers_2.diff"]
    assert torch.equal(after[key], (before[key] + diff * 0.5).half())
    bias = key.replace("weight", "bias")
    diff_b = load_file(tmp_path / "x.safetensors")["lora_unet_input_blocks_1_0_in_layers_2.diff_b"]
    assert torch.equal(after[bias], (before[bias] + diff_b * 0.5).half())
    untouched = "model.diffusion_model.input_blocks.1.0.out_layers.3.weight"
    assert torch.equal(after[untouched], before[untouched].half())


def tuned(path: Path, to: Path, rank: int, keys: tuple[str, ...]) -> CheckpointFile:
    """A checkpoint that differs from that of `path` by matrices of such a rank."""
    tensors = load_file(path)
    chance = torch.Generator().manual_seed(4)
    for key in keys:
        flat = tensors[key].flatten(1)
        difference = torch.randn(len(flat), rank, generator=chance) @ torch.randn(rank, flat.shape[1], generator=chance)
        tensors[key] = tensors[key] + 0.02 * difference.reshape(tensors[key].shape)
    save_file(tensors, to)
    return CheckpointFile(to, to.name)


@pytest.mark.parametrize("family", ["tiny-sd15", "tiny-sdxl"])
def test_an_extracted_lora_turns_one_checkpoint_into_the_other(family: str, checkpoints: dict[str, Path],
                                                               models: dict[str, DiffusionModel],
                                                               tmp_path: Path) -> None:
    keys = ["model.diffusion_model.input_blocks.1.0.in_layers.2.weight",
            "model.diffusion_model.middle_block.1.transformer_blocks.0.attn1.to_q.weight"]
    keys += ["cond_stage_model.transformer.text_model.encoder.layers.0.mlp.fc1.weight"] if family == "tiny-sd15" else \
        ["conditioner.embedders.1.model.transformer.resblocks.0.mlp.c_fc.weight"]
    original = CheckpointFile(checkpoints[family], checkpoints[family].name)
    other = tuned(original.path, tmp_path / "other.safetensors", 3, tuple(keys))
    extract(original, other, 3, tmp_path / "lora.safetensors")
    file = read_lora(tmp_path / "lora.safetensors", "lora")
    assert len(file.modules) == len(keys)
    model = models[family]
    before = answer(model)
    assert model.put_on(Patches(loras=(Lora(file),))) == ()
    ours = answer(model)
    model.put_on(NOTHING)
    theirs = answer(load(other.path))
    for one, wanted, plain in zip(ours, theirs, before, strict=True):
        assert (one - wanted).abs().max() < 0.02 * (plain - wanted).abs().max()


@pytest.mark.parametrize(("rows", "columns"), [(40, 30), (600, 700), (700, 600)])
def test_no_other_product_of_that_rank_is_nearer(rows: int, columns: int) -> None:
    """Eckart and Young: what is left of the nearest matrix of rank r are the singular values behind the first r."""
    matrix = torch.randn(rows, columns, generator=torch.Generator().manual_seed(1))
    left, values, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    matrix = (left * (values * 0.9 ** torch.arange(len(values)))) @ right  # falling, as those of trained weights
    up, down = low_rank(matrix.float(), 8)
    assert (up.shape, down.shape) == ((rows, 8), (8, columns))
    rest = (torch.linalg.svdvals(matrix)[8:] ** 2).sum().sqrt()
    assert abs(float((up @ down - matrix).norm() / rest) - 1) < 1e-3


def test_what_cannot_be_extracted(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    one = CheckpointFile(checkpoints["tiny-sd15"], "tiny-sd15.safetensors")
    with pytest.raises(InvalidInput, match="are equal"):
        extract(one, one, 4, tmp_path / "x.safetensors")
    with pytest.raises(InvalidInput, match="rank"):
        extract(one, one, 0, tmp_path / "x.safetensors")
    changed = tuned(one.path, tmp_path / "t.safetensors", 1,
                    ("model.diffusion_model.input_blocks.1.0.in_layers.2.weight",))

    def stop(share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(one, changed, 4, tmp_path / "x.safetensors", stop)
    assert not (tmp_path / "x.safetensors").exists()
    (tmp_path / "x.safetensors").touch()
    with pytest.raises(InvalidInput, match="already"):
        extract(one, changed, 4, tmp_path / "x.safetensors")
