"""txt2img and img2img over HTTP: WebUI's fields, defaults and answers, and refusals that name the field."""

from __future__ import annotations

import base64
import errno
import io
import json
import math
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image, PngImagePlugin

from modules.api.pictures import unpacked_request
from modules.api.schema import Img2ImgBody, Txt2ImgBody
from modules.engine.engine import Engine
from modules.jobs.queue import Job, JobQueue
from modules.request import Img2Img, Inpaint, MaskedContent
from modules.request.job_context import NullJob
from modules.request.options import Options
from modules.settings import Settings
from modules.text import image_metadata

from .conftest import base64_of, info, picture, small

TXT2IMG, IMG2IMG = "/sdapi/v1/txt2img", "/sdapi/v1/img2img"


def inpaint_body(photo: Image.Image, mask: Image.Image, **changes: Any) -> dict[str, Any]:
    return small(init_images=[base64_of(photo)], mask=base64_of(mask), inpaint_full_res=False, mask_blur=0, **changes)


def test_an_answer_has_webuis_shape(client: TestClient) -> None:
    answer = client.post(TXT2IMG, json=small(batch_size=2, n_iter=2, negative_prompt="bad"))
    body, told = answer.json(), info(answer)
    assert [picture(text).size for text in body["images"]] == [(64, 48)] * 4
    assert [picture(text).info["parameters"] for text in body["images"]] == told["infotexts"]
    assert told["all_seeds"] == [1, 2, 3, 4]
    assert (told["seed"], told["width"], told["height"], told["steps"]) == (1, 64, 48, 3)
    assert (told["prompt"], told["all_negative_prompts"]) == ("a dog", ["bad"] * 4)
    assert (told["sampler_name"], told["sd_model_name"]) == ("Euler", "first")
    assert len(told["sd_model_hash"]) == 10
    assert body["parameters"]["prompt"] == "a dog"
    assert body["parameters"]["cfg_scale"] == 7.0
    assert body["warnings"] == []


def test_defaults_are_those_of_webuis_api_not_of_its_page(photo: Image.Image) -> None:
    assert Txt2ImgBody().request(Options(), max_pixels=10).steps == 50
    assert Txt2ImgBody().request(Options(), max_pixels=10).sampler == "Euler"
    request = Img2ImgBody(init_images=[base64_of(photo)], mask=base64_of(photo)).request(Options(), max_pixels=10**6)
    assert isinstance(request, Inpaint)
    assert (request.masked_content, request.only_masked, request.only_masked_padding) == (MaskedContent.FILL, True, 0)
    assert (request.mask_blur_x, request.mask_blur_y, request.denoising_strength) == (4, 4, 0.75)
    assert request.mask_round


def test_mask_blur_sets_both_and_null_leaves_them(photo: Image.Image) -> None:
    def blurs(**changes: Any) -> tuple[int, int]:
        body = Img2ImgBody.model_validate({"init_images": [base64_of(photo)], "mask": base64_of(photo), **changes})
        request = body.request(Options(), max_pixels=10**6)
        assert isinstance(request, Inpaint)
        return request.mask_blur_x, request.mask_blur_y

    assert blurs(mask_blur=7) == (7, 7)
    assert blurs(mask_blur=None, mask_blur_x=6, mask_blur_y=0) == (6, 0)
    assert blurs(mask_blur=0) == (0, 0)


def test_seeds_are_drawn_and_told(client: TestClient) -> None:
    first, second = (info(client.post(TXT2IMG, json=small(seed=-1)))["seed"] for _ in range(2))
    assert first >= 0
    assert first != second


@pytest.mark.parametrize(("names", "sampler", "schedule"), [
    ({"sampler_name": "DDIM"}, "DDIM", "Automatic"),
    ({"sampler_name": "k_euler_a"}, "Euler a", "Automatic"),
    ({"sampler_name": "DPM++ 2M Karras"}, "DPM++ 2M", "Karras"),
    ({"sampler_name": "Euler", "scheduler": "Karras"}, "Euler", "Karras"),
    ({"sampler_name": "Euler", "scheduler": "karras"}, "Euler", "Karras"),
    ({"sampler_name": None, "sampler_index": "DDIM"}, "DDIM", "Automatic"),
    ({"sampler_name": "Euler a", "sampler_index": "DDIM"}, "Euler a", "Automatic")])
