"""The client `webuiapi`, as people install it, against a running server; its pictures are those of the engine."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import webuiapi
from fakes import FakeModel, fake_engine
from PIL import Image
from torch import Tensor

from modules.engine.engine import Engine
from modules.request import Img2Img, Inpaint, MaskedContent, Txt2Img
from modules.request.job_context import NullJob
from modules.request.options import Options
from modules.sampling.conditioning import Conditioning
from modules.sampling.levels import Level
from modules.settings import Settings

SECONDS = 30
MEANS = {"first": 0.2, "second": -0.4}


class PausingModel(FakeModel):
    """Stops before the third network call once `paused` is armed, until `go` is set."""

    def __init__(self, mean: float) -> None:
        super().__init__(mean=mean)
        self.armed = False
        self.paused, self.go = threading.Event(), threading.Event()

    def predict(self, x: Tensor, level: Level, cond: Conditioning) -> Tensor:
        if self.armed and len(self.calls) == 2:
            self.paused.set()
            assert self.go.wait(SECONDS)
        return super().predict(x, level, cond)


@pytest.fixture
def models() -> dict[str, PausingModel]:
    return {name: PausingModel(mean) for name, mean in MEANS.items()}


@pytest.fixture
def engine(settings: Settings, models: dict[str, PausingModel]) -> Engine:
    return fake_engine(settings, lambda name: models[name])


@pytest.fixture
def api(address: str) -> webuiapi.WebUIApi:
    return webuiapi.WebUIApi(port=int(address.rpartition(":")[2]), sampler="Euler", steps=3)


def engines_own(settings: Settings, request: Txt2Img) -> list[np.ndarray]:
    """What another engine makes of the same request, without any HTTP."""
    other = fake_engine(settings, lambda name: FakeModel(name=name, mean=MEANS[name]))
    return [np.asarray(made.image) for made in other.generate(request, NullJob()).images]


def same(ours: list[Image.Image], expected: list[np.ndarray]) -> bool:
    return len(ours) == len(expected) and all(
        np.array_equal(np.asarray(image), pixels) for image, pixels in zip(ours, expected, strict=True))


def test_pictures_from_words(api: webuiapi.WebUIApi, settings: Settings) -> None:
    result = api.txt2img(prompt="a dog", negative_prompt="blue", seed=5, width=64, height=48, batch_size=2)
    request = Txt2Img(prompt="a dog", negative_prompt="blue", seed=5, width=64, height=48, batch_size=2, steps=3,
                      sampler="Euler", eta=1.0)
    assert same(result.images, engines_own(settings, request))
    assert result.info["all_seeds"] == [5, 6]
    assert result.parameters["prompt"] == "a dog"


def test_hires_fix(api: webuiapi.WebUIApi, settings: Settings) -> None:
    result = api.txt2img(prompt="a dog", seed=5, width=64, height=48, enable_hr=True, hr_scale=2,
                         hr_upscaler=webuiapi.HiResUpscaler.Lanczos, denoising_strength=0.5)
    request = Txt2Img(prompt="a dog", seed=5, width=64, height=48, steps=3, sampler="Euler", enable_hr=True,
                      hr_upscaler="Lanczos", denoising_strength=0.5)
    assert same(result.images, engines_own(settings, request))


def test_a_picture_from_a_picture_and_inpainting(api: webuiapi.WebUIApi, settings: Settings, photo: Image.Image,
                                                 mask: Image.Image) -> None:
    common = {"prompt": "a dog", "seed": 5, "width": 64, "height": 48, "denoising_strength": 0.6}
    ours: dict[str, Any] = {**common, "steps": 3, "sampler": "Euler", "init_images": (photo,)}
    assert same(api.img2img(images=[photo], **common).images, engines_own(settings, Img2Img(**ours)))
    painted = api.img2img(images=[photo], mask_image=mask, inpainting_fill=1, inpaint_full_res=False, mask_blur=0,
                          **common)
    request = Inpaint(**ours, mask=mask, masked_content=MaskedContent.ORIGINAL, mask_blur_x=0, mask_blur_y=0)
    assert same(painted.images, engines_own(settings, request))
    outside = np.asarray(mask) == 0
    assert np.array_equal(np.asarray(painted.image)[outside], np.asarray(photo)[outside])
    assert not np.array_equal(np.asarray(painted.image), np.asarray(photo))


def test_extras_and_png_info(api: webuiapi.WebUIApi, photo: Image.Image) -> None:
    larger = api.extra_single_image(photo, upscaler_1=webuiapi.Upscaler.Lanczos, upscaling_resize=2)
    assert same([larger.image], [np.asarray(photo.resize((128, 96), Image.Resampling.LANCZOS))])
    several = api.extra_batch_images([photo, photo], upscaler_1=webuiapi.Upscaler.Nearest, upscaling_resize=2)
    assert same(several.images, [np.asarray(photo.resize((128, 96), Image.Resampling.NEAREST))] * 2)
    made = api.txt2img(prompt="a dog", seed=5, width=64, height=48)
    assert api.png_info(made.image).info == made.info["infotexts"][0]


def test_options_are_read_and_written_back_whole(api: webuiapi.WebUIApi, engine: Engine) -> None:
    whole = api.get_options()
    api.set_options(whole)
    assert api.get_options() == whole
    assert engine.options == Options(sd_model_checkpoint=whole["sd_model_checkpoint"])
    api.set_options({**whole, "CLIP_stop_at_last_layers": 2})
    assert api.txt2img(seed=1, width=64, height=48).info["clip_skip"] == 2


def test_the_model_is_set_by_the_title_that_is_closest(api: webuiapi.WebUIApi, settings: Settings) -> None:
    api.util_set_model("second.safetensor")
    assert api.util_get_current_model() in api.util_get_model_names()
    assert api.util_get_current_model().startswith("second")
    request = Txt2Img(seed=5, width=64, height=48, steps=3, sampler="Euler",
                      options=Options(sd_model_checkpoint="second"))
    assert same(api.txt2img(seed=5, width=64, height=48).images, engines_own(settings, request))


def test_lists(api: webuiapi.WebUIApi) -> None:
    assert not api.has_controlnet
    assert {"DDIM", "Euler a", "DPM++ 2M"} <= set(api.util_get_sampler_names())
    assert {"automatic", "karras"} <= set(api.util_get_scheduler_names())
    assert [upscaler["name"] for upscaler in api.get_upscalers()][:3] == ["None", "Lanczos", "Nearest"]
    assert "Latent (nearest)" in [mode["name"] for mode in api.get_latent_upscale_modes()]
    assert [model["model_name"] for model in api.get_sd_models()] == ["first", "second"]
    assert api.get_memory()["ram"]["total"] > 0
    assert api.get_cmd_flags()["max_steps"] == 150
    for empty in (api.get_loras, api.get_hypernetworks, api.get_face_restorers, api.get_realesrgan_models,
                  api.get_prompt_styles, api.get_sd_vae):
        assert empty() == []
    assert api.get_embeddings() == {"loaded": {}, "skipped": {}}
    assert api.refresh_checkpoints() is None


def test_progress_while_a_job_runs_and_interrupt(api: webuiapi.WebUIApi, models: dict[str, PausingModel]) -> None:
    model = models["first"]
    model.armed = True
    with ThreadPoolExecutor() as pool:
        running = pool.submit(api.txt2img, seed=5, width=64, height=48, steps=8)
        assert model.paused.wait(SECONDS)
        told = api.get_progress()
        assert told["progress"] == pytest.approx(2 / 8)
        assert (told["state"]["sampling_step"], told["state"]["job_count"]) == (2, 1)
        api.interrupt()
        model.go.set()
        partial = running.result(SECONDS).image
    assert partial.size == (64, 48)
    assert len(model.calls) == 3
    api.util_wait_for_ready()
    assert api.get_progress()["state"]["job_count"] == 0
