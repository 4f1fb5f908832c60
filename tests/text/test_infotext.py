"""The parameters text: written as WebUI writes it, and read back."""

from __future__ import annotations

import csv
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from modules.request import Img2Img, Inpaint, MaskedContent, SoftInpainting, Txt2Img
from modules.request.fields import declared, find
from modules.request.options import Options
from modules.sampling.registry import SAMPLERS, find_sampler
from modules.text import infotext
from modules.text.infotext import parse, quote, to_changes, unquote, write
from modules.text.styles import Style

PICTURE = Image.new("RGB", (8, 8))
MASK = Image.new("L", (8, 8), 255)

RECORDED = Path(__file__).parents[1] / "golden" / "infotext"
"""What WebUI 1.10.1 answered when it was asked to read texts and to quote values."""


def text_of(request: Txt2Img, **more: Any) -> str:
    sampler, _ = find_sampler(request.sampler)
    return write(request, sampler, **{"seed": 1, "subseed": 2, "model_name": "m", "model_hash": "0123456789", **more})


def pairs(text: str) -> dict[str, str]:
    return dict(re.findall(r"([A-Z][\w /-]+): ([^,]*)", text.rpartition("\n")[2]))


def test_a_plain_picture_has_webuis_three_lines() -> None:
    request = Txt2Img(prompt="a dog", negative_prompt="blurry", sampler="Euler a", steps=8, width=128, height=64)
    assert text_of(request, seed=1234, version="v1.10.1") == (
        "a dog\nNegative prompt: blurry\nSteps: 8, Sampler: Euler a, Schedule type: Automatic, CFG scale: 7.0, "
        "Seed: 1234, Size: 128x64, Model hash: 0123456789, Model: m, RNG: CPU, Version: v1.10.1")


def test_an_inpainted_picture_says_how_it_was_masked() -> None:
    request = Inpaint(sampler="DPM++ 2M", init_images=(PICTURE,), mask=MASK, mask_invert=True, mask_blur_x=8,
                      mask_blur_y=8, only_masked=True, only_masked_padding=16, subseed_strength=0.5,
                      masked_content=MaskedContent.LATENT_NOISE, options=Options(randn_source="NV"))
    assert text_of(request, inpainting=True, vae_name="v.pt", vae_hash="ab", version="x").endswith(
        "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7.0, Seed: 1, Size: 512x512, "
        "Model hash: 0123456789, Model: m, VAE hash: ab, VAE: v.pt, Variation seed: 2, Variation seed strength: 0.5, "
        "Denoising strength: 0.75, Conditional mask weight: 1.0, RNG: NV, Mask mode: Inpaint not masked, Mask blur: 8, "
        "Inpaint area: Only masked, Masked area padding: 16, Masked content: latent noise, Version: x")


@pytest.mark.parametrize(("sampler", "eta", "options", "expected"), [
    ("DDIM", None, {"eta_ddim": 0.5}, {"Eta DDIM": "0.5"}),
    ("DDIM", 1.0, {}, {"Eta DDIM": "1.0"}),
    ("DDIM", None, {"eta_noise_seed_delta": 9, "eta_ddim": 0.5}, {"Eta DDIM": "0.5"}),
    ("Euler a", None, {"eta_ancestral": 0.5, "eta_noise_seed_delta": 9}, {"Eta": "0.5", "ENSD": "9"}),
    ("Euler a", None, {"eta_ancestral": 0.0, "eta_noise_seed_delta": 9}, {"Eta": "0.0"}),
    ("Euler", 0.5, {"eta_noise_seed_delta": 9, "s_churn": 5.0}, {"Sigma churn": "5.0"}),
    ("Euler", None, {"CLIP_stop_at_last_layers": 2}, {"Clip skip": "2"}),
    ("DPM++ 2M", None, {"always_discard_next_to_last_sigma": True}, {"Discard penultimate sigma": "True"})])
def test_options_are_written_where_they_matter(sampler: str, eta: float | None, options: dict[str, Any],
                                               expected: dict[str, str]) -> None:
    plain = pairs(text_of(Txt2Img(sampler=sampler)))
    found = pairs(text_of(Txt2Img(sampler=sampler, eta=eta, options=Options(**options))))
    assert {key: value for key, value in found.items() if key not in plain} == expected


