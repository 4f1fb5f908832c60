"""OpenCLIP's text encoder, read from its own layout, against a transformer that torch's own attention is made of."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from make_tiny import SHAPES, build
from torch import Tensor, nn

from modules.networks import ldm_keys
from modules.networks.families.sdxl import waves
from modules.networks.shapes import Header, openclip_shape
from modules.networks.text.clip import Reading, TextEncoder, build_clip
from modules.networks.text.clip_tokenizer import END, START, load_tokenizer
from modules.sampling.conditioning import TextOptions

PREFIX = "conditioner.embedders.1.model."
PLAIN = TextOptions(emphasis="None")


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    shapes = json.loads((SHAPES / "tiny-sdxl.json").read_text())
    return {key.removeprefix(PREFIX): torch.from_numpy(cast(Any, value)).float() for key, value in build(shapes).items()
            if key.startswith(PREFIX)}


def loaded(weights: dict[str, Tensor]) -> nn.Module:
    """The program's network with these weights, each tensor cut into the parameters that lie in it."""
    header = Header("x", {PREFIX + key: tuple(value.shape) for key, value in weights.items()}, {})
    shape = openclip_shape(header, PREFIX, pooled=True)
    clip, state = build_clip(shape), {}
    for key, value in weights.items():
        names = ldm_keys.openclip_key(key, shape)
        if names is not None:
            names = (names,) if isinstance(names, str) else names
            state |= zip(names, value.chunk(len(names)), strict=True)
    clip.load_state_dict(state)
    return clip.eval()


def reference(weights: dict[str, Tensor], tokens: list[int]) -> tuple[Tensor, Tensor]:
    """(the last layer but one, the pooled vector) of one text, by torch's attention with the fused projection."""
    width = weights["ln_final.weight"].shape[0]
    x = weights["token_embedding.weight"][tokens] + weights["positional_embedding"]
    layers = max(int(key.split(".")[2]) for key in weights if key.startswith("transformer")) + 1
    mask = torch.full((len(tokens), len(tokens)), float("-inf")).triu(1)
    before = x
    for layer in range(layers):
        of = {key.removeprefix(f"transformer.resblocks.{layer}."): value for key, value in weights.items()}
        attention = nn.MultiheadAttention(width, width // 64)
        attention.load_state_dict({key.removeprefix("attn."): of[key] for key in of if key.startswith("attn.")})
        before = x
        normed = F.layer_norm(x, (width,), of["ln_1.weight"], of["ln_1.bias"])
        x = x + attention(normed, normed, normed, need_weights=False, attn_mask=mask)[0]
        normed = F.layer_norm(x, (width,), of["ln_2.weight"], of["ln_2.bias"])
        x = x + F.linear(F.gelu(F.linear(normed, of["mlp.c_fc.weight"], of["mlp.c_fc.bias"])), of["mlp.c_proj.weight"],
                         of["mlp.c_proj.bias"])
    x = F.layer_norm(x, (width,), weights["ln_final.weight"], weights["ln_final.bias"])
    return before, x[tokens.index(END)] @ weights["text_projection"]


@torch.no_grad()
def test_the_last_layer_but_one_and_the_pooled_vector(weights: dict[str, Tensor]) -> None:
    words = load_tokenizer()("a red fox, in snow")
    tokens = [START, *words, END, *[0] * (75 - len(words))]
    expected, pooled = reference(weights, tokens)
    encoder = TextEncoder(loaded(weights), load_tokenizer(), torch.device("cpu"),
                          Reading(lambda how: 2, normed=False, pad=0))
    found = encoder.encode(["a red fox, in snow", "another"], PLAIN)
    assert found.vector is not None
    torch.testing.assert_close(found.tokens[0], expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.vector[0], pooled, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_the_pooled_vector_is_the_first_chunks_and_no_weight_changes_it(weights: dict[str, Tensor]) -> None:
    encoder = TextEncoder(loaded(weights), load_tokenizer(), torch.device("cpu"), Reading(lambda how: 2, pad=0))
    first, longer, strong = (encoder.encode([text], TextOptions()).vector for text in
                             ("a fox", "a fox BREAK in snow", "a (fox:1.5)"))
    assert first is not None
    assert torch.equal(first, cast(Tensor, longer))
    assert torch.equal(first, cast(Tensor, strong))


def test_waves_are_those_of_diffusers() -> None:
    from diffusers.models.embeddings import Timesteps

    numbers = torch.tensor([0.0, 2.5, 512.0, 1024.0])
    torch.testing.assert_close(waves(numbers), Timesteps(256, flip_sin_to_cos=True, downscale_freq_shift=0)(numbers))
