"""Which files make a picture in a few steps, and with what settings."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from modules.engine.few_steps import context_width, few_steps, offered
from modules.sampling.registry import resolve
from modules.weights.catalog import CheckpointFile
from modules.weights.hashes import HashCache
from modules.weights.network_files import LORA_SUFFIXES, NetworkFiles

CHECKPOINTS = {
    "sd_turbo": ("Euler a", 4, 1), "sd_xl_turbo_1.0_fp16": ("Euler a", 4, 1), "SDXLTurbo": ("Euler a", 4, 1),
    "sdxlturbo": ("Euler a", 4, 1), "dreamshaperXL_v21TurboDPMSDE": ("Euler a", 4, 1),
    "sdxl_lightning_2step": ("Euler", 2, 1), "juggernautXL_v9Rdphoto2Lightning": ("Euler", 4, 1),
    "Hyper-SDXL-1step-Unet": ("Euler", 1, 1), "LCM_Dreamshaper_v7": ("LCM", 4, 1),
    "realisticVision": None, "hyperrealism_v3": None, "Hyper_Realistic": None, "turbocharged": None, "lcmm": None,
    "v1-5-pruned-emaonly": None, "emoji-mini": None, "a 30 steps model": None}

LORAS = {
    "lcm-lora-sdv1-5": ("LCM", 4, 1), "LCM_LoRA_Weights_SD15": ("LCM", 4, 1), "TCD-SDXL-LoRA": ("TCD", 4, 1),
    "sdxl_lightning_8step_lora": ("Euler", 8, 1), "Hyper-SD15-1step-lora": ("Euler", 1, 1),
    "Hyper-SD15-8steps-CFG-lora": ("Euler", 8, 5), "Hyper-SDXL-12steps-CFG-lora": ("Euler", 12, 5),
    "sd_xl_turbo_lora_v1": ("Euler a", 4, 1), "lightning 4 steps": ("Euler", 4, 1),
    "lightning bolts": None, "turbo car": None, "hyper detail": None, "lightning 400 steps": None}


def read(name: str, metadata: dict[str, str] | None = None, *, lora: bool) -> tuple[str, int, float] | None:
    found = few_steps(name, metadata or {}, lora=lora)
    return found and (found.sampler, found.steps, found.cfg_scale)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_checkpoints(name: str) -> None:
    assert read(name, lora=False) == CHECKPOINTS[name]


@pytest.mark.parametrize("name", LORAS)
def test_loras(name: str) -> None:
    assert read(name, lora=True) == LORAS[name]


def test_metadata_says_it_where_the_name_does_not() -> None:
    assert read("pytorch_lora_weights", {"ss_output_name": "my_lcm_lora"}, lora=True) == ("LCM", 4, 1)
    assert read("model", {"modelspec.title": "Foo Lightning 2-step"}, lora=False) == ("Euler", 2, 1)
    assert read("tcd", {"modelspec.title": "Lightning"}, lora=False) == ("TCD", 4, 1)
    assert read("model", {"ss_sd_model_name": "sd_xl_turbo"}, lora=True) is None


def test_the_samplers_and_schedules_are_there() -> None:
    for name in {**CHECKPOINTS, **LORAS}:
        if found := few_steps(name, {}):
            sampler, schedule = resolve(found.sampler, found.scheduler)
            assert (sampler.name, schedule) in ((found.sampler, found.scheduler), ("TCD", "Automatic"))


def write(path: Path, tensor: str = "", *shape: int) -> Path:
    """A file of which there is only the header, as much as is read."""
    header = json.dumps({tensor: {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}} if tensor else {}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    return path


KOHYA = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight"
PEFT = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight"
CHECKPOINT = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"


def test_the_width_of_the_context(tmp_path: Path) -> None:
    for number, (name, shape) in enumerate(((KOHYA, (64, 768)), (PEFT, (64, 768)), (CHECKPOINT, (320, 768)))):
        assert context_width(write(tmp_path / f"{number}.safetensors", name, *shape)) == 768
    assert context_width(write(tmp_path / "up.safetensors", KOHYA.replace("down.w", "up.w"), 320, 64)) is None
    assert context_width(tmp_path / "not there.safetensors") is None


def loras(folder: Path) -> NetworkFiles:
    return NetworkFiles([folder], LORA_SUFFIXES, HashCache(None))


def test_the_checkpoint_itself_comes_first_and_a_lora_must_fit(tmp_path: Path) -> None:
    folder = tmp_path / "Lora"
    folder.mkdir()
    plain = CheckpointFile(write(tmp_path / "plain.safetensors", CHECKPOINT, 320, 768), "plain.safetensors")
    assert offered(plain, loras(folder)) is None
    write(folder / "sdxl_lightning_4step_lora.safetensors", KOHYA, 64, 2048)
    write(folder / "paint.safetensors", KOHYA, 64, 768)
    assert offered(plain, loras(folder)) is None
    write(folder / "Hyper-SD15-8steps-lora.safetensors", KOHYA, 64, 768)
    found = offered(plain, loras(folder))
    assert found
    assert (found.lora, found.steps) == ("Hyper-SD15-8steps-lora", 8)
    write(folder / "lcm-lora.safetensors")  # of which nothing is known
    found = offered(plain, loras(folder))
    assert found
    assert found.lora == "lcm-lora"
    turbo = CheckpointFile(write(tmp_path / "sd_turbo.safetensors"), "sd_turbo.safetensors")
    found = offered(turbo, loras(folder))
    assert found
    assert (found.lora, found.sampler) == ("", "Euler a")
