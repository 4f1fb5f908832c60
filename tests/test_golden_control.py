"""Pictures and maps of control units against sd-webui-controlnet's, in WebUI 1.10.1, seed for seed."""

from __future__ import annotations

import base64
import os
import runpy
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden.runner import LATENT, Bench, Case, pixel_difference, read_cases
from golden.tiny import TINY, checkpoint, kind_of
from PIL import Image

from modules.api.pictures import unpacked_request
from modules.api.schema import Img2ImgBody, Txt2ImgBody
from modules.errors import UserError
from modules.request import Txt2Img
from modules.request.options import Options

SHARED = Path(__file__).resolve().parents[2] / "shared" / "golden" / "more" / "controlnet"

ALWAYS = ("cn-two-t2i", "cn-hr-canny", "cn-inp-masked-ip", "cn-ref-two", "cn-xl-t2i", "cn-colorfix-sharp")
"""Cases that are always run; the environment variable GOLDEN=all runs them all."""

PICTURES = ("mask", "image", "mask_image", "input_image", "effective_region_mask")
"""Fields that hold pictures."""

ILL_CONDITIONED = ("cn-ref-adain-attn", "cn-ref-guid", "cn-ref-cfg1")
"""Statistics of a few cells divide by variances near 0."""


def cases() -> list[Case]:
    found = [case for case in read_cases(SHARED / "shared") if case.data["endpoint"] in ("txt2img", "img2img")
             and "<lora" not in case.data["request"]["prompt"]]
    return found if os.environ.get("GOLDEN") == "all" else [case for case in found if case.id in ALWAYS]


CASES = cases()


@cache
def networks() -> tempfile.TemporaryDirectory[str]:
    """A folder with the control networks."""
    folder = tempfile.TemporaryDirectory()
    runpy.run_path(str(SHARED / "make_control.py"))["main"](folder.name)
    return folder


@cache
def bench(kind: str) -> Bench:
    """An engine over all checkpoints of that kind and the control networks."""
    checkpoints = {checkpoint(name).parent for name in TINY if kind_of(name) == kind}.pop()
    folder = Path(networks().name)
    return Bench(checkpoints, folder / "data" / kind, controlnet_dir=folder)


def filled(value: Any, key: str, folder: Path) -> Any:
    """`value` with the pictures in the place of their files' names."""
    if isinstance(value, dict):
        return {name: filled(one, name, folder) for name, one in value.items()}
    if isinstance(value, list):
        return [filled(one, key, folder) for one in value]
    if isinstance(value, str) and key in (*PICTURES, "init_images") and value.endswith(".png"):
        return base64.b64encode((folder / value).read_bytes()).decode()
    return value


def request_of(case: Case) -> Txt2Img:
    body = filled(case.data["request"], "", case.folder / "inputs")
    body["override_settings"].setdefault("ddim_loop", "webui-1.10")
    kind = Txt2ImgBody if case.data["endpoint"] == "txt2img" else Img2ImgBody
    return unpacked_request(kind.model_validate(body).request(Options(), max_pixels=10**6))


@pytest.mark.skipif(not CASES, reason="the recordings are not here")
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.group}:{case.id}")
def test_control_units_give_the_extensions_pictures_and_maps(case: Case) -> None:
    engine = bench(kind_of(case.data["request"]["override_settings"]["sd_model_checkpoint"]))
    if case.group == "cn-errors":
        with pytest.raises(UserError) as error:
            engine.make(request_of(case))
        assert 400 <= error.value.status < 500
        return
    result, _, latents = engine.make(request_of(case))
    made = [one.image for one in result.images]
    assert len(made) == case.data["pictures"]
    expected = case.latents()
    tolerance = 5 * LATENT if case.id in ILL_CONDITIONED else case.latent_tolerance
    assert np.abs(latents.numpy()[-len(expected):] - expected).max() <= tolerance * expected.std()
    loose = case.latent_tolerance > LATENT or "recolor" in case.id
    for image, name in zip((*made, *result.maps), case.data["outputs"], strict=True):
        recorded = Image.open(case.folder / name)
        assert image.size == recorded.size
        largest, share = pixel_difference(image, recorded.convert("RGB"))
        assert largest <= (12 if loose else 3)
        assert share <= (0.35 if loose else 0.04)
    assert [one.infotext.count("ControlNet ") for one in result.images] == [
        text.count("ControlNet ") for text in case.data["infotexts"]]