def test_our_own_keys_name_the_loop_where_there_is_one() -> None:
    inpaint = {"init_images": (PICTURE,), "mask": MASK}
    assert pairs(text_of(Txt2Img(sampler="DDIM")))["DDIM loop"] == "classic"
    assert "Mask noise" not in pairs(text_of(Txt2Img(sampler="DDIM")))
    assert pairs(text_of(Inpaint(sampler="DDIM", **inpaint)))["Mask noise"] == "initial"
    newer = Options(ddim_loop="webui-1.10")
    assert "Mask noise" not in pairs(text_of(Inpaint(sampler="DDIM", options=newer, **inpaint)))
    assert "DDIM loop" not in pairs(text_of(Inpaint(sampler="Euler", **inpaint)))


def test_extra_keys_stand_before_those_of_the_request_and_win() -> None:
    """A script speaks first in WebUI, then the mask; what is found out while sampling comes last."""
    request = Inpaint(sampler="Euler", init_images=(PICTURE,), mask=MASK)
    assert text_of(request, extra={"Steps": 3, "SD upscale overlap": "a: 1, b: 2"}, happened={"NGMS": 8.0},
                   version="v").endswith(
        'RNG: CPU, SD upscale overlap: "a: 1, b: 2", Mask blur: 4, NGMS: 8.0, Version: v')
    assert pairs(text_of(Txt2Img(), extra={"Steps": 3}))["Steps"] == "3"


def test_what_did_not_happen_is_left_out() -> None:
    """WebUI says nothing of the area where the mask was empty."""
    request = Inpaint(sampler="Euler", init_images=(PICTURE,), mask=MASK, only_masked=True)
    found = text_of(request, happened={"Inpaint area": None, "Masked area padding": None}, version="v")
    assert found.endswith("RNG: CPU, Mask blur: 4, Version: v")


def test_keys_stand_in_webuis_order() -> None:
    """The order in which WebUI 1.10.1 adds them: init, prompts, alpha-bar, sigmas, sampler; then the second pass."""
    request = Txt2Img(
        prompt="a (cat:1.2)", sampler="Euler a", scheduler="Karras", enable_hr=True, hr_checkpoint="other",
        hr_sampler="DPM++ SDE", hr_scheduler="Exponential", hr_prompt="a dog", hr_negative_prompt="n",
        hr_second_pass_steps=5,
        options=Options(emphasis="No norm", sd_noise_schedule="Zero Terminal SNR", use_downcasted_alpha_bar=True,
                        sgm_noise_multiplier=True, eta_ancestral=0.5, sigma_min=0.1, img2img_extra_noise=0.1,
                        s_noise=1.1))
    second, _ = find_sampler("DPM++ SDE")
    found = text_of(request, second=second, hires_title="other [0123456789]", version="v").partition("RNG: CPU, ")[2]
    assert found == (
        "Hires checkpoint: other [0123456789], Hires sampler: DPM++ SDE, Hires prompt: a dog, "
        "Hires negative prompt: n, "
        "Hires schedule type: Exponential, Hires upscale: 2.0, Hires steps: 5, Hires upscaler: Latent, "
        "Emphasis: No norm, Downcast alphas_cumprod: True, Noise Schedule: Zero Terminal SNR, Schedule min sigma: 0.1, "
        "SGM noise multiplier: True, Eta: 0.5, Extra noise: 0.1, Sigma noise: 1.1, Version: v")


@pytest.mark.parametrize(("sampler", "hires", "expected"), [
    ("Euler", {}, None), ("DPM++ 2M", {}, None),
    ("Euler", {"hr_sampler": "DPM++ 2M"}, "Karras"),  # its own, where the first pass walks the model's
    ("DPM++ 2M", {"hr_sampler": "Euler"}, None),
    ("DPM++ 2M", {"hr_scheduler": "Karras"}, None),
    ("DPM++ 2M", {"hr_scheduler": "Exponential"}, "Exponential"),
    ("DPM++ 2M", {"hr_sampler": "DDIM", "hr_scheduler": "Exponential"}, None)])
