"""The trainer's own networks, written apart from diffusers and transformers, must agree with what the loader makes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from networks.loading import level, load, said
from safetensors.torch import save_file

from modules.errors import CheckpointError
from modules.networks.model import DiffusionModel
from modules.networks.text.clip_tokenizer import END, START, load_tokenizer
from modules.sampling.conditioning import Conditioning

trainer: Any = pytest.importorskip("training.model")

METADATA = {"unet_heads": "unet_heads", "unet_norm_groups": "unet_groups", "vae_norm_groups": "vae_groups",
            "text_heads": "text_heads"}
SIZES = [
    trainer.Sizes(),
    trainer.Sizes(unet_channels=(32, 64), unet_attention=(True, True), unet_blocks=3, unet_heads=2, unet_groups=8,
                  vae_channels=(8, 16, 16, 24), vae_blocks=2, vae_groups=4, text_width=64, text_layers=3, text_heads=2),
    trainer.Sizes(unet_channels=(16, 16, 32, 32), unet_attention=(False, False, False, True), unet_groups=8),
]


@pytest.fixture(scope="module", params=SIZES, ids=["default", "two levels", "four levels"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[DiffusionModel, Any]:
    """A model that the loader made, and the networks whose weights it got."""
    sizes = request.param
    torch.manual_seed(0)
    networks = {
        "model.diffusion_model.": trainer.UNet(sizes),
        "first_stage_model.": trainer.Autoencoder(sizes),
        "cond_stage_model.transformer.": trainer.TextEncoder(sizes),
    }
    state = {prefix + key: value for prefix, net in networks.items() for key, value in net.state_dict().items()}
    # Layers that start at zero for training would hide what goes through them.
    state = {key: torch.randn_like(value) * 0.05 if not value.any() else value for key, value in state.items()}
    for prefix, net in networks.items():
        net.load_state_dict({key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)})
    path = tmp_path_factory.mktemp("default") / "small.safetensors"
    values = dataclasses.asdict(sizes)
    save_file(state, path, metadata={key: str(values[field]) for key, field in METADATA.items()})
    return load(path), networks


@pytest.mark.parametrize("size", [(8, 8), (16, 24)])
def test_the_unet(pair: tuple[DiffusionModel, Any], size: tuple[int, int]) -> None:
    model, networks = pair
    width = networks["cond_stage_model.transformer."].text_model.final_layer_norm.weight.shape[0]
    x, words = torch.randn(2, 4, *size), torch.randn(2, 77, width)
    for t in (3.0, 700.0):
        with torch.no_grad():
            expected = networks["model.diffusion_model."](x, torch.full((2,), t), words)
        torch.testing.assert_close(model.predict(x, level(t), Conditioning(words)), expected, atol=2e-5, rtol=1e-4)


def test_the_autoencoder(pair: tuple[DiffusionModel, Any]) -> None:
    model, networks = pair
    vae, image, latent = networks["first_stage_model."], torch.rand(1, 3, 32, 48) * 2 - 1, torch.randn(1, 4, 4, 6)
    with torch.no_grad():
        encoded, picture = vae.encode(image), vae.decode(latent)
    torch.testing.assert_close(model.encode_image(image), encoded, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(model.decode_latent(latent), picture, atol=1e-4, rtol=1e-4)


def test_the_text_encoder(pair: tuple[DiffusionModel, Any]) -> None:
    model, networks = pair
    words = load_tokenizer()("a red apple on the beach")
    tokens = torch.tensor([[START, *words, *[END] * (76 - len(words))]])
    with torch.no_grad():
        expected = networks["cond_stage_model.transformer."](tokens)
    torch.testing.assert_close(said(model, "a red apple on the beach").tokens, expected, atol=1e-5, rtol=1e-4)


def test_without_its_metadata_the_file_says_what_is_missing(tmp_path: Path) -> None:
    sizes = trainer.Sizes()
    networks = {"model.diffusion_model.": trainer.UNet(sizes), "first_stage_model.": trainer.Autoencoder(sizes),
                "cond_stage_model.transformer.": trainer.TextEncoder(sizes)}
    state = {prefix + key: value for prefix, net in networks.items() for key, value in net.state_dict().items()}
    save_file(state, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match="vae_norm_groups = 32 does not divide"):
        load(tmp_path / "x.safetensors")
