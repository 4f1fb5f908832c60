"""Noise: streams, variation, resizing, philox and Brownian paths, against formulas and published vectors."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
import torch
import torchsde
from torch import Tensor
from torchsde._brownian import brownian_interval

from modules.sampling.brownian import BrownianTree
from modules.sampling.noise import ImageNoise, slerp
from modules.sampling.philox import philox, philox_stream

SHAPE = (4, 6, 5)


def draws(seed: int, count: int, shape: tuple[int, int, int] = SHAPE) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for _ in range(count)]


@pytest.mark.parametrize("source", ["CPU", "NV"])
def test_each_image_has_a_stream_of_its_own(source: str) -> None:
    """Block n of image k is block n of its seed, whatever else is in the batch."""
    batch = ImageNoise(SHAPE, (5, 9, 2**32 - 1), source=source)
    alone = [ImageNoise(SHAPE, (seed,), source=source) for seed in batch.seeds]
    for draw in ("first", "next", "next"):
        together = getattr(batch, draw)()
        for k, single in enumerate(alone):
            assert torch.equal(together[k], getattr(single, draw)()[0])


def test_cpu_blocks_are_torchs() -> None:
    noise = ImageNoise(SHAPE, (11,))
    for expected in zip([noise.first(), noise.next(), noise.next()], draws(11, 3), strict=True):
        assert torch.equal(expected[0][0], expected[1])


def test_first_starts_again() -> None:
    noise = ImageNoise(SHAPE, (3, 4))
    first, second = noise.first(), noise.next()
    assert torch.equal(noise.first(), first)
    assert torch.equal(noise.next(), second)


def test_seed_delta_moves_every_block_but_the_first() -> None:
    noise = ImageNoise(SHAPE, (10,), seed_delta=7)
    assert torch.equal(noise.first()[0], draws(10, 1)[0])
    assert torch.equal(noise.next()[0], draws(17, 1)[0])


def slerp_by_columns(v: float, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The textbook formula, one channel and column at a time: vectors run over the rows."""
    result = np.empty_like(low)
    for c in range(low.shape[0]):
        for x in range(low.shape[2]):
            a, b = low[c, :, x], high[c, :, x]
            omega = np.arccos(np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b))
            result[c, :, x] = (np.sin((1 - v) * omega) * a + np.sin(v * omega) * b) / np.sin(omega)
    return result