def test_a_second_schedule_is_named_where_it_is_another_one(sampler: str, hires: dict[str, str],
                                                            expected: str | None) -> None:
    second, _ = find_sampler(hires.get("hr_sampler", sampler))
    found = pairs(text_of(Txt2Img(sampler=sampler, enable_hr=True, **hires), second=second))
    assert found.get("Hires schedule type") == expected
    assert found.get("Hires sampler") == hires.get("hr_sampler")


def test_hires_names_and_prompts_are_left_out_where_they_are_the_first_passes() -> None:
    request = Txt2Img(prompt="a", negative_prompt="b", sampler="Euler", enable_hr=True, hr_prompt="a",
                      hr_negative_prompt="b", hr_sampler="Euler")
    assert "Hires prompt" not in text_of(request)
    assert "Hires negative prompt" not in text_of(request)
    assert "Hires sampler" not in text_of(request)


# What WebUI 1.10.1 says of each sampler; those of its timestep samplers are Eta DDIM.
KARRAS = {"DPM++ 2M", "DPM++ SDE", "DPM++ 2S a", "DPM2", "DPM2 a", "Restart"}
EXPONENTIAL = {"DPM++ 2M SDE", "DPM++ 2M SDE Heun", "DPM++ 3M SDE"}
ETA_DDIM = {"DDIM", "DDIM CFG++"}
ENSD = {"DPM++ 2S a", "Euler a", "DPM2 a", "DPM fast", "DPM adaptive"}
ETA = ENSD | {"DPM++ SDE", "DPM++ 2M SDE", "DPM++ 2M SDE Heun", "DPM++ 3M SDE"}
CHURN = {"Euler", "Heun", "DPM2"}
S_NOISE = CHURN | ETA - {"Euler a", "DPM adaptive"}
"""`sampler_extra_params` of WebUI's `sd_samplers_kdiffusion`."""
LOOP = {"DDIM", "DDPM"}


@pytest.mark.parametrize("name", [sampler.name for sampler in SAMPLERS])
def test_a_text_says_of_each_sampler_what_webui_says(name: str) -> None:
    options = Options(eta_ddim=0.5, eta_ancestral=0.25, eta_noise_seed_delta=9, s_churn=3.0, s_tmin=2.0, s_tmax=1.0,
                      s_noise=1.05, sigma_min=0.2)
    found = pairs(text_of(Txt2Img(sampler=name, options=options)))
    expected = {"Schedule type": "Karras" if name in KARRAS else "Exponential" if name in EXPONENTIAL else
                "Simple" if name == "TCD" else "Automatic"}
    expected |= {"Eta DDIM": "0.5"} if name in ETA_DDIM else {"Eta": "0.25"} if name in ETA else {}
    expected |= {"ENSD": "9"} if name in ENSD else {}
    expected |= {"Sigma churn": "3.0", "Sigma tmin": "2.0", "Sigma tmax": "1.0"} if name in CHURN else {}
    expected |= {"Sigma noise": "1.05"} if name in S_NOISE else {}
    expected |= {"Schedule min sigma": "0.2"} if name in KARRAS | EXPONENTIAL | {"TCD"} else {}
    expected |= {"DDIM loop": "classic"} if name in LOOP else {}
    for key in ("Steps", "Sampler", "CFG scale", "Seed", "Size", "Model hash", "Model", "RNG", "Version"):
        del found[key]
    assert found == expected
    assert pairs(text_of(Txt2Img(sampler=name, scheduler="Beta")))["Schedule type"] == "Beta"


def test_texts_are_read_as_webui_reads_them() -> None:
    with (RECORDED / "styles.csv").open() as file:
        styles = [Style(row["name"], row["prompt"] or "", row["negative_prompt"] or "")
                  for row in csv.DictReader(file)]
    cases = json.loads((RECORDED / "infotext_parse.json").read_text())
    assert len(cases) > 20
    for case in cases:
        when = case.get("infotext_styles", "Apply if any")
        found = parse(case["text"], styles if when != "Ignore" else (), keep_empty_styles=when == "Apply")
        assert found == case["parsed"], case["text"]


