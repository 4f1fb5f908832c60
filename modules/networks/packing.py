"""Weights that lie in memory as the CPU's kernels want them, instead of being reordered at each call.

oneDNN computes a convolution over blocks of channels. PyTorch keeps weights in plain order and has oneDNN reorder them
at every call, which for wide layers over small pictures costs more than the convolution itself. Here the reordering is
done once for a picture size, as TorchInductor does when it freezes a graph
(`torch/_inductor/fx_passes/mkldnn_fusion.py`), but without a compiler. The widest linear layers are computed as 1 x 1
convolutions too; for the others MKL's matrix product is as fast.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Pair = tuple[int, int]
Order = bytes
"""How a packed weight lies in memory: oneDNN's own description."""
Key = tuple[object, ...]
"""A convolution's numbers, the size of its input and the padding."""

WIDE = 8
"""A linear layer is packed if it has at least so many times more outputs than inputs: the gated ones alone have."""


class Orders:
    """The order that each convolution of one network wants its weight in. Packing a weight finds it out, and layers
    with the same numbers share it."""

    MOST = 10_000
    """Enough for some two hundred picture sizes. Beyond that the table is begun anew."""

    def __init__(self) -> None:
        self._known: dict[Key, Order] = {}
        self.get = self._known.get

    def add(self, key: Key, order: Order) -> None:
        """Notes what packing has found out."""
        if len(self._known) >= self.MOST:
            self._known.clear()
        self._known[key] = order


class PackedConv2d(nn.Module):
    """A Conv2d for inference with float32 on the CPU. It shares the bias of `conv` and has its weight in one order at a
    time, unless it is told to `keep` more.

    The best order depends on the size of the input, and a kernel that meets another order than its own is ten times
    slower. So the weight is reordered when a size comes that wants another order (0.1 s for the largest layers). Then
    the plain `weight` is None; `state_dict` gives it in plain order all the same, and `replaced` exchanges it.
    """

    def __init__(self, conv: nn.Conv2d, orders: Orders | None = None) -> None:
        """`orders` are those of the network that this layer belongs to."""
        super().__init__()
        self.in_channels, self.out_channels = conv.in_channels, conv.out_channels
        self.kernel_size, self.stride = cast(Pair, conv.kernel_size), cast(Pair, conv.stride)
        self.padding, self.dilation = cast(Pair, conv.padding), cast(Pair, conv.dilation)
        self.groups, self.bias = conv.groups, conv.bias
        self.padding_mode = conv.padding_mode  # "zeros", or "circular" for pictures that tile
        self._shape = self.weight_shape = tuple(conv.weight.shape)
        self.weight: Tensor | None = conv.weight
        # Neither parameter nor buffer: `to` and `state_dict` cannot handle a packed tensor.
        self._packed: dict[Order, Tensor] = {}  # the newest last
        self._most = 1
        self._orders = orders or Orders()

    def forward(self, x: Tensor) -> Tensor:
        """x (B, in, h, w) -> (B, out, h', w'), its channels last in memory."""
        padding = self.padding
        if self.padding_mode == "circular":
            x = F.pad(x, (padding[1], padding[1], padding[0], padding[0]), mode="circular")
            padding = (0, 0)
        return self.convolve(x, padding)

    def convolve(self, x: Tensor, padding: Pair) -> Tensor:
        """x (B, in, h, w) -> (B, out, h', w') with another padding than the layer's own, of zeros.

        Raises RuntimeError if gradients are wanted: oneDNN's operator would leave them out without a word.
        """
        if x.requires_grad and torch.is_grad_enabled():
            raise RuntimeError("A packed layer computes no gradients; train the network unpacked.")
        key = (self.in_channels, self.out_channels, self.kernel_size, self.stride, self.dilation, self.groups,
               x.shape[2:], padding)
        order = self._orders.get(key)
        if order not in self._packed:
            order = self._pack(x, padding)
            self._orders.add(key, order)
        return cast(Tensor, torch.ops.mkldnn._convolution_pointwise(
            x, self._packed[order], self.bias, padding, self.stride, self.dilation, self.groups, "none",
            [], ""))

    def keep(self, orders: int) -> None:
        """From now on hold the weight in at most so many orders at once, the plain one included.

        If fewer may be kept than before, drop the newest first: the oldest is the whole picture's, which is used next.
        """
        self._most = orders
        while self.copies > orders:
            if self.weight is not None:
                self.weight = None
            else:
                self._packed.popitem()

    def unpack(self) -> None:
        """Hold the weight in plain order alone."""
        if self.weight is None:
            self.weight = nn.Parameter(self._plain(), requires_grad=False)
        self._packed = {}

    def assign(self, values: Tensor) -> None:
        """Compute with `values` from now on: of the shape that the layer had before it was packed, in plain order."""
        if self.weight is None:
            self.weight = nn.Parameter(values.float().view(self._shape), requires_grad=False)
        else:
            self.weight.copy_(values.view(self._shape))
        self._packed = {}

    @contextmanager
    def replaced(self, weight: Tensor) -> Iterator[None]:
        """Compute with `weight`, of the layer's own shape, float32 on the CPU, in plain order, while this lasts.

        It is packed anew as needed. Afterwards the layer has the very tensors that it had before, so that its results
        are the same to the last bit. Both weights are in memory meanwhile. Raises ValueError for another shape.
        """
        if tuple(weight.shape) != self.weight_shape:
            raise ValueError(f"the weight is {list(weight.shape)} and should be {list(self.weight_shape)}")
        before = self.weight, self._packed
        self.weight, self._packed = nn.Parameter(weight.detach().view(self._shape), requires_grad=False), {}
        try:
            yield
        finally:
            self.weight, self._packed = before
            self.keep(self._most)  # which may have been changed meanwhile

    @property
    def copies(self) -> int:
        """The number of orders that the weight is held in."""
        return len(self._packed) + (self.weight is not None)

    def _save_to_state_dict(self, destination: dict[str, Tensor], prefix: str, keep_vars: bool) -> None:
        """The state of an ordinary layer, bit for bit, whatever order the weight is in."""
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "weight"] = self.plain_weight()

    def plain_weight(self) -> Tensor:
        """The weight in plain order, of the shape that the layer had before it was packed."""
        return self._plain().view(self.weight_shape)

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
        """Drop the plain weight, then the oldest packed one, until there is room for one more."""
        while self.copies >= self._most:
            if self.weight is not None:
                self.weight = None
            else:
                del self._packed[next(iter(self._packed))]

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"