@pytest.mark.parametrize("strength", [0.1, 0.5, 0.9, 1.0])
def test_subseed_turns_the_first_block(strength: float) -> None:
    noise = ImageNoise(SHAPE, (1, 1), subseeds=(50, 51), subseed_strength=strength)
    first = noise.first()
    for k, subseed in enumerate((50, 51)):
        expected = slerp_by_columns(strength, draws(1, 1)[0].double().numpy(), draws(subseed, 1)[0].double().numpy())
        np.testing.assert_allclose(first[k], expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(noise.next()[1], draws(1, 2)[1])  # later blocks are the seed's


def test_slerp_of_parallel_blocks_is_linear_with_the_roles_exchanged() -> None:
    """WebUI's own quirk: at strength 0.25 a quarter of `low` and three quarters of `high`."""
    low = draws(1, 1)[0]
    torch.testing.assert_close(slerp(0.25, low, low * 1.5), low * 0.25 + low * 1.5 * 0.75)


@pytest.mark.parametrize("small", [(4, 4, 3), (4, 3, 2), (4, 10, 9), (4, 4, 9), (4, 6, 5)])
def test_seed_resize_puts_the_small_block_in_the_middle(small: tuple[int, int, int]) -> None:
    """Offsets are (size - small) // 2, floored for negative ones too; a larger block is cut on both sides."""
    noise = ImageNoise(SHAPE, (8,), resize_from=small).first()[0]
    block, frame = draws(8, 1, small)[0], draws(8, 1)[0]
    dy, dx = (SHAPE[1] - small[1]) // 2, (SHAPE[2] - small[2]) // 2
    for y in range(SHAPE[1]):
        for x in range(SHAPE[2]):
            inside = 0 <= y - dy < small[1] and 0 <= x - dx < small[2]
            cut = y >= small[1] + 2 * min(dy, 0) + max(dy, 0) or x >= small[2] + 2 * min(dx, 0) + max(dx, 0)
            expected = block[:, y - dy, x - dx] if inside and not cut else frame[:, y, x]
            assert torch.equal(noise[:, y, x], expected), (y, x)


def test_seed_resize_with_a_variation_turns_the_small_block() -> None:
    noise = ImageNoise(SHAPE, (8,), subseeds=(9,), subseed_strength=0.4, resize_from=(4, 4, 3)).first()[0]
    expected = slerp_by_columns(0.4, draws(8, 1, (4, 4, 3))[0].numpy(), draws(9, 1, (4, 4, 3))[0].numpy())
    np.testing.assert_allclose(noise[:, 1:5, 1:4], expected, rtol=1e-4, atol=1e-5)


VECTORS = [  # Random123's known answers for philox4x32-10: counter, key, output
    ([0, 0, 0, 0], (0, 0), [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([0xFFFFFFFF] * 4, (0xFFFFFFFF, 0xFFFFFFFF), [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    ([0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], (0xA4093822, 0x299F31D0),
     [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]),
]


@pytest.mark.parametrize(("counter", "key", "expected"), VECTORS)
def test_philox_known_answers(counter: list[int], key: tuple[int, int], expected: list[int]) -> None:
    words = philox(key[0] | key[1] << 32, [np.array([word], np.uint32) for word in counter])
    assert [int(word[0]) for word in words] == expected


def test_philox_stream_is_box_muller_over_call_and_element() -> None:
    """The n-th call has n in the counter's first word, element i has i in the third; sin is taken, cos is dropped."""
    draw = philox_stream(1234 + (5 << 32))
    for call in range(3):
        block = draw(SHAPE).flatten()
        for element in (0, 1, 119):
            counter = [np.array([word], np.uint32) for word in (call, 0, element, 0)]
            g0, g1, *_ = (int(word[0]) for word in philox(1234 + (5 << 32), counter))
            u, v = g0 * 2**-32 + 2**-33, g1 * 2**-32 + 2**-33
            expected = np.sqrt(-2 * np.log(u)) * np.sin(2 * np.pi * v)
            assert float(block[element]) == pytest.approx(expected, abs=2e-5)


def test_philox_noise_is_normal() -> None:
    block = philox_stream(7)((4, 128, 128)).double()
    assert float(block.mean()) == pytest.approx(0, abs=0.016)  # four standard errors
    assert float(block.std()) == pytest.approx(1, abs=0.012)
    assert float((block**4).mean()) == pytest.approx(3, abs=0.16)


X = torch.zeros(2, 4, 32, 32)


def test_brownian_increments_add_up() -> None:
    """W(8) - W(1) = (W(8) - W(3)) + (W(3) - W(1)), however it is asked for; the other way round the sign changes."""
    tree = BrownianTree(X, 0.03, 14.6, (1, 2))
    whole = tree(8.0, 1.0) * 7**0.5
    torch.testing.assert_close(tree(8.0, 3.0) * 5**0.5 + tree(3.0, 1.0) * 2**0.5, whole, rtol=0, atol=1e-4)
    torch.testing.assert_close(tree(1.0, 8.0) * 7**0.5, -whole, rtol=0, atol=1e-4)


def test_brownian_increments_are_normal_and_disjoint_ones_independent() -> None:
    """8192 values: variance 1 within four standard errors, correlation 0 likewise."""
    tree = BrownianTree(X, 0.03, 14.6, (1, 2))
    above, below = tree(10.0, 4.0).flatten(), tree(4.0, 0.5).flatten()
    for block in (above, below):
        assert float(block.mean()) == pytest.approx(0, abs=0.045)
        assert float(block.var()) == pytest.approx(1, abs=0.063)
    assert abs(float(torch.corrcoef(torch.stack([above, below]))[0, 1])) < 0.045


def test_brownian_paths_of_a_batch_are_those_of_single_images() -> None:
    batch = BrownianTree(X, 0.03, 14.6, (6, 7))
    for k, seed in enumerate((6, 7)):
        alone = BrownianTree(X[:1], 0.03, 14.6, (seed,))
        assert torch.equal(batch(5.0, 2.0)[k], alone(5.0, 2.0)[0])


@pytest.mark.parametrize("source", ["CPU", "NV"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_brownian_increments_are_torchsdes(source: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the last bit, in whatever order levels are asked for, also beyond the ends of the path."""
    x, ends = torch.zeros(1, 4, 5, 3, dtype=dtype), (0.0291675, 14.614642)
    if source == "NV":
        monkeypatch.setattr(brownian_interval, "_randn",
                            lambda size, dtype, device, seed: philox_stream(int(seed))(size).to(dtype))
    theirs = torchsde.BrownianTree(torch.tensor(ends[0]), x, torch.tensor(ends[1]), entropy=2**63 - 25)
    ours = BrownianTree(x, *ends, (2**63 - 25,), source)
    levels = [15.0, 14.614642, 9.7, 9.7000021, 3.3, 0.5, 0.1234567, 0.0291675, 0.0]
    for first, last in itertools.permutations(levels, 2):
        low, high = sorted((first, last))
        with warnings.catch_warnings(action="ignore"):
            increment = theirs(torch.tensor(low), torch.tensor(high))
        expected = (1 if first < last else -1) * increment / abs(high - low) ** 0.5
        assert torch.equal(ours(first, last), expected), (first, last)
