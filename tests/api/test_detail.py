"""ADetailer over HTTP: payloads as programs send them, and webuiapi's class."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import webuiapi
from fastapi.testclient import TestClient
from PIL import Image

from modules.engine.engine import Engine
from modules.imaging.detectors.find import Find
from modules.imaging.detectors.registry import BUILT_IN
from modules.request import Txt2Img
from modules.request.detail import DetailPass
from modules.request.job_context import NullJob
from modules.text import infotext

from .conftest import base64_of, info, picture, small

TXT2IMG, IMG2IMG = "/sdapi/v1/txt2img", "/sdapi/v1/img2img"
REQUEST = Txt2Img(prompt="a dog", seed=1, steps=3, width=64, height=48, sampler="Euler")


@pytest.fixture(autouse=True)
def finds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUILT_IN, "Face", lambda: lambda picture, least: [Find((16, 8, 40, 32), 0.9)])


def asked(*args: Any, name: str = "ADetailer", **changes: Any) -> dict[str, Any]:
    return small(alwayson_scripts={name: {"args": list(args)}}, **changes)


def pixels(engine: Engine, *passes: DetailPass) -> bytes:
    """What the engine makes without HTTP."""
    return engine.generate(replace(REQUEST, detail=passes), NullJob()).images[0].image.tobytes()


@pytest.mark.parametrize("name", ["ADetailer", "adetailer"])
@pytest.mark.parametrize("flags", [(), (True,), (True, False)])
def test_passes_with_the_names_of_the_extension(client: TestClient, engine: Engine, name: str,
                                                flags: tuple[bool, ...]) -> None:
    one = {"ad_model": "Face", "ad_prompt": "a nose", "ad_negative_prompt": "x", "ad_denoising_strength": 0.6,
           "ad_mask_blur": 1, "ad_dilate_erode": -2, "ad_x_offset": 3, "ad_inpaint_only_masked_padding": 4,
           "ad_use_steps": True, "ad_steps": 5, "ad_use_cfg_scale": True, "ad_cfg_scale": 3, "ad_mask_k_largest": 1.0}
    expected = DetailPass(model="Face", prompt="a nose", negative_prompt="x", denoising_strength=0.6, mask_blur=1,
                          dilate_erode=-2, x_offset=3, inpaint_only_masked_padding=4, use_steps=True, steps=5,
                          use_cfg_scale=True, cfg_scale=3.0, mask_k_largest=1)
    answer = client.post(TXT2IMG, json=asked(*flags, one, {"ad_model": "None"}, name=name))
    assert picture(answer.json()["images"][0]).tobytes() == pixels(engine, expected) != pixels(engine)
    assert answer.json()["warnings"] == []
    (text,) = info(answer)["infotexts"]
    assert infotext.to_changes(infotext.parse(text)).detail == (expected,)


@pytest.mark.parametrize("args", [[False, {"ad_model": "Face"}], [True], [],
                                  [{"ad_model": "Face", "ad_tap_enable": False}],
                                  [{"ad_model": "Face", "ad_tab_enable": False}], [True, False, {}]])
def test_what_is_switched_off(client: TestClient, engine: Engine, args: list[Any]) -> None:
    answer = client.post(TXT2IMG, json=asked(*args))
    assert picture(answer.json()["images"][0]).tobytes() == pixels(engine)
    assert "ADetailer" not in info(answer)["infotexts"][0]


def test_what_stands_in_is_told(client: TestClient, engine: Engine) -> None:
    answer = client.post(TXT2IMG, json=asked(True, True, {"ad_model": "face_yolov8n.pt"}))
    assert picture(answer.json()["images"][0]).tobytes() == pixels(engine, DetailPass())
    assert answer.json()["warnings"] == [
        "There is no detector 'face_yolov8n.pt' in models/adetailer: Face took its place.",
        "ADetailer: Skip img2img is not to be had here; the picture was made as usual."]


def test_a_checkpoint_and_a_vae_of_its_own(client: TestClient, engine: Engine) -> None:
    one = {"ad_model": "Face", "ad_use_checkpoint": True, "ad_checkpoint": "second", "ad_use_vae": True,
           "ad_vae": "None"}
    expected = DetailPass(use_checkpoint=True, checkpoint="second", use_vae=True, vae="None")
    answer = client.post(TXT2IMG, json=asked(one))
    assert picture(answer.json()["images"][0]).tobytes() == pixels(engine, expected) != pixels(engine, DetailPass())
    assert info(answer)["sd_model_name"] == "first"
    assert infotext.to_changes(infotext.parse(info(answer)["infotexts"][0])).detail == (expected,)
    off = one | {"ad_use_checkpoint": False}
    answer = client.post(TXT2IMG, json=asked(off))
    assert picture(answer.json()["images"][0]).tobytes() == pixels(engine, DetailPass())


@pytest.mark.parametrize(("one", "words"), [
    ({"ad_model": "deepfashion2_yolov8s-seg.pt"},
     "There is no detector 'deepfashion2_yolov8s-seg.pt': put an ONNX file"),
    ({"ad_model": "Face", "ad_confidence": 2}, "ad_confidence must be between 0.0 and 1.0, not 2.0"),
    ({"ad_model": "Face", "ad_confidence": "x"}, "ad_confidence"),
    ({"ad_model": "Face", "ad_mask_merge_invert": "Both"}, "ad_mask_merge_invert must be one of"),
    ({"ad_model": "Face", "ad_use_sampler": True, "ad_sampler": "nonsense"}, "nonsense"),
    ({"ad_model": "Face", "ad_controlnet_model": "tile", "ad_controlnet_guidance_start": 0.9,
      "ad_controlnet_guidance_end": 0.2}, "ad_controlnet_guidance_start must not be after"),
    ({"ad_model": "Face", "ad_controlnet_model": "x", "ad_controlnet_module": "nonsense"}, "no preprocessor"),
    ("Face", "A pass of ADetailer must be an object of its fields")])
def test_what_is_refused(client: TestClient, one: Any, words: str) -> None:
    answer = client.post(TXT2IMG, json=asked(True, one))
    assert answer.status_code == 422
    assert words in answer.json()["detail"]


@pytest.mark.parametrize("one", [{"ad_use_checkpoint": True, "ad_checkpoint": "other"},
                                 {"ad_use_vae": True, "ad_vae": "other"}, {"ad_controlnet_model": "tile"}])
def test_files_that_are_not_here(client: TestClient, one: dict[str, Any]) -> None:
    answer = client.post(TXT2IMG, json=asked({"ad_model": "Face"} | one))
    assert answer.status_code == 404
    assert "There is no" in answer.json()["detail"] or "is not" in answer.json()["detail"]


def test_five_passes_are_refused(client: TestClient) -> None:
    answer = client.post(TXT2IMG, json=asked(*[{"ad_model": "Face"}] * 5))
    assert (answer.status_code, answer.json()["detail"]) == (422, "ADetailer makes 4 passes at most, not 5.")


def test_img2img_and_the_list_of_scripts(client: TestClient, photo: Image.Image) -> None:
    body = asked({"ad_model": "Face"}, init_images=[base64_of(photo)], denoising_strength=0.5)
    detailed = client.post(IMG2IMG, json=body).json()["images"]
    plain = client.post(IMG2IMG, json=body | {"alwayson_scripts": {}}).json()["images"]
    assert picture(detailed[0]).tobytes() != picture(plain[0]).tobytes()
    scripts = client.get("/sdapi/v1/scripts").json()
    assert "adetailer" in scripts["txt2img"]
    assert "adetailer" in scripts["img2img"]


def test_the_extensions_lists(client: TestClient, engine: Engine) -> None:
    folder = engine.settings.models_dir / "adetailer"
    folder.mkdir(parents=True)
    (folder / "hand_yolov8n.onnx").write_bytes(b"")
    models = client.get("/adetailer/v1/ad_model").json()["ad_model"]
    assert models == ["Face", "Hand", "Person", "Face in profile", "Cat's face", "Eye", "hand_yolov8n.onnx"]
    fields = client.get("/adetailer/v1/schema").json()["properties"]
    assert fields["ad_confidence"]["default"] == 0.3
    assert set(webuiapi.ADetailer().to_dict()) <= set(fields)
    assert client.get("/adetailer/v1/nothing").status_code == 404


def test_the_client_webuiapi(address: str, engine: Engine) -> None:
    api = webuiapi.WebUIApi(port=int(address.rpartition(":")[2]), sampler="Euler", steps=3)
    assert api.has_adetailer
    ads = [webuiapi.ADetailer(ad_model="Face", ad_denoising_strength=0.7), webuiapi.ADetailer(ad_model="None")]
    made = api.txt2img(prompt="a dog", seed=1, width=64, height=48, adetailer=ads)
    engine.load(engine.options, NullJob())
    assert made.image.tobytes() == pixels(engine, DetailPass(denoising_strength=0.7)) != pixels(engine)
    assert api.txt2img(prompt="a dog", seed=1, width=64, height=48).image.tobytes() == pixels(engine)
