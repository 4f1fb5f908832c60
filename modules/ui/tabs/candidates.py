"""The strip of a job's results beside a canvas, which shows them in the place of the picture that they were made from.

A script in the page (`candidates_view/`) draws the strip. The canvas's own script shows, compares and uses the results.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio import processing_utils
from gradio.data_classes import FileData, GradioModel
from PIL import Image

from modules.gallery.formats import PNG
from modules.imaging.framing import placed_mask
from modules.imaging.jpeg import preview_jpeg
from modules.imaging.modes import to_rgb
from modules.request import Inpaint, Txt2Img
from modules.ui.page.component import WithoutStub, assets
from modules.ui.tabs.download import Shown

_asset = assets(Path(__file__).parent / "candidates_view")
LOSSLESS = (".png", ".tif")
"""The endings of files that have every value of a result."""
THUMBNAIL = 192
"""The longest side of a thumbnail, in pixels."""
AROUND = 0.6
"""A thumbnail shows the mask with this share of its longer side around it, if that is less than half the picture."""


class Candidate(GradioModel):
    """One result. `image` is a file with all of its values; `view` is a PNG of it for browsers where they cannot show
    that file. `thumbnail` is the address of a small picture, `size` is (width, height)."""

    image: FileData
    view: FileData | None = None
    thumbnail: str
    size: tuple[int, int]


class CandidatesValue(GradioModel):
    """What the page gets. With `news` the canvas shows the first result at once, unless it is being painted on. `job`
    is the id of the job that made the results."""

    items: tuple[Candidate, ...] = ()
    news: bool = False
    job: str = ""


@dataclass(frozen=True)
class Found:
    """Results for the strip; see `CandidatesValue`."""

    shown: Sequence[Shown] = ()
    news: bool = False
    job: str = ""


class Candidates(gr.HTML, metaclass=WithoutStub):
    """The strip of results. Its value in Python is a `Found`. `select` is sent with the `index` of the result that the
    canvas shows, `apply` with what the keep-brush has painted: the id of the `job`, the index of the result that was
    painted into (`base`), and a mask of the numbers that canvas/keeping.js gives to pictures (`labels`)."""

    data_model = CandidatesValue

    def __init__(self, canvas_id: str, **kwargs: Any) -> None:
        super().__init__(value=Found(), html_template=_asset("view.html"), css_template=_asset("style.css"),
                         js_on_load=_asset("view.js"), apply_default_css=False, canvas_id=canvas_id, **kwargs)

    def preprocess(self, payload: Any) -> None:
        """The strip is no input."""

    def postprocess(self, value: Found | None) -> CandidatesValue:  # type: ignore[override]
        """The value for the page. The results' files are published."""
        value = value or Found()
        return CandidatesValue(items=tuple(map(self._candidate, value.shown)), news=value.news,
                               job=value.job)

    def _candidate(self, one: Shown) -> Candidate:
        made, folder = one.made, self.GRADIO_CACHE
        name = made.path.stem if made.path else str(made.seed)
        if made.path and made.path.suffix in LOSSLESS and made.path.is_file():
            file, name = processing_utils.save_file_to_cache(made.path, folder), made.path.name
        else:
            data = PNG.encode_any(made.image, made.photograph, made.infotext)
            file, name = processing_utils.save_bytes_to_cache(data, f"{name}.png", folder), f"{name}.png"
        view = None
        if not file.endswith(".png"):
            view = FileData(path=processing_utils.save_pil_to_cache(made.image, folder, format="png"))
        return Candidate(image=FileData(path=file, orig_name=name), view=view, size=made.image.size,
                         thumbnail=thumbnail(made.image, one.request))

    def api_info(self) -> dict[str, Any]:
        return CandidatesValue.model_json_schema()

    def example_payload(self) -> Any:
        return CandidatesValue().model_dump()

    def example_value(self) -> Any:
        return None


def thumbnail(image: Image.Image, request: Txt2Img) -> str:
    """A small JPEG of a result as a data URL: of what was painted and its surroundings, where that is little."""
    if isinstance(request, Inpaint) and request.init_images[0].size == image.size:
        image = _painted_part(image, request)
    small = to_rgb(image).convert("RGB")
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    return f"data:image/jpeg;base64,{preview_jpeg(small)}"


def _painted_part(image: Image.Image, request: Inpaint) -> Image.Image:
    box = placed_mask(request).getbbox()
    if box is None:
        return image
    around = round(AROUND * max(box[2] - box[0], box[3] - box[1]))
    part = (max(box[0] - around, 0), max(box[1] - around, 0), min(box[2] + around, image.width),
            min(box[3] + around, image.height))
    pixels = (part[2] - part[0]) * (part[3] - part[1])
    return image.crop(part) if pixels < image.width * image.height / 2 else image
