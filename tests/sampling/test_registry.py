"""The list of samplers: what their functions may ask for, and what follows from that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from fakes import fake_engine, write_checkpoint
from torch import Tensor

from modules.errors import InvalidInput
from modules.request import Txt2Img
from modules.request.job_context import NullJob
from modules.sampling import registry
from modules.sampling.registry import SAMPLERS, SIGMA_ARGUMENTS, TIMESTEP_ARGUMENTS, Sampler
from modules.settings import Settings


def sampler(*names: str, timesteps: bool = False) -> Sampler:
    """A sampler whose function takes the first three arguments and those of `names`."""
    function: Callable[..., Tensor] = eval(f"lambda denoise, x, walk, {', '.join(names)}: x")
    return Sampler("Mine", function, timesteps=timesteps)


def test_an_argument_that_nobody_passes_is_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match=r"The sampler Mine asks for etta, order; after .* it can ask for brownian"):
        sampler("etta", "eta", "order").check()
    with pytest.raises(InvalidInput, match="The sampler Mine asks for brownian"):
        sampler("order", "brownian", timesteps=True).check()


@pytest.mark.parametrize(("timesteps", "offered"), [(False, SIGMA_ARGUMENTS), (True, TIMESTEP_ARGUMENTS)])
def test_what_is_offered_is_what_sampling_passes(timesteps: bool, offered: frozenset[str], tmp_path: Path,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    passed: set[str] = set()

    def run(sampler: Sampler, denoise: Any, x: Tensor, levels: Any, arguments: Mapping[str, Any]) -> Tensor:
        passed.update(arguments)
        return x

    monkeypatch.setattr(registry, "run", run)
    write_checkpoint(tmp_path, "first")
    engine = fake_engine(Settings(data_dir=tmp_path, ckpt_dir=tmp_path))
    name = "DDIM" if timesteps else "DPM++ SDE"
    engine.generate(Txt2Img(sampler=name, width=32, height=32, steps=2), NullJob())
    assert passed == offered
    sampler(*offered, timesteps=timesteps).check()


def test_ours_ask_for_nothing_unknown_but_their_own_settings() -> None:
    own = {"DPM++ 2M SDE": {"heun"}}
    for one in SAMPLERS:
        unknown = set(one.keywords) - (TIMESTEP_ARGUMENTS if one.timesteps else SIGMA_ARGUMENTS)
        assert (one.name, unknown) == (one.name, own.get(one.name, set()))