def test_values_are_quoted_as_webui_quotes_them() -> None:
    for case in json.loads((RECORDED / "infotext_quote.json").read_text()):
        if "value" in case:
            assert quote(case["value"]) == case["quoted"]
        else:
            assert unquote(case["text"]) == case["unquoted"]


def test_parameters_of_png_files_are_webuis() -> None:
    for case in json.loads((RECORDED / "png_info.json").read_text()):
        assert parse(case["answer"]["info"]) == case["answer"]["parameters"]


def test_a_text_without_a_parameter_line_is_a_prompt() -> None:
    assert parse("Steps: 20, Sampler: Euler")["Prompt"] == "Steps: 20, Sampler: Euler"
    assert parse("one\ntwo\nNegative prompt: x\nSteps: 1, Sampler: Euler, Seed: 2")["Prompt"] == "one\ntwo"


@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    """Whatever the text is, a number is read as a finite number of the field's type, or not at all."""
    line = f"p\nSteps: {text}, Sampler: {text}, CFG scale: {text}, Seed: 1, Size: 9x9, First pass size: 0x0, {text}"
    for found in (to_changes(parse(text), with_checkpoint=True), to_changes(parse(line))):
        numbers = {item.name: found.fields[item.name] for item in declared(Inpaint)
                   if item.is_number and item.name in found.fields and found.fields[item.name] is not None}
        assert {"seed_resize_from_w", "mask_blur_x"} <= numbers.keys()
        for name, value in numbers.items():
            assert isinstance(value, find(Inpaint, name).kind), name
            assert math.isfinite(value), name


@pytest.mark.parametrize(("keys", "on", "size", "final"), [
    ("Size: 256x192, Denoising strength: 0.7, First pass size: 128x96", True, (128, 96), (256, 192)),
    ("Size: 1024x1024, Denoising strength: 0.7, First pass size: 0x0", True, (512, 512), (1024, 1024)),
    ("Size: 256x192, Denoising strength: 0.7, Hires upscale: 2", True, (256, 192), (0, 0)),
    ("Size: 256x192, Denoising strength: 0.7, Hires resize: 512x384", True, (256, 192), (512, 384)),
    ("Size: 256x192, Denoising strength: 0.7", False, (256, 192), (0, 0)),
    ("Size: 256x192, Hires upscaler: Latent", False, (256, 192), (0, 0))])
def test_old_texts_of_hires_fix(keys: str, on: bool, size: tuple[int, int], final: tuple[int, int]) -> None:
    """WebUI 1.0 said the first pass's size, and it needs no upscaler's name to switch hires fix on."""
    changes = to_changes(parse(f"p\nSteps: 5, Sampler: Euler, CFG scale: 7, Seed: 1, {keys}"))
    fields = changes.fields
    assert fields["enable_hr"] is on
    assert (fields["width"], fields["height"], fields["hr_resize_x"], fields["hr_resize_y"]) == (*size, *final)
    assert changes.unsupported == ()


@pytest.mark.parametrize(("line", "prompt"), [
    ("a" * 100_000, "a" * 100_000), ("a " * 70_000, ("a " * 70_000).strip()), (" " * 100_000, ""),
    ('a:"' * 30_000, 'a:"' * 30_000), ("a:" * 70_000, "a:" * 70_000), ('"\\' * 70_000, '"\\' * 70_000)])
def test_a_long_line_without_keys_is_a_prompt(line: str, prompt: str) -> None:
    assert parse(line)["Prompt"] == prompt


def test_what_is_matched_in_a_hostile_line_is_short() -> None:
    """The reader takes linear time because its patterns match at most so much."""
    found = parse(f"{'a' * 100_000}: 1, Size: {'9' * 100_000}x1, Seed: 1, Steps: 2, Version: v{'9' * 10_000}.1.1")
    assert max(map(len, found)) == 100
    assert "Size-1" not in found
    assert to_changes(found).options["ddim_loop"] == "classic"


