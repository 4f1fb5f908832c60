"""The UNet on a window of the picture, with what it needs of the rest recorded during a pass over the whole picture.

A layer of the UNet looks beyond the window in three ways only. A 3 x 3 convolution reads one cell over the edge. Group
norm averages over the whole picture. Self-attention reads keys and values from everywhere. A pass over the whole
picture records just these: each convolution's surroundings, the sums outside the window, the keys and values outside.
With them a pass over the window gives what the whole pass gives there (to float32's rounding), as long as the rest has
not changed. Between two noise levels the rest changes smoothly, so the records of two whole passes are interpolated.

A pass over a small window is expensive for its size because it reads all the weights. Most of them are in the deep
levels, which `networks.deepcache` skips at some steps.

Related: SIGE (Li et al. 2022) and InstGenIE (2025) reuse activations around an edit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modules.networks.forwards import Forward, replaced
from modules.networks.packing import PackedConv2d
from modules.sampling.types import Box

Memory = dict[nn.Module, Tensor]
"""The record of one whole pass, by layer."""


class UNetWindow:
    """`unet` on the cells `box` (left, top, right, bottom) of a latent of `size` (width, height).

    The box is widened to whole cells of the deepest level. A layer whose `forward` somebody has replaced computes by
    that function in both kinds of passes. Only one thread may use it at a time. `close` gives memory back.
    """

    def __init__(self, unet: nn.Module, box: Box, size: tuple[int, int]) -> None:
        cell = deepest_cell(unet)
        width, height = size
        if width % cell or height % cell:
            raise ValueError(f"a latent of {width} x {height} does not divide by {cell}")
        left, top, right, bottom = box
        self.box: Box = (left // cell * cell, top // cell * cell,
                         min(-(-right // cell) * cell, width), min(-(-bottom // cell) * cell, height))
        self._unet = unet
        self._layers = list(_layers(unet, _Place(self.box, width, height)))
        self._keep_packed(2)  # for the whole picture and for the window

    @contextmanager
    def recording(self) -> Iterator[Memory]:
        """While this lasts, one pass of the UNet over the whole picture is recorded in the memory that this yields."""
        memory: Memory = {}

        def record(layer: _Layer, forward: Forward, x: Tensor) -> Tensor:
            result, memory[layer.module] = layer.record(forward, x)
            return result

        with replaced({layer.module: partial(record, layer, layer.module.forward) for layer in self._layers}):
            yield memory

    def inside(self, before: Memory, after: Memory, share: float) -> AbstractContextManager[None]:
        """While this lasts, the UNet computes on the window: x (B, C, h', w'), the cells `box` of the latent.

        What lies outside is taken to be `share`, 0 to 1, of the way from the record `before` to the record `after`.
        """
        return replaced({layer.module: partial(layer.inside, layer.module.forward,
                                               _Between(before[layer.module], after[layer.module], share))
                         for layer in self._layers})

    def close(self) -> None:
        """Lets the weights go that were packed for the window's size."""
        self._keep_packed(1)

    def _keep_packed(self, sizes: int) -> None:
        for layer in self._unet.modules():
            if isinstance(layer, PackedConv2d):
                layer.keep(sizes)


def deepest_cell(unet: nn.Module) -> int:
    """Cells of the latent along one cell of the deepest level: 8 for Stable Diffusion 1.x."""
    return int(2 ** (len(cast(nn.ModuleList, unet.get_submodule("down_blocks"))) - 1))


