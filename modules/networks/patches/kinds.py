"""What the kinds of LoRA and LyCORIS add to a layer. Each function takes a module's tensors and the layer's present
weight, and returns the difference of the weight.

W is a layer's weight, (out, in) or (out, in, k, k), and r a rank. All is computed in float32. WebUI computes LoRA in
the type of the network and the other kinds in the type of the file, where float16 changes pictures by grey levels:
`Round` brings each result to that type, which is what an operation in it gives.

Sources: LoRA (Hu et al. 2021), LyCORIS (Yeh et al. 2023: LoCon, LoHa, LoKr, IA3), GLoRA (Chavan et al. 2023), OFT (Qiu
et al. 2023), BOFT (Liu et al. 2023), DoRA (Liu et al. 2024). Which tensors make which kind, and where WebUI differs
from the papers, is WebUI's (`extensions-builtin/Lora`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from modules.base.free_memory import is_out_of_memory

Tensors = Mapping[str, Tensor]
"""The tensors of one module by what follows its name in the file: "lora_up.weight", "alpha"."""


class Misfit(Exception):
    """A module does not fit the layer that it is for."""


@dataclass(frozen=True)
class Round:
    """Rounds float32 numbers to those that a type has."""

    dtype: torch.dtype = torch.float32

    def __call__(self, x: Tensor) -> Tensor:
        return x.to(self.dtype).float()

    def product(self, a: Tensor, b: Tensor) -> Tensor:
        """a @ b as the type computes it, which is not always the rounded product."""
        return (a.to(self.dtype) @ b.to(self.dtype)).float()


@dataclass(frozen=True)
class Kind:
    """One kind. A module is of the first kind of which it has all tensors of one group of `signs`.

    `delta` computes the difference of the weight. `rank` names the tensors of which the first there has as many rows as
    the module's rank, by which alpha is divided; without one the scale is 1. `rounds`: the difference is scaled and
    added in the file's type. `factors` names the two tensors of which the difference is the product, if nothing else
    belongs to it.
    """

    signs: tuple[tuple[str, ...], ...]
    delta: Callable[[Tensors, Tensor, int | None, Round], Tensor]
    rank: tuple[str, ...] = ()
    rounds: bool = True
    factors: tuple[str, str] | None = None


def added(tensors: Tensors, weight: Tensor, bias: Tensor | None, multiplier: float, rank: int | None = None, *,
          overwrite: bool = False) -> tuple[Tensor, Tensor | None]:
    """The weight and the bias of a layer, both float32, with a module added `multiplier` times.

    `rank` limits a LoRA to its first columns. A convolution of nine input channels takes a difference for four: the
    others get none. With `overwrite` the result may be written into `weight`, which is then what is returned. Raises
    Misfit if the module is of no kind, its shapes do not fit, or a number is not finite; `weight` is as it was then.
    """
    kind, group = next(((kind, group) for kind in KINDS for group in kind.signs
                        if all(name in tensors for name in group)), (None, ()))
    if kind is None:
        raise Misfit
    dtype = tensors[group[0]].dtype
    floats = {name: tensor.to(weight.device, torch.float32) for name, tensor in tensors.items()}
    inside = Round(dtype if dtype in (torch.float16, torch.bfloat16) else torch.float32)
    finish = inside if kind.rounds else Round()
    try:
        product = _product_alone(floats, kind, weight, multiplier, rank)
        if product is None:
            delta = kind.delta(floats, weight, rank, inside)
            if "bias" in floats:
                delta = finish(delta + floats["bias"].reshape(delta.shape))
            delta = finish(_fitted(delta, weight) * _scale(floats, kind))
            if "dora_scale" in floats:
                delta = _dora(delta, weight, floats["dora_scale"], finish)
            weight = finish(finish(weight) + finish(delta * multiplier))
            _check_finite(weight)
        more = floats.get("b_norm" if kind.delta is _norm else "diff_b")
        if bias is not None and more is not None:
            bias = bias + inside(more * multiplier).reshape(bias.shape)
            _check_finite(bias)
        if product is not None:
            flat = weight.reshape(len(weight), -1)
            weight = torch.addmm(flat, *product, out=flat if overwrite else None).reshape(weight.shape)
    except (RuntimeError, ValueError, IndexError, TypeError) as error:  # shapes that do not fit together
        if is_out_of_memory(error):
            raise
        raise Misfit from error
    return weight, bias


def _check_finite(numbers: Tensor) -> None:
    """Raise Misfit for an infinity or a NaN, which the sum shows."""
    if not torch.isfinite(numbers.sum()):
        raise Misfit


def _product_alone(tensors: Tensors, kind: Kind, weight: Tensor, multiplier: float,
                   rank: int | None) -> tuple[Tensor, Tensor] | None:
    """The two matrices of which the product is all that is added to the weight, which takes a tenth of the time of the
    general way then. None if there is more. Raises Misfit if the product could have an infinity or a NaN."""
    if kind.factors is None or {"lora_mid.weight", "bias", "dora_scale"} & tensors.keys():
        return None
    up, down = (tensors[name].reshape(len(tensors[name]), -1) for name in kind.factors)
    if len(up) * down.shape[1] != weight.numel():
        return None
    up, down = up[:, :rank] * (_scale(tensors, kind) * multiplier), down[:rank]
    _check_finite(up.abs().max() * down.abs().max() * len(down))
    return up, down


def _scale(tensors: Tensors, kind: Kind) -> float:
    """What a module's difference is multiplied by."""
    if "scale" in tensors:
        return float(tensors["scale"])
    rank = next((len(tensors[name]) for name in kind.rank if name in tensors), None)
    return float(tensors["alpha"]) / rank if rank and "alpha" in tensors else 1.0