words = st.text(st.characters(exclude_categories=("Cs", "Cc", "Z")), max_size=20)


@given(prompt=words, negative=words, sampler=st.sampled_from(["DDIM", "Euler a", "Euler", "DPM++ 2M", "DPM++ SDE"]),
       steps=st.integers(1, 150), cfg=st.floats(-10, 30), seed=st.integers(0, 2**32 - 1), subseed=st.integers(0, 99),
       strength=st.floats(0, 1), denoising=st.floats(0, 1), blur=st.integers(0, 64), invert=st.booleans(),
       content=st.sampled_from(MaskedContent), padding=st.integers(0, 256), only_masked=st.booleans(),
       noise=st.floats(0, 1.5),
       options=st.builds(
           Options, eta_ddim=st.floats(0, 1), eta_ancestral=st.floats(0, 1),
           CLIP_stop_at_last_layers=st.integers(1, 12), randn_source=st.sampled_from(["GPU", "CPU", "NV"]),
           ddim_loop=st.sampled_from(["classic", "webui-1.10"]), mask_noise=st.sampled_from(["initial", "fresh"]),
           img2img_extra_noise=st.floats(0, 1)))
def test_what_is_written_is_read_back(
        prompt: str, negative: str, sampler: str, steps: int, cfg: float, seed: int, subseed: int, strength: float,
        denoising: float, blur: int, invert: bool, content: MaskedContent, padding: int, only_masked: bool,
        noise: float, options: Options) -> None:
    request = Inpaint(
        prompt=prompt, negative_prompt=negative, sampler=sampler, steps=steps, cfg_scale=cfg, seed=seed,
        subseed=subseed, subseed_strength=strength, denoising_strength=denoising, mask_blur_x=blur, mask_blur_y=blur,
        mask_invert=invert, masked_content=content, only_masked_padding=padding if only_masked else 32,
        only_masked=only_masked, initial_noise_multiplier=noise, options=options, init_images=(PICTURE,), mask=MASK)
    text = text_of(request, seed=seed, subseed=subseed)
    changes = to_changes(parse(text))
    if prompt.startswith(("Negative prompt:", "Steps:")) or negative.startswith("Negative prompt:"):
        return
    again = Inpaint(**changes.fields, init_images=(PICTURE,), mask=MASK, options=Options().replaced(changes.options))
    assert text_of(again, seed=again.seed, subseed=again.subseed) == text
    assert changes.unsupported == ()


@given(first=words, second=words, scale=st.floats(0.01, 16), resize=st.integers(0, 4096), steps=st.integers(0, 150),
       sampler=st.sampled_from(["", "DDIM", "Euler"]), scheduler=st.sampled_from(["", "Karras"]),
       refiner=st.sampled_from(["", "other"]), switch=st.none() | st.floats(0, 1), denoising=st.floats(0, 1),
       refiner_pass=st.sampled_from(["first pass", "second pass", "both passes"]))
def test_the_second_pass_is_read_back(first: str, second: str, scale: float, resize: int, steps: int, sampler: str,
                                      scheduler: str, refiner: str, switch: float | None, denoising: float,
                                      refiner_pass: str) -> None:
    request = Txt2Img(
        prompt="a dog", seed=1, enable_hr=True, hr_prompt=first, hr_negative_prompt=second, hr_scale=scale,
        hr_resize_x=resize, hr_second_pass_steps=steps, hr_sampler=sampler, hr_scheduler=scheduler,
        denoising_strength=denoising, refiner_checkpoint=refiner, refiner_switch_at=switch,
        options=Options(hires_fix_refiner_pass=refiner_pass))
    # The engine adds the refiner's title.
    text = text_of(request, extra={"Refiner": refiner, "Refiner switch at": switch} if refiner else {})
    changes = to_changes(parse(text))
    fields = {name: value for name, value in changes.fields.items() if name in Txt2Img.__dataclass_fields__}
    again = Txt2Img(**fields, options=Options().replaced(changes.options))
    if refiner:
        assert (again.refiner_checkpoint, again.refiner_switch_at) == (refiner, switch)
    extra = {"Refiner": again.refiner_checkpoint, "Refiner switch at": again.refiner_switch_at} if refiner else {}
    assert text_of(again, extra=extra) == text
    assert changes.unsupported == ()


