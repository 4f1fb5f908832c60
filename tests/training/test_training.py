"""The training code's promises: words, layout, and that the committed checkpoint is what it says."""

import json
import random
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "training"))

import latents  # noqa: E402
import scenes  # noqa: E402
from model import SCALE, Autoencoder, Sizes, TextEncoder, UNet  # noqa: E402
from tokens import Tokenizer  # noqa: E402

MERGES = ROOT / "modules/networks/text/tokenizer/merges.txt"
CHECKPOINT = ROOT / "models/Stable-diffusion/emoji-mini.safetensors"


def test_tokens_are_clips() -> None:
    tokens = Tokenizer(MERGES)("A  photo of a cat!")
    assert tokens[:8] == [49406, 320, 1125, 539, 320, 2368, 256, 49407]
    assert len(tokens) == 77


def test_tokens_agree_with_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.CLIPTokenizer(str(MERGES.with_name("vocab.json")), str(MERGES))
    ours, rng = Tokenizer(MERGES), random.Random(1)
    for _ in range(100):
        text = scenes.caption(scenes.sample_scene(rng, None), rng, rng.random() < 0.3)[1]
        assert ours(text) == theirs(text, padding="max_length", max_length=77)["input_ids"]


def test_a_scene_held_out_is_never_sampled_for_training() -> None:
    rng = random.Random(2)
    drawn = [scenes.sample_scene(rng) for _ in range(500)]
    assert not any(scenes.held_out(*scene.things[0], scene.background) for scene in drawn)
    asked = [scenes.sample_scene(rng, True) for _ in range(50)]
    assert all(scenes.held_out(*scene.things[0], scene.background) for scene in asked)


def test_plain_prompts() -> None:
    scene = scenes.Scene((("apple", "red"),), "blue", "small", "left")
    assert scenes.plain_prompt(scene) == "a small red apple on the left on a blue background"
    assert "苹果" in scenes.plain_prompt(scene, chinese=True)


def test_the_written_encoder_makes_the_linear_latents() -> None:
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(192, 4, generator=generator))[0].T.contiguous()
    linear = latents.LinearLatents(torch.randn(192, generator=generator) * 0.1, basis, torch.tensor([6.0, 3, 2, 1]))
    vae = Autoencoder(Sizes())
    latents.write_into(vae.encoder, vae.quant_conv, linear, SCALE)
    pictures = torch.rand(2, 3, 64, 64, generator=generator) * 2 - 1
    with torch.no_grad():
        assert (vae.encode(pictures) - linear.encode(pictures)).abs().max() < 0.02


def test_the_checkpoint_has_the_original_names_and_tells_what_it_knows() -> None:
    sizes = Sizes()
    expected = {f"model.diffusion_model.{k}": v.shape for k, v in UNet(sizes).state_dict().items()}
    expected |= {f"first_stage_model.{k}": v.shape for k, v in Autoencoder(sizes).state_dict().items()}
    text = TextEncoder(replace(sizes, vocabulary=49408)).state_dict()
    expected |= {f"cond_stage_model.transformer.{k}": v.shape for k, v in text.items()}
    with safe_open(str(CHECKPOINT), "pt") as file:
        assert {k: tuple(file.get_slice(k).get_shape()) for k in file.keys()} == {  # noqa: SIM118
            k: tuple(v) for k, v in expected.items()}
        metadata = file.metadata()
    assert metadata["unet_heads"] == str(sizes.unet_heads)
    assert metadata["native_size"] == "128"
    words = json.loads(metadata["words"])
    assert words["examples"]
    assert words["objects"]
