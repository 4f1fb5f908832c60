"""Reading a long prompt and decoding a large picture can be stopped on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from networks.loading import said

from modules.base.stopping import asking, may_go_on
from modules.errors import Interrupted
from modules.networks.model import DiffusionModel


def after(calls: int) -> tuple[Callable[[], None], list[int]]:
    """A check that stops at call number `calls`, and the calls so far."""
    asked: list[int] = []

    def check() -> None:
        asked.append(len(asked) + 1)
        if len(asked) >= calls:
            raise Interrupted

    return check, asked


def test_outside_nobody_is_asked() -> None:
    may_go_on()
    check, asked = after(1)
    with pytest.raises(Interrupted), asking(check):
        may_go_on()
    may_go_on()
    assert asked == [1]


@pytest.mark.parametrize("tiled", ["on", "off"])
@pytest.mark.parametrize("work", ["prompt", "decode", "encode"])
def test_long_work_asks_on_its_way(sd_model: DiffusionModel, monkeypatch: pytest.MonkeyPatch, tiled: str,
                                   work: str) -> None:
    monkeypatch.setattr(sd_model.autoencoder, "tiled", tiled)
    sd_model.clear_caches()
    doing: dict[str, Callable[[], Any]] = {
        "prompt": lambda: said(sd_model, "dog " * 500).tokens,
        "decode": lambda: sd_model.decode_latent(torch.zeros(1, 4, 8, 8)),
        "encode": lambda: sd_model.encode_image(torch.zeros(1, 3, 64, 64))}
    check, asked = after(4)
    with pytest.raises(Interrupted), asking(check):
        doing[work]()
    assert asked == [1, 2, 3, 4]
    assert torch.isfinite(doing[work]()).all(), "it goes on being of use"
