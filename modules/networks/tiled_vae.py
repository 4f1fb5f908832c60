"""The autoencoder in little memory: a large picture passes through it in strips, and comes out as if it were whole.

Tiles that are encoded or decoded each for itself differ at their borders, because the network's group norms look at the
whole picture. Here each norm's mean and variance are taken over all strips first, so nothing has to be blended. What is
too large to be kept is computed anew when it is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modules.base.stopping import may_go_on

STRIP = 2**16  # cells of a strip
LEAST_ROWS = 8  # rows of a strip; no layer, and no two together, reach further than these
SMALL = 2**27  # numbers in a layer's output that is kept rather than computed two or three times


def decode(vae: nn.Module, latent: Tensor) -> Tensor:
    """latent (1, 4, h, w), scaled as the decoder wants it -> image (1, 3, 8h, 8w), as `vae.decode` gives it."""
    net = cast(Any, vae)
    latent = latent if net.post_quant_conv is None else net.post_quant_conv(latent)
    x = kept([net.decoder.mid_block(net.decoder.conv_in(latent))])
    for block in net.decoder.up_blocks:
        for layer in block.resnets:
            x = resnet(x, layer)
        for layer in block.upsamplers or ():
            x = convolved(doubled(x), layer.conv)
    return whole(convolved(activated(x, net.decoder.conv_norm_out), net.decoder.conv_out))


def encode(vae: nn.Module, image: Tensor) -> Tensor:
    """image (1, 3, 8h, 8w) -> the mean of its latent (1, 4, h, w), as `vae.encode` gives it."""
    net = cast(Any, vae)
    x = convolved(kept([image]), net.encoder.conv_in)
    for block in net.encoder.down_blocks:
        for layer in block.resnets:
            x = resnet(x, layer)
        for layer in block.downsamplers or ():
            x = convolved(x, layer.conv)
    h = net.encoder.mid_block(whole(x))
    h = net.encoder.conv_out(F.silu(net.encoder.conv_norm_out(h)))
    h = h if net.quant_conv is None else net.quant_conv(h)
    return cast(Tensor, h.chunk(2, dim=1)[0])


class Strips:
    """A tensor in memory, (1, channels, height, width), cut into strips that can be let go from top to bottom."""

    def __init__(self, parts: list[Tensor]) -> None:
        """All parts but the last have as many rows as the first."""
        self._parts: list[Tensor | None] = list(parts)
        self._step = parts[0].shape[2]
        self.height = sum(part.shape[2] for part in parts)

    def rows(self, a: int, b: int) -> Tensor:
        """Rows a to b, without b."""
        numbers = range(a // self._step, -(-b // self._step))
        cut = [cast(Tensor, self._parts[k])[:, :, max(a - k * self._step, 0) : b - k * self._step] for k in numbers]
        return torch.cat(cut, dim=2)

    def forget(self, share: float) -> None:
        """Lets go of the strips in the upper `share` of the picture; the first stays, for edges that wrap round."""
        for k in range(1, int(share * self.height) // self._step):
            self._parts[k] = None

    def clear(self) -> None:
        """Lets go of everything."""
        self._parts.clear()


@dataclass(frozen=True)
class LazyTensor:
    """A tensor (1, channels, height, width) of which any rows can be had: `rows(a, b)` is (1, channels, b - a, width).

    `source` is what it is computed from, or, when `ready`, where it lies.
    """

    channels: int
    height: int
    width: int
    rows: Callable[[int, int], Tensor]
    source: Strips
    ready: bool = False

    def spans(self) -> list[tuple[int, int]]:
        """First and last row (without it) of the strips in which it is worked through."""
        step = max(STRIP // self.width, LEAST_ROWS)
        return [(a, min(a + step, self.height)) for a in range(0, self.height, step)]

    def parts(self) -> Iterator[tuple[int, int]]:
        """`spans`, asking before each whether to go on."""
        for span in self.spans():
            may_go_on()
            yield span


def kept(parts: list[Tensor]) -> LazyTensor:
    """A field that is in memory; all parts but the last have as many rows as the first."""
    source = Strips(parts)
    return LazyTensor(parts[0].shape[1], source.height, parts[0].shape[3], source.rows, source, ready=True)


def convolved(x: LazyTensor, conv: nn.Conv2d) -> LazyTensor:
    """The convolution `conv` of x. One of stride 2 pads below and to the right only, as the encoder's do."""
    size, stride = conv.kernel_size[0], conv.stride[0]
    before, after = (size // 2, size // 2) if stride == 1 else (0, 1)
    wraps = conv.padding_mode == "circular" and stride == 1

    def rows(a: int, b: int) -> Tensor:
        first, last = a * stride - before, (b - 1) * stride - before + size
        part = x.rows(max(first, 0), min(last, x.height))
        above, below = max(-first, 0), max(last - x.height, 0)
        if wraps:
            top = [x.rows(x.height - above, x.height)] if above else []
            bottom = [x.rows(0, below)] if below else []
            part = F.pad(torch.cat([*top, part, *bottom], dim=2), (before, after, 0, 0), mode="circular")
        else:
            part = F.pad(part, (before, after, above, below))
        return F.conv2d(part, conv.weight, conv.bias, conv.stride)

    height, width = ((side + before + after - size) // stride + 1 for side in (x.height, x.width))
    return LazyTensor(conv.out_channels, height, width, rows, x.source)


def doubled(x: LazyTensor) -> LazyTensor:
    """Each cell as two by two."""
    def rows(a: int, b: int) -> Tensor:
        part = F.interpolate(x.rows(a // 2, -(-b // 2)), scale_factor=2.0, mode="nearest")
        return part[:, :, a % 2 : a % 2 + b - a]

    return LazyTensor(x.channels, x.height * 2, x.width * 2, rows, x.source)


def activated(x: LazyTensor, norm: nn.GroupNorm) -> LazyTensor:
    """SiLU of the group norm of x. Its statistics are taken over all of x, now."""
    count, total, squares = 0, torch.zeros(()).double(), torch.zeros(()).double()
    for a, b in x.parts():
        part = x.rows(a, b).float().reshape(norm.num_groups, -1)
        variance, mean = (value.cpu().double() for value in torch.var_mean(part, dim=1, correction=0))
        count += part.shape[1]
        total = total + mean * part.shape[1]
        squares = squares + (variance + mean**2) * part.shape[1]
    mean = total / count
    deviation = (squares / count - mean**2 + norm.eps).sqrt()
    each = x.channels // norm.num_groups
    scale = norm.weight.float() / deviation.float().to(norm.weight.device).repeat_interleave(each)
    shift = norm.bias.float() - mean.float().to(norm.bias.device).repeat_interleave(each) * scale
    scale, shift = (value.to(norm.weight.dtype).view(1, -1, 1, 1) for value in (scale, shift))
    return LazyTensor(x.channels, x.height, x.width,
                 lambda a, b: F.silu(torch.addcmul(shift, x.rows(a, b), scale), inplace=True), x.source)


def resnet(x: LazyTensor, block: nn.Module) -> LazyTensor:
    """diffusers' ResnetBlock2D without time embedding. Its output is kept, what it was computed from is let go."""
    layer = cast(Any, block)
    if is_small(x) and not x.ready:
        x = keep(x)
    h = convolved(activated(x, layer.norm1), layer.conv1)
    if is_small(h):
        h = kept([h.rows(a, b) for a, b in h.parts()])
    h = convolved(activated(h, layer.norm2), layer.conv2)
    shortcut = x if layer.conv_shortcut is None else convolved(x, layer.conv_shortcut)
    return keep(LazyTensor(h.channels, h.height, h.width, lambda a, b: h.rows(a, b) + shortcut.rows(a, b), x.source))


def is_small(x: LazyTensor) -> bool:
    """Whether x is better kept than computed two or three times."""
    return x.channels * x.height * x.width <= SMALL


def keep(x: LazyTensor) -> LazyTensor:
    """x in memory; what it is computed from is let go as soon as nothing below needs it."""
    made = []
    for a, b in x.parts():
        made.append(x.rows(a, b))
        x.source.forget((b - LEAST_ROWS) / x.height)
    x.source.clear()
    return kept(made)


def whole(x: LazyTensor) -> Tensor:
    """All rows of x, (1, channels, height, width)."""
    return torch.cat([x.rows(a, b) for a, b in x.parts()], dim=2)