def _fitted(delta: Tensor, weight: Tensor) -> Tensor:
    """`delta` in the shape of `weight`."""
    if delta.numel() == weight.numel():
        return delta.reshape(weight.shape)
    out, channels, *kernel = weight.shape
    fewer = delta.numel() // (out * math.prod(kernel))
    if (channels, fewer) != (9, 4):
        raise Misfit
    padded = torch.zeros_like(weight)
    padded[:, :fewer] = delta.reshape(out, fewer, *kernel)
    return padded


def _room(weight: Tensor, *sides: int) -> None:
    """Raise Misfit if a product of that size is not the weight's, before it is computed: files come from strangers."""
    numbers = weight.numel()
    fewer = numbers // weight.shape[1] * 4 if weight.dim() == 4 and weight.shape[1] == 9 else numbers
    if math.prod(sides) not in (numbers, fewer):
        raise Misfit


def _lora(tensors: Tensors, weight: Tensor, rank: int | None, r: Round) -> Tensor:
    """up (out, r) @ down (r, in * k * k); with a core between them (Tucker), mid (r, r, k, k)."""
    up, down = tensors["lora_up.weight"], tensors["lora_down.weight"]
    up = up.reshape(len(up), -1)
    if "lora_mid.weight" in tensors:
        mid, down = tensors["lora_mid.weight"], down.reshape(len(down), -1)
        _room(weight, len(up), down.shape[1], *mid.shape[2:])
        return torch.einsum("nmkl,in,mj->ijkl", mid, up, down)
    down = down.reshape(len(down), -1)
    _room(weight, len(up), down.shape[1])
    return up[:, :rank] @ down[:rank]


def _peft(tensors: Tensors, weight: Tensor, rank: int | None, r: Round) -> Tensor:
    """LoRA under PEFT's names, whose alpha is not in the tensors."""
    return _lora({"lora_up.weight": tensors["lora_B.weight"], "lora_down.weight": tensors["lora_A.weight"]}, weight,
                 rank, r)


def _loha(tensors: Tensors, weight: Tensor, rank: int | None, r: Round) -> Tensor:
    """The elementwise product of two products."""
    first, second = (_product(tensors, weight, n, r) for n in (1, 2))
    return r(first * second)