def test_samplers_have_many_names(client: TestClient, names: dict[str, Any], sampler: str, schedule: str) -> None:
    (text,) = info(client.post(TXT2IMG, json=small(**names)))["infotexts"]
    assert f"Sampler: {sampler}, Schedule type: {schedule}," in text


def test_pictures_come_as_base64_or_data_url_in_many_formats(client: TestClient, photo: Image.Image) -> None:
    answers = [client.post(IMG2IMG, json=small(init_images=[text], denoising_strength=0.5)) for text in (
        base64_of(photo), "data:image/png;base64," + base64_of(photo), base64_of(photo, "BMP"))]
    first, second, third = ([answer.json()["images"] for answer in answers if info(answer)])
    assert first == second == third


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "CMYK", "I;16", "RGBA"])
def test_every_kind_of_png_or_tiff_is_read(client: TestClient, photo: Image.Image, mode: str) -> None:
    image = photo.convert("L").convert("I").point(lambda value: value * 256).convert("I;16") if mode == "I;16" \
        else photo.convert(mode)
    text = base64_of(image, "TIFF" if mode == "CMYK" else "PNG")
    assert info(client.post(IMG2IMG, json=small(init_images=[text])))["width"] == 64


def test_a_photo_is_turned_as_its_exif_says(client: TestClient) -> None:
    image = Image.new("RGB", (16, 8))
    exif = Image.Exif()
    exif[0x0112] = 6
    import io
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", exif=exif)
    import base64
    body = Img2ImgBody(init_images=[base64.b64encode(buffer.getvalue()).decode()])
    assert unpacked_request(body.request(Options(), max_pixels=10**6)).init_images[0].size == (8, 16)


def test_inpainting_changes_the_mask_only(client: TestClient, photo: Image.Image, mask: Image.Image) -> None:
    answer = client.post(IMG2IMG, json=inpaint_body(photo, mask, inpainting_fill=1, sampler_name="DDIM", steps=8))
    after = picture(answer.json()["images"][0])
    changed = [(x, y) for x in range(64) for y in range(48) if after.getpixel((x, y)) != photo.getpixel((x, y))]
    assert changed
    assert all(24 <= x < 40 and 16 <= y < 32 for x, y in changed)
    assert "Mask noise: initial" in after.info["parameters"]


def test_the_mask_may_be_asked_for_too(client: TestClient, photo: Image.Image, mask: Image.Image) -> None:
    body = inpaint_body(photo, mask, override_settings={"return_mask": True, "return_mask_composite": True})
    answer = client.post(IMG2IMG, json=body)
    assert len(answer.json()["images"]) == 3
    assert len(info(answer)["infotexts"]) == 1


def test_a_mask_of_another_size_is_used_and_said(client: TestClient, photo: Image.Image) -> None:
    answer = client.post(IMG2IMG, json=inpaint_body(photo, Image.new("L", (32, 32), 255)))
    assert info(answer)["width"] == 64
    assert "32x32" in answer.json()["warnings"][0]


def test_an_empty_mask_is_said(client: TestClient, photo: Image.Image) -> None:
    body = inpaint_body(photo, Image.new("L", photo.size)) | {"inpaint_full_res": True}
    answer = client.post(IMG2IMG, json=body)
    assert info(answer)["width"] == 64
    assert "empty" in answer.json()["warnings"][0]


def test_init_images_are_repeated_only_when_asked(client: TestClient, photo: Image.Image) -> None:
    body = small(init_images=[base64_of(photo)])
    assert client.post(IMG2IMG, json=body).json()["parameters"]["init_images"] is None
    body["include_init_images"] = True
    assert client.post(IMG2IMG, json=body).json()["parameters"]["init_images"] == body["init_images"]


def test_pictures_are_sent_and_saved_as_asked(client: TestClient, settings: Settings) -> None:
    assert client.post(TXT2IMG, json=small(send_images=False)).json()["images"] == []
    assert list(settings.outputs_dir.rglob("*.png")) == []
    client.post(TXT2IMG, json=small(save_images=True))
    (path,) = settings.outputs_dir.rglob("*.png")
    assert path.name == "00000-1.png"


