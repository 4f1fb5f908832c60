"""A parameters text in a tab's controls: what is taken over asks for the same picture, the rest is said in words."""

from __future__ import annotations

from typing import Any

import gradio as gr
import pytest
from PIL import Image

from modules.engine.engine import Engine, resolve
from modules.errors import InvalidInput
from modules.jobs.queue import JobQueue
from modules.request import Img2Img, Inpaint, MaskedContent, SoftInpainting, Txt2Img
from modules.request.options import Options
from modules.sampling.registry import find_sampler
from modules.text import infotext
from modules.text.styles import Style, save_style
from modules.ui.canvas.canvas import MaskData
from modules.ui.controls import request_panel
from modules.ui.controls.pasting import is_parameters, paste, send_along
from modules.ui.controls.request_panel import Panel
from modules.ui.page.header import Header
from modules.ui.tabs import inpaint, txt2img

WEBUI = """a lighthouse, oil on canvas
Negative prompt: photo
Steps: 7, Sampler: DPM++ 2M Karras, CFG scale: 40, Seed: 4242, Size: 640x512, Model hash: 879db523c3, Model: other, \
Denoising strength: 0.55, Clip skip: 2, ENSD: 31337, Hires upscale: 1.5, Hires steps: 9, Hires upscaler: R-ESRGAN 4x+, \
Face restoration: CodeFormer, Refiner: second [abcdefabcd], Refiner switch at: 0.6, Sigma noise: many, \
Version: v1.10.1"""

PICTURE = Image.linear_gradient("L").convert("RGB")
MASK = Image.radial_gradient("L")


@pytest.fixture
def panels(engine: Engine, queue: JobQueue) -> dict[str, Panel]:
    """The panels of the txt2img and inpaint tabs, drawn for nobody to see."""
    with gr.Blocks():
        header, _ = Header.build(engine, queue)
        return {name: tab.build(header, Panel(name, engine.settings), gr.BrowserState("")).panel
                for name, tab in (("txt2img", txt2img), ("inpaint", inpaint))}


def pasted(text: str, panel: Panel, engine: Engine, *, locked: bool = False) -> tuple[dict[str, Any], str]:
    """(the panel's values after `text` has been pasted into it, the note)."""
    updates, note = paste(text, panel, engine, locked=locked)
    return {name: update.get("value", widget.value)
            for (name, widget), update in zip(panel.widgets.items(), updates, strict=True)}, note


def written(request: Txt2Img, **more: Any) -> str:
    """The text of a picture of a resolved request."""
    sampler, _ = find_sampler(request.sampler)
    return infotext.write(request, sampler, seed=request.seed, subseed=request.subseed, model_name="first",
                          model_hash=None, **more)


def test_webuis_text_fills_the_controls_and_the_note_says_what_does_not_fit(
        panels: dict[str, Panel], engine: Engine) -> None:
    save_style(engine.settings.styles_file, Style("oil", "oil on canvas", "photo"))
    values, note = pasted(WEBUI, panels["txt2img"], engine)
    request = request_panel.to_txt2img(values, engine.options)
    assert (request.prompt, request.negative_prompt, values["styles"]) == ("a lighthouse", "", ["oil"])
    assert (request.sampler, request.scheduler, request.steps) == ("DPM++ 2M", "Automatic", 7)  # its usual one: Karras
    assert (request.width, request.height, request.seed, request.denoising_strength) == (640, 512, 4242, 0.55)
    assert (request.enable_hr, request.hr_scale, request.hr_second_pass_steps) == (True, 1.5, 9)
    assert (request.refiner_checkpoint, request.refiner_switch_at) == ("second.safetensors", 0.6)
    assert (request.options.CLIP_stop_at_last_layers, request.options.eta_noise_seed_delta) == (2, 31337)
    assert request.options.ddim_loop == "webui-1.10"
    assert "other [879db523c3], which is not here" in note
    for part in ("Face restoration: CodeFormer", "R-ESRGAN 4x+", "CFG Scale: 40 (here 30)", "Sigma noise",
                 "ENSD: 31337"):
        assert part in note


