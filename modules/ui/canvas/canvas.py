"""The mask canvas: a picture, the layers painted over it, and painting tools. Built on gr.HTML, without a build
step."""

from __future__ import annotations

import base64
import binascii
import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import gradio as gr
from gradio import processing_utils
from gradio.data_classes import FileData, GradioModel
from PIL import Image, ImageOps, UnidentifiedImageError

from modules.errors import InvalidInput
from modules.imaging import photograph as photographs
from modules.imaging.click_mask import Box, Click
from modules.imaging.modes import to_rgb
from modules.imaging.snap import snapped
from modules.request.photograph import Photograph
from modules.ui.page.component import WithoutStub, assets
from modules.ui.page.messages import answered

_asset = assets(Path(__file__).parent)
SCRIPTS = ("layer", "painting", "history", "pixels", "selections", "words", "elements", "view", "crops", "screen",
           "colours", "selecting", "pointing", "strokes", "outline", "adjusting", "results", "keeping", "keyboard",
           "commands",
           "pictures", "files", "value", "memory", "toolbar", "start")
"""The parts of the canvas' script. Gradio runs them together as the body of one function with the parameters `element`,
`props`, `upload` and `watch`, so they share one scope."""
PNG_PREFIX = "data:image/png;base64,"
PICTURE_FORMATS = photographs.FORMATS
SAMPLE = Path(__file__).parent / "sample.jpg"
"""A beach, drawn by `training/backdrops.py`: the included checkpoint knows what may stand on it."""
MAX_PIXELS = 64 * 2**20
MOST_REACH = 100
"""Pixels by which the outline of a mask may move to an edge."""


class MaskMaker(Protocol):
    """Makes masks from what is in the picture of an uploaded file, which `opened` opens: L, of its size, 0 or 255. All
    raise UserError."""

    def by_clicks(self, file: Path, opened: Callable[[], Image.Image], clicks: Sequence[Click], box: Box | None,
                  candidate: int | None) -> Image.Image:
        """What the clicks and the box mean. `candidate` 0 to 2 is the smallest to the largest of three."""

    def by_words(self, file: Path, opened: Callable[[], Image.Image], words: str) -> Image.Image:
        """What the words name, a list with commas."""

    def subject(self, file: Path, opened: Callable[[], Image.Image]) -> Image.Image:
        """The subject."""


class CanvasValue(GradioModel):
    """The value that page and server exchange.

    `mask` (grey) and `paint` (RGBA) are PNGs as data URLs. `size` is the (width, height) in which the page shows the
    picture. `loading` is true while the picture is being uploaded. `as_step` is sent to the page only: Undo there
    restores what the canvas showed before.
    """

    image: FileData | None = None
    mask: str | None = None
    paint: str | None = None
    size: tuple[int, int] | None = None
    loading: bool = False
    as_step: bool = False


@dataclass(frozen=True)
class MaskData:
    """A picture and the layers painted over it.

    `image` is upright, RGB or RGBA. `mask` is mode "L" of the same size, 255 = paint. `paint` are the colours, RGBA of
    the same size, alpha 0 where there are none. A layer on which nothing is painted is None. `path` is the uploaded
    file. `loading` is True while the page has a picture that is not uploaded yet. `problem` says why the picture cannot
    be used. `as_step` makes a value sent to the page a step for Undo.
    """

    image: Image.Image | None = None
    mask: Image.Image | None = None
    paint: Image.Image | None = None
    path: Path | None = None
    loading: bool = False
    problem: str = ""
    as_step: bool = False

    def chosen(self) -> Image.Image:
        """`image`. Raises InvalidInput if there is none, or it cannot be used."""
        if self.loading:
            raise InvalidInput("The picture is still being uploaded; try again in a moment.", field="init_images")
        if self.image is None:
            raise InvalidInput(self.problem or "Choose a picture first.", field="init_images")
        return self.image

    def photograph(self) -> Photograph | None:
        """The uploaded file with its depth, profile and metadata. None for a picture without a file. Raises
        InvalidInput."""
        if self.path is None or self.image is None:
            return None
        return photographs.read(self.path.read_bytes(), self.path.name, shown_size=self.image.size)


