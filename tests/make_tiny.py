"""Builds checkpoints of random weights in Stable Diffusion's layout, the same bytes on every machine.

    python tests/make_tiny.py SHAPES.json OUT.safetensors [SALT]

Each tensor has its own stream of raw PCG64 words, seeded from its name, so that files that share a shape share the
weights; a salt makes another model of the same shapes. The weights are shaped so that sampling behaves: an identity
path through the UNet makes eps follow the noise, the autoencoder's posterior has almost no variance, and the text
encoder's final norm has a bias, because emphasis divides by the mean of what comes out.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

SHAPES = Path(__file__).parent / "shapes"

Array = NDArray[np.float64]
Weights = dict[str, NDArray[np.generic]]

UNET = "model.diffusion_model."
VAE = "first_stage_model."


def make_tiny(name: str, out: Path, salt: int = 0, channels: int = 0, **metadata: str) -> Path:
    """Writes the checkpoint of `shapes/<name>.json` to `out`; `channels` are those that its UNet reads, if others."""
    shapes = json.loads((SHAPES / f"{name}.json").read_text())
    if channels:
        shapes[UNET + "input_blocks.0.0.weight"][1] = channels
    weights = (build_sd3 if name == "tiny-sd3" else build)(shapes, salt)
    save_file(weights, str(out), metadata=metadata or None)
    return out


def build(shapes: dict[str, list[int]], salt: int = 0) -> Weights:
    """float16 weights for the shapes; the schedule's buffers (names without a dot) are left out."""
    fixed: Weights = {}
    weights: dict[str, Array] = {}
    for key, shape in shapes.items():
        if "." not in key:
            continue
        if key.endswith("position_ids"):
            fixed[key] = np.arange(shape[-1], dtype=np.int64).reshape(shape)
        elif key.endswith("logit_scale"):
            fixed[key] = np.full(shape or [1], 4.6052, np.float16)
        else:
            weights[key] = _random(key, shape, salt)
    _shape_unet(weights)
    _shape_vae(weights)
    for key in weights:
        if key.endswith(("final_layer_norm.bias", "ln_final.bias")):
            weights[key] += 0.25
    halves: Weights = {key: np.ascontiguousarray(value.astype(np.float16)) for key, value in weights.items()}
    return {key: (fixed | halves)[key] for key in shapes if "." in key}


def build_sd3(shapes: dict[str, list[int]], salt: int = 0) -> Weights:
    """The same in Stable Diffusion 3's layout, whose streams have another seed. The first features of each token are
    its own values, and the velocity follows them."""
    salt ^= 0x5D15 ^ 0x5D3
    weights = {key: _random_sd3(key, shape, salt) for key, shape in shapes.items()}
    for key, value in weights.items():
        value += 0.25 * key.endswith("final_layer_norm.bias")
        if "adaLN_modulation" in key:
            value *= 0.3 if "final_layer" in key else 0.8
    weights[UNET + "context_embedder.weight"] *= 5.0
    first, out = weights[UNET + "x_embedder.proj.weight"], weights[UNET + "final_layer.linear.weight"]
    channels = first.shape[1]
    features = 4 * channels
    first[:features] = np.eye(features).reshape(2, 2, channels, features).transpose(3, 2, 0, 1)
    weights[UNET + "x_embedder.proj.bias"][:features] = 0
    out *= 0.4
    out[:, :features] += 0.5 * np.eye(features)
    deviation, bias = weights[VAE + "encoder.conv_out.weight"], weights[VAE + "encoder.conv_out.bias"]
    deviation[channels:], bias[channels:] = 0, -30.0  # the posterior's log variance
    weights[VAE + "decoder.conv_out.weight"] *= 0.7
    return {key: np.ascontiguousarray(value.astype(np.float16)) for key, value in weights.items()}


