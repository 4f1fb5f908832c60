"""The training code's promises: words, layout, and that the committed checkpoint is what it says."""

import json
import random
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "training"))

import captions  # noqa: E402
import export  # noqa: E402
import filters  # noqa: E402
import latents  # noqa: E402
import redrawn  # noqa: E402
import sample  # noqa: E402
import scenes  # noqa: E402
from model import SCALE, Autoencoder, Sizes, TextEncoder, UNet, sizes_of  # noqa: E402
from tokens import Tokenizer  # noqa: E402

from modules.text.wildcards import draw  # noqa: E402

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
        text = captions.caption(scenes.sample_scene(rng, None), rng, rng.random() < 0.3)[1]
        assert ours(text) == theirs(text, padding="max_length", max_length=77)["input_ids"]


def test_a_scene_held_out_is_never_sampled_for_training() -> None:
    rng = random.Random(2)
    drawn = [scenes.sample_scene(rng) for _ in range(500)]
    assert not any(scenes.held_out(*thing, scene.background) for scene in drawn for thing in scene.things)
    asked = [scenes.sample_scene(rng, True) for _ in range(50)]
    assert all(scenes.held_out(*thing, scene.background) for scene in asked for thing in scene.things)


def test_things_come_in_colours_that_make_sense() -> None:
    assert len(scenes.OBJECTS) >= 24
    for thing in scenes.OBJECTS.values():
        assert len(thing.colours) == 1 or thing.spread, "another colour needs a hue to replace"
        assert set(thing.colours) <= set(scenes.COLOURS)


@pytest.mark.parametrize(("scene", "english", "chinese"), [
    (scenes.Scene((("apple", "red"),), "blue", "small", "left"),
     "a small red apple on the left on a blue background", "蓝色背景左边小的红色的苹果"),
    (scenes.Scene((("penguin", "black"),), "snow", time="night"),
     "a penguin in the snow at night", "夜晚雪地上企鹅"),
    (scenes.Scene((("cat", "orange"), ("car", "blue")), "grass", style="watercolour"),
     "a watercolour of an orange cat on the left and a blue car on the right on the grass",
     "水彩画，草地上左边橙色的猫和右边蓝色的汽车"),
])
def test_plain_prompts(scene: scenes.Scene, english: str, chinese: str) -> None:
    assert captions.plain_prompt(scene) == english
    assert captions.plain_prompt(scene, in_chinese=True) == chinese


def test_captions_mention_what_they_say_they_mention() -> None:
    rng = random.Random(4)
    for _ in range(300):
        scene, text, said = captions.caption(scenes.sample_scene(rng), rng)
        if scene.time == "night":
            assert any(words in text for words in scenes.TIMES["night"][0])
        if said.background and scene.background in scenes.PLACES:
            assert any(words in text for words in scenes.PLACES[scene.background][0])
        if scene.style != "3d":
            assert any(words in text for words in scenes.STYLES[scene.style][0])


def test_the_written_encoder_makes_the_linear_latents() -> None:
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(192, 4, generator=generator))[0].T.contiguous()
    linear = latents.LinearLatents(torch.randn(192, generator=generator) * 0.1, basis, torch.tensor([6.0, 3, 2, 1]))
    vae = Autoencoder(Sizes())
    latents.write_into(vae.encoder, vae.quant_conv, linear, SCALE)
    pictures = torch.rand(2, 3, 64, 64, generator=generator) * 2 - 1
    with torch.no_grad():
        assert (vae.encode(pictures) - linear.encode(pictures)).abs().max() < 0.02


def test_redrawn_squares_and_latents_are_of_one_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    picture = torch.randint(0, 256, (256, 256, 3), generator=generator, dtype=torch.uint8).numpy()
    basis = torch.linalg.qr(torch.randn(192, 4, generator=generator))[0].T.contiguous()
    linear = latents.LinearLatents(torch.zeros(192), basis, torch.ones(4))
    monkeypatch.setattr(redrawn, "scene", lambda seed, data: (None, picture))
    torch.save({"seeds": [5], "latents": linear.encode(latents.to_tensor([picture]))}, tmp_path / "redrawn-0.pt")
    x, z = redrawn.Redrawn(tmp_path, tmp_path).squares(random.Random(1), 6, 64)
    assert x.shape == (6, 3, 64, 64)
    assert torch.allclose(z, linear.encode(x), atol=1e-4)
    assert not redrawn.Redrawn(tmp_path, tmp_path / "elsewhere")


def test_only_the_last_steps_are_drawn_of_what_was_begun() -> None:
    """A network that knows the noise gives back what was begun, whatever the step it starts from."""
    noise, begun = torch.randn(1, 4, 8, 8), torch.randn(1, 4, 8, 8)

    def knowing(x: torch.Tensor, time: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        times.append(int(time[0]))
        return noise.expand_as(x)

    for last in (1, 3, 20):
        times: list[int] = []
        made = sample.ddim(knowing, noise, torch.zeros(1), torch.zeros(1), 20, 3.0, begun=begun, last=last)
        kept = sample.alphas_cumprod()[0]
        assert torch.allclose(made, kept.sqrt() * begun + (1 - kept).sqrt() * noise, atol=1e-4)
        assert times == [50 * i + 1 for i in reversed(range(last))]


def test_watercolour_leaves_paper_at_the_border() -> None:
    wash = filters.paper(96, 64, seed=1)
    assert wash.shape == (96, 64)
    assert wash[0].max() == wash[:, -1].max() == 0
    assert wash[40:50, 25:40].min() == 1


def test_a_flat_picture_has_few_colours() -> None:
    ramp = np.linspace(0, 255, 64, dtype=np.uint8)[None].repeat(64, 0)
    image = filters.flat(Image.fromarray(np.stack([ramp, ramp // 2, ramp // 4], -1)), 5)
    assert len(np.unique(np.asarray(image).reshape(-1, 3), axis=0)) < 30  # five, and what lies between two of them


def test_the_checkpoint_has_the_original_names_and_tells_what_it_knows() -> None:
    with safe_open(str(CHECKPOINT), "pt") as file:
        shapes = {k: tuple(file.get_slice(k).get_shape()) for k in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    sizes = sizes_of(shapes, metadata)
    expected = {f"model.diffusion_model.{k}": v.shape for k, v in UNet(sizes).state_dict().items()}
    expected |= {f"first_stage_model.{k}": v.shape for k, v in Autoencoder(sizes).state_dict().items()}
    text = TextEncoder(replace(sizes, vocabulary=49408)).state_dict()
    expected |= {f"cond_stage_model.transformer.{k}": v.shape for k, v in text.items()}
    assert shapes == {k: tuple(v) for k, v in expected.items()}
    assert int(metadata["native_size"]) in (128, 256)
    words = json.loads(metadata["words"])
    assert words["examples"]
    assert words["objects"]


def test_each_surprise_is_a_prompt_of_the_world() -> None:
    english, chinese = export.surprises()
    names = {word for thing in scenes.OBJECTS.values() for word in thing.words[:1]}
    in_chinese = {word for thing in scenes.OBJECTS.values() for word in thing.chinese[:1]}
    seen = set()
    for seed in range(300):
        one, other = draw(english, str(seed), lambda _: ()), draw(chinese, str(seed), lambda _: ())
        assert not set("{|}$:") & set(one + other), (one, other)
        found = {name for name in names if f" {name} " in f" {one} "}
        assert found, one
        assert any(name in other for name in in_chinese), other
        assert "orange orange" not in one
        seen |= found
    assert len(seen) > 24
