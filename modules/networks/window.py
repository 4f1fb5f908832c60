"""The UNet on a window of the picture, with what it needs of the rest remembered from a pass over the whole.

A UNet's layer looks beyond the window in three ways only. A 3 x 3 convolution sees one cell over the edge; group norm
averages over the whole picture; self-attention reads keys and values from everywhere. A pass over the whole picture
remembers just these: each convolution's surroundings, the sums outside the window, the keys and values outside. With
them a pass over the window gives what the whole pass gives there (to float32's rounding), as long as the rest has not
changed. Between two noise levels the rest changes smoothly, so what two whole passes remember is interpolated.

A small window is dear for its size: all the weights are read for it. So the deep levels, which hold most of them, may
be left out at some steps (`networks.deepcache`).

Akin to SIGE (Li et al. 2022) and InstGenIE (2025), which reuse activations around an edit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modules.networks.deepcache import UNetDeepCache
from modules.networks.packing import PackedConv2d
from modules.sampling.types import Box, Predict

Memory = dict[nn.Module, Tensor]
"""What one whole pass leaves for the window, by layer."""


class UNetWindow:
    """`unet` on the cells `box` (left, top, right, bottom) of a latent of `size` (width, height).

    The box is widened to whole cells of the deepest level. Not for two threads at once. `close` gives memory back.
    """

    def __init__(self, unet: nn.Module, box: Box, size: tuple[int, int], dtype: torch.dtype = torch.float32) -> None:
        deepest = deepest_cell(unet)
        width, height = size
        if width % deepest or height % deepest:
            raise ValueError(f"a latent of {width} x {height} does not divide by {deepest}")
        left, top, right, bottom = box
        self.box: Box = (left // deepest * deepest, top // deepest * deepest,
                         min(-(-right // deepest) * deepest, width), min(-(-bottom // deepest) * deepest, height))
        self._unet = unet
        self._dtype = dtype
        self._deep = UNetDeepCache(unet, dtype)
        self._height = height
        self._area = width * height
        self._layers = list(self._find())
        self._keep_packed(2)  # for the whole picture and for the window

    @torch.no_grad()
    def whole(self, x: Tensor, t: Tensor, context: Tensor) -> tuple[Tensor, Memory]:
        """x (B, C, h, w), t (B,), context (B, tokens, C) -> (eps (B, 4, h, w), what the window needs of this pass)."""
        memory: Memory = {}
        with self._replaced({nn.GroupNorm: self._remember_sums, nn.Linear: self._remember_tokens,
                             nn.Conv2d: self._remember_surroundings}, memory):
            eps = self._unet(x.to(self._dtype), t, context.to(self._dtype), return_dict=False)[0]
            return cast(Tensor, eps).float(), memory

    def inside(self, before: Sequence[Memory], after: Sequence[Memory], share: float, *, deep: bool = True) -> Predict:
        """What predicts for one step: x (B, C, h, w), t, context as in `whole` -> eps (B, 4, h', w') in the window.

        The rest is taken to be `share`, 0 to 1, of the way from `before` to `after`, what `whole` left at each asking
        of a step. Without `deep` the step takes over the deep features of the step before.
        """
        memories = iter([_Between(*pair, share) for pair in zip(before, after, strict=True)])
        predict = self._deep.step(deep)
        left, top, right, bottom = self.box

        def ask(x: Tensor, t: Tensor, context: Tensor) -> Tensor:
            with self._replaced({nn.GroupNorm: _norm, nn.Linear: _join_tokens, nn.Conv2d: _convolve}, next(memories)):
                return predict(x[:, :, top:bottom, left:right].contiguous(), t, context)

        return ask

    def close(self) -> None:
        """Lets the weights that were packed for the window's size go."""
        self._keep_packed(1)

    def _find(self) -> Iterator[tuple[nn.Module, type[nn.Module]]]:
        """The layers that look beyond the window, each with its kind."""
        for name, layer in self._unet.named_modules():
            if isinstance(layer, nn.GroupNorm):
                yield layer, nn.GroupNorm
            elif name.endswith(("attn1.to_k", "attn1.to_v")):  # attn1 is diffusers' name for self-attention
                yield layer, nn.Linear
            elif isinstance(layer, (nn.Conv2d, PackedConv2d)) and layer.kernel_size == (3, 3):
                yield layer, nn.Conv2d

    @contextmanager
    def _replaced(self, forwards: dict[type[nn.Module], Callable[..., Tensor]],
                  memory: Memory | _Between) -> Iterator[None]:
        """The layers compute by `forwards`, given layer, memory and input, while this lasts."""
        try:
            for layer, kind in self._layers:
                layer.forward = partial(forwards[kind], layer, memory)
            yield
        finally:
            for layer, _ in self._layers:
                layer.__dict__.pop("forward", None)

    def _keep_packed(self, sizes: int) -> None:
        for layer in self._unet.modules():
            if isinstance(layer, PackedConv2d):
                layer.keep(sizes)

    def _at(self, height: int) -> Box:
        """The window on a level of the network that is `height` cells high."""
        left, top, right, bottom = (edge * height // self._height for edge in self.box)
        return left, top, right, bottom

    # --- the whole picture: each layer as it is, and what it leaves for the window

    def _remember_surroundings(self, layer: Any, memory: Memory, x: Tensor) -> Tensor:
        """The window of x (B, C, h, w) and one cell around it, zeros over the picture's edge; and `_spare` columns."""
        left, top, right, bottom = self._at(x.shape[2])
        height, width = x.shape[2:]
        end = right + 1 + _spare(layer, right - left)
        around = x[:, :, max(top - 1, 0):bottom + 1, max(left - 1, 0):end]
        memory[layer] = F.pad(around, (int(left == 0), max(end - width, 0), int(top == 0), int(bottom == height)))
        return cast(Tensor, type(layer).forward(layer, x))

    def _remember_sums(self, layer: Any, memory: Memory, x: Tensor) -> Tensor:
        """(3, B, groups): the sums of the values outside and of their squares, and the number of values in all."""
        left, top, right, bottom = self._at(x.shape[2])
        normed, whole = _norm_whole(layer, x)
        count = torch.full_like(whole[:1], x[0].numel() / layer.num_groups)
        memory[layer] = torch.cat([whole - _sums(x[:, :, top:bottom, left:right], layer.num_groups), count])
        return normed

    def _remember_tokens(self, layer: Any, memory: Memory, x: Tensor) -> Tensor:
        """The keys or values (B, tokens outside, C) of x (B, tokens, C)."""
        height = round(self._height * (x.shape[1] / self._area) ** 0.5)
        left, top, right, bottom = self._at(height)
        outside = torch.ones(height, x.shape[1] // height, dtype=torch.bool, device=x.device)
        outside[top:bottom, left:right] = False
        result = cast(Tensor, type(layer).forward(layer, x))
        memory[layer] = result[:, outside.flatten()]
        return result


@dataclass(frozen=True)
class _Between:
    """What lies `share`, 0 to 1, of the way from one memory to another."""

    before: Memory
    after: Memory
    share: float

    def __getitem__(self, layer: nn.Module) -> Tensor:
        """A new tensor."""
        return torch.lerp(self.before[layer], self.after[layer], self.share)

    def join(self, layer: nn.Module, tokens: Tensor) -> Tensor:
        """The remembered tokens and after them `tokens`, (B, tokens, C) each."""
        first, second = self.before[layer], self.after[layer]
        outside = first.shape[1]
        joined = first.new_empty(len(first), outside + tokens.shape[1], first.shape[2])
        torch.lerp(first, second, self.share, out=joined[:, :outside])
        joined[:, outside:] = tokens
        return joined


def deepest_cell(unet: nn.Module) -> int:
    """Cells of the latent along a cell of the deepest level: 8 for Stable Diffusion 1.x."""
    return int(2 ** (len(cast(nn.ModuleList, unet.get_submodule("down_blocks"))) - 1))


# --- the window: each layer with what was remembered

def _convolve(layer: Any, memory: _Between, x: Tensor) -> Tensor:
    height, width = x.shape[2:]
    surrounded = memory[layer]  # (B, C, h + 2, w + 2 + spare)
    surrounded[:, :, 1:height + 1, 1:width + 1] = x
    if isinstance(layer, PackedConv2d):
        result = layer.convolve(surrounded, (0, 0))
    else:
        result = F.conv2d(surrounded, layer.weight, layer.bias, layer.stride)
    return result[:, :, :, :width] if _spare(layer, width) else result


def _spare(layer: Any, width: int) -> int:
    """Columns that are computed beside the window for nothing: to a multiple of 4 oneDNN mostly wants the weight in the
    order that the whole picture has it in, and packing it again costs more."""
    return -width % 4 if layer.stride == (1, 1) else 0


def _norm_whole(layer: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """The layer's answer and `_sums` of the whole picture, which in float32 come from what the norm itself finds."""
    if x.dtype != torch.float32:
        return cast(Tensor, type(layer).forward(layer, x)), _sums(x, layer.num_groups)
    batch, channels, height, width = x.shape
    normed, mean, rstd = torch.native_group_norm(x, layer.weight, layer.bias, batch, channels, height * width,
                                                 layer.num_groups, layer.eps)
    mean, variance = _exact(mean), _exact(rstd) ** -2 - layer.eps  # (B, groups)
    return normed, torch.stack([mean, variance + mean**2]) * (x[0].numel() / layer.num_groups)


def _norm(layer: Any, memory: _Between, x: Tensor) -> Tensor:
    batch, channels = x.shape[:2]
    sums, squares, count = memory[layer].unbind()  # (B, groups) each
    inside = _sums(x, layer.num_groups)
    mean = (sums + inside[0]) / count
    variance = ((squares + inside[1]) / count - mean**2).clamp_min(0)
    scale = (variance + layer.eps).rsqrt().to(x.dtype)[:, :, None] * layer.weight.view(1, layer.num_groups, -1)
    shift = layer.bias.view(1, layer.num_groups, -1) - mean.to(x.dtype)[:, :, None] * scale
    return torch.addcmul(shift.view(batch, channels, 1, 1), x, scale.view(batch, channels, 1, 1))


def _join_tokens(layer: Any, memory: _Between, x: Tensor) -> Tensor:
    return memory.join(layer, type(layer).forward(layer, x))


def _sums(x: Tensor, groups: int) -> Tensor:
    """x (B, C, h, w) -> (2, B, groups): sums of values and of squares."""
    values = _exact(x.reshape(x.shape[0], groups, -1))
    return torch.stack([values.sum(-1), values.square().sum(-1)])


def _exact(x: Tensor) -> Tensor:
    """x in double, as sums whose difference is small want it; in single precision on Apple's GPUs, which have no
    double."""
    return x.float() if x.device.type == "mps" else x.double()