def _random_sd3(key: str, shape: list[int], salt: int) -> Array:
    if key.endswith("pos_embed"):
        return _uniform(key, shape, 0.1, salt)
    if "embedding" in key or len(shape) == 1:
        return _random(key, shape, salt)
    return _uniform(key, shape, 1 / math.sqrt(math.prod(shape[1:])), salt)


def _random(key: str, shape: list[int], salt: int) -> Array:
    if len(shape) == 1:
        return 1.0 + _uniform(key, shape, 0.05, salt) if key.endswith("weight") else _uniform(key, shape, 0.05, salt)
    if key.endswith("text_projection"):
        return _uniform(key, shape, 1 / math.sqrt(shape[0]), salt)
    if len(shape) == 2 and "embedding" in key:
        return _uniform(key, shape, 0.6 if "token" in key else 0.25, salt)
    return _uniform(key, shape, 1 / math.sqrt(math.prod(shape[1:])), salt)


def _uniform(key: str, shape: list[int], std: float, salt: int) -> Array:
    count = math.prod(shape)
    words = np.random.PCG64(zlib.crc32(key.encode()) ^ 0x5D15 ^ salt).random_raw((count + 3) // 4)
    u = (words.view("<u2")[:count].astype(np.float64) + 0.5) / 65536.0 * 2.0 - 1.0  # in (-1, 1), std 1/sqrt(3)
    scaled: Array = u * (math.sqrt(3.0) * std)
    return scaled.reshape(shape)


def _tap(weight: Array, out_channel: int, in_channel: int, gain: float) -> None:
    """One output channel becomes `gain` times one input channel."""
    weight[out_channel] = 0
    weight[out_channel, in_channel, weight.shape[2] // 2, weight.shape[3] // 2] = gain


def _shape_unet(weights: dict[str, Array]) -> None:
    """x goes in as pairs +x and -x, passes the outermost skip, and comes out: silu(x) - silu(-x) = x."""
    first = weights[UNET + "input_blocks.0.0.weight"]
    for c in range(4):
        _tap(first, c, c, 1.0)
        _tap(first, 4 + c, c, -1.0)
    weights[UNET + "input_blocks.0.0.bias"][:8] = 0
    blocks = (key.removeprefix(UNET + "output_blocks.") for key in weights if key.startswith(UNET + "output_blocks."))
    last = f"{UNET}output_blocks.{max(int(rest.split('.')[0]) for rest in blocks)}."
    skip = weights[last + "0.skip_connection.weight"]
    below = skip.shape[1] - skip.shape[0]  # channels that come from below; the skip's follow
    for c in range(8):
        _tap(skip, c, below + c, 1.0)
    weights[last + "0.skip_connection.bias"][:8] = 0
    for layer in ("0.out_layers.3", "1.proj_out"):
        if last + layer + ".weight" in weights:
            weights[last + layer + ".weight"][:8] *= 0.15
            weights[last + layer + ".bias"][:8] = 0
    out = weights[UNET + "out.2.weight"]
    out *= 0.6
    for c in range(4):
        out[c, :8] *= 0.2
        out[c, c, 1, 1] += 0.8
        out[c, 4 + c, 1, 1] -= 0.8


def _shape_vae(weights: dict[str, Array]) -> None:
    weights[VAE + "encoder.conv_out.weight"] *= 8.0  # latents of about unit variance
    weights[VAE + "decoder.conv_out.weight"] *= 0.7
    quant, bias = weights[VAE + "quant_conv.weight"], weights[VAE + "quant_conv.bias"]
    half = quant.shape[0] // 2
    quant[half:] = 0
    bias[half:] = -30.0  # the posterior's log variance


if __name__ == "__main__":
    target = Path(sys.argv[2])
    made = build(json.loads(Path(sys.argv[1]).read_text()), int(sys.argv[3], 0) if len(sys.argv) > 3 else 0)
    save_file(made, str(target))
    print(target, len(made), hashlib.sha256(target.read_bytes()).hexdigest())
