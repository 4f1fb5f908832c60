"""The parameters text that we write, pasted back, asks for the same picture again.

A text says less than a request: what WebUI's own text leaves out (`UNSAID`) is given beside it, like the checkpoint,
the picture and the mask.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from golden.runner import Case, pixel_difference, read_cases
from golden.tiny import tiny_bench
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from modules.engine.engine import resolve
from modules.request import MAX_SEED, Img2Img, Inpaint, MaskedContent, ResizeMode, SoftInpainting, Txt2Img
from modules.request.options import Options
from modules.sampling import registry
from modules.sampling.schedules import AUTOMATIC, SCHEDULES, find_schedule
from modules.text import infotext
from modules.text.prompt import parse_attention

SHARED = Path(__file__).resolve().parents[2] / "shared" / "golden"
GROUPS = ("core", "classic", "classic-extra", "samplers", "schedules", "prompts", "options", "hires", "odd-size",
          "soft-inpainting", "refiner", "styles")

UNSAID = ("resize_mode", "mask_round")
UNSAID_OPTIONS = (
    "img2img_fix_steps", "img2img_color_correction", "overlay_inpaint", "return_mask", "return_mask_composite",
    "no_dpmpp_sde_batch_determinism", "use_old_emphasis_implementation", "use_old_karras_scheduler_sigmas",
    "uni_pc_variant", "uni_pc_skip_type", "uni_pc_order", "sd_model_checkpoint", "sd_vae", "samples_save")


def cases() -> list[Case]:
    return [case for case in read_cases(SHARED) if case.group in GROUPS]


CASES = cases()


def written(request: Txt2Img) -> str:
    """The text of a picture that the engine would have made of a resolved `request`."""
    options = request.options
    happened = {"Pad conds": options.pad_cond_uncond or None, "Pad conds v0": options.pad_cond_uncond_v0 or None}
    if request.refiner_checkpoint:
        happened |= {"Refiner": request.refiner_checkpoint, "Refiner switch at": request.refiner_switch_at,
                     "Hires refiner": options.hires_fix_refiner_pass if request.enable_hr else None}
    sampler, _ = registry.find_sampler(request.sampler)
    return infotext.write(request, sampler, seed=request.seed, subseed=request.subseed, model_name="any",
                          model_hash=None, inpainting="inpainting" in options.sd_model_checkpoint, extra=happened)


def pasted(text: str, like: Txt2Img) -> Txt2Img:
    """The request that `text` asks for, with what it does not say taken from `like`."""
    changes = infotext.to_changes(infotext.parse(text))
    assert changes.unsupported == ()
    names = {item.name for item in dataclasses.fields(like)}
    given = {name: getattr(like, name) for name in (*UNSAID, "init_images", "mask") if name in names}
    if isinstance(like, Inpaint) and like.mask_blur_x != like.mask_blur_y:  # of two blurs the text says neither
        given |= {"mask_blur_x": like.mask_blur_x, "mask_blur_y": like.mask_blur_y}
    unsaid = set(UNSAID_OPTIONS)
    if registry.resolve(like.sampler, like.scheduler)[0].timesteps:  # whose noise ENSD moves all the same
        unsaid.add("eta_noise_seed_delta")
    options = like.options.replaced(changes.options | {name: getattr(like.options, name) for name in unsaid})
    fields = {name: value for name, value in changes.fields.items() if name in names}
    return resolve(type(like)(**fields | given, options=options))


def asks_for(request: Txt2Img) -> dict[str, Any]:
    """What decides over the first picture of a resolved request, by name; what has no effect in it is left out."""
    sampler, schedule = registry.resolve(request.sampler, request.scheduler)
    values = dataclasses.asdict(request.options)
    values |= {item.name: getattr(request, item.name) for item in dataclasses.fields(request)}
    values["prompt"] = "\n".join(line.strip() for line in request.prompt.split("\n"))
    values["scheduler"] = sampler.schedule if schedule == AUTOMATIC else find_schedule(schedule).name
    usual = values["eta_ddim" if sampler.timesteps else "eta_ancestral"]
    values["eta"] = usual if request.eta is None else request.eta
    if values.get("initial_noise_multiplier", 1) is None:
        values["initial_noise_multiplier"] = request.options.initial_noise_multiplier
    idle = ["options", "batch_size", "n_iter", "eta_ddim", "eta_ancestral"]
    idle += [] if sampler.timesteps or (values["eta"] and sampler.uses_ensd) else ["eta_noise_seed_delta"]
    misplaced = isinstance(request, Inpaint) and request.misplaced
    idle += [] if sampler.name in ("DDIM", "DDPM") or misplaced else ["ddim_loop", "mask_noise"]
    idle += [] if isinstance(request, Inpaint) and request.options.ddim_loop == "classic" else ["mask_noise"]
    idle += ["scheduler"] if sampler.timesteps else []
    idle += [name for name in ("eta", "s_churn", "s_noise") if name not in sampler.wants]
    weighted = any(weight != 1 for _, weight in parse_attention(request.prompt + request.negative_prompt))
    idle += [] if weighted else ["emphasis"]
    idle += [] if request.subseed_strength else ["subseed"]
    idle += [] if isinstance(request, Inpaint) and request.only_masked else ["only_masked_padding"]
    idle += [] if request.refiner_checkpoint else ["refiner_switch_at"]
    if not request.enable_hr:
        idle += [name for name in values if name.startswith("hr_")]
        idle += [] if isinstance(request, Img2Img) else ["denoising_strength"]
    return {name: value for name, value in values.items() if name not in idle}


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Zl", "Zp", "Zs")), max_size=20)
UNIT = st.integers(0, 100).map(lambda percent: percent / 100)
PICTURE = Image.new("RGB", (8, 8))

COMMON: dict[str, st.SearchStrategy[Any]] = {
    "prompt": WORDS, "negative_prompt": WORDS,
    "sampler": st.sampled_from([sampler.name for sampler in registry.SAMPLERS]),
    "scheduler": st.sampled_from([AUTOMATIC, *(schedule.label for schedule in SCHEDULES)]),
    "steps": st.integers(1, 150), "cfg_scale": st.integers(2, 60).map(lambda half: half / 2),
    "width": st.integers(8, 256).map(lambda eighth: eighth * 8),
    "height": st.integers(8, 256).map(lambda eighth: eighth * 8),
    "seed": st.integers(0, MAX_SEED), "subseed": st.integers(0, MAX_SEED), "subseed_strength": UNIT,
    "eta": st.none() | UNIT, "denoising_strength": UNIT,
    "options": st.builds(Options, CLIP_stop_at_last_layers=st.integers(1, 12), eta_noise_seed_delta=st.integers(0, 99),
                         randn_source=st.sampled_from(["CPU", "GPU", "NV"]), tiling=st.booleans(),
                         ddim_loop=st.sampled_from(["classic", "webui-1.10"]), s_churn=UNIT, s_noise=UNIT,
                         mask_noise=st.sampled_from(["initial", "fresh"]), cfg_rescale=UNIT,
                         emphasis=st.sampled_from(["Original", "No norm", "Ignore", "None"])),
}
SOFT = st.builds(SoftInpainting, power=UNIT, scale=UNIT, detail=st.integers(1, 32), influence=UNIT, threshold=UNIT,
                 contrast=UNIT)
BLUR = st.integers(0, 64)
REQUESTS = st.builds(Txt2Img, **COMMON) | st.builds(
    Img2Img, **COMMON, init_images=st.just((PICTURE,)), initial_noise_multiplier=UNIT) | BLUR.flatmap(
    lambda blur: st.builds(
        Inpaint, **COMMON, init_images=st.just((PICTURE,)), mask=st.just(PICTURE.convert("L")),
        mask_blur_x=st.just(blur), mask_blur_y=st.just(blur), mask_invert=st.booleans(), only_masked=st.booleans(),
        masked_content=st.sampled_from(MaskedContent), only_masked_padding=st.integers(0, 256),
        resize_mode=st.sampled_from(ResizeMode), soft=st.none() | SOFT))


@given(REQUESTS)
def test_any_request_survives_its_text(request: Txt2Img) -> None:
    request = resolve(request)
    assert asks_for(pasted(written(request), request)) == asks_for(request)


@pytest.mark.skipif(not CASES, reason="the full set of recordings is not here")
def test_every_recorded_request_survives_its_text() -> None:
    lost = {}
    for case in CASES:
        request = resolve(case.request())
        before, after = asks_for(request), asks_for(pasted(written(request), request))
        changed = {name: (value, after.get(name)) for name, value in before.items() if after.get(name) != value}
        if changed:
            lost[case.id] = changed
    assert lost == {}


@pytest.mark.skipif(not CASES, reason="the full set of recordings is not here")
@pytest.mark.parametrize("name", ["inp-ddim-fill2", "t2i-sampler-dpmpp-2m-sde-heun", "t2i-hr-latent-ddim-4",
                                  "soft-ddim-def-gradient"])
def test_a_pasted_text_gives_the_picture_again(name: str) -> None:
    case = next(case for case in CASES if case.id == name)
    first, *_ = tiny_bench().make(case.request())
    again, *_ = tiny_bench().make(pasted(first.images[0].infotext, first.request))
    largest, share = pixel_difference(again.images[0].image, first.images[0].image.convert("RGB"))
    assert largest <= 1, "the same numbers on other addresses may be added in another order, no more"
    assert share < 0.01