@dataclass(frozen=True)
class _Place:
    """Where the window lies: `box` in a latent of `width` x `height`."""

    box: Box
    width: int
    height: int

    def at(self, height: int) -> Box:
        """The window on the level of the network that is `height` cells high."""
        left, top, right, bottom = (edge * height // self.height for edge in self.box)
        return left, top, right, bottom


@dataclass(frozen=True)
class _Between:
    """What lies `share`, 0 to 1, of the way from one record of a layer to another."""

    before: Tensor
    after: Tensor
    share: float

    def tensor(self) -> Tensor:
        """A new tensor of their shape."""
        return torch.lerp(self.before, self.after, self.share)


class _Layer(ABC):
    """One layer that looks beyond the window."""

    def __init__(self, module: nn.Module, place: _Place) -> None:
        self.module, self.place = module, place
        self._any: Any = module

    @abstractmethod
    def record(self, forward: Forward, x: Tensor) -> tuple[Tensor, Tensor]:
        """x of the whole picture -> (what the layer gives, what `inside` needs of this pass)."""

    @abstractmethod
    def inside(self, forward: Forward, outside: _Between, x: Tensor) -> Tensor:
        """x of the window -> what the layer gives in the window."""


def _layers(unet: nn.Module, place: _Place) -> Iterator[_Layer]:
    """The layers of `unet` that look beyond the window."""
    for name, module in unet.named_modules():
        if name.endswith(("attn1.to_k", "attn1.to_v")):  # attn1 is diffusers' name for self-attention
            yield _Tokens(module, place)
        elif isinstance(module, nn.GroupNorm):
            everywhere = max(place.width, place.height)
            yield _GroupNorm(module, place) if _is_plain(module) else _Patched(module, place, everywhere)
        elif isinstance(module, (nn.Conv2d, PackedConv2d)) and module.kernel_size == (3, 3):
            stride = int(module.stride[0])
            yield _Convolution(module, place) if _is_plain(module) else _Patched(module, place, stride, stride)


_PLAIN = (nn.GroupNorm.forward, nn.Conv2d.forward, PackedConv2d.forward)


def _is_plain(layer: nn.Module) -> bool:
    """True if the layer computes by its class's own formula, which may then be split between window and surroundings.

    False if an extension has set `forward` on it, or has made it an instance of a subclass that computes otherwise.
    """
    return getattr(layer.forward, "__func__", None) in _PLAIN


class _Tokens(_Layer):
    """A projection of self-attention's tokens to keys or values, each token for itself."""

    def record(self, forward: Forward, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, tokens, C) -> (keys or values (B, tokens, C), those outside the window (B, tokens outside, C))."""
        place = self.place
        height = round(place.height * (x.shape[1] / (place.width * place.height)) ** 0.5)
        left, top, right, bottom = place.at(height)
        outside = torch.ones(height, x.shape[1] // height, dtype=torch.bool, device=x.device)
        outside[top:bottom, left:right] = False
        result = cast(Tensor, forward(x))
        return result, result[:, outside.flatten()]

    def inside(self, forward: Forward, outside: _Between, x: Tensor) -> Tensor:
        """x (B, tokens of the window, C) -> keys or values of the whole picture, the window's last."""
        tokens = cast(Tensor, forward(x))
        first, count = outside.before, outside.before.shape[1]
        joined = first.new_empty(len(first), count + tokens.shape[1], first.shape[2])
        torch.lerp(first, outside.after, outside.share, out=joined[:, :count])
        joined[:, count:] = tokens
        return joined


class _Convolution(_Layer):
    """A 3 x 3 convolution. Its record is the window of x, one cell around it and `_spare` columns, with zeros beyond
    the picture's edge."""

    def record(self, forward: Forward, x: Tensor) -> tuple[Tensor, Tensor]:
        left, top, right, bottom = self.place.at(x.shape[2])
        height, width = x.shape[2:]
        end = right + 1 + self._spare(right - left)
        around = x[:, :, max(top - 1, 0):bottom + 1, max(left - 1, 0):end]
        surrounded = F.pad(around, (int(left == 0), max(end - width, 0), int(top == 0), int(bottom == height)))
        return forward(x), surrounded

    def inside(self, forward: Forward, outside: _Between, x: Tensor) -> Tensor:
        layer = self._any
        height, width = x.shape[2:]
        surrounded = outside.tensor()  # (B, C, h + 2, w + 2 + spare)
        surrounded[:, :, 1:height + 1, 1:width + 1] = x
        if isinstance(layer, PackedConv2d):
            result = layer.convolve(surrounded, (0, 0))
        else:
            result = F.conv2d(surrounded, layer.weight, layer.bias, layer.stride)
        return result[:, :, :, :width] if self._spare(width) else result

    def _spare(self, width: int) -> int:
        """Extra columns, computed and thrown away, that round the width up to a multiple of 4. oneDNN then mostly uses
        the layout of the whole picture, and the weight need not be packed again."""
        return -width % 4 if self._any.stride == (1, 1) else 0


class _GroupNorm(_Layer):
    """A group norm. Its record (3, B, groups) is, for the values outside the window, their sum and the sum of their
    squares; and the number of values in the whole picture."""

    def record(self, forward: Forward, x: Tensor) -> tuple[Tensor, Tensor]:
        groups = self._any.num_groups
        left, top, right, bottom = self.place.at(x.shape[2])
        normed, whole = self._norm_whole(forward, x)
        count = torch.full_like(whole[:1], x[0].numel() / groups)
        return normed, torch.cat([whole - _sums(x[:, :, top:bottom, left:right], groups), count])

    def inside(self, forward: Forward, outside: _Between, x: Tensor) -> Tensor:
        layer = self._any
        batch, channels = x.shape[:2]
        sums, squares, count = outside.tensor().unbind()  # (B, groups) each
        within = _sums(x, layer.num_groups)
        mean = (sums + within[0]) / count
        variance = ((squares + within[1]) / count - mean**2).clamp_min(0)
        scale = (variance + layer.eps).rsqrt().to(x.dtype)[:, :, None] * layer.weight.view(1, layer.num_groups, -1)
        shift = layer.bias.view(1, layer.num_groups, -1) - mean.to(x.dtype)[:, :, None] * scale
        return torch.addcmul(shift.view(batch, channels, 1, 1), x, scale.view(batch, channels, 1, 1))

    def _norm_whole(self, forward: Forward, x: Tensor) -> tuple[Tensor, Tensor]:
        """The normed picture and `_sums` of x. In float32 the sums are derived from the mean and the deviation that the
        norm itself computes."""
        layer = self._any
        if x.dtype != torch.float32:
            return forward(x), _sums(x, layer.num_groups)
        batch, channels, height, width = x.shape
        normed, mean, rstd = torch.native_group_norm(x, layer.weight, layer.bias, batch, channels, height * width,
                                                     layer.num_groups, layer.eps)
        mean, variance = _exact(mean), _exact(rstd) ** -2 - layer.eps  # (B, groups)
        return normed, torch.stack([mean, variance + mean**2]) * (x[0].numel() / layer.num_groups)


class _Patched(_Layer):
    """A layer that computes by another function than its class's own, of which nothing is known but how far it reads.

    Its record is x in the window and as far around it as the function reads. The function is called on that, with the
    window's present values put in, and its result is cut to the window. The picture's edge is where it was, so that
    whatever the function does there is done.
    """

    def __init__(self, module: nn.Module, place: _Place, reach: int, stride: int = 1) -> None:
        """The function reads `reach` cells around the window, a multiple of `stride`, and gives one cell for `stride`
        cells of x."""
        super().__init__(module, place)
        self._reach, self._stride = reach, stride

    def record(self, forward: Forward, x: Tensor) -> tuple[Tensor, Tensor]:
        left, top, right, bottom = self.place.at(x.shape[2])
        reach = self._reach
        around = x[:, :, max(top - reach, 0):bottom + reach, max(left - reach, 0):right + reach].clone()
        return forward(x), around

    def inside(self, forward: Forward, outside: _Between, x: Tensor) -> Tensor:
        place, (height, width) = self.place, x.shape[2:]
        left, top, _, _ = place.at(place.height * height // (place.box[3] - place.box[1]))
        first, above = min(left, self._reach), min(top, self._reach)  # the window's corner in `around`
        around = outside.tensor()
        around[:, :, above:above + height, first:first + width] = x
        rows, columns = (slice(start // self._stride, (start + length) // self._stride)
                         for start, length in ((above, height), (first, width)))
        return cast(Tensor, forward(around))[:, :, rows, columns].contiguous()


def _sums(x: Tensor, groups: int) -> Tensor:
    """x (B, C, h, w) -> (2, B, groups): sums of values and of squares."""
    values = _exact(x.reshape(x.shape[0], groups, -1))
    return torch.stack([values.sum(-1), values.square().sum(-1)])


def _exact(x: Tensor) -> Tensor:
    """x in double precision, because small differences of large sums are taken. Apple's GPUs have no double: single."""
    return x.float() if x.device.type == "mps" else x.double()
