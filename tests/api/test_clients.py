"""Programs that people use with WebUI, each by the requests that it sends in their order."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from .conftest import base64_of, picture

PHOTO, MASK = base64_of(Image.new("RGB", (64, 64), "teal")), base64_of(Image.new("L", (64, 64), 255))
QUICK = {"steps": 3, "width": 64, "height": 64, "seed": -1, "cfg_scale": 7}
Call = tuple[str, str, dict[str, Any] | None]


def lists(*names: str, slash: str = "") -> list[Call]:
    return [("GET", f"/sdapi/v1/{name}{slash}", None) for name in names]


CLIENTS: dict[str, list[Call]] = {
    "openOutpaint": [
        *lists("options", "sd-models", "samplers", "schedulers", "upscalers", "loras", "prompt-styles", slash="/"),
        ("POST", "/sdapi/v1/options/", {"sd_model_checkpoint": "second"}),
        ("POST", "/sdapi/v1/txt2img/", {**QUICK, "prompt": "a dog", "sampler_name": "DDIM", "n_iter": 2,
                                        "batch_size": 1, "mask_blur": 0, "styles": []}),
        ("GET", "/sdapi/v1/progress/?skip_current_image=true", None),
        ("POST", "/sdapi/v1/img2img/", {**QUICK, "prompt": "a dog", "init_images": [f"data:image/png;base64,{PHOTO}"],
                                        "mask": f"data:image/png;base64,{MASK}", "inpainting_fill": 1,
                                        "inpainting_mask_invert": True, "inpaint_full_res": False, "mask_blur": 8.0}),
        ("POST", "/sdapi/v1/interrupt/", None), ("POST", "/sdapi/v1/refresh-checkpoints/", None)],
    "aiyabot": [
        *lists("cmd-flags", "sd-models", "samplers", "prompt-styles", "face-restorers", "embeddings", "hypernetworks",
               "upscalers", "loras", "options"),
        ("POST", "/sdapi/v1/txt2img", {**QUICK, "prompt": "a dog", "negative_prompt": "", "sampler_name": "Euler a",
                                       "enable_hr": True, "hr_upscaler": "Latent", "hr_scale": 1.5,
                                       "hr_second_pass_steps": 1.5, "denoising_strength": "0.7", "styles": [],
                                       "override_settings": {"sd_model_checkpoint": "Default", "sd_vae": "auto",
                                                             "CLIP_stop_at_last_layers": 0}}),
        ("POST", "/sdapi/v1/png-info", {"image": f"data:image/png;base64,{PHOTO}"}),
        ("POST", "/sdapi/v1/extra-single-image", {
            "resize_mode": 0, "gfpgan_visibility": 0, "codeformer_visibility": "1", "codeformer_weight": 0,
            "upscaling_resize": 2, "upscaler_1": "ESRGAN_4x", "upscaler_2": "None", "image": PHOTO})],
    "AI Render": [
        *lists("samplers", "upscalers"),
        ("POST", "/sdapi/v1/img2img", {**QUICK, "prompt": "a dog", "init_images": [PHOTO], "denoising_strength": 0.4,
                                       "sampler_index": "DPM++ 2M Karras", "alwayson_scripts": []}),
        ("POST", "/sdapi/v1/extra-single-image", {
            "resize_mode": 0, "show_extras_results": True, "gfpgan_visibility": 0.3, "codeformer_visibility": 0,
            "upscaling_resize": 2.0, "upscaler_1": "R-ESRGAN 4x+", "image": f"data:image/png;base64,{PHOTO}"})],
    "SillyTavern": [
        *lists("options", "sd-models", "samplers", "schedulers", "sd-vae", "upscalers", "latent-upscale-modes"),
        ("POST", "/sdapi/v1/options", {"sd_model_checkpoint": "second"}), *lists("progress"),
        ("POST", "/sdapi/v1/txt2img", {**QUICK, "prompt": "a dog", "sampler_name": "Euler a", "scheduler": "Automatic",
                                       "restore_faces": True, "enable_hr": False, "hr_upscaler": "Latent",
                                       "save_images": True, "send_images": True, "do_not_save_grid": False,
                                       "do_not_save_samples": False, "override_settings": {
                                           "CLIP_stop_at_last_layers": 1}, "clip_skip": 1,
                                       "override_settings_restore_afterwards": True})],
    "Open WebUI": [
        *lists("options", "sd-models"), ("POST", "/sdapi/v1/options", {"sd_model_checkpoint": "second"}),
        ("POST", "/sdapi/v1/txt2img", {"prompt": "a dog", "batch_size": 1, "width": 64, "height": 64, "steps": 3,
                                       "negative_prompt": "", "sampler_name": "Euler a"})]}


@pytest.mark.parametrize("name", CLIENTS)
def test_each_request_of_the_program_is_answered(client: TestClient, name: str) -> None:
    for method, path, body in CLIENTS[name]:
        answer = client.request(method, path, json=body, follow_redirects=False)
        assert answer.status_code == 200, (path, answer.text)
        told = answer.json()
        for text in (told or {}).get("images", ()) if isinstance(told, dict) else ():
            assert picture(text).width in (64, 96)
    if any(body == {"sd_model_checkpoint": "second"} for _, _, body in CLIENTS[name]):
        assert client.get("/sdapi/v1/options/").json()["sd_model_checkpoint"].startswith("second")
