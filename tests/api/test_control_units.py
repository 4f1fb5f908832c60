"""ControlNet's units in a body: what is read, what is refused, and what the parameters text says of them."""

from __future__ import annotations

import base64
import io
from typing import Any

import pytest
from PIL import Image

from modules.api.pictures import unpacked_request
from modules.api.schema import Txt2ImgBody
from modules.errors import InvalidInput
from modules.request import ControlMode, ControlResize, ControlUnit, HiresControl, Txt2Img
from modules.request.options import Options
from modules.sampling.registry import find_sampler
from modules.text.infotext import parse, to_changes, write


def encoded(mode: str = "RGB", size: tuple[int, int] = (16, 8), colour: Any = 0) -> str:
    buffer = io.BytesIO()
    Image.new(mode, size, colour).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


PICTURE = encoded()


def asked(*units: Any, name: str = "ControlNet", options: Options | None = None) -> Txt2Img:
    body = Txt2ImgBody.model_validate({"alwayson_scripts": {name: {"args": list(units)}}})
    return body.request(options or Options(), max_pixels=10**6)


def test_a_unit_is_read_with_the_extensions_defaults() -> None:
    (unit,) = asked({"enabled": True, "image": PICTURE, "unheard_of": 1}).control_units
    assert unit.image is not None
    assert unit == ControlUnit(image=unit.image)
    assert (unit.module, unit.model, unit.weight, unit.resize_mode) == ("none", "None", 1.0, "Crop and Resize")


def test_every_field_is_read() -> None:
    (unit,) = asked({
        "enabled": True, "module": "canny", "model": "m", "weight": 0.4, "image": PICTURE, "mask": encoded("L"),
        "resize_mode": "Just Resize", "processor_res": 256, "threshold_a": 1, "threshold_b": 2.5,
        "guidance_start": 0.1, "guidance_end": 0.9, "pixel_perfect": True,
        "control_mode": "ControlNet is more important", "inpaint_crop_input_image": False,
        "hr_option": "High res only", "save_detected_map": False, "advanced_weighting": [1, 0.5],
        "effective_region_mask": PICTURE}, name="controlnet").control_units
    assert len(unit.pictures) == 3
    assert unit == ControlUnit(
        module="canny", model="m", weight=0.4, image=unit.image, mask=unit.mask, processor_res=256, threshold_a=1,
        resize_mode=ControlResize.JUST_RESIZE, threshold_b=2.5, guidance_start=0.1, guidance_end=0.9,
        pixel_perfect=True, control_mode=ControlMode.CONTROL, crop_input_image=False, hr_option=HiresControl.HIGH,
        save_detected_map=False, advanced_weighting=(1, 0.5), effective_region_mask=unit.effective_region_mask)


def test_units_that_are_off_are_skipped_and_those_behind_the_third_dropped() -> None:
    units = [{"enabled": True, "weight": 0.1}, {"weight": "nonsense"}, {"enabled": True, "weight": 0.3},
             {"enabled": True, "weight": 9}]
    assert [unit.weight for unit in asked(*units).control_units] == [0.1, 0.3]
    assert len(asked(*units[:1] * 5, options=Options(control_net_unit_count=4)).control_units) == 4


@pytest.mark.parametrize("image", [
    PICTURE, {"image": PICTURE}, [{"image": PICTURE}], [PICTURE, encoded("L")], {"image": PICTURE, "mask": PICTURE}])
def test_a_picture_comes_in_any_of_its_shapes(image: Any) -> None:
    request = unpacked_request(asked({"enabled": True, "image": image}))
    (unit,) = request.control_units
    assert unit.image is not None
    assert unit.image.size == (16, 8)
    assert unit.image.mode == "RGB"
    assert (unit.mask is not None) == ("mask" in image if isinstance(image, dict) else len(image) == 2)


