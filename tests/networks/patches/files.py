"""Files of networks with random numbers, for the tiny checkpoints, of every kind."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from modules.networks.model import DiffusionModel
from modules.networks.patches.patched import plain_weight

Shape = tuple[int, ...]
Make = Callable[[Callable[..., Tensor], Shape], dict[str, Tensor]]
"""(random numbers of a shape, the weight's shape) -> the tensors of one module."""


def _lora(noise: Callable[..., Tensor], shape: Shape) -> dict[str, Tensor]:
    up = (shape[0], 4, *([1, 1] if len(shape) == 4 else []))
    return {"lora_up.weight": noise(*up), "lora_down.weight": noise(4, *shape[1:]), "alpha": torch.tensor(2.0)}


def _mid(noise: Callable[..., Tensor], shape: Shape) -> dict[str, Tensor]:
    if len(shape) == 2:
        return _lora(noise, shape)
    return {"lora_up.weight": noise(shape[0], 4, 1, 1), "lora_mid.weight": noise(4, 4, *shape[2:]),
            "lora_down.weight": noise(4, shape[1], 1, 1)}


def _loha(noise: Callable[..., Tensor], shape: Shape) -> dict[str, Tensor]:
    wide = shape[1:].numel() if isinstance(shape, torch.Size) else torch.Size(shape[1:]).numel()
    return {"hada_w1_a": noise(shape[0], 3), "hada_w1_b": noise(3, wide), "hada_w2_a": noise(shape[0], 3),
            "hada_w2_b": noise(3, wide), "alpha": torch.tensor(3.0)}


def _lokr(noise: Callable[..., Tensor], shape: Shape) -> dict[str, Tensor]:
    return {"lokr_w1": noise(4, 2), "lokr_w2": noise(shape[0] // 4, shape[1] // 2, *shape[2:])}


def _dora(noise: Callable[..., Tensor], shape: Shape) -> dict[str, Tensor]:
    return {**_lora(noise, shape), "dora_scale": 1 + noise(1, shape[1], *[1] * (len(shape) - 2))}


KINDS: dict[str, Make] = {
    "lora": _lora,
    "mid": _mid,
    "loha": _loha,
    "lokr": _lokr,
    "ia3": lambda noise, shape: {"weight": noise(shape[0]), "on_input": torch.tensor(False)},
    "full": lambda noise, shape: {"diff": noise(*shape), "diff_b": noise(shape[0])},
    "glora": lambda noise, shape: {"a1.weight": noise(4, shape[1]), "a2.weight": noise(shape[1], 4),
                                   "b1.weight": noise(4, shape[1]), "b2.weight": noise(shape[0], 4)},
    "oft": lambda noise, shape: {"oft_blocks": noise(shape[0] // 8, 8, 8)},
    "oft_diag": lambda noise, shape: {"oft_diag": torch.linalg.qr(noise(shape[0] // 8, 8, 8))[0]},
    "boft": lambda noise, shape: {"oft_blocks": noise(2, shape[0] // 4, 4, 4), "rescale": 1 + noise(shape[0], 1)},
    "dora": _dora,
}
LINEAR_ONLY = ("glora",)

LAYERS = ("lora_te_text_model_encoder_layers_1_mlp_fc1", "lora_te_text_model_encoder_layers_0_self_attn_q_proj",
          "lora_unet_down_blocks_0_attentions_0_proj_in", "lora_unet_input_blocks_1_0_in_layers_2",
          "lora_unet_mid_block_attentions_0_transformer_blocks_0_ff_net_0_proj",
          "lora_unet_up_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k")
"""Layers of both networks: plain, packed, linear, convolutions; in diffusers' words and in ldm's."""


def write(path: Path, model: DiffusionModel, kind: str, names: tuple[str, ...] = LAYERS, scale: float = 0.1
          ) -> Path:
    """A file of that kind for the layers of those names."""
    tensors = {f"{name}.{part}": tensor.contiguous() for name, shape in _shapes(model, names, kind)
               for part, tensor in KINDS[kind](_noise(f"{kind} {name}", scale), shape).items()}
    save_file(tensors, path)
    return path


def _shapes(model: DiffusionModel, names: tuple[str, ...], kind: str) -> Iterator[tuple[str, Shape]]:
    for name in names:
        layer = model.layers.find(name)
        assert layer is not None, name
        shape = tuple(plain_weight(model.parts[layer.part].get_submodule(layer.path)).shape)
        if len(shape) == 2 or kind not in LINEAR_ONLY:
            yield name, shape


def _noise(name: str, scale: float) -> Callable[..., Tensor]:
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    return lambda *shape: torch.randn(*shape, generator=generator) * scale