def _product(tensors: Tensors, weight: Tensor, number: int, r: Round) -> Tensor:
    """a (out, r) @ b (r, in); with a core t (r, r, k, k) both have their ranks first: a (r, out), b (r, in)."""
    a, b, core = (tensors.get(f"hada_{name}{number}{end}") for name, end in (("w", "_a"), ("w", "_b"), ("t", "")))
    assert a is not None
    assert b is not None
    if core is not None:
        _room(weight, a.shape[1], b.shape[1], *core.shape[2:])
        return _tucker(core, a, b, r)
    _room(weight, a.shape[0], b.shape[1])
    return r.product(a, b)


def _tucker(core: Tensor, a: Tensor, b: Tensor, r: Round) -> Tensor:
    """core (m, n, k, k) with a (m, out) and b (n, in) -> (out, in, k, k)."""
    return r(torch.einsum("irkl,ip->prkl", r(torch.einsum("ijkl,jr->irkl", core, b)), a))


def _lokr(tensors: Tensors, weight: Tensor, rank: int | None, r: Round) -> Tensor:
    """The Kronecker product of a small and a large matrix, each whole or a product."""
    first, second = _factor(tensors, weight, 1, r), _factor(tensors, weight, 2, r)
    if second.dim() == 4:
        first = first[:, :, None, None]
    _room(weight, first.numel(), second.numel())
    return r(torch.kron(first.contiguous(), second.contiguous()))


def _factor(tensors: Tensors, weight: Tensor, number: int, r: Round) -> Tensor:
    whole = tensors.get(f"lokr_w{number}")
    if whole is not None:
        return whole
    a, b, core = (tensors.get(f"lokr_{name}") for name in (f"w{number}_a", f"w{number}_b", f"t{number}"))
    if a is None or b is None:
        raise Misfit
    sides = (a.shape[1], b.shape[1], *core.shape[2:]) if core is not None else (a.shape[0], *b.shape[1:])
    if math.prod(sides) > weight.numel():
        raise Misfit
    if core is not None:
        return _tucker(core, a, b, r)
    return r.product(a, b.reshape(len(b), -1)).reshape(sides)


def _ia3(tensors: Tensors, weight: Tensor, rank: int | None, r: Round) -> Tensor:
    """W scaled, by output or by input."""
    scale = tensors["weight"].flatten()
    shape = [1] * weight.dim()
    shape[1 if bool(tensors["on_input"]) else 0] = len(scale)
    return weight * scale.reshape(shape)


def _full(tensors: Tensors, weight: Tensor, rank: int | None, r: Round) -> Tensor:
    return tensors["diff"]


def _norm(tensors: Tensors, weight: Tensor, rank: int | None, r: Round) -> Tensor:
    return tensors["w_norm"]


def _glora(tensors: Tensors, weight: Tensor, rank: int | None, r: Round) -> Tensor:
    """B + W A, each a product of low rank."""
    a1, a2, b1, b2 = (tensors[f"{name}.weight"].reshape(len(tensors[f"{name}.weight"]), -1)
                      for name in ("a1", "a2", "b1", "b2"))
    flat = r(weight.reshape(len(weight), -1))
    _room(weight, len(b2), b1.shape[1])
    return r(r.product(b2, b1) + r.product(r.product(flat, a2), a1))


def _oft(tensors: Tensors, weight: Tensor, rank: int | None, r: Round) -> Tensor:
    """W turned by a rotation of its outputs in blocks: kohya's and LyCORIS' OFT, and BOFT (butterfly)."""
    blocks = tensors["oft_blocks"]
    if blocks.shape[-1] * blocks.shape[-3] != len(weight):
        raise Misfit
    rotations = _rotations(blocks, float(tensors.get("alpha", torch.zeros(()))) * len(weight), r)
    if blocks.dim() == 4:
        turned = _butterfly(rotations, weight)
    else:
        turned = _turned(rotations, weight)
    if "rescale" in tensors:
        turned = turned * tensors["rescale"].reshape(-1, *[1] * (weight.dim() - 1))
    return turned - weight


def _oft_diag(tensors: Tensors, weight: Tensor, rank: int | None, r: Round) -> Tensor:
    """The OFT of old LyCORIS: the blocks are the rotations."""
    return _turned(tensors["oft_diag"], weight) - weight