def test_ip_adapter_takes_several_pictures_and_unions_several_maps() -> None:
    images = [{"image": encoded(size=(8, height))} for height in (8, 16, 24)]
    request = unpacked_request(asked({"enabled": True, "module": "ip-adapter_clip_h", "image": images}))
    (unit,) = request.control_units
    assert [picture.height for picture in unit.pictures] == [8, 16, 24]
    assert unit.image is not None
    assert (unit.image.height, unit.mask) == (8, None)
    for module, types in (("canny", "Depth,OpenPose,Canny"), ("none", "Depth"), ("none", "")):
        with pytest.raises(InvalidInput, match="ControlNet unit 0: image holds several pictures"):
            asked({"enabled": True, "module": module, "image": images, "union_control_type": types})
    (unit,) = asked({"enabled": True, "image": images, "union_control_type": "Depth, OpenPose, Canny"}).control_units
    assert len(unit.further_images) == 2


def test_older_names_of_fields_and_resize_modes_are_known() -> None:
    (unit,) = asked({"enabled": True, "input_image": PICTURE, "mask_image": encoded("L"), "guidance": 0.6,
                     "lowvram": False, "resize_mode": "Outer Fit (Shrink to Fit)"}).control_units
    assert unit.image is not None
    assert unit.mask is not None
    assert (unit.guidance_end, unit.resize_mode) == (0.6, ControlResize.RESIZE_AND_FILL)


@pytest.mark.parametrize(("field", "fields"), [
    ("weight", {"weight": 2.5}), ("guidance_start", {"guidance_start": 0.8, "guidance_end": 0.3}),
    ("guidance_end", {"guidance_end": 1.5}), ("control_mode", {"control_mode": 2}),
    ("control_mode", {"control_mode": "Sometimes"}), ("resize_mode", {"resize_mode": 1}),
    ("image", {"image": "no picture"}), ("image", {"image": [PICTURE, PICTURE, PICTURE]}),
    ("mask", {"mask": PICTURE, "mask_image": PICTURE}), ("advanced_weighting", {"advanced_weighting": ["x"]}),
    ("effective_region_mask", {"effective_region_mask": encoded("L")})])
def test_what_cannot_be_is_refused_with_the_fields_name(field: str, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=f"ControlNet unit 1: .*{field}") as error:
        asked({"enabled": True}, {"enabled": True, **fields})
    assert error.value.status == 422
    assert str(error.value.field).startswith("alwayson_scripts.controlnet.args.1")


def test_the_parameters_text_has_a_key_for_each_unit_and_is_read_back() -> None:
    units = (ControlUnit(module="canny", model="a, b: c [01234567]", processor_res=512, threshold_a=100,
                         threshold_b=200.0,
                         weight=0.5, resize_mode=ControlResize.RESIZE_AND_FILL, control_mode=ControlMode.PROMPT),
             ControlUnit(processor_res=0.5, pixel_perfect=True, guidance_start=0.25))
    request = Txt2Img(sampler="Euler", control_units=units)
    text = write(request, find_sampler("Euler")[0], seed=1, subseed=2, model_name="m", model_hash="0")
    assert ('RNG: CPU, ControlNet 0: "Module: canny, Model: a, b: c [01234567], Weight: 0.5, Resize Mode: Resize and '
            "Fill, Processor Res: 512, Threshold A: 100, Threshold B: 200.0, Guidance Start: 0.0, Guidance End: 1.0, "
            'Pixel Perfect: False, Control Mode: My prompt is more important", ControlNet 1: "Module: none') in text
    assert to_changes(parse(text)).control_units == units
    assert parse(text)["ControlNet 0 threshold_a"] == 100.0
    assert parse(text)["ControlNet 1 pixel_perfect"] is True


def test_units_of_a_text_that_cannot_be_are_left_out() -> None:
    text = 'a\nSteps: 1, Seed: 1, Size: 8x8, ControlNet 0: "Module: x, Weight: 9.0", ControlNet 1: "Weight: 0.5"'
    assert to_changes(parse(text)).control_units == (ControlUnit(weight=0.5),)
