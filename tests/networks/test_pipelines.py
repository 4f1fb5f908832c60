"""Whole runs against diffusers' own pipelines over the same tiny weights, which its own converters bring over."""

from __future__ import annotations

from typing import Any

import diffusers
import pytest
from golden.runner import Bench
from golden.tiny import kind_of, tiny_bench
from networks.theirs import transformer_of, unet_of, vae_of
from torch import Tensor

from modules.request import Txt2Img
from modules.request.options import Options
from modules.sampling.conditioning import Conditioning, SizeIds, TextOptions, stack
from modules.sampling.noise import ImageNoise

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

STEPS, SCALE, SIZE = 10, 6.0, (128, 64)  # ten steps of Euler ask at whole timesteps: 999, 888, ... 0
PROMPT, NEGATIVE = "a red fox on a hill", "blurry"
TRAINED = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def ours(name: str, bench: Bench | None = None, **changes: Any) -> Tensor:
    """The latent that the program decodes, on another bench than the usual one if there is one."""
    options = Options().replaced({"sd_model_checkpoint": name, "randn_source": "CPU"})
    request = Txt2Img(prompt=PROMPT, negative_prompt=NEGATIVE, sampler="Euler", steps=STEPS, cfg_scale=SCALE, seed=7,
                      subseed=0, width=SIZE[0], height=SIZE[1], options=options, **changes)
    return (bench or tiny_bench(kind_of(name))).make(request)[2]


def words(model: Any, text: str, aesthetic: float = 6.0) -> Conditioning:
    how = TextOptions(sizes=SizeIds(SIZE, (0, 0), SIZE, aesthetic), negative=text == NEGATIVE)
    return stack(model.encode_prompts([text], how))


def noise(model: Any) -> Tensor:
    return ImageNoise(model.latent.shape(SIZE), [7], source="CPU").first()


def spoken(model: Any, pooled: int = 0, aesthetics: tuple[float, float] = (6.0, 6.0)) -> dict[str, Tensor]:
    """The prompts as the pipelines take them, with so many numbers of a pooled vector."""
    given = {"": words(model, PROMPT, aesthetics[0]), "negative_": words(model, NEGATIVE, aesthetics[1])}
    said = {f"{name}prompt_embeds": one.tokens for name, one in given.items()}
    if pooled:
        said |= {f"{name}pooled_prompt_embeds": one.vector[:, :pooled] for name, one in given.items()
                 if one.vector is not None}
    return said


def assert_same(theirs: Tensor, ours: Tensor) -> None:
    assert theirs.shape == ours.shape
    assert float((theirs - ours).abs().max() / theirs.std()) < 1e-3


def euler(prediction: str) -> diffusers.EulerDiscreteScheduler:
    return diffusers.EulerDiscreteScheduler(**TRAINED, prediction_type=prediction, timestep_spacing="linspace")


COMMON: dict[str, Any] = {"num_inference_steps": STEPS, "guidance_scale": SCALE, "output_type": "latent"}


def test_stable_diffusion_2_that_predicts_v() -> None:
    name = "tiny-sd21-v"
    model = tiny_bench(kind_of(name)).model(name)
    pipeline = diffusers.StableDiffusionPipeline(
        vae=vae_of(name, model), text_encoder=None, tokenizer=None, unet=unet_of(name, model),
        scheduler=euler("v_prediction"), safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(**spoken(model), **COMMON, width=SIZE[0], height=SIZE[1], latents=noise(model))[0]
    assert_same(theirs, ours(name))


def test_stable_diffusion_xl_with_its_refiner() -> None:
    name, refiner = "tiny-sdxl", "tiny-sdxl-refiner"
    bench = tiny_bench(kind_of(name))
    model = bench.model(name)
    base = diffusers.StableDiffusionXLPipeline(
        vae=vae_of(name, model), text_encoder=None, text_encoder_2=None, tokenizer=None, tokenizer_2=None,
        unet=unet_of(name, model, told=6), scheduler=euler("epsilon"), add_watermarker=False)
    base.set_progress_bar_config(disable=True)
    pooled = model.parts["clip_g"].text_projection.shape[1]
    half = base(**spoken(model, pooled), **COMMON, width=SIZE[0], height=SIZE[1], latents=noise(model),
                denoising_end=0.5)[0]
    second = bench.model(refiner)
    pipeline = diffusers.StableDiffusionXLImg2ImgPipeline(
        vae=base.vae, text_encoder=None, text_encoder_2=None, tokenizer=None, tokenizer_2=None,
        unet=unet_of(refiner, second, told=5), scheduler=euler("epsilon"), requires_aesthetics_score=True,
        add_watermarker=False)
    pipeline.set_progress_bar_config(disable=True)
    pooled = second.parts["clip_g"].text_projection.shape[1]
    theirs = pipeline(**spoken(second, pooled, (6.0, 2.5)), **COMMON, image=half, denoising_start=0.5,
                      original_size=SIZE[::-1], target_size=SIZE[::-1])[0]
    assert_same(theirs, ours(name, refiner_checkpoint=refiner, refiner_switch_at=0.5))


def test_stable_diffusion_3() -> None:
    name = "tiny-sd3"
    model = tiny_bench(kind_of(name)).model(name)
    pipeline = diffusers.StableDiffusion3Pipeline(
        transformer=transformer_of(name, model), scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae_of(name, model), text_encoder=None, tokenizer=None, text_encoder_2=None, tokenizer_2=None,
        text_encoder_3=None, tokenizer_3=None)
    pipeline.set_progress_bar_config(disable=True)
    pooled = model.unet.config.pooled_projection_dim
    sigmas = [1 - i / STEPS for i in range(STEPS)]  # before they are shifted
    theirs = pipeline(**spoken(model, pooled), **COMMON, width=SIZE[0], height=SIZE[1], latents=noise(model),
                      sigmas=sigmas)[0]
    assert_same(theirs, ours(name, scheduler="Simple"))
