"""The painted part as a layer: laid over the photograph by other means than the program's, it gives the result."""

from __future__ import annotations

import io
import zipfile
from typing import Any
from xml.etree import ElementTree

import numpy as np
import photographs
import pytest
from numpy.typing import NDArray
from photographs import ADOBE_RGB, profile
from PIL import Image

from modules.engine.engine import Engine
from modules.errors import InvalidInput
from modules.gallery import layers
from modules.imaging.framing import placed_mask
from modules.imaging.photograph import read
from modules.request import Inpaint, SoftInpainting
from modules.request.job_context import NullJob
from modules.request.result import Result
from modules.text import image_metadata

EIGHT = photographs.pixels()[900:996, 800:928]
DEEP = photographs.deep_pixels(EIGHT)
ICC = profile(ADOBE_RGB)


def made(engine: Engine, data: bytes, **changes: Any) -> Result:
    photograph = read(data, "photo")
    mask = Image.new("L", photograph.size)
    mask.paste(255, (40, 30, 80, 60))
    request = Inpaint(**{"prompt": "a dog", "steps": 2, "cfg_scale": 1.0, "seed": 5, "width": 64, "height": 64,
                         "only_masked": True, "init_images": (photograph.image,), "photographs": (photograph,),
                         "mask": mask, "mask_blur_x": 4, "mask_blur_y": 4} | changes)
    return engine.generate(request, NullJob())


def over(old: NDArray[Any], patch: NDArray[Any]) -> NDArray[Any]:
    """`patch` (RGBA) laid over opaque colours, by the formula of Porter and Duff."""
    most = np.iinfo(old.dtype).max
    alpha = patch[..., 3:].astype(np.float64) / most
    return np.rint(alpha * patch[..., :3] + (1 - alpha) * old[..., :3]).astype(old.dtype)


KINDS = {"8 bits": photographs.file(EIGHT, "PNG"),
         "16 bits": photographs.file(DEEP, "TIFF", icc=ICC, exif=photographs.exif()),
         "grey": photographs.file(EIGHT[..., :1], "PNG", icc=photographs.grey_profile()),
         "alpha": photographs.file(photographs.with_alpha(EIGHT), "PNG")}


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_over_the_photograph_gives_the_result(engine: Engine, kind: str) -> None:
    result = made(engine, KINDS[kind])
    one, = result.images
    before, after = read(KINDS[kind]), one.photograph
    assert after is not None
    found = read(layers.encode("layer", one, result.request))
    assert (found.size, found.has_alpha) == (before.size, True)
    if kind == "grey":
        old, new = np.asarray(before.image), np.asarray(after.image)
    else:
        old, new = before.pixels, after.pixels
        assert (found.is_deep, found.icc, found.exif) == (before.is_deep, before.icc, b"")
    laid = over(old, found.pixels)
    assert np.array_equal(laid, new[..., :3])
    whole = found.pixels[..., 3] == np.iinfo(old.dtype).max
    assert whole.any()
    assert np.array_equal(found.pixels[whole][:, :3], new[whole][:, :3])
    level = 257 if before.is_deep else 1
    mask = np.asarray(placed_mask(result.request)).astype(int) * level
    more = found.pixels[..., 3] - mask
    assert more.min() >= 0
    assert more.max() <= 16 * level, "its alpha is the mask with its blur, but for what is rounded at the rim"
    assert (found.pixels[mask == 0] == 0).all()


@pytest.mark.parametrize("changes", [
    {"only_masked": False, "width": 128, "height": 96},
    {"soft": SoftInpainting()},
], ids=["whole picture", "soft"])
def test_a_layer_gives_the_result_where_the_mask_does_not_say_all(engine: Engine, changes: dict[str, Any]) -> None:
    result = made(engine, KINDS["8 bits"], **changes)
    one, = result.images
    patch = read(layers.encode("layer", one, result.request)).pixels
    assert not np.array_equal(np.asarray(one.image), EIGHT)
    assert np.array_equal(over(EIGHT, patch), np.asarray(one.image))


@pytest.mark.parametrize("kind", ["8 bits", "16 bits", "alpha"])
def test_an_open_raster_file_is_as_specified(engine: Engine, kind: str) -> None:
    """Its layers, put together by Pillow in their order, are the result."""
    result = made(engine, KINDS[kind])
    one, = result.images
    data = layers.encode("openraster", one, result.request)
    assert data[30:54] == b"mimetypeimage/openraster", "the first file, without compression and without extra fields"
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        files = {name: archive.read(name) for name in archive.namelist()}
        assert {entry.compress_type for entry in archive.infolist()} <= {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
    root = ElementTree.fromstring(files["stack.xml"])
    width, height = int(root.attrib["w"]), int(root.attrib["h"])
    stack = root.find("stack")
    assert stack is not None
    sources = [layer.attrib["src"] for layer in stack]
    assert sources == ["data/mask.png", "data/patch.png", "data/photograph.png"], "from the top to the bottom"
    assert set(files) == {"mimetype", "stack.xml", "mergedimage.png", "Thumbnails/thumbnail.png", *sources}
    assert [layer.attrib["visibility"] for layer in stack] == ["hidden", "visible", "visible"]

    canvas = Image.new("RGBA", (width, height))
    for layer in reversed(stack):
        if layer.attrib["visibility"] == "visible":
            part = Image.open(io.BytesIO(files[layer.attrib["src"]])).convert("RGBA")
            place = int(layer.attrib["x"]), int(layer.attrib["y"])
            if layer.attrib["composite-op"] == "svg:src-atop":
                below, alpha = canvas.convert("RGB"), canvas.getchannel("A")
                below.paste(part.convert("RGB"), place, part.getchannel("A"))
                canvas = Image.merge("RGBA", (*below.split(), alpha))
            else:
                canvas.alpha_composite(part, place)
    merged = Image.open(io.BytesIO(files["mergedimage.png"]))
    assert merged.size == (width, height)
    assert "a dog" in (image_metadata.read(merged) or "")
    assert np.array_equal(read(files["mergedimage.png"]).pixels, one.photograph.pixels)
    difference = np.abs(np.asarray(canvas, int) - np.asarray(merged.convert("RGBA"), int))
    assert difference.max() <= 1, "Pillow rounds to 8 bits"
    assert photographs.tags(files["data/photograph.png"]) == {}, "what the options leave out is nowhere in the file"
    with Image.open(io.BytesIO(files["Thumbnails/thumbnail.png"])) as small:
        assert (small.format, small.info.get("interlace", 0)) == ("PNG", 0)
        assert max(small.size) <= 256


def test_a_large_result_has_a_small_thumbnail(engine: Engine) -> None:
    result = made(engine, photographs.file(photographs.pixels()[:400, :600], "PNG"))
    with zipfile.ZipFile(io.BytesIO(layers.encode("openraster", result.images[0], result.request))) as archive, \
            Image.open(archive.open("Thumbnails/thumbnail.png")) as small:
        assert small.size == (256, 171)


def test_a_picture_without_photograph_or_of_another_size_has_no_layers(engine: Engine) -> None:
    for changes in ({"photographs": ()}, {"only_masked": False}):
        result = made(engine, KINDS["8 bits"], **changes)
        with pytest.raises(InvalidInput, match="no layers"):
            layers.encode("layer", result.images[0], result.request)