def test_a_full_disk_still_gives_the_picture(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **more: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    answer = client.post(TXT2IMG, json=small(save_images=True))
    assert answer.status_code == 507
    assert "disk is full" in answer.json()["detail"]
    assert picture(answer.json()["images"][0]).info["parameters"] == json.loads(answer.json()["info"])["infotexts"][0]


def test_override_settings_hold_for_one_job(client: TestClient, engine: Engine) -> None:
    changed = small(override_settings={"sd_model_checkpoint": "second", "CLIP_stop_at_last_layers": 2, "unheard_of": 1})
    told = info(client.post(TXT2IMG, json=changed))
    assert (told["sd_model_name"], told["clip_skip"]) == ("second", 2)
    told = info(client.post(TXT2IMG, json=small()))
    assert (told["sd_model_name"], told["clip_skip"]) == ("first", 1)
    assert engine.options == Options()


@pytest.mark.parametrize(("name", "value"), [("sd_model_checkpoint", "deliberate_v2"), ("sd_vae", "kl-f8-anime2.ckpt")])
def test_files_that_are_not_here_leave_the_ones_in_use(client: TestClient, engine: Engine, name: str, value: str,
                                                       caplog: pytest.LogCaptureFixture) -> None:
    """As in WebUI, whose clients name checkpoints of their makers. Only POST /options refuses them."""
    plain = client.post(TXT2IMG, json=small()).json()["images"]
    body = small(override_settings={name: value, "eta_ddim": 0.5}, override_settings_restore_afterwards=False)
    answer = client.post(TXT2IMG, json=body)
    assert answer.json()["images"] == plain
    (warning,) = answer.json()["warnings"]
    assert value in warning
    assert any(warning in message for message in caplog.messages)
    assert (getattr(engine.options, name), engine.options.eta_ddim) == (getattr(Options(), name), 0.5)
    assert client.post("/sdapi/v1/options", json={name: value}).status_code == 404


@pytest.mark.parametrize(("wanted", "found"), [("png", "PNG"), ("jpg", "JPEG"), ("jpeg", "JPEG"), ("webp", "WEBP"),
                                               ("tga", "PNG"), (None, "PNG")])
def test_pictures_are_sent_in_the_format_that_the_options_name(client: TestClient, wanted: str | None,
                                                               found: str) -> None:
    client.post("/sdapi/v1/options", json={"samples_format": wanted})
    answer = client.post(TXT2IMG, json=small(prompt="狗 a dog"))
    image = picture(answer.json()["images"][0])
    assert image.format == found
    assert image_metadata.read(image) == info(answer)["infotexts"][0]


def test_an_upscaler_that_webui_always_has_does_for_hires_fix(client: TestClient) -> None:
    hires = {"enable_hr": True, "hr_scale": 2, "denoising_strength": 0.5}
    lanczos = client.post(TXT2IMG, json=small(hr_upscaler="Lanczos", **hires)).json()
    stood_in = client.post(TXT2IMG, json=small(hr_upscaler="R-ESRGAN 4x+", **hires)).json()
    assert np.array_equal(picture(lanczos["images"][0]), picture(stood_in["images"][0]))
    assert "R-ESRGAN 4x+ was done by Lanczos" in stood_in["warnings"][0]


def test_each_checkpoint_gives_its_own_picture(client: TestClient) -> None:
    def colour(checkpoint: str) -> float:
        body = small(prompt="", steps=20, cfg_scale=1, override_settings={"sd_model_checkpoint": checkpoint})
        image = picture(client.post(TXT2IMG, json=body).json()["images"][0])
        return sum(image.convert("L").tobytes()) / (64 * 48)

    assert colour("first") > colour("second") + 20  # means 0.2 and -0.4 of the range -1..1


def test_two_clients_with_different_options_get_their_own_pictures(client: TestClient, engine: Engine) -> None:
    def options(client_number: int, number: int) -> dict[str, Any]:
        names = (("first", "first.safetensors"), ("second", "second.safetensors"))[client_number]
        return {"sd_model_checkpoint": names[number % 2], "CLIP_stop_at_last_layers": 1 + number % 3}

    def made_by_the_engine(changes: dict[str, Any]) -> bytes:
        request = Txt2ImgBody.model_validate(small(seed=7)).request(Options().replaced(changes), max_pixels=0)
        return engine.generate(request, NullJob()).images[0].image.tobytes()

    expected = {json.dumps(changes): made_by_the_engine(changes)
                for changes in (options(who, number) for who in range(2) for number in range(6))}
    assert len(set(expected.values())) == 6  # a checkpoint's picture depends on its name alone, not on how it is spelt
    client.post("/sdapi/v1/options", json={"sd_model_checkpoint": "second", "eta_ddim": 0.25})
    setting = client.get("/sdapi/v1/options").json()

    def ask(client_number: int) -> list[bool]:
        right = []
        for number in range(100):
            changes = options(client_number, number)
            answer = client.post(TXT2IMG, json=small(seed=7, override_settings=changes))
            right.append(picture(answer.json()["images"][0]).tobytes() == expected[json.dumps(changes)])
        return right

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(ask, range(2))) == [[True] * 100] * 2
    assert client.get("/sdapi/v1/options").json() == setting
    assert info(client.post(TXT2IMG, json=small()))["sd_model_name"] == "second"


