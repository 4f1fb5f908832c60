"""The YAML file beside a checkpoint: what is read from it, and a sentence for each way in which it can be wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from modules.errors import CheckpointError
from modules.weights.model_config import LARGEST, read_config

LDM = """
model:
  target: ldm.models.diffusion.ddpm.LatentDiffusion
  params:
    parameterization: "v"
    unet_config:
      target: ldm.modules.diffusionmodules.openaimodel.UNetModel
      params: {num_heads: 8, num_head_channels: 64, attention_resolutions: [4, 2, 1]}
"""
SGM = """
model:
  target: sgm.models.diffusion.DiffusionEngine
  params:
    denoiser_config:
      params:
        scaling_config: {target: sgm.modules.diffusionmodules.denoiser_scaling.VScaling}
    network_config:
      params: {num_head_channels: 32}
"""


def read(folder: Path, text: str) -> dict[str, str]:
    (folder / "model.yaml").write_text(text)
    return read_config(folder / "model.safetensors")


def test_what_ldm_and_generative_models_say(tmp_path: Path) -> None:
    assert read_config(tmp_path / "model.safetensors") == {}
    assert read(tmp_path, LDM) == {"parameterization": "v", "unet_heads": "8", "unet_head_channels": "64"}
    assert read(tmp_path, SGM) == {"parameterization": "v", "unet_head_channels": "32"}
    assert read(tmp_path, SGM.replace("VScaling", "EpsScaling"))["parameterization"] == "eps"
    assert read(tmp_path, LDM.replace("64", "-1").replace('"v"', "eps")) == {
        "parameterization": "eps", "unet_heads": "8"}
    assert read(tmp_path, "model: {params: }") == {}


@pytest.mark.parametrize(("text", "words"), [
    ("", "no model's configuration"),
    ("just words", "no model's configuration"),
    ("- a list", "no model's configuration"),
    ("other: 1", 'it has no "model"'),
    ("model: 7", '"params" has no entries|"model" has no entries'),
    ("model: {params: [1]}", '"params" has no entries'),
    ("model: {params: {unet_config: {params: many}}}", '"params" has no entries'),
    ("model: {params: {parameterization: x0}}", "'x0'; this program knows eps and v"),
    ("model: {params: {parameterization: [v]}}", "this program knows eps and v"),
    ("model: {params: {unet_config: {params: {num_heads: eight}}}}", "'eight' where a number"),
    ("model: {params: {unet_config: {params: {num_head_channels: 0}}}}", "'0' where a number"),
    ("model: {params: {unet_config: {params: {num_heads: true}}}}", "'True' where a number"),
    ("model: [unclosed", "not plain YAML"),
    ("model: {params: {parameterization: v}}\nwhen: 2001-99-99", "not plain YAML"),
    ("model: {params: &p {}}\nagain: *p", "not plain YAML"),
    ("[" * 5000, "not plain YAML"),
    ("model: \xff\x00", "not plain YAML"),
    ("# " + "x" * LARGEST, "too long"),
])
def test_nonsense_gives_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(CheckpointError, match=words) as raised:
        read(tmp_path, text)
    assert raised.value.message.startswith("model.yaml")


def test_code_is_refused_and_does_not_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    with pytest.raises(CheckpointError, match="not plain YAML"):
        read(tmp_path, LDM + f"\nmore: !!python/object/apply:os.system ['touch {ran}']")
    assert not ran.exists()
