"""Packed layers give what plain ones give, at every size, and keep one copy of their weights."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from modules.networks.model import DiffusionModel
from modules.networks.packing import PackedConv2d, PackedLinear, pack, packable, replaced, weight_bytes
from modules.networks.unet import GatedLinear

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch without oneDNN")


def conv(channels: tuple[int, int] = (32, 48), kernel: int = 3, **kwargs: Any) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(*channels, kernel, **{"padding": kernel // 2} | kwargs).requires_grad_(False).eval()


def assert_close(ours: Tensor, plain: Tensor) -> None:
    assert ours.shape == plain.shape
    assert float((ours - plain).abs().max()) <= 1e-5 * float(plain.abs().max())


@pytest.mark.parametrize("size", [(1, 1), (4, 4), (5, 9), (13, 8), (16, 16), (24, 24), (25, 24), (40, 33)])
@pytest.mark.parametrize("kwargs", [
    {}, {"stride": 2}, {"kernel": 1}, {"kernel": 1, "stride": 2}, {"groups": 4}, {"groups": 16, "bias": False},
    {"dilation": 2, "padding": 2}, {"padding": 0, "kernel": 1}, {"kernel": 5}, {"channels": (4, 64)},
    {"channels": (64, 4)}, {"channels": (33, 7)}], ids=str)
def test_packed_is_plain(kwargs: dict[str, Any], size: tuple[int, int]) -> None:
    plain = conv(**kwargs)
    packed = PackedConv2d(plain)
    for batch in (1, 2, 3):
        x = torch.randn(batch, plain.in_channels, *size)
        assert_close(packed(x), plain(x))


def test_sizes_may_alternate() -> None:
    plain = conv((64, 64))
    packed = PackedConv2d(plain)
    for height, width in itertools.permutations((3, 8, 16, 30), 2):
        x = torch.randn(2, 64, height, width)
        assert_close(packed(x), plain(x))


def test_edges_may_wrap_round() -> None:
    """Tiling is switched on and off again while the weights are packed."""
    plain = conv((32, 48))
    packed = PackedConv2d(plain)
    x = torch.randn(2, 32, 8, 9)
    for mode in ("zeros", "circular", "zeros", "circular"):
        plain.padding_mode = packed.padding_mode = mode
        for inputs in (x, torch.randn(1, 32, 40, 30), x):
            assert_close(packed(inputs), plain(inputs))


def test_inputs_in_another_memory_order() -> None:
    plain = conv()
    x = torch.randn(2, 32, 8, 8)
    for other in (x.to(memory_format=torch.channels_last), torch.randn(2, 32, 8, 16)[..., ::2], x.expand(2, 32, 8, 8)):
        assert_close(PackedConv2d(plain)(other), plain(other))


def test_one_copy_of_the_weight() -> None:
    """The plain one is let go when it is packed, and the packed one for another size."""
    packed = PackedConv2d(conv())
    held = lambda: [t for t in (packed.weight, *packed._packed.values()) if t is not None]  # noqa: E731
    assert len(held()) == 1
    packed(torch.randn(1, 32, 8, 8))
    assert len(held()) == 1
    assert held()[0].is_mkldnn
    assert held()[0].numel() == 32 * 48 * 9
    packed(torch.randn(1, 32, 12, 8))
    assert len(held()) == 1
    packed.state_dict()
    assert len(held()) == 1


def test_more_copies_where_asked_for() -> None:
    plain = conv()
    packed = PackedConv2d(plain)
    packed.keep(2)
    inputs = [torch.randn(1, 32, size, size) for size in (8, 12, 25, 8, 5, 25)]
    for x, copies in zip(inputs, (2, 2, 2, 2, 2, 2), strict=True):
        assert_close(packed(x), plain(x))
        assert packed.copies == copies
    before = packed._packed.copy()
    packed(inputs[-1])
    packed(inputs[-2])
    assert packed._packed == before, "nothing was reordered again"
    packed.keep(1)
    assert packed.copies == 1
    assert_close(packed(inputs[0]), plain(inputs[0]))
    assert packed.copies == 1


def test_the_weight_is_saved_bit_for_bit() -> None:
    plain = conv((30, 50))
    before = {key: value.clone() for key, value in plain.state_dict().items()}
    packed = PackedConv2d(plain)
    for _ in range(2):
        packed(torch.randn(1, 30, 8, 8))
        after = packed.state_dict()
        assert after.keys() == before.keys()
        assert all(torch.equal(after[key], before[key]) for key in before)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 24), (2, 1, 24), (2, 77, 24), (1, 300, 24), (700, 24)], ids=str)
def test_a_linear_layer(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    plain = nn.Linear(24, 200, bias).requires_grad_(False)
    weight = plain.weight.clone()
    packed = PackedLinear(plain)
    x = torch.randn(shape)
    assert_close(packed(x), plain(x))
    assert_close(packed(x.mT.contiguous().mT), plain(x))
    assert torch.equal(packed.state_dict()["weight"], weight)


@pytest.mark.parametrize("rows", [1, GatedLinear.MOST_ROWS, GatedLinear.MOST_ROWS + 1, 3 * GatedLinear.MOST_ROWS - 100])
def test_a_gated_layer_is_packed_once(rows: int) -> None:
    """However many rows there are, its weight is wanted in one order only."""
    torch.manual_seed(0)
    linear = nn.Linear(16, 128).requires_grad_(False)
    x = torch.randn(1, rows, 16)
    value, gate = linear(x).chunk(2, dim=-1)
    gated = GatedLinear(linear)
    pack(gated)
    packed = gated.proj
    assert isinstance(packed, PackedLinear)
    packed.keep(5)
    given: list[int] = []
    packed.register_forward_pre_hook(lambda _, inputs: given.append(len(inputs[0])))
    with torch.no_grad():
        assert_close(gated(x), value * nn.functional.gelu(gate))
    assert len(set(given)) == 1, "as many rows each time"
    assert packed.copies == 2, "the plain one and one other"


def plain_linear() -> nn.Linear:
    return nn.Linear(24, 200).requires_grad_(False)


@pytest.mark.parametrize("copies", [1, 2])
@pytest.mark.parametrize(("layer", "sizes"), [
    (conv, [(2, 32, 8, 8), (2, 32, 12, 9)]), (lambda: conv(groups=4), [(2, 32, 8, 8), (1, 32, 25, 24)]),
    (plain_linear, [(2, 77, 24), (300, 24)])], ids=["convolution", "groups", "linear"])
def test_another_weight_for_a_while(layer: Any, sizes: list[tuple[int, ...]], copies: int) -> None:
    """It computes with the other weight, then with the very tensors that it had, to the last bit."""
    plain: Any = layer()
    other = nn.Parameter(torch.randn_like(plain.weight), requires_grad=False)
    packed = PackedLinear(plain) if isinstance(plain, nn.Linear) else PackedConv2d(plain)
    packed.keep(copies)
    inputs = [torch.randn(size) for size in sizes]
    before = [packed(x) for x in inputs]
    held, store = packed._packed, packed._packed.copy()
    with replaced(packed, other):
        assert torch.equal(packed.state_dict()["weight"], other)
        with replaced(plain, other):
            for x in inputs:
                assert_close(packed(x), plain(x))
        assert torch.equal(packed.state_dict()["weight"], other)
    assert packed._packed is held
    assert {k: id(v) for k, v in held.items()} == {k: id(v) for k, v in store.items()}
    assert torch.equal(packed(inputs[-1]), before[-1])
    assert torch.equal(packed(inputs[0]), before[0])
    assert packed.copies == copies


def test_another_weight_of_a_layer_that_is_not_packed() -> None:
    plain: Any
    for plain, x in ((conv(), torch.randn(1, 32, 8, 8)), (plain_linear(), torch.randn(5, 24))):
        weight, before = plain.weight, plain(x)
        with replaced(plain, torch.zeros_like(weight)):
            assert torch.equal(plain(x), plain(torch.zeros_like(x)))
        assert plain.weight is weight
        assert torch.equal(plain(x), before)


def test_another_weight_before_the_first_call_and_fewer_copies_meanwhile() -> None:
    plain = conv()
    packed, x = PackedConv2d(plain), torch.randn(1, 32, 8, 8)
    with packed.replaced(torch.zeros_like(plain.weight)):
        packed(x)
    assert packed.weight is plain.weight
    packed.keep(3)
    packed(x)
    assert packed.copies == 2
    with packed.replaced(torch.zeros_like(plain.weight)):
        packed.keep(1)
    assert packed.copies == 1
    assert_close(packed(x), plain(x))


@pytest.mark.parametrize("layer", [conv(), PackedConv2d(conv()), PackedLinear(plain_linear())],
                         ids=["plain", "convolution", "linear"])
def test_a_weight_of_another_shape_is_refused(layer: nn.Module) -> None:
    with pytest.raises(ValueError, match="should be"), replaced(layer, torch.zeros(3, 4)):
        pass


def test_gradients_are_refused() -> None:
    x = torch.randn(1, 32, 8, 8, requires_grad=True)
    packed = PackedConv2d(conv())
    with pytest.raises(RuntimeError, match="no gradients"):
        packed(x)
    with torch.no_grad():
        assert_close(packed(x), conv()(x))


def test_networks_do_not_share_what_they_learn() -> None:
    layers = [nn.Sequential(conv(), conv((48, 48))) for _ in range(2)]
    for layer in layers:
        pack(layer)
    orders = [[part._orders for part in layer] for layer in layers]
    assert orders[0][0] is orders[0][1]
    assert orders[0][0] is not orders[1][0]


def test_what_is_packed() -> None:
    assert packable(conv())
    assert packable(conv(kernel=1))
    assert not packable(conv(device="meta"))
    assert not packable(conv(dtype=torch.bfloat16))
    assert not packable(conv().requires_grad_(True))
    assert not packable(conv(padding="same"))
    assert not packable(conv(padding_mode="reflect"))
    assert not packable(nn.Linear(64, 64).requires_grad_(False))
    assert packable(nn.Linear(64, 512).requires_grad_(False))
    assert not packable(nn.Linear(64, 512))


def test_whole_network(sd_model: DiffusionModel, plain_model: DiffusionModel) -> None:
    """A UNet with every convolution packed predicts the same noise, takes as much memory and is saved the same."""
    ours, theirs = sd_model.unet, plain_model.unet
    torch.manual_seed(1)
    context, t = torch.randn(2, 77, ours.config.cross_attention_dim), torch.tensor([500, 500])
    assert sum(isinstance(layer, PackedConv2d) for layer in ours.modules()) > 20
    assert not any(isinstance(layer, PackedConv2d) for layer in theirs.modules())
    for size in ((16, 16), (9, 13), (16, 16)):
        x = torch.randn(2, 4, *size)
        with torch.no_grad():
            assert_close(ours(x, t, context, return_dict=False)[0], theirs(x, t, context, return_dict=False)[0])
    assert weight_bytes(ours) == weight_bytes(theirs)
    saved, plain = ours.state_dict(), theirs.state_dict()
    assert saved.keys() == plain.keys()
    assert all(torch.equal(saved[key], plain[key]) for key in plain)
