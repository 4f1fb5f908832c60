"""What is put around each call of the network, and in which order."""

from __future__ import annotations

from typing import Any

import torch
from fakes import FakeModel

from modules.generation.wrapping import wrapper
from modules.hooks.in_job import Hooks
from modules.request import Txt2Img
from modules.sampling.conditioning import Conditioning
from modules.sampling.guidance import Wrapper
from modules.sampling.levels import stable_diffusion
from modules.sampling.types import Call, RowPredict


class Extensions(Hooks):
    """One extension, which multiplies the network's answers by 3."""

    wraps_predict = True

    def predict(self, predict: RowPredict, model: Any, request: Txt2Img) -> RowPredict:
        return lambda *asked: 3 * predict(*asked)


def asked(wrap: Wrapper) -> float:
    model = FakeModel()
    ones = torch.ones(1, 4, 2, 2)
    call = Call(0, 1, ((0, True),))
    out = wrap.wrap(lambda x, level, cond, call: x, model)(
        ones, stable_diffusion().at_sigma(1.0), Conditioning(torch.zeros(1, 77, 8)), call)
    return float(out[0, 0, 0, 0])


def test_extensions_are_nearer_to_the_network_than_control_units() -> None:
    control = Wrapper(lambda predict, model: lambda *asked: 10 + predict(*asked), both=True)
    together = wrapper(control, Extensions(), Txt2Img())
    assert together
    assert (asked(together), together.both) == (13, True)
    alone = wrapper(None, Extensions(), Txt2Img())
    assert alone
    assert (asked(alone), alone.both) == (3, False)


def test_nothing_is_wrapped_where_nobody_wants_it() -> None:
    assert wrapper(None, Hooks(), Txt2Img()) is None
    control = Wrapper(lambda predict, model: predict)
    assert wrapper(control, Hooks(), Txt2Img()) is control
