"""The routes of ControlNet's extension."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webuiapi
from fastapi.testclient import TestClient
from PIL import Image

from modules.annotate.preprocessor import Values
from modules.annotate.registry import control_type, find
from modules.annotate.skeleton import People, Person
from modules.api.controlnet import with_units
from modules.api.schema import Txt2ImgBody
from modules.engine.engine import Engine
from modules.jobs.queue import JobQueue
from modules.networks.annotators import pose
from modules.request import ControlMode, ControlResize, ControlUnit, HiresControl
from modules.request.options import Options
from modules.settings import Settings

from .conftest import base64_of, picture

RECORDED = Path(__file__).parents[3] / "shared/golden/more/controlnet/shared"


@pytest.fixture
def control_files(settings: Settings) -> list[str]:
    """Files of control networks, and the titles that the list has of them."""
    folder = settings.control_dirs[0]
    (folder / "more").mkdir(parents=True)
    long = bytes(range(256)) * 0x1200
    for name in ("control_canny.safetensors", "more/control_v11_canny.pth", "t2iadapter_depth.pt", "B_sketch.bin"):
        (folder / name).write_bytes(long if "v11" in name else b"short")
    (folder / "notes.txt").write_bytes(b"")
    nothing, found = "e3b0c442", hashlib.sha256(long[2**20:2**20 + 2**16]).hexdigest()[:8]
    return [f"B_sketch [{nothing}]", f"control_canny [{nothing}]", f"control_v11_canny [{found}]",
            f"t2iadapter_depth [{nothing}]"]


def test_version_and_settings(client: TestClient, engine: Engine) -> None:
    assert client.get("/controlnet/version").json() == {"version": 3}
    assert client.get("/controlnet/settings").json() == {"control_net_unit_count": 3}
    engine.set_options({"control_net_unit_count": 5})
    assert client.get("/controlnet/settings").json() == {"control_net_unit_count": 5}


def test_control_networks_are_listed(client: TestClient, control_files: list[str]) -> None:
    assert client.get("/controlnet/model_list?update=false").json() == {"model_list": []}  # as at the start
    assert client.get("/controlnet/model_list").json() == {"model_list": control_files}


def test_modules_are_listed_by_name_and_by_label(client: TestClient) -> None:
    names = client.get("/controlnet/module_list").json()
    labels = client.get("/controlnet/module_list?alias_names=true").json()
    assert names["module_list"][0] == labels["module_list"][0] == "none"
    assert "color" in names["module_list"]
    assert "t2ia_color_grid" in labels["module_list"]
    assert labels["module_detail"]["t2ia_color_grid"] == names["module_detail"]["color"]
    assert names["module_detail"]["canny"] == {"model_free": False, "sliders": [
        {"name": "Resolution", "value": 512, "min": 64, "max": 2048, "step": 8},
        {"name": "Low Threshold", "value": 100, "min": 1, "max": 255, "step": 1},
        {"name": "High Threshold", "value": 200, "min": 1, "max": 255, "step": 1}]}
    assert names["module_detail"]["inpaint_only"]["sliders"] == []
    assert names["module_detail"]["reference_only"]["model_free"] is True


def test_types_have_the_networks_whose_names_say_so(client: TestClient, control_files: list[str]) -> None:
    client.get("/controlnet/model_list")
    types = client.get("/controlnet/control_types").json()["control_types"]
    assert types["All"]["model_list"] == ["None", *control_files]
    assert types["Canny"] == {
        "module_list": ["none", "canny", "invert (from white bg & black line)"],
        "model_list": ["None", *control_files[1:3]], "default_option": "canny", "default_model": control_files[2]}
    assert types["Scribble"]["default_model"] == control_files[0]
    assert types["T2I-Adapter"]["model_list"] == ["None", control_files[3]]
    assert types["Tile"]["default_model"] == "None"


def test_ip_adapter_has_the_extensions_modules_and_makes_no_map(client: TestClient, photo: Image.Image) -> None:
    types = client.get("/controlnet/control_types").json()["control_types"]["IP-Adapter"]
    assert types["module_list"] == ["none", "ip-adapter-auto", "ip-adapter_clip_h", "ip-adapter_clip_sdxl_plus_vith",
                                    "ip-adapter_clip_g"]
    assert types["default_option"] == "ip-adapter-auto"
    for name in types["module_list"][1:]:
        answer = client.post("/controlnet/detect", json={
            "controlnet_module": name, "controlnet_input_images": [base64_of(photo)]})
        assert (answer.status_code, answer.json()["detail"]) == (422, "Module not supported")


@pytest.mark.skipif(not RECORDED.is_dir(), reason="the recordings are not here")
def test_lists_have_the_extensions_keys(client: TestClient) -> None:
    recorded = json.loads((RECORDED / "json/control_types.json").read_text())["control_types"]
    ours = client.get("/controlnet/control_types").json()["control_types"]
    for name, one in ours.items():
        assert one.keys() == recorded[name].keys()
        assert set(one["module_list"]) <= set(recorded[name]["module_list"])
    models = json.loads((RECORDED / "json/model_list.json").read_text())["model_list"]
    for name in ours:
        assert control_type(name, models)["model_list"] == recorded[name]["model_list"]
        assert control_type(name, models)["default_model"] == recorded[name]["default_model"]


def test_detect_gives_the_map_at_the_preprocessors_size(client: TestClient, photo: Image.Image) -> None:
    answer = client.post("/controlnet/detect", json={
        "controlnet_module": "canny", "controlnet_input_images": [base64_of(photo), base64_of(photo.rotate(180))],
        "controlnet_processor_res": 96, "controlnet_threshold_a": 50, "controlnet_threshold_b": 150})
    assert answer.status_code == 200
    assert answer.json()["info"] == "Success"
    compute = find("canny").compute
    assert compute
    for text, image in zip(answer.json()["images"], (photo, photo.rotate(180)), strict=True):
        expected = compute(np.asarray(image), Values(96, 50, 150))
        assert picture(text).size == (128, 96)
        np.testing.assert_array_equal(np.asarray(picture(text)), expected)


def test_detect_shows_a_mask_half_transparent(client: TestClient, photo: Image.Image, mask: Image.Image) -> None:
    answer = client.post("/controlnet/detect", json={
        "controlnet_module": "inpaint_global_harmonious", "controlnet_input_images": [base64_of(photo)],
        "controlnet_masks": [base64_of(mask)]})
    found = np.asarray(picture(answer.json()["images"][0]))
    np.testing.assert_array_equal(found[:, :, :3], np.asarray(photo))
    np.testing.assert_array_equal(found[:, :, 3], np.where(np.asarray(mask) > 0, 128, 255))


def test_detect_tells_where_people_are(client: TestClient, settings: Settings, photo: Image.Image,
                                       monkeypatch: pytest.MonkeyPatch) -> None:
    body = ((30.0, 8.0), *[None] * 16, (40.5, 9.0))
    hand = tuple((float(number), 2.0) for number in range(21))

    def load(path: Path, device: str) -> Any:
        return lambda picture: People((picture.shape[1], picture.shape[0]), (Person(body, left_hand=hand),))

    monkeypatch.setattr(pose, "load_poses", load)
    folder = settings.folders("annotators")[0] / "mediapipe"
    folder.mkdir(parents=True)
    (folder / "pose_landmark_full.tflite").write_bytes(b"")
    answer = client.post("/controlnet/detect", json={
        "controlnet_module": "openpose", "controlnet_processor_res": 64,
        "controlnet_input_images": [base64_of(photo)] * 2}).json()
    assert len(answer["images"]) == len(answer["poses"]) == 2
    told = answer["poses"][1]
    assert (told["canvas_width"], told["canvas_height"]) == picture(answer["images"][1]).size == (85, 64)
    (person,) = told["people"]
    assert person["pose_keypoints_2d"] == [30, 8, 1, *[0] * 48, 40.5, 9, 1]
    assert person["hand_left_keypoints_2d"][3:6] == [1, 2, 1]
    assert person["hand_right_keypoints_2d"] is None


def test_detect_takes_webuiapis_name_of_the_pictures(client: TestClient, photo: Image.Image) -> None:
    answer = client.post("/controlnet/detect", json={"controlnet_module": "invert",
                                                     "controlnet_images": [base64_of(photo)]})
    np.testing.assert_array_equal(np.asarray(picture(answer.json()["images"][0])), 255 - np.asarray(photo))


@pytest.mark.parametrize(("body", "sentence"), [
    ({"controlnet_module": "no_such"}, "Module not available"),
    ({"controlnet_module": "canny"}, "No image selected"),
    ({"controlnet_module": "inpaint_only", "controlnet_input_images": ["PHOTO"]},
     "Preprocessor inpaint_only requires `controlnet_masks` param."),
    ({"controlnet_module": "canny", "controlnet_input_images": ["bm8="]},
     "controlnet_input_images is not a picture that can be read."),
    ({"controlnet_module": "inpaint_only", "controlnet_input_images": ["PHOTO"], "controlnet_masks": ["SMALL"]},
     "The mask of a control picture has its size: it is 8 x 4, the picture 64 x 48."),
    ({"controlnet_module": "canny", "controlnet_input_images": ["LONG"], "controlnet_processor_res": 2048},
     "The control picture is so long and narrow that it would have 2048000 x 2048 pixels; crop it, or lower the "
     "resolution.")])
def test_what_cannot_be_detected(client: TestClient, photo: Image.Image, body: dict[str, Any], sentence: str) -> None:
    images = {"PHOTO": photo, "SMALL": Image.new("L", (8, 4)), "LONG": Image.new("RGB", (1000, 1))}
    body = {name: [base64_of(images[text]) if text in images else text for text in value]
            if isinstance(value, list) else value for name, value in body.items()}
    answer = client.post("/controlnet/detect", json=body)
    assert answer.status_code == 422
    assert answer.json()["detail"] == sentence


def test_no_such_route(client: TestClient) -> None:
    assert client.get("/controlnet/no_such").status_code == 404
    assert client.get("/controlnet/detect").status_code == 405


def test_units_of_old_clients() -> None:
    body = {"prompt": "a", "controlnet_units": [{"input_image": "x", "module": "depth", "guessmode": True,
                                                 "resize_mode": 2}, {"enabled": False}],
            "alwayson_scripts": {"ControlNet": {"args": ["other"]}, "mine": {"args": []}}}
    found = with_units(body)
    assert found["prompt"] == "a"
    assert found["alwayson_scripts"] == {"mine": {"args": []}, "controlnet": {"args": [
        {"enabled": True, "input_image": "x", "module": "depth", "resize_mode": "Resize and Fill",
         "control_mode": "ControlNet is more important"}, {"enabled": False}]}}


def test_the_only_unit_of_the_oldest_clients() -> None:
    found = with_units({"controlnet_input_image": ["x"], "controlnet_mask": [], "controlnet_module": "canny",
                        "controlnet_weight": 0.5, "controlnet_guidance": 0.8})
    assert found["alwayson_scripts"]["controlnet"]["args"] == [
        {"enabled": True, "input_image": "x", "mask": None, "module": "canny", "weight": 0.5, "guidance": 0.8}]


def test_old_routes_make_the_picture_of_the_new_ones(client: TestClient, queue: JobQueue, photo: Image.Image) -> None:
    common = {"prompt": "a", "steps": 2, "width": 64, "height": 64, "seed": 3, "init_images": [base64_of(photo)]}
    for name in ("txt2img", "img2img"):
        old, new = (client.post(url, json=common).json() for url in (f"/controlnet/{name}", f"/sdapi/v1/{name}"))
        assert old["images"] == new["images"]
    refused = client.post("/controlnet/txt2img", json=common | {"controlnet_units": [{"weight": 9}]})
    assert refused.status_code == 422
    assert "weight" in refused.json()["detail"]


def test_webuiapis_lists_and_detect(address: str, control_files: list[str], photo: Image.Image) -> None:
    api = webuiapi.WebUIApi(port=int(address.rpartition(":")[2]))
    assert api.controlnet_version() == 3
    assert api.controlnet_model_list() == control_files
    assert "canny" in api.controlnet_module_list()
    found = api.controlnet_detect([photo], module="invert")
    np.testing.assert_array_equal(np.asarray(found.image), 255 - np.asarray(photo))


def test_webuiapis_units(photo: Image.Image, mask: Image.Image) -> None:
    unit = webuiapi.ControlNetUnit(image=photo, mask=mask, module="canny", model="control_canny", weight=0.5,
                                   control_mode=2, pixel_perfect=True, hr_option="Low res only")
    asked = {"alwayson_scripts": {"ControlNet": {"args": [unit.to_dict(), webuiapi.ControlNetUnit().to_dict()]}}}
    one, two = Txt2ImgBody.model_validate(asked).request(Options(), max_pixels=10**6).control_units
    assert dataclasses.replace(one, image=None, mask=None) == ControlUnit(
        module="canny", model="control_canny", weight=0.5, resize_mode=ControlResize.RESIZE_AND_FILL, processor_res=512,
        threshold_a=64, threshold_b=64, control_mode=ControlMode.CONTROL, pixel_perfect=True,
        hr_option=HiresControl.LOW)
    assert one.image is not None
    assert one.mask is not None
    assert (two.image, two.mask) == (None, None)


def test_ai_renders_calls(client: TestClient, control_files: list[str], photo: Image.Image) -> None:
    """It chooses the first model and module with a word in it, and sends them without `enabled`."""
    models, modules = (client.get(f"/controlnet/{name}_list").json()[f"{name}_list"] for name in ("model", "module"))
    model, module = (next(name for name in names if "depth" in name) for names in (models, modules))
    unit = {"module": module, "model": model}
    body = {"prompt": "a", "steps": 2, "width": 64, "height": 64, "seed": 3, "sampler_index": "Euler",
            "init_images": [f"data:image/png;base64,{base64_of(photo)}"], "image_similarity": 0.4}
    scripts = {"alwayson_scripts": {"controlnet": {"args": [unit]}}}
    plain, sent = (client.post("/sdapi/v1/img2img", json=body | more).json() for more in ({}, scripts))
    assert sent["images"] == plain["images"]
    (old,) = with_units({"controlnet_units": [unit]})["alwayson_scripts"]["controlnet"]["args"]
    assert old["enabled"] is True