def _rotations(blocks: Tensor, limit: float, r: Round) -> Tensor:
    """Cayley's transform of the blocks (..., b, b), whose norm all together is at most `limit`; 0 for no limit."""
    q = r(blocks - blocks.transpose(-1, -2))
    if limit:
        norm = r(q.norm())
        q = r(q * r(r(norm.clamp(max=limit) + 1e-8) / r(norm + 1e-8)))
    eye = torch.eye(q.shape[-1], device=q.device)
    rotations: Tensor = (eye + q) @ torch.linalg.inv(eye - q)
    return rotations


def _turned(rotations: Tensor, weight: Tensor) -> Tensor:
    count, side, _ = rotations.shape
    rows = weight.reshape(count, side, -1)
    return torch.einsum("knm,knx->kmx", rotations, rows).reshape(weight.shape)


def _butterfly(rotations: Tensor, weight: Tensor) -> Tensor:
    """rotations (levels, blocks, b, b): at each level the rows are shuffled, turned in blocks, and shuffled back."""
    levels, count, side, _ = rotations.shape
    rows = weight.reshape(len(weight), -1)
    for level in range(levels):
        inner = 2**level * side // 2
        if not inner or len(rows) % (2 * inner):
            raise Misfit
        shuffled = rows.reshape(-1, 2, inner, rows.shape[1]).transpose(1, 2).reshape(count, side, -1)
        turned = torch.einsum("bij,bjx->bix", rotations[level], shuffled)
        rows = turned.reshape(-1, inner, 2, rows.shape[1]).transpose(1, 2).reshape(rows.shape)
    return rows.reshape(weight.shape)


def _dora(delta: Tensor, weight: Tensor, magnitude: Tensor, r: Round) -> Tensor:
    """The difference to the changed weight brought to the stored norms: of each input, or of each output where the
    magnitude has the shape (out, 1)."""
    weight, magnitude = r(weight), r(magnitude)
    changed = r(weight + delta)
    by_output = magnitude.dim() > 1 and magnitude.shape[0] == len(weight) and magnitude.numel() == len(weight) > 1
    axis = 0 if by_output and magnitude.shape[1] == 1 else 1
    shape = [weight.shape[axis] if n == axis else 1 for n in range(weight.dim())]
    norm = r(changed.transpose(0, axis).reshape(weight.shape[axis], -1).norm(dim=1))
    return r(r(changed * r(magnitude.flatten() / norm).reshape(shape)) - weight)


KINDS = (
    Kind((("lora_up.weight", "lora_down.weight"),), _lora, ("lora_down.weight",), rounds=False,
         factors=("lora_up.weight", "lora_down.weight")),
    Kind((("lora_A.weight", "lora_B.weight"),), _peft, rounds=False, factors=("lora_B.weight", "lora_A.weight")),
    Kind((("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"),), _loha, ("hada_w1_b",)),
    Kind((("weight", "on_input"),), _ia3, rounds=False),
    Kind((("lokr_w1", "lokr_w2"), ("lokr_w1", "lokr_w2_a", "lokr_w2_b"), ("lokr_w1_a", "lokr_w1_b", "lokr_w2"),
          ("lokr_w1_a", "lokr_w1_b", "lokr_w2_a", "lokr_w2_b")), _lokr, ("lokr_w2_b", "lokr_w1_b")),
    Kind((("diff",),), _full),
    Kind((("w_norm", "b_norm"),), _norm),
    Kind((("a1.weight", "a2.weight", "b1.weight", "b2.weight"),), _glora),
    Kind((("oft_blocks",),), _oft, rounds=False),
    Kind((("oft_diag",),), _oft_diag, rounds=False),
)
"""In the order in which WebUI asks."""

FURTHER = ("lora_mid.weight", "hada_t1", "hada_t2", "lokr_t1", "lokr_t2", "diff_b", "bias", "alpha", "scale", "rescale",
           "dora_scale")
"""What may be there besides the signs of a kind."""

PARTS = tuple(sorted({*FURTHER, *(part for kind in KINDS for group in kind.signs for part in group)},
                     key=len, reverse=True))
"""All that can follow a module's name, the longest first."""
