"""Parts of a request: batches that are made alone are those of the whole request, to the last bit and word."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fakes import FakeModel, fake_engine, write_checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from modules.engine.engine import Engine
from modules.hooks.in_job import Hooks
from modules.request import Img2Img, Inpaint, MaskedContent, SoftInpainting, Txt2Img
from modules.request.job_context import NullJob
from modules.request.options import Options
from modules.request.result import GeneratedImage
from modules.settings import Settings

SIZE = (48, 40)
BATCHES = 4
COMMON: dict[str, Any] = {"prompt": "a cat", "width": SIZE[0], "height": SIZE[1], "steps": 3, "cfg_scale": 1.0,
                          "seed": 41, "subseed": 7, "n_iter": BATCHES}


def noise(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (SIZE[1], SIZE[0], 3)).astype(np.uint8))


def spots() -> Image.Image:
    """Two discs that do not touch."""
    mask = Image.new("L", SIZE)
    draw = ImageDraw.Draw(mask)
    draw.ellipse((4, 4, 14, 14), fill=255)
    draw.ellipse((30, 20, 42, 34), fill=255)
    return mask


def options(**changes: Any) -> Options:
    return Options().replaced(changes)


PICTURE: dict[str, Any] = COMMON | {"init_images": (noise(0),), "denoising_strength": 0.7}
MASKED: dict[str, Any] = PICTURE | {"mask": spots(), "mask_blur_x": 0, "mask_blur_y": 0}

REQUESTS: dict[str, Txt2Img] = {
    "txt2img": Txt2Img(**COMMON),
    "two in a batch": Txt2Img(**COMMON, batch_size=2, sampler="Euler a"),
    "variation": Txt2Img(**COMMON, subseed_strength=0.3),
    "seed delta and a sampler that draws": Txt2Img(**COMMON, sampler="DPM++ SDE",
                                                  options=options(eta_noise_seed_delta=31337)),
    "hires": Txt2Img(**COMMON, enable_hr=True, hr_scale=1.5, hr_upscaler="Latent", denoising_strength=0.6),
    "img2img": Img2Img(**PICTURE),
    "several pictures": Img2Img(**PICTURE | {"init_images": (noise(0), noise(1))}),
    "each spot": Inpaint(**MASKED, each_spot=True, only_masked=True),
    "soft": Inpaint(**MASKED, soft=SoftInpainting()),
    "only masked": Inpaint(**MASKED, only_masked=True, options=options(return_mask=True, return_mask_composite=True)),
    **{f"masked content: {content.name}": Inpaint(**MASKED, masked_content=content)
       for content in MaskedContent if content != MaskedContent.SURROUNDINGS}}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = tmp_path_factory.mktemp("data")
    write_checkpoint(folder / "models" / "Stable-diffusion", "only")
    return fake_engine(Settings(data_dir=folder), lambda name: FakeModel(std=0.2))


def seen(made: GeneratedImage) -> tuple[Any, ...]:
    return made.image.tobytes(), [one.tobytes() for one in made.extras], made.infotext, made.seed, made.subseed


@pytest.fixture(scope="module")
def whole(engine: Engine) -> dict[str, list[tuple[Any, ...]]]:
    """The pictures of each request, made together."""
    return {name: [seen(one) for one in engine.generate(request, NullJob()).images]
            for name, request in REQUESTS.items()}


@settings(max_examples=10)
@given(name=st.sampled_from(sorted(REQUESTS)), numbers=st.lists(st.integers(0, BATCHES - 1), min_size=1, unique=True))
def test_a_part_is_the_same_pictures_as_in_the_whole(engine: Engine, whole: dict[str, list[tuple[Any, ...]]],
                                                     name: str, numbers: list[int]) -> None:
    request = engine.resolve(REQUESTS[name])
    part = [seen(one) for one in engine.make(request, NullJob(), {}, None, Hooks(), numbers).images]
    size = len(whole[name]) // BATCHES
    assert len({one[0] for one in whole[name]}) == BATCHES * size  # so that another batch would be noticed
    assert part == [one for number in numbers for one in whole[name][number * size:(number + 1) * size]]


def test_each_kind_of_request_in_a_part(engine: Engine, whole: dict[str, list[tuple[Any, ...]]]) -> None:
    """The same for each request once, whatever the search above has chosen."""
    for name, request in REQUESTS.items():
        part = [seen(one) for one in engine.make(engine.resolve(request), NullJob(), {}, None, Hooks(), [2]).images]
        size = len(whole[name]) // BATCHES
        assert part == whole[name][2 * size:3 * size], name


def test_progress_counts_the_batches_of_the_part(engine: Engine) -> None:
    told: list[tuple[int, int]] = []

    class Told(NullJob):
        def batches(self, done: int, total: int) -> None:
            told.append((done, total))

    engine.make(engine.resolve(REQUESTS["txt2img"]), Told(), {}, None, Hooks(), [3, 1])
    assert told == [(0, 2), (1, 2)]
    told.clear()
    engine.make(engine.resolve(REQUESTS["each spot"]), Told(), {}, None, Hooks(), [3])
    assert told[0] == (0, 2)
    assert told[-1] == (1, 2)


