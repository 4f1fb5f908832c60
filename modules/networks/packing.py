"""Weights that lie in memory as the CPU's kernels want them, instead of being reordered at each call.

oneDNN computes a convolution over blocks of channels. PyTorch keeps weights in plain order and has oneDNN reorder them
at every call, which for wide layers over small pictures costs more than the convolution itself. Here the reordering is
done once for a picture size, as TorchInductor does when it freezes a graph
(`torch/_inductor/fx_passes/mkldnn_fusion.py`), but without a compiler. The widest linear layers are convolutions too,
of one cell; the others are as fast plain (MKL).
"""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Pair = tuple[int, int]
Order = bytes
"""How a packed weight lies in memory: oneDNN's own description."""

ORDERS: dict[tuple[object, ...], Order] = {}
"""The order that a convolution wants, by its own numbers, the size of its input and the padding; learnt by packing."""
MOST_ORDERS = 10_000
"""As many are known for some two hundred picture sizes; then they are learnt anew."""

WIDE = 8
"""Of the linear layers, the gated ones alone are so wide."""


class PackedConv2d(nn.Module):
    """A Conv2d for inference with float32 on the CPU. It takes over the bias and has its weight in one order at a time,
    unless it is told to `keep` more.

    The best order depends on the size of the input, and a kernel that meets another order than its own is ten times
    slower, so the weight is reordered when a size comes that wants another one (0.1 s for the largest layers).
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.in_channels, self.out_channels = conv.in_channels, conv.out_channels
        self.kernel_size, self.stride = cast(Pair, conv.kernel_size), cast(Pair, conv.stride)
        self.padding, self.dilation = cast(Pair, conv.padding), cast(Pair, conv.dilation)
        self.groups, self.bias = conv.groups, conv.bias
        self.padding_mode = conv.padding_mode  # "zeros", or "circular" while pictures are to tile
        self.weight_shape = tuple(conv.weight.shape)
        self.weight: Tensor | None = conv.weight
        # Neither parameter nor buffer: `to` and `state_dict` cannot handle a packed tensor.
        self._packed: dict[Order, Tensor] = {}  # the newest last
        self._most = 1

    def forward(self, x: Tensor) -> Tensor:
        """x (B, in, h, w) -> (B, out, h', w'), its channels last in memory."""
        padding = self.padding
        if self.padding_mode == "circular":
            x = F.pad(x, (padding[1], padding[1], padding[0], padding[0]), mode="circular")
            padding = (0, 0)
        return self.convolve(x, padding)

    def convolve(self, x: Tensor, padding: Pair) -> Tensor:
        """x (B, in, h, w) -> (B, out, h', w') with another padding than the layer's own, of zeros."""
        key = (self.in_channels, self.out_channels, self.kernel_size, self.stride, self.dilation, self.groups,
               x.shape[2:], padding)
        if ORDERS.get(key) not in self._packed:
            if len(ORDERS) >= MOST_ORDERS:
                ORDERS.clear()
            ORDERS[key] = self._pack(x, padding)
        return cast(Tensor, torch.ops.mkldnn._convolution_pointwise(
            x, self._packed[ORDERS[key]], self.bias, padding, self.stride, self.dilation, self.groups, "none", [],
            ""))

    def keep(self, orders: int) -> None:
        """From now on has its weight in so many orders at once, the plain one among them.

        Where that is fewer than before, those that came last go: what the weight was packed for first will be wanted
        next, the whole picture after a window of it.
        """
        self._most = orders
        while self.copies > orders:
            if self.weight is not None:
                self.weight = None
            else:
                self._packed.popitem()

    @property
    def copies(self) -> int:
        """In how many orders the weight is held."""
        return len(self._packed) + (self.weight is not None)

    def _save_to_state_dict(self, destination: dict[str, Tensor], prefix: str, keep_vars: bool) -> None:
        """As of an ordinary layer, bit for bit, whatever order the weight is in."""
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "weight"] = self._plain().view(self.weight_shape)

    def _plain(self) -> Tensor:
        return next(iter(self._packed.values())).to_dense() if self.weight is None else self.weight.detach()

    def _pack(self, x: Tensor, padding: Pair) -> Order:
        packed = torch.ops.mkldnn._reorder_convolution_weight(
            self._plain(), padding, self.stride, self.dilation, self.groups, list(x.shape))
        order = order_of(packed)
        if order not in self._packed:
            self._make_room()
            self._packed[order] = packed
        return order

    def _make_room(self) -> None:
        """Lets the plain weight go, then what was packed longest ago, until there is room for one more."""
        while self.copies >= self._most:
            if self.weight is not None:
                self.weight = None
            else:
                del self._packed[next(iter(self._packed))]

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"


class PackedLinear(PackedConv2d):
    """A Linear for inference with float32 on the CPU, computed as a 1 x 1 convolution over a row of cells.

    That is 5 to 30 % faster than MKL's matrix product, and twice as fast for fewer than a hundred rows; but the order
    of its weight depends on the number of rows, so it is for layers that always get the same (`GatedLinear`).
    """

    def __init__(self, linear: nn.Linear) -> None:
        conv = nn.Conv2d(linear.in_features, linear.out_features, 1, bias=linear.bias is not None, device="meta")
        conv.weight, conv.bias = nn.Parameter(linear.weight[:, :, None, None], requires_grad=False), linear.bias
        super().__init__(conv)
        self.weight_shape = tuple(linear.weight.shape)

    @property
    def out_features(self) -> int:
        """As of a Linear."""
        return self.out_channels

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in) -> (..., out)."""
        cells = x.reshape(1, 1, -1, self.in_channels).permute(0, 3, 1, 2)  # (1, in, 1, rows)
        return self.convolve(cells, (0, 0)).permute(0, 2, 3, 1).reshape(*x.shape[:-1], self.out_channels)


def order_of(packed: Tensor) -> Order:
    """The order of a packed weight. Four bytes of the description are never written: a gap behind the data type."""
    description: bytes = torch.ops.mkldnn._get_mkldnn_serialized_md(packed).numpy().tobytes()
    return description[:108] + description[112:]


def pack(module: nn.Module) -> None:
    """Replaces the layers inside `module` that can be packed. Costs nothing before the first call."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if packable(child):
                setattr(parent, name, PackedLinear(child) if isinstance(child, nn.Linear) else
                        PackedConv2d(cast(nn.Conv2d, child)))


def weight_bytes(module: nn.Module) -> int:
    """Bytes that the weights in `module` take, packed ones included."""
    packed = (layer for layer in module.modules() if isinstance(layer, PackedConv2d))
    return (sum(p.nbytes for p in module.parameters())
            + sum(math.prod(layer.weight_shape) * 4 * (layer.copies - (layer.weight is not None)) for layer in packed))


def packable(layer: nn.Module) -> bool:
    """Whether `layer` is a convolution of the usual kind or a linear layer that widens `WIDE` times, frozen, in float32
    on the CPU."""
    if type(layer) is nn.Linear:
        if layer.out_features < WIDE * layer.in_features:
            return False
    elif type(layer) is not nn.Conv2d or layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        return False
    weight = layer.weight
    return weight.device.type == "cpu" and weight.dtype == torch.float32 and not weight.requires_grad