def test_what_the_page_made_and_pastes_is_the_same_request(panels: dict[str, Panel], engine: Engine) -> None:
    first = resolve(Inpaint(
        prompt="a (red:1.2) apple", negative_prompt="green", sampler="DPM2 a", scheduler="Beta", steps=9,
        cfg_scale=5.5, width=256, height=320, seed=5, subseed=6, subseed_strength=0.25, seed_resize_from_w=128,
        seed_resize_from_h=64,
        denoising_strength=0.6, image_cfg_scale=1.5, init_images=(PICTURE,), mask=MASK, mask_invert=True,
        mask_blur_x=7, mask_blur_y=7,
        masked_content=MaskedContent.LATENT_NOISE, only_masked=True, only_masked_padding=16,
        soft=SoftInpainting(power=2, scale=0.75), refiner_checkpoint="second.safetensors", refiner_switch_at=0.4,
        options=Options(eta_ancestral=0.5, s_noise=1.02, cfg_rescale=0.7, beta_dist_alpha=0.8, tiling=True,
                        initial_noise_multiplier=0.9, img2img_extra_noise=0.1, emphasis="No norm",
                        eta_noise_seed_delta=31337)))
    text = written(first, extra={"Refiner": "second.safetensors", "Refiner switch at": 0.4})
    values, note = pasted(text, panels["inpaint"], engine)
    assert request_panel.to_inpaint(values, MaskData(PICTURE, MASK), engine.options) == first
    assert "Not taken over" not in note


def test_a_locked_seed_and_a_mask_outlive_a_text_that_says_nothing_of_them(
        panels: dict[str, Panel], engine: Engine) -> None:
    text = written(resolve(Txt2Img(prompt="x", seed=9)))
    values, note = pasted(text, panels["inpaint"], engine, locked=True)
    assert (values["prompt"], values["seed"], values["mask_blur"], values["masked_content"]) == ("x", -1, 4, "original")
    assert note == ""


def test_a_mask_outlives_a_text_of_img2img(panels: dict[str, Panel], engine: Engine) -> None:
    request = resolve(Img2Img(prompt="x", seed=9, init_images=(PICTURE,)))
    text = written(request)
    values, _ = pasted(text, panels["inpaint"], engine)
    assert (values["denoising_strength"], values["mask_blur"]) == (0.75, 4)


def test_an_inpainting_without_blur_brings_that_back(panels: dict[str, Panel], engine: Engine) -> None:
    request = resolve(Inpaint(prompt="x", seed=9, init_images=(PICTURE,), mask=MASK, mask_blur_x=0, mask_blur_y=0))
    text = written(request)
    assert pasted(text, panels["inpaint"], engine)[0]["mask_blur"] == 0


def test_prompts_steps_and_seed_go_along_with_a_result_and_nothing_else(panels: dict[str, Panel],
                                                                        engine: Engine) -> None:
    save_style(engine.settings.styles_file, Style("oil", "oil on canvas", "photo"))
    updates = dict(zip(panels["inpaint"].widgets, send_along(WEBUI, panels["inpaint"], locked=False), strict=True))
    sent = {name: update["value"] for name, update in updates.items() if "value" in update}
    assert sent == {"prompt": "a lighthouse", "negative_prompt": "", "styles": ["oil"], "steps": 7, "cfg_scale": 30,
                    "width": 640, "height": 512, "seed": 4242}
    locked = dict(zip(panels["inpaint"].widgets, send_along(WEBUI, panels["inpaint"], locked=True), strict=True))
    assert "value" not in locked["seed"]


def test_an_option_that_does_not_fit_is_named_by_its_label(panels: dict[str, Panel], engine: Engine) -> None:
    text = "x\nSteps: 5, Sampler: DDIM, CFG scale: 7, Seed: 1, Clip skip: 99"
    assert "The option Clip skip lies between 1 and 12, not 99" in pasted(text, panels["txt2img"], engine)[1]


def test_a_seed_that_a_browser_cannot_hold_is_named(panels: dict[str, Panel], engine: Engine) -> None:
    text = written(resolve(Txt2Img(prompt="x", seed=2**64 - 1)))
    values, note = pasted(text, panels["txt2img"], engine)
    assert "Seed: 18446744073709551615 (here 9007199254740991)" in note
    assert values["seed"] == 2**53 - 1


def test_what_is_no_parameters_text() -> None:
    assert is_parameters(WEBUI)
    for text in (None, "", "a red dog", "Steps: many roads lead there", "Steps: 5, Seed: 3"):
        assert not is_parameters(text)


def test_only_known_settings_can_be_overridden() -> None:
    assert request_panel.overridden(["ENSD: 31337", "UniPC order:2 "]) == {"eta_noise_seed_delta": "31337",
                                                                      "uni_pc_order": "2"}
    with pytest.raises(InvalidInput, match="Wonder"):
        request_panel.overridden(["Wonder: 3"])