@pytest.mark.parametrize("soft", [SoftInpainting(), SoftInpainting(power=1, scale=1.5, detail=8, influence=0.6)])
def test_soft_inpainting_is_read_back(soft: SoftInpainting) -> None:
    text = text_of(Inpaint(init_images=(PICTURE,), mask=MASK, soft=soft))
    assert text.index("Soft inpainting enabled") < text.index("Mask blur")
    again = to_changes(parse(text)).fields["soft"]
    assert again == soft
    assert text_of(Inpaint(init_images=(PICTURE,), mask=MASK, soft=again)) == text


@pytest.mark.parametrize("number", ["x", "-1", "1e999", ""])
def test_soft_inpainting_with_nonsense_is_left_out(number: str) -> None:
    line = f"x\nSteps: 1, Sampler: Euler, Soft inpainting enabled: True, Soft inpainting schedule bias: {number}"
    assert to_changes(parse(line)).fields["soft"] is None


@pytest.mark.parametrize(("ending", "loop", "noise"), [
    (", Version: v1.10.1", "webui-1.10", "initial"), (", Version: v1.6.0", "webui-1.10", "initial"),
    (", Version: v1.5.2", "classic", "fresh"), ("", "classic", "initial"), (", Version: f2.0", "classic", "initial"),
    (", DDIM loop: classic, Mask noise: fresh, Version: v1.10.1", "classic", "fresh"),
    (", DDIM loop: webui-1.10, Version: Inpaint WebUI 0.1.0", "webui-1.10", "initial")])
def test_the_version_tells_which_loop_made_a_picture(ending: str, loop: str, noise: str) -> None:
    options = to_changes(parse(f"x\nSteps: 5, Sampler: DDIM, Seed: 1{ending}")).options
    assert (options["ddim_loop"], options["mask_noise"]) == (loop, noise)


def test_changes_name_request_fields_and_say_what_cannot_be_done() -> None:
    changes = to_changes(parse("x\nSteps: 5, Sampler: DDIM, Seed: 1, Size: 64x96, Clip skip: 2, Mask blur: 7, "
                               "Wonder: 3, CFG scale: many, Model: other, Version: v1.10.1"))
    assert changes.fields["width"] == 64
    assert changes.fields["height"] == 96
    assert changes.fields["mask_blur_y"] == 7
    assert changes.unsupported == ("Wonder: 3",)
    assert "cfg_scale" not in changes.fields
    assert changes.options["CLIP_stop_at_last_layers"] == "2"
    assert "sd_model_checkpoint" not in changes.options


def test_cfg_rescale_is_written_when_it_is_used_and_read_back() -> None:
    assert "CFG rescale" not in text_of(Txt2Img())
    text = text_of(Txt2Img(options=Options(cfg_rescale=0.7)))
    assert "CFG rescale: 0.7" in text
    assert to_changes(parse(text)).options["cfg_rescale"] == "0.7"
    assert to_changes(parse("x\nSteps: 5, Sampler: DDIM, Seed: 1")).options["cfg_rescale"] == 0


def test_the_checkpoint_comes_along_only_when_wanted() -> None:
    parameters = parse("x\nSteps: 5, Sampler: DDIM, Seed: 1, Model: other, VAE: v.pt")
    options = to_changes(parameters, with_checkpoint=True).options
    assert (options["sd_model_checkpoint"], options["sd_vae"]) == ("other", "v.pt")


def test_strength_is_written_for_img2img_only() -> None:
    assert "Denoising strength" not in text_of(Txt2Img())
    assert "Denoising strength: 0.4" in text_of(Img2Img(init_images=(PICTURE,), denoising_strength=0.4))


def test_the_version_is_the_projects() -> None:
    project = (Path(__file__).resolve().parents[2] / "pyproject.toml").read_text()
    assert f'version = "{infotext.VERSION.rpartition(" ")[2]}"' in project