def test_half_a_character_in_a_name_is_no_fault_of_ours(client: TestClient) -> None:
    body = json.dumps(small(override_settings={"sd_model_checkpoint": "half \ud83d of it"}))
    answer = client.post(TXT2IMG, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert "override_settings.sd_model_checkpoint" in answer.json()["detail"]


def test_a_parameters_text_fills_what_is_not_given(client: TestClient) -> None:
    text = "a cat\nNegative prompt: blue\nSteps: 4, Sampler: DDIM, CFG scale: 3, Seed: 9, Size: 32x40, Version: v1.5.1"
    (made,) = info(client.post(TXT2IMG, json={"infotext": text, "seed": 5}))["infotexts"]
    assert made.startswith("a cat\nNegative prompt: blue\nSteps: 4, Sampler: DDIM, Schedule type: Automatic, "
                           "CFG scale: 3.0, Seed: 5, Size: 32x40,")
    assert "DDIM loop: classic" in made


def test_a_parameters_text_fills_mask_fields_too(client: TestClient, photo: Image.Image, mask: Image.Image) -> None:
    text = ("a cat\nSteps: 4, Sampler: DDIM, Seed: 9, Size: 64x48, Denoising strength: 0.5, Mask blur: 2, "
            "Masked content: latent noise, Version: v1.10.1")
    body = {"infotext": text, "init_images": [base64_of(photo)], "mask": base64_of(mask), "denoising_strength": 0.6}
    (made,) = info(client.post(IMG2IMG, json=body))["infotexts"]
    assert "Denoising strength: 0.6, RNG: CPU" not in made  # the text says GPU, by saying nothing
    assert "Denoising strength: 0.6, Mask blur: 2, Masked content: latent noise, DDIM loop: webui-1.10" in made


def test_always_on_scripts_that_are_not_here_are_left_out_and_named(
        client: TestClient, photo: Image.Image, mask: Image.Image) -> None:
    scripts = {"Dynamic Prompts": {"args": []}, "Soft Inpainting": {"args": [True]}}
    answer = client.post(IMG2IMG, json=inpaint_body(photo, mask, alwayson_scripts=scripts)).json()
    assert answer["warnings"] == ["There is no always-on script called 'Dynamic Prompts': it was left out."]
    assert "Soft inpainting enabled: True" in json.loads(answer["info"])["infotexts"][0]


def test_networks_in_the_prompt_are_named_in_the_warnings(client: TestClient) -> None:
    (warning,) = client.post(TXT2IMG, json=small(prompt="a cat <lora:x:1>")).json()["warnings"]
    assert warning == "Lora not found: x."


def test_override_settings_stay_when_asked_to(client: TestClient, engine: Engine) -> None:
    body = small(override_settings={"sd_model_checkpoint": "second", "eta_ddim": 0.5},
                 override_settings_restore_afterwards=False)
    assert info(client.post(TXT2IMG, json=body))["sd_model_name"] == "second"
    assert info(client.post(TXT2IMG, json=small()))["sd_model_name"] == "second"
    assert engine.options.eta_ddim == 0.5


@pytest.mark.parametrize(("changes", "named"), [
    ({"alwayson_scripts": {"nobody": {"args": [1.0, math.inf]}}}, "alwayson_scripts.nobody.args.1"),
    ({"script_args": [math.nan]}, "script_args.0"), ({"override_settings": {"foreign": -math.inf}}, "foreign"),
    ({"script_args": ["\ud83d"]}, "script_args.0"), ({"override_settings": {"a\udc00": 1}}, "override_settings.a?")])
def test_values_that_no_answer_can_hold_are_refused_first(client: TestClient, changes: dict[str, Any],
                                                           named: str) -> None:
    answer = client.post(TXT2IMG, content=json.dumps(small(**changes)))
    assert answer.status_code == 422
    assert named in answer.json()["detail"]


def test_unknown_fields_and_nulls_are_accepted(client: TestClient) -> None:
    body = small(never_heard_of={"a": 1}, alwayson_scripts={}, script_name=None, script_args=[], firstphase_width=0,
                 denoising_strength=None, eta=None, styles=[], s_churn=0.0, override_settings=None, hr_scale=2)
    assert info(client.post(TXT2IMG, json=body))["seed"] == 1


@pytest.mark.parametrize(("changes", "field", "value"), [
    ({"steps": 2.9}, "steps", 2), ({"seed": -1.0}, "seed", -1), ({"prompt": 123}, "prompt", "123"),
    ({"styles": [5]}, "styles", ["5"]), ({"alwayson_scripts": []}, "alwayson_scripts", {}),
    ({"override_settings": []}, "override_settings", {}), ({"sampler_name": None, "n_iter": "1"}, "n_iter", 1),
    ({"s_noise": 1.5, "s_tmax": 1e9, "s_churn": 200}, "s_noise", 1.5), ({"tiling": "on"}, "tiling", True),
    ({"enable_hr": True, "hr_scale": 1, "hr_second_pass_steps": 1.5}, "hr_second_pass_steps", 1)])
def test_values_of_other_types_are_made_to_fit_as_in_webui(client: TestClient, changes: dict[str, Any], field: str,
                                                           value: object) -> None:
    answer = client.post(TXT2IMG, json=small(**changes))
    assert answer.status_code == 200, answer.text
    assert answer.json()["parameters"][field] == value


def test_clip_skip_0_is_1(client: TestClient, engine: Engine) -> None:
    assert info(client.post(TXT2IMG, json=small(override_settings={"CLIP_stop_at_last_layers": 0})))["clip_skip"] == 1
    assert client.post("/sdapi/v1/options", json={"CLIP_stop_at_last_layers": 0}).status_code == 200
    assert engine.options.CLIP_stop_at_last_layers == 1


@pytest.mark.parametrize(("changes", "status", "named"), [
    ({"width": 0}, 422, "width"), ({"width": 10_000_000}, 422, "width"), ({"height": -8}, 422, "height"),
    ({"width": "wide"}, 422, "width"), ({"steps": 0}, 422, "steps"), ({"steps": 100_000}, 422, "steps"),
    ({"batch_size": 1000}, 422, "batch_size"), ({"n_iter": 0}, 422, "n_iter"), ({"seed": -2}, 422, "seed"),
    ({"seed": 10**30}, 422, "seed"), ({"infotext": f"a\nSteps: 3, Sampler: DDIM, Seed: {10**400}", "seed": None}, 422,
     "seed"), ({"override_settings": {"s_tmax": 10**400}}, 422, "s_tmax"), ({"cfg_scale": math.nan}, 422, "cfg_scale"),
    ({"cfg_scale": math.inf}, 422, "cfg_scale"),
    ({"subseed_strength": 2}, 422, "subseed_strength"), ({"eta": 7}, 422, "eta"), ({"prompt": ["a"]}, 422, "prompt"),
    ({"prompt": "\ud800"}, 422, "prompt"), ({"sampler_name": "Dice"}, 400, "Dice"), ({"sampler_index": "Dice",
     "sampler_name": None}, 400, "Dice"), ({"scheduler": "Dice"}, 400, "Dice"),
    ({"override_settings": {"eta_ddim": "lots"}}, 422, "eta_ddim"),
    ({"override_settings": {"eta_ddim": math.nan}}, 422, "eta_ddim"),
    ({"override_settings": {"ddim_loop": "other"}}, 422, "ddim_loop"),
    ({"override_settings": [1]}, 422, "override_settings")])
def test_bad_values_are_refused_by_name(client: TestClient, changes: dict[str, Any], status: int, named: str) -> None:
    answer = client.post(TXT2IMG, content=json.dumps(small(**changes)), headers={"content-type": "application/json"})
    assert (answer.status_code, set(answer.json())) == (status, {"error", "detail", "errors", "body"})
    assert named in answer.json()["detail"]
    assert "Traceback" not in answer.text
    assert info(client.post(TXT2IMG, json=small()))["seed"] == 1


@pytest.mark.parametrize(("field", "value"), [
    ("init_images", ["not a picture"]), ("init_images", ["aGVsbG8="]), ("init_images", ["data:image/png;base64"]),
    ("init_images", ["http://127.0.0.1/x.png"]), ("init_images", ["HTTPS://example.org/x.png"]),
    ("init_images", ["file:///etc/passwd"]), ("init_images", "text"), ("mask", "%%%"), ("resize_mode", 9),
    ("inpainting_fill", 5), ("denoising_strength", 1.5), ("inpaint_full_res_padding", -1), ("mask_blur", -1),
    ("initial_noise_multiplier", -3)])
def test_bad_pictures_and_masks_are_refused_by_name(client: TestClient, photo: Image.Image, mask: Image.Image,
                                                    field: str, value: object) -> None:
    answer = client.post(IMG2IMG, json=inpaint_body(photo, mask) | {field: value})
    assert answer.status_code == 422, answer.text
    assert field in answer.json()["detail"]


def test_a_truncated_picture_is_refused(client: TestClient, photo: Image.Image) -> None:
    text = base64_of(photo)
    answer = client.post(IMG2IMG, json=small(init_images=[text[: len(text) // 2]]))
    assert answer.status_code == 422


def test_a_picture_that_unpacks_to_too_much_is_refused_unread(client: TestClient) -> None:
    answer = client.post(IMG2IMG, json=small(init_images=[base64_of(Image.new("1", (9000, 9000)))]))
    assert answer.status_code == 422
    assert "9000 x 9000" in answer.json()["detail"]


def test_a_text_chunk_that_unpacks_to_too_much_is_refused_in_the_right_words(client: TestClient) -> None:
    """Pillow raises a ValueError for it, as base64 does for what is none."""
    bomb = PngImagePlugin.PngInfo()
    bomb.add_text("parameters", "a" * (PngImagePlugin.MAX_TEXT_CHUNK + 1), zip=True)
    file = io.BytesIO()
    Image.new("RGB", (64, 48)).save(file, "PNG", pnginfo=bomb)
    answer = client.post(IMG2IMG, json=small(init_images=[base64.b64encode(file.getvalue()).decode()]))
    assert (answer.status_code, answer.json()["detail"]) == (422, "init_images is not a picture that can be read.")


def test_the_pictures_of_one_request_have_a_limit_together(client: TestClient) -> None:
    large = base64_of(Image.new("1", (8000, 7000)))
    answer = client.post(IMG2IMG, json=small(init_images=[large] * 3))
    assert answer.status_code == 422
    assert "together" in answer.json()["detail"]


def test_pictures_are_unpacked_when_their_job_begins_and_let_go_after_it(
        client: TestClient, queue: JobQueue, photo: Image.Image, mask: Image.Image,
        monkeypatch: pytest.MonkeyPatch) -> None:
    """Five requests of 650 KB must not hold 5 GB while they wait, nor the result of one afterwards."""
    loaded, entered, go_on = [], threading.Event(), threading.Event()
    load = PngImagePlugin.PngImageFile.load

    def counted(image: PngImagePlugin.PngImageFile) -> Any:
        loaded.append(image.size)
        return load(image)

    def busy(job: Job) -> None:
        entered.set()
        assert go_on.wait(60)

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", counted)
    queue.submit_work(busy)
    assert entered.wait(60)
    with ThreadPoolExecutor() as pool:
        sent = [pool.submit(client.post, IMG2IMG, json=inpaint_body(photo, mask, force_task_id=str(number)))
                for number in range(3)]
        while len(queue.pending()) < 3:
            time.sleep(0.01)
        assert loaded == []
        go_on.set()
        assert [answer.result().status_code for answer in sent] == [200] * 3
    assert len(loaded) >= 6
    job = queue.get("1")
    assert job is not None
    for request in (job.request, job.result.request if job.result else None):
        assert isinstance(request, Inpaint)
        assert all(isinstance(image, PngImagePlugin.PngImageFile) and image.fp for image in
                   (request.mask, *request.init_images)), "packed still"


def test_img2img_without_a_picture_is_webuis_404(client: TestClient) -> None:
    answer = client.post(IMG2IMG, json=small())
    assert answer.status_code == 404
    assert "init" in answer.json()["detail"]


def test_the_content_type_may_be_left_out(client: TestClient) -> None:
    """As scripts do that send `data=json.dumps(...)`."""
    request = client.build_request("POST", TXT2IMG, content=json.dumps(small()))
    assert "content-type" not in request.headers
    assert info(client.send(request))["seed"] == 1


@pytest.mark.parametrize("seed", [2**32, 123456789012345, 2**63, 2**64 - 1])
@pytest.mark.parametrize("source", ["CPU", "NV"])
def test_seeds_have_64_bits(client: TestClient, seed: int, source: str) -> None:
    """Behind the last comes 0. PyTorch's generator on a processor takes the lower 32 bits, that of NVIDIA all."""
    options = {"randn_source": source}
    answer = client.post(TXT2IMG, json=small(seed=seed, batch_size=2, override_settings=options))
    assert info(answer)["all_seeds"] == [seed, (seed + 1) % 2**64]
    assert f"Seed: {seed}," in info(answer)["infotexts"][0]
    other = client.post(TXT2IMG, json=small(seed=seed % 2**32, override_settings=options))
    same = picture(answer.json()["images"][0]).tobytes() == picture(other.json()["images"][0]).tobytes()
    assert same is (source == "CPU")


def test_the_last_seed_fills_a_hole_with_noise_too(client: TestClient, photo: Image.Image, mask: Image.Image) -> None:
    body = inpaint_body(photo, mask) | {"seed": 2**64 - 1, "batch_size": 2, "inpainting_fill": 2}
    assert info(client.post(IMG2IMG, json=body))["all_seeds"] == [2**64 - 1, 0]


def test_a_negative_seed_delta_counts_back_behind_0(client: TestClient) -> None:
    """The noise after the first is that of the last seed."""
    made = [client.post(TXT2IMG, json=small(seed=seed, sampler_name="Euler a", override_settings={
        "eta_noise_seed_delta": delta})) for seed, delta in ((0, -1), (0, 2**32), (0, 0))]
    pictures = [picture(answer.json()["images"][0]).tobytes() for answer in made]
    assert len(set(pictures)) == 3


def test_firstphase_is_the_first_pass_of_hires_fix(client: TestClient) -> None:
    """The old fields: the size asked for is the end's. StableDiffusionProcessingTxt2Img.__post_init__ in WebUI."""
    old = client.post(TXT2IMG, json=small(enable_hr=True, width=96, height=64, firstphase_width=48,
                                          firstphase_height=32)).json()
    new = client.post(TXT2IMG, json=small(enable_hr=True, width=48, height=32, hr_resize_x=96, hr_resize_y=64)).json()
    assert picture(old["images"][0]).size == (96, 64)
    assert old["images"] == new["images"]


def test_fields_of_the_samplers_noise_are_options(client: TestClient) -> None:
    churned, same, plain = (picture(client.post(TXT2IMG, json=small(**changes)).json()["images"][0]).tobytes()
                            for changes in ({"s_churn": 5}, {"override_settings": {"s_churn": 5}}, {}))
    assert churned == same
    assert churned != plain


@pytest.mark.parametrize("changes", [
    {"hr_scale": 0}, {"denoising_strength": 1.5}, {"hr_second_pass_steps": -1}, {"refiner_switch_at": 1.5},
    {"script_name": "None"}, {"firstphase_width": 32, "firstphase_height": 32},
    {"override_settings": {"sd_vae": ""}}, {"override_settings": {"sd_vae": "none"}},
    {"override_settings": {"sd_vae": "Auto"}}])
def test_what_is_switched_off_is_not_looked_at(client: TestClient, changes: dict[str, Any]) -> None:
    assert client.post(TXT2IMG, json=small(**changes)).json()["images"] == \
        client.post(TXT2IMG, json=small()).json()["images"]


def test_info_of_a_script_tells_each_pictures_prompt_and_where_they_begin(client: TestClient) -> None:
    told = info(client.post(TXT2IMG, json=small(prompt="a|b", script_name="Prompt matrix")))
    assert told["index_of_first_image"] == 1, "behind the grid"
    assert told["all_prompts"][1:] == ["a", "a, b"]
    assert len(told["all_prompts"]) == len(told["infotexts"]) == 3
    body = small(prompt="", script_name="Prompts from file or textbox", script_args=[False, False, "start", "cat\ndog"])
    told = info(client.post(TXT2IMG, json=body))
    assert told["index_of_first_image"] == 0
    assert told["all_prompts"] == ["cat", "dog"]


def test_clients_of_ultimate_sd_upscale_send_numbers_for_choices(client: TestClient, photo: Image.Image) -> None:
    """_, tile_width, tile_height, mask_blur, padding, seams_fix_width, seams_fix_denoise, seams_fix_padding,
    upscaler_index, save_upscaled_image, redraw_mode, save_seams_fix_image, seams_fix_mask_blur, seams_fix_type,
    target_size_type, custom_width, custom_height, custom_scale."""
    arguments = [None, 64, 0, 8, 32, 64, 0.35, 32, 2, True, 1, False, 8, 2, 2, 0, 0, 2]
    answer = client.post(IMG2IMG, json=small(
        init_images=[base64_of(photo)], steps=1, denoising_strength=0.3, script_name="ultimate sd upscale",
        script_args=arguments))
    assert answer.status_code == 200, answer.text
    assert [picture(text).size for text in answer.json()["images"]] == [(128, 128)] * 2, "64 x 48, doubled, in cells"
    assert len(info(answer)["infotexts"]) == 2
    for said in ("tile_width: 64", "upscaler: Nearest", "redraw: Chess", "seam fix: Half tile offset pass,"):
        assert f"Ultimate SD upscale {said}" in info(answer)["infotexts"][0]
    refused = client.post(IMG2IMG, json=small(init_images=[base64_of(photo)], script_name="ultimate sd upscale",
                                              script_args=[None, -8]))
    assert refused.status_code == 422
    assert "Tile width" in refused.json()["detail"]


def test_info_has_the_strength_of_hires_fix(client: TestClient) -> None:
    assert info(client.post(TXT2IMG, json=small(enable_hr=True, denoising_strength=0.6)))["denoising_strength"] == 0.6


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'"text"', b"[" * 100_000, b"\xff\xfe"])
def test_a_body_that_is_no_object_is_refused(client: TestClient, content: bytes) -> None:
    answer = client.post(TXT2IMG, content=content, headers={"content-type": "application/json"})
    assert 400 <= answer.status_code < 500
    assert "body" in answer.json()["detail"]


def test_numbers_keep_the_form_that_they_were_sent_in(client: TestClient) -> None:
    body = small(sampler_name="Euler a", override_settings={"eta_ancestral": 0})
    (text,) = info(client.post(TXT2IMG, json=body))["infotexts"]
    assert "Eta: 0," in text


def test_requests_are_img2img_without_a_mask(photo: Image.Image) -> None:
    request = Img2ImgBody(init_images=[base64_of(photo)]).request(Options(), max_pixels=10**6)
    assert type(request) is Img2Img