class PackedLinear(PackedConv2d):
    """A Linear for inference with float32 on the CPU, computed as a 1 x 1 convolution over a row of cells.

    That is 5 to 30 % faster than MKL's matrix product, and twice as fast for fewer than a hundred rows. The order of
    its weight depends on the number of rows, so it is for layers that always get the same number (`GatedLinear`).
    """

    def __init__(self, linear: nn.Linear, orders: Orders | None = None) -> None:
        conv = nn.Conv2d(linear.in_features, linear.out_features, 1, bias=linear.bias is not None, device="meta")
        conv.weight, conv.bias = nn.Parameter(linear.weight[:, :, None, None], requires_grad=False), linear.bias
        super().__init__(conv, orders)
        self.weight_shape = tuple(linear.weight.shape)

    @property
    def out_features(self) -> int:
        """The width of the result, under the name that a Linear has for it."""
        return self.out_channels

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in) -> (..., out)."""
        cells = x.reshape(1, 1, -1, self.in_channels).permute(0, 3, 1, 2)  # (1, in, 1, rows)
        return self.convolve(cells, (0, 0)).permute(0, 2, 3, 1).reshape(*x.shape[:-1], self.out_channels)


def order_of(packed: Tensor) -> Order:
    """The order of a packed weight. Four bytes of the description, a gap behind the data type, are never written. They
    are left out."""
    description: bytes = torch.ops.mkldnn._get_mkldnn_serialized_md(packed).numpy().tobytes()
    return description[:108] + description[112:]


def pack(module: nn.Module) -> None:
    """Replace the layers inside `module` that can be packed. Each is packed at its first call, not here."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return
    orders = Orders()
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if packable(child):
                setattr(parent, name, PackedLinear(child, orders) if isinstance(child, nn.Linear) else
                        PackedConv2d(cast(nn.Conv2d, child), orders))


@contextmanager
def replaced(layer: nn.Module, weight: Tensor) -> Iterator[None]:
    """`layer`, packed or not, computes with `weight` while this lasts; then its own weight is there again.

    `weight` has the shape, the dtype and the device of the layer's own. Raises ValueError for another shape.
    """
    if isinstance(layer, PackedConv2d):
        with layer.replaced(weight):
            yield
        return
    plain = cast(Any, layer)
    before = plain.weight
    if weight.shape != before.shape:
        raise ValueError(f"the weight is {list(weight.shape)} and should be {list(before.shape)}")
    plain.weight = nn.Parameter(weight.detach(), requires_grad=False)
    try:
        yield
    finally:
        plain.weight = before


def weight_bytes(module: nn.Module) -> int:
    """Bytes of the weights in `module`, packed ones included; not of those that `replaced` has set aside."""
    packed = (layer for layer in module.modules() if isinstance(layer, PackedConv2d))
    return (sum(p.nbytes for p in module.parameters())
            + sum(math.prod(layer.weight_shape) * 4 * (layer.copies - (layer.weight is not None)) for layer in packed))


def packable(layer: nn.Module) -> bool:
    """True for a convolution that pads with zeros and for a linear layer that widens `WIDE` times, if its weight is
    frozen float32 on the CPU."""
    if type(layer) is nn.Linear:
        if layer.out_features < WIDE * layer.in_features:
            return False
    elif type(layer) is not nn.Conv2d or layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        return False
    weight = layer.weight
    return weight.device.type == "cpu" and weight.dtype == torch.float32 and not weight.requires_grad
