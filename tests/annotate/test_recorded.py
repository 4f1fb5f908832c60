"""The recorded maps of sd-webui-controlnet, byte for byte. They are not part of the repository."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from modules.annotate.hint import Fit, fitted, hint_size, shown
from modules.annotate.preprocessor import Values
from modules.annotate.registry import find, preprocessors
from modules.annotate.scale import pixel_perfect
from modules.annotate.source import mask_pixels, picture_of, rgb_pixels

RECORDED = Path(__file__).parents[3] / "shared/golden/more/controlnet/shared"
FITS = {"Just Resize": Fit.JUST_RESIZE, "Crop and Resize": Fit.CROP_AND_RESIZE, "Resize and Fill": Fit.RESIZE_AND_FILL,
        "Outer Fit (Shrink to Fit)": Fit.RESIZE_AND_FILL}


def cases(wanted: str) -> list[Any]:
    if not (RECORDED / "cases.jsonl").is_file():
        return []
    all_cases = [json.loads(line) for line in (RECORDED / "cases.jsonl").read_text().splitlines()]
    return [pytest.param(case, id=case["id"]) for case in all_cases if case["endpoint"] == wanted
            and case["group"] != "cn-errors" and len(case.get("outputs", ())) > case.get("pictures", 99)]


def opened(name: str) -> Image.Image:
    return Image.open(RECORDED / "inputs" / name)


def equal(control_map: np.ndarray, name: str) -> None:
    np.testing.assert_array_equal(shown(control_map), np.asarray(Image.open(RECORDED / name)))


@pytest.mark.parametrize("case", cases("/controlnet/detect"))
def test_maps_of_detect(case: dict[str, Any]) -> None:
    request = case["request"]
    item = find(request["controlnet_module"])
    resolution, a, b = item.inside(*(request.get(f"controlnet_{name}", -1) for name in (
        "processor_res", "threshold_a", "threshold_b")))
    for n, name in enumerate(request["controlnet_input_images"]):
        mask = request.get("controlnet_masks") if item.takes_mask else None
        picture = picture_of(rgb_pixels(opened(name)), mask_pixels(opened(mask[n])) if mask else None,
                             takes_mask=item.takes_mask)
        assert item.compute
        equal(item.compute(picture, Values(int(resolution), a, b)), case["outputs"][n])


def control(request: dict[str, Any], unit: dict[str, Any], size: tuple[int, int], low: tuple[int, int]) -> np.ndarray:
    item, image, mask = find(unit.get("module", "none")), unit.get("image", unit.get("input_image")), unit.get(
        "mask", unit.get("mask_image"))
    if isinstance(image, dict):
        image, mask = image["image"], image.get("mask")
    picture = picture_of(rgb_pixels(opened(image)), mask_pixels(opened(mask)) if mask else None,
                         takes_mask=item.takes_mask)
    fit = FITS[unit.get("resize_mode", "Crop and Resize")]
    resolution, a, b = item.inside(*(unit.get(name, -1) for name in ("processor_res", "threshold_a", "threshold_b")))
    if unit.get("pixel_perfect"):
        resolution = pixel_perfect((picture.shape[1], picture.shape[0]), low, fill=fit == Fit.RESIZE_AND_FILL)
    subseed = request.get("subseed", -1)
    seed = request["seed"] + (request["seed"] if subseed == -1 else subseed)
    assert item.compute
    found = item.compute(picture, Values(int(resolution), a, b, seed))
    return fitted(found.astype(np.float32) if item.takes_mask else found, size, fit)


@pytest.mark.parametrize("case", cases("txt2img"))
def test_maps_of_txt2img(case: dict[str, Any]) -> None:
    request = case["request"]
    units = next(value for name, value in request["alwayson_scripts"].items() if name.lower() == "controlnet")["args"]
    low = hint_size((request["width"], request["height"]))
    sizes = [low]
    if request.get("enable_hr"):
        x, y = request.get("hr_resize_x", 0), request.get("hr_resize_y", 0)
        scale = request.get("hr_scale", 2)
        high = (x, y) if x or y else (int(request["width"] * scale), int(request["height"] * scale))
        sizes = [hint_size(high), low]
    maps = [(unit, size) for unit in units[:3] if unit["enabled"] for size in sizes]
    names = case["outputs"][case["pictures"]:]
    assert len(maps) == len(names)
    for (unit, size), name in zip(maps, names, strict=True):
        equal(control(request, unit, size, low), name)


@pytest.mark.skipif(not RECORDED.is_dir(), reason="the recordings are not here")
def test_names_labels_and_sliders_of_the_list() -> None:
    recorded = json.loads((RECORDED.parent / "json/module_list.json").read_text())
    labels = json.loads((RECORDED.parent / "json/module_list_alias.json").read_text())["module_list"]
    titles = dict(zip(recorded["module_list"], labels, strict=True))
    ours = [item.name for item in preprocessors()]
    assert ours == [name for name in recorded["module_list"] if name in ours]
    for item in preprocessors():
        detail = recorded["module_detail"][item.name]
        assert (item.title, item.model_free) == (titles[item.name], detail["model_free"])
        assert [{"name": slider.label, "value": slider.value, "min": slider.low, "max": slider.high,
                 "step": slider.step} for slider in item.sliders] == detail["sliders"]
