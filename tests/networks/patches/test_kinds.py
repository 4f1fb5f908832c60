"""The arithmetic of each kind, against the formula of its paper written out with loops or other functions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from modules.networks.patches.kinds import Misfit, added

OUT, IN, K, RANK = 8, 6, 3, 4


def noise(*shape: int, seed: int = 0, scale: float = 0.3) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape))) * scale


LINEAR, CONV = noise(OUT, IN, seed=90), noise(OUT, IN, K, K, seed=91)


def delta(present: Tensor, /, **tensors: Tensor) -> Tensor:
    named = {name.replace("__", "."): tensor for name, tensor in tensors.items()}
    return added(named, present, None, 1.0)[0] - present


def close(ours: Tensor, theirs: Tensor) -> None:
    assert ours.shape == theirs.shape
    assert torch.allclose(ours, theirs, atol=1e-5), float((ours - theirs).abs().max())


def test_lora_is_up_times_down_by_alpha_over_rank() -> None:
    up, down = noise(OUT, RANK), noise(RANK, IN)
    close(delta(LINEAR, lora_up__weight=up, lora_down__weight=down, alpha=torch.tensor(2.0)), up @ down * 0.5)
    close(delta(LINEAR, lora_up__weight=up, lora_down__weight=down), up @ down)
    close(delta(LINEAR, lora_up__weight=up, lora_down__weight=down, scale=torch.tensor(3.0)), up @ down * 3)


def test_a_lower_rank_uses_the_first_columns_and_the_same_scale() -> None:
    up, down = noise(OUT, RANK), noise(RANK, IN)
    tensors = {"lora_up.weight": up, "lora_down.weight": down, "alpha": torch.tensor(2.0)}
    close(added(tensors, LINEAR, None, 1.0, rank=2)[0] - LINEAR, up[:, :2] @ down[:2] * 0.5)


def test_locon_is_two_convolutions_one_after_the_other() -> None:
    up, down, x = noise(OUT, RANK, 1, 1), noise(RANK, IN, K, K), noise(1, IN, 9, 9)
    both = torch.conv2d(torch.conv2d(x, down), up)
    close(torch.conv2d(x, delta(CONV, lora_up__weight=up, lora_down__weight=down)), both)


def test_a_core_lies_between_up_and_down() -> None:
    up, mid, down = noise(OUT, RANK, 1, 1), noise(RANK, RANK, K, K), noise(RANK, IN, 1, 1)
    x = noise(1, IN, 9, 9)
    all_three = torch.conv2d(torch.conv2d(torch.conv2d(x, down), mid), up)
    close(torch.conv2d(x, delta(CONV, lora_up__weight=up, lora_mid__weight=mid, lora_down__weight=down)), all_three)


def test_peft_has_no_alpha() -> None:
    b, a = noise(OUT, RANK), noise(RANK, IN)
    close(delta(LINEAR, lora_B__weight=b, lora_A__weight=a, alpha=torch.tensor(2.0)), b @ a)


def test_loha_multiplies_two_products() -> None:
    a1, a2 = noise(OUT, RANK, seed=1), noise(OUT, RANK, seed=3)
    b1, b2 = noise(RANK, IN, seed=2), noise(RANK, IN, seed=4)
    found = delta(LINEAR, hada_w1_a=a1, hada_w1_b=b1, hada_w2_a=a2, hada_w2_b=b2, alpha=torch.tensor(1.0))
    expected = [[sum(a1[i, r] * b1[r, j] for r in range(RANK)) * sum(a2[i, r] * b2[r, j] for r in range(RANK)) / RANK
                 for j in range(IN)] for i in range(OUT)]
    close(found, torch.tensor(expected))


def test_lokr_is_a_kronecker_product() -> None:
    w1, a, b = noise(4, 2), noise(2, 2, seed=5), noise(2, 3, seed=6)
    found = delta(LINEAR, lokr_w1=w1, lokr_w2_a=a, lokr_w2_b=b, alpha=torch.tensor(1.0))
    close(found, torch.from_numpy(np.kron(w1.numpy(), (a @ b).numpy())) / 2)
    conv = delta(CONV, lokr_w1=w1, lokr_w2=noise(2, 3, K, K))
    close(conv[:, :, 1, 2], torch.from_numpy(np.kron(w1.numpy(), noise(2, 3, K, K)[:, :, 1, 2].numpy())))


def test_ia3_scales_outputs_or_inputs() -> None:
    by_output, by_input = noise(OUT), noise(IN)
    close(delta(CONV, weight=by_output, on_input=torch.tensor(False)), CONV * by_output[:, None, None, None])
    close(delta(CONV, weight=by_input, on_input=torch.tensor(True)), CONV * by_input[:, None, None])


def test_full_and_norm_are_differences_of_weight_and_bias() -> None:
    weight, bias = added({"diff": noise(OUT, IN), "diff_b": noise(OUT)}, LINEAR, torch.ones(OUT), 0.5)
    close(weight - LINEAR, noise(OUT, IN) / 2)
    assert bias is not None
    close(bias - 1, noise(OUT) / 2)
    tensors = {"w_norm": noise(OUT), "b_norm": noise(OUT, seed=1), "alpha": torch.tensor(9.0)}
    weight, bias = added(tensors, torch.ones(OUT), torch.ones(OUT), 0.5)
    close(weight - 1, noise(OUT) / 2)
    assert bias is not None
    close(bias - 1, noise(OUT, seed=1) / 2)


def test_glora_adds_b_and_w_times_a() -> None:
    a1, a2, b1, b2 = noise(RANK, IN), noise(IN, RANK), noise(RANK, IN, seed=7), noise(OUT, RANK)
    found = delta(LINEAR, a1__weight=a1, a2__weight=a2, b1__weight=b1, b2__weight=b2, alpha=torch.tensor(9.0))
    close(found, b2 @ b1 + LINEAR @ a2 @ a1)


def test_oft_turns_blocks_of_outputs_without_changing_lengths() -> None:
    blocks = noise(2, 4, 4)
    turned = LINEAR + delta(LINEAR, oft_blocks=blocks)
    close(turned.norm(dim=0), LINEAR.norm(dim=0))
    q = blocks[1] - blocks[1].T
    rotation = (torch.eye(4) + q) @ torch.linalg.inv(torch.eye(4) - q)
    close(turned[4:], rotation.T @ LINEAR[4:])


def test_oft_is_bounded_by_alpha() -> None:
    blocks = noise(2, 4, 4)
    q = blocks - blocks.transpose(1, 2)
    limit = 0.01 * OUT
    q = q * limit / q.norm()
    rotation = (torch.eye(4) + q[0]) @ torch.linalg.inv(torch.eye(4) - q[0])
    turned = CONV + delta(CONV, oft_blocks=blocks, alpha=torch.tensor(0.01))
    close(turned[:4], torch.einsum("ij,j...->i...", rotation.T, CONV[:4]))


def test_old_lycoris_stores_the_rotations() -> None:
    rotations = torch.linalg.qr(noise(2, 4, 4))[0]
    turned = LINEAR + delta(LINEAR, oft_diag=rotations)
    close(turned[4:], rotations[1].T @ LINEAR[4:])


def test_boft_turns_at_each_level_of_a_butterfly() -> None:
    blocks, rescale = noise(2, 2, 4, 4), 1 + noise(OUT, 1)
    q = blocks - blocks.transpose(-1, -2)
    rotations = (torch.eye(4) + q) @ torch.linalg.inv(torch.eye(4) - q)
    rows = LINEAR.clone()
    for level, inner in enumerate((2, 4)):  # the rows that are turned together lie `inner` apart
        order = [c * 2 * inner + g * inner + k for c in range(OUT // (2 * inner)) for k in range(inner) for g in (0, 1)]
        shuffled = rows[order]
        turned = torch.cat([rotations[level, n] @ shuffled[4 * n : 4 * n + 4] for n in range(2)])
        rows = torch.empty_like(rows)
        rows[order] = turned
    close(LINEAR + delta(LINEAR, oft_blocks=blocks, rescale=rescale), rows * rescale)


def test_dora_gives_each_input_its_norm() -> None:
    up, down, magnitude = noise(OUT, RANK), noise(RANK, IN), 1 + noise(1, IN)
    found = LINEAR + delta(LINEAR, lora_up__weight=up, lora_down__weight=down, dora_scale=magnitude)
    close(found.norm(dim=0), magnitude[0].abs())
    close(found / found.norm(dim=0), (LINEAR + up @ down) / (LINEAR + up @ down).norm(dim=0))
    conv = CONV + delta(CONV, diff=noise(OUT, IN, K, K), dora_scale=magnitude[:, :, None, None])
    close(conv.transpose(0, 1).flatten(1).norm(dim=1), magnitude[0].abs())


def test_dora_by_output_where_the_magnitude_is_a_column() -> None:
    magnitude = 1 + noise(OUT, 1)
    found = LINEAR + delta(LINEAR, diff=noise(OUT, IN), dora_scale=magnitude)
    close(found.norm(dim=1), magnitude[:, 0].abs())


def test_the_mask_channels_of_an_inpainting_unet_are_left_alone() -> None:
    nine, up, down = noise(OUT, 9, K, K), noise(OUT, RANK, 1, 1), noise(RANK, 4, K, K)
    found = delta(nine, lora_up__weight=up, lora_down__weight=down)
    close(found[:, :4], delta(noise(OUT, 4, K, K), lora_up__weight=up, lora_down__weight=down))
    assert not found[:, 4:].any()


@pytest.mark.parametrize("tensors", [
    {}, {"alpha": torch.tensor(1.0)}, {"lora_up.weight": noise(OUT, RANK)},
    {"lora_up.weight": noise(OUT, RANK), "lora_down.weight": noise(RANK + 1, IN)},
    {"lora_up.weight": noise(OUT + 1, RANK), "lora_down.weight": noise(RANK, IN)},
    {"lokr_w1": noise(2000, 2000), "lokr_w2": noise(2000, 2000)},
    {"lokr_w1_a": noise(90000, 1), "lokr_w1_b": noise(1, 90000), "lokr_w2": noise(2, 2)},
    {"hada_w1_a": noise(90000, 1), "hada_w1_b": noise(1, 90000), "hada_w2_a": noise(1, 1), "hada_w2_b": noise(1, 1)},
    {"lora_up.weight": noise(90000, 1), "lora_down.weight": noise(1, 90000)},
    {"oft_blocks": noise(3, 4, 4)}, {"oft_blocks": noise(70, 2, 4, 4)}, {"oft_blocks": noise(4)},
    {"diff": noise(OUT, IN), "dora_scale": noise(3)}, {"w_norm": noise(3), "b_norm": noise(3)},
    {"lora_up.weight": noise(OUT, RANK), "lora_down.weight": noise(RANK, IN), "alpha": noise(5)}])
def test_what_does_not_fit_is_refused_before_it_takes_memory(tensors: dict[str, Tensor]) -> None:
    with pytest.raises(Misfit):
        added(tensors, LINEAR, None, 1.0)


def test_a_number_in_the_place_of_a_matrix_is_a_misfit() -> None:
    with pytest.raises(Misfit):
        added({"lora_up.weight": torch.tensor(1.0), "lora_down.weight": torch.tensor(1.0)}, LINEAR, None, 1.0)


def test_memory_that_is_exhausted_is_no_misfit(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would leave a part of the network in force, and say that it does not fit."""
    def exhausted(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("modules.networks.patches.kinds._fitted", exhausted)
    with pytest.raises(torch.OutOfMemoryError):
        added({"diff": noise(OUT, IN)}, LINEAR, None, 1.0)


@pytest.mark.parametrize("spoilt", [float("nan"), float("inf"), 1e30])
def test_a_weight_that_may_be_overwritten_is_not_by_what_is_not_finite(spoilt: float) -> None:
    weight = LINEAR.clone()
    tensors = {"lora_up.weight": noise(OUT, RANK) * 1e10, "lora_down.weight": noise(RANK, IN)}
    tensors["lora_down.weight"][0, 0] = spoilt
    with pytest.raises(Misfit):
        added(tensors, weight, None, 1.0, overwrite=True)
    assert torch.equal(weight, LINEAR)
    tensors = {"lora_up.weight": noise(OUT, RANK), "lora_down.weight": noise(RANK, IN)}
    assert added(tensors, weight, None, 1.0, overwrite=True)[0].data_ptr() == weight.data_ptr()
    assert not torch.equal(weight, LINEAR)


def test_a_file_in_float16_is_computed_in_float16_as_webui_does() -> None:
    a1, b1, a2, b2 = (one.half() for one in (noise(OUT, RANK, seed=1), noise(RANK, IN, seed=2),
                                             noise(OUT, RANK, seed=3), noise(RANK, IN, seed=4)))
    tensors = {"hada_w1_a": a1, "hada_w1_b": b1, "hada_w2_a": a2, "hada_w2_b": b2, "alpha": torch.tensor(1.0)}
    expected = LINEAR.half() + (a1 @ b1) * (a2 @ b2) * (1 / RANK) * 0.7
    assert torch.equal(added(tensors, LINEAR, None, 0.7)[0], expected.float())
    lora = {"lora_up.weight": a1, "lora_down.weight": b1}
    close(added(lora, LINEAR, None, 0.7)[0], LINEAR + a1.float() @ b1.float() * 0.7)