class MaskCanvas(gr.HTML, metaclass=WithoutStub):
    """Shows a picture on which a mask can be painted. Its value in Python is a `MaskData`.

    `canvas_id` is the name under which the browser stores picture and layers for a reload; without one it stores
    nothing. On a `sketch` canvas only colours can be painted. On a `fixed` one only a mask can, and the picture stays.
    `masks` makes masks by clicks, by words and of the subject; without it the canvas has no such tools.
    """

    data_model = CanvasValue

    def __init__(self, value: MaskData | Image.Image | Path | None = None, *, canvas_id: str = "canvas",
                 sketch: bool = False, fixed: bool = False, max_pixels: int = MAX_PIXELS,
                 masks: MaskMaker | None = None, **kwargs: Any) -> None:
        self.max_pixels, self._masks = max_pixels, masks
        super().__init__(
            value=value, html_template=_asset("canvas.html"), css_template=_asset("canvas.css"),
            js_on_load="".join(_asset(f"{part}.js") for part in SCRIPTS), apply_default_css=False, canvas_id=canvas_id,
            sketch=str(sketch).lower(), fixed=str(fixed).lower(), points=str(masks is not None).lower(),
            server_functions=[answered(self.as_png), answered(self.sample), answered(self.by_clicks),
                              answered(self.by_words), answered(self.subject), answered(self.snap)],
            **kwargs)

    def preprocess(self, payload: CanvasValue | None) -> MaskData:  # type: ignore[override]
        """Picture and layers from the page. A picture that cannot be read gives a MaskData with its `problem` instead
        of an exception: the previews use the canvas too, and only a handler that needs the picture should report it."""
        if payload is None or payload.image is None:
            return MaskData(loading=payload is not None and payload.loading)
        path = Path(payload.image.path)
        try:
            image = open_picture(path, self.max_pixels, payload.size)
            mask = decode_mask(payload.mask, image.size) if payload.mask else None
            paint = decode_paint(payload.paint, image.size) if payload.paint else None
        except InvalidInput as error:
            return MaskData(problem=error.message)
        return MaskData(image, mask, paint, path)

    def postprocess(self, value: MaskData | Image.Image | Path | None) -> CanvasValue:  # type: ignore[override]
        """The value for the page. A Path must come from our own code, never from a client, since its file is
        published."""
        if value is None:
            return CanvasValue()
        if not isinstance(value, MaskData):
            value = MaskData(image=value) if isinstance(value, Image.Image) else MaskData(path=value)
        if value.path is None and value.image is None:
            return CanvasValue()
        try:
            return self.showing(value)
        except InvalidInput as error:  # no handler of ours can catch it here
            raise gr.Error(error.message, title="", print_exception=False) from error

    def showing(self, value: MaskData) -> CanvasValue:
        """The value for the page that shows a picture, whose file is published. Raises InvalidInput."""
        path = value.path or _save_picture(value.image, self.GRADIO_CACHE)
        image = open_picture(path, self.max_pixels)
        cached = processing_utils.save_file_to_cache(path, cache_dir=self.GRADIO_CACHE)
        return CanvasValue(image=FileData(path=cached, orig_name=path.name), size=image.size, as_step=value.as_step,
                           mask=encode_mask(value.mask) if value.mask else None,
                           paint=_data_url(value.paint.convert("RGBA")) if value.paint else None)

    def sources(self) -> dict[str, str]:
        """The `html`, `style` and `script` of the canvas, for a script of the page that draws it by itself."""
        html = self.html_template
        for name, value in self.props.items():
            html = html.replace(f"{{{{{name}}}}}", str(value))
        return {"html": html, "style": self.css_template, "script": self.js_on_load or ""}

    def as_png(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """The path of a PNG that shows an uploaded picture in sRGB. Raises InvalidInput."""
        shown = photographs.read(self._uploaded(question).read_bytes(), max_pixels=self.max_pixels).image
        return {"path": str(_save_picture(shown, self.GRADIO_CACHE))}

    def sample(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """The picture that comes with the program, as a data URL."""
        data = base64.b64encode(SAMPLE.read_bytes()).decode("ascii")
        return {"file": f"data:image/jpeg;base64,{data}"}

    def by_clicks(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """The mask that the clicks and the box on an uploaded picture mean, as a data URL. `size` is as in CanvasValue,
        `candidate` null or 0 to 2. Raises InvalidInput, CheckpointError."""
        masks, path, opened = self._asked(question)
        try:
            clicks = [Click(float(one["x"]), float(one["y"]), bool(one["meant"])) for one in question["clicks"]]
            corners, candidate = question.get("box"), question.get("candidate")
            left, top, right, bottom = map(float, corners or (0, 0, 0, 0))
            if candidate not in (None, 0, 1, 2):
                raise ValueError(candidate)
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput("A click needs a place in the picture.", field="clicks") from error
        box = (left, top, right, bottom) if corners else None
        return {"mask": encode_mask(masks.by_clicks(path, opened, clicks, box, candidate))}

    def by_words(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """The mask of what the `words` name in an uploaded picture, as a data URL. Raises InvalidInput, NotFound,
        CheckpointError."""
        masks, path, opened = self._asked(question)
        return {"mask": encode_mask(masks.by_words(path, opened, str(question.get("words", ""))))}

    def subject(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """The mask of the subject of an uploaded picture, or of all else if `background` is true, as a data URL. Raises
        InvalidInput, CheckpointError."""
        masks, path, opened = self._asked(question)
        mask = masks.subject(path, opened)
        return {"mask": encode_mask(ImageOps.invert(mask) if question.get("background") is True else mask)}

    def snap(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """The `mask` on an uploaded picture with its outline along the picture's edges, at most `reach` pixels away.
        Both masks are data URLs. Raises InvalidInput."""
        path, size, reach = self._uploaded(question), _size(question), question.get("reach")
        if not isinstance(reach, int) or not 0 < reach <= MOST_REACH:
            raise InvalidInput(f"An outline moves by 1 to {MOST_REACH} pixels.", field="reach")
        picture = open_picture(path, self.max_pixels, size)
        mask = decode_mask(str(question.get("mask", "")), size)
        return {"mask": encode_mask(snapped(picture, mask or Image.new("L", size), reach))}

    def _asked(self, question: Mapping[str, Any]) -> tuple[MaskMaker, Path, Callable[[], Image.Image]]:
        """What makes masks, the uploaded file, and what opens it. Raises InvalidInput."""
        if self._masks is None:
            raise InvalidInput("This canvas has no masks by clicks.")
        path, size = self._uploaded(question), _size(question)
        return self._masks, path, lambda: open_picture(path, self.max_pixels, size)

    def _uploaded(self, question: Mapping[str, Any]) -> Path:
        """The uploaded file that the page asks about. Raises InvalidInput if it is none."""
        path, folder = Path(str(question.get("path"))).resolve(), Path(self.GRADIO_CACHE).resolve()
        if not path.is_relative_to(folder) or not path.is_file():
            raise InvalidInput("This file is not a picture that can be read.", field="image")
        return path

    def api_info(self) -> dict[str, Any]:
        return CanvasValue.model_json_schema()

    def example_payload(self) -> Any:
        return CanvasValue().model_dump()

    def example_value(self) -> Any:
        return None


def _size(question: Mapping[str, Any]) -> tuple[int, int]:
    """The picture's (width, height) as the page says it. Raises InvalidInput."""
    try:
        width, height = map(int, question["size"])
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput("The picture has another size than the page says; choose it again.",
                           field="image") from error
    return width, height


def open_picture(path: Path, max_pixels: int = MAX_PIXELS, shown_size: tuple[int, int] | None = None) -> Image.Image:
    """Read a picture as RGB or RGBA with its `info`, rotated as its orientation tag says.

    `shown_size` is the (width, height) in which the browser shows it. Browsers differ in whether they apply an
    orientation tag outside JPEG, and the mask belongs to the picture as it was shown. Raises InvalidInput for a file
    that is not a readable picture, or has more than `max_pixels`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=PICTURE_FORMATS) as raw:
                _check_pixels(raw.size, max_pixels)
                raw.load()
                upright = ImageOps.exif_transpose(raw)
                if shown_size is not None and upright.size != shown_size and raw.size == shown_size:
                    upright = raw.copy()
    except Image.DecompressionBombError as error:
        raise InvalidInput(f"The picture has more than {max_pixels / 1e6:.0f} million pixels, which is the most.",
                             field="image") from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise InvalidInput("This file is not a picture that can be read.", field="image") from error
    if shown_size is not None and upright.size != shown_size:
        raise InvalidInput("The picture has another size than the page says; choose it again.", field="image")
    return to_rgb(upright)


def decode_mask(data_url: str, size: tuple[int, int]) -> Image.Image | None:
    """The mask in a data URL: mode "L", 255 = paint, of `size`. None if it is all 0. Raises InvalidInput."""
    grey = _decode_png(data_url, size, "mask", longest=2).convert("L")
    return grey if grey.getbbox() else None


def decode_paint(data_url: str, size: tuple[int, int]) -> Image.Image | None:
    """The colours in a data URL: RGBA of `size`. None if everything is transparent. Raises InvalidInput."""
    colours = _decode_png(data_url, size, "paint", longest=6).convert("RGBA")
    return colours if colours.getchannel("A").getbbox() else None


def _decode_png(data_url: str, size: tuple[int, int], field: str, *, longest: int) -> Image.Image:
    """Decode a layer's PNG. It must have `size` and at most about `longest` characters for each pixel."""
    name = {"mask": "mask", "paint": "colour layer"}[field]
    if not data_url.startswith(PNG_PREFIX) or len(data_url) > 4096 + longest * size[0] * size[1]:
        raise InvalidInput(f"The {name} is not a PNG.", field=field)
    try:
        data = base64.b64decode(data_url[len(PNG_PREFIX):], validate=True)
        with Image.open(io.BytesIO(data), formats=("PNG",)) as layer:
            if layer.size != size:
                raise InvalidInput(f"The {name} has another size than the picture.", field=field)
            layer.load()
            return layer
    except (binascii.Error, UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError,
            SyntaxError) as error:
        raise InvalidInput(f"The {name} is not a PNG that can be read.", field=field) from error


def encode_mask(mask: Image.Image) -> str:
    """The data URL of a mask, for the page."""
    return _data_url(mask.convert("L"))


def _data_url(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return PNG_PREFIX + base64.b64encode(buffer.getvalue()).decode("ascii")


def _check_pixels(size: tuple[int, int], max_pixels: int) -> None:
    if size[0] * size[1] > max_pixels:
        raise InvalidInput(f"The picture has {size[0]}x{size[1]} pixels; {max_pixels / 1e6:.0f} million is the most.",
                             field="image")


def _save_picture(image: Image.Image | None, folder: str) -> Path:
    assert image is not None
    return Path(processing_utils.save_pil_to_cache(image, cache_dir=folder, format="png"))
