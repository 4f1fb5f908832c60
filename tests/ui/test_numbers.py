"""Numbers that people type: what reaches a handler, and what is said of those that do not fit."""

from __future__ import annotations

from typing import Any

import pytest

from modules.errors import InvalidInput
from modules.ui.controls.numbers import Number, Slider, by_name, check

WIDTH = Slider(64, 2048, value=512, label="Width")
SEED = Number(-1, label="Seed", precision=0, minimum=-1, maximum=99)


@pytest.mark.parametrize(("typed", "value"), [(64, 64), (2048, 2048), (65.5, 65.5), (2, None), (1e9, None), (-1, None),
                                              (None, None), ("64", None), (float("nan"), None)])
def test_a_handler_sees_a_number_of_the_range_or_none(typed: Any, value: float | None) -> None:
    assert WIDTH.preprocess(typed) == value


@pytest.mark.parametrize(("typed", "value"), [(None, None), (7, 7), (7.6, 8), (10**12, 10**12)])
def test_a_number_may_be_empty_and_is_rounded(typed: float | None, value: int | None) -> None:
    assert SEED.preprocess(typed) == value


@pytest.mark.parametrize(("values", "sentence"), [
    ({"width": None, "seed": 1}, "Width must be a number between 64 and 2048."),
    ({"width": 2, "seed": 1}, "Width must be a number between 64 and 2048."),
    ({"width": 64, "seed": 100}, "Seed must be a number between -1 and 99."),
    ({"width": 64, "seed": "x"}, "Seed must be a number between -1 and 99.")])
def test_what_does_not_fit_is_named_by_its_label(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        check({"width": WIDTH, "seed": SEED, "other": object()}, {**values, "other": None})
    assert refusal.value.message == sentence


@pytest.mark.parametrize(("width", "seed"), [(2048, None), (64, 99), (64.5, -1)])
def test_what_fits_comes_back_by_name(width: float, seed: int | None) -> None:
    assert by_name({"width": WIDTH, "seed": SEED}, (width, seed)) == {"width": width, "seed": seed}
