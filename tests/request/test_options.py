"""Options: what fits, what does not, and that nothing is changed in place."""

from __future__ import annotations

import dataclasses
import math

import pytest

from modules.errors import InvalidInput
from modules.request.options import Options


@pytest.mark.parametrize(("name", "given", "kept"), [
    ("CLIP_stop_at_last_layers", "2", 2), ("CLIP_stop_at_last_layers", 2.0, 2), ("img2img_fix_steps", "True", True),
    ("img2img_fix_steps", "false", False), ("img2img_fix_steps", 0, False), ("eta_ddim", "0.5", 0.5),
    ("eta_ddim", 1, 1), ("sd_vae", "None", "None"), ("eta_noise_seed_delta", 31337, 31337)])
def test_values_are_made_to_fit(name: str, given: object, kept: object) -> None:
    value = getattr(Options().replaced({name: given}), name)
    assert (value, type(value)) == (kept, type(kept))


@pytest.mark.parametrize(("name", "value"), [
    ("CLIP_stop_at_last_layers", 0), ("CLIP_stop_at_last_layers", 2.5), ("CLIP_stop_at_last_layers", "x"),
    ("img2img_fix_steps", "perhaps"), ("eta_ddim", math.nan), ("eta_ddim", math.inf), ("eta_ddim", -0.1),
    ("eta_ddim", 2), ("eta_ddim", []), ("ddim_loop", "other"), ("randn_source", 3), ("emphasis", ""),
    ("img2img_background_color", "nearly white"),
    ("eta_noise_seed_delta", -(2**33)), ("eta_noise_seed_delta", math.inf), ("inpainting_mask_weight", 1.01)])
def test_values_that_do_not_fit_are_refused_by_name(name: str, value: object) -> None:
    before = Options()
    with pytest.raises(InvalidInput) as caught:
        before.replaced({name: value})
    assert caught.value.field == name
    assert name in caught.value.message
    assert before == Options()


def test_foreign_names_and_nulls_are_left_out() -> None:
    assert Options().replaced({"no_such_option": 1, "eta_ddim": None}) == Options()


def test_a_change_leaves_the_old_value_alone() -> None:
    old = Options()
    new = old.replaced({"eta_ddim": 0.5})
    assert (old.eta_ddim, new.eta_ddim) == (0.0, 0.5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        old.eta_ddim = 1.0  # type: ignore[misc]


def test_every_option_has_a_label_and_its_default_fits() -> None:
    for item in dataclasses.fields(Options):
        assert item.metadata["label"]
        assert item.metadata["help"] or len(item.metadata["label"].split()) > 1
        assert not item.metadata["choices"] or item.default in item.metadata["choices"]
        assert Options().replaced({item.name: str(item.default)}) == Options()
