"""The choice of a format beside the results, and the button that saves the shown picture in it and downloads it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
import numpy as np
from gradio import processing_utils
from PIL import Image

from modules.errors import NotFound
from modules.gallery import layers
from modules.gallery.formats import Format
from modules.imaging import photograph as photographs
from modules.request import Txt2Img
from modules.request.photograph import Photograph
from modules.request.result import GeneratedImage
from modules.text.image_metadata import PARAMETERS
from modules.ui.page.events import QUIET
from modules.ui.page.help import explain
from modules.ui.page.messages import tell, told

FORMATS = {"As saved": "", "PNG": "png", "TIFF": "tiff", "WebP": "webp", "JPEG": "jpeg"}
"""What the dropdown offers, by the formats' names."""

LAYERS = {"Layer (PNG)": "layer", "Layers (OpenRaster)": "openraster"}
"""What it offers on the inpaint tab too, by the kinds of `modules.gallery.layers`."""

SHOWN_BY_BROWSERS = (".png", ".jpg", ".jpeg", ".webp")
"""The endings of files that every browser shows."""

SaveAs = Callable[[GeneratedImage, Txt2Img, Format], Path]
"""Saves a result once more, in another format, and returns the path."""

CLICK = "(file) => setTimeout(() => document.querySelector('#{}')?.click(), 0)"


@dataclass(frozen=True)
class Shown:
    """One picture in the gallery with what made it."""

    made: GeneratedImage
    request: Txt2Img

    @property
    def image(self) -> Image.Image | Path:
        """Its file, or if it was not saved the picture with its parameters in `info`, which Gradio writes into its
        PNG."""
        return self.made.path or self._with_infotext()

    @property
    def for_gallery(self) -> Image.Image | Path:
        """What the gallery shows: the file itself if a browser can, otherwise the picture in sRGB."""
        if self.made.path and self.made.path.suffix in SHOWN_BY_BROWSERS:
            return self.made.path
        return self._with_infotext()

    def _with_infotext(self) -> Image.Image:
        image = self.made.image.copy()
        image.info[PARAMETERS] = self.made.infotext
        return image


@dataclass(frozen=True)
class Download:
    """The widgets. Browsers download what `file`, a hidden link, leads to."""

    choice: gr.Dropdown
    button: gr.Button
    file: gr.DownloadButton

    def connect(self, shown: gr.State, selected: gr.State, save_as: SaveAs, form: Callable[[], Format]) -> None:
        """Connect the button. `form` is the format that pictures are saved in by themselves."""

        @told
        def prepare(pictures: Sequence[Shown], index: int, choice: str) -> Path:
            if not pictures:
                raise NotFound("There is no picture to save yet.")
            one = pictures[min(index, len(pictures) - 1)]
            if kind := LAYERS.get(choice):
                name = f"{one.made.path.stem if one.made.path else one.made.seed}{layers.SUFFIXES[kind]}"
                data = layers.encode(kind, one.made, one.request)
                return Path(processing_utils.save_bytes_to_cache(data, name, self.file.GRADIO_CACHE))
            saved = one.made.path if one.made.path and one.made.path.is_file() else None
            chosen = form().named(FORMATS[choice]).fitting(one.made.image)
            if saved and (not FORMATS[choice] or (saved.suffix == chosen.suffix and chosen.kind in ("PNG", "TIFF"))):
                return saved
            path = save_as(one.made, one.request, chosen)
            if loss := lost(one.made, path, chosen):
                tell(loss)
            return path

        self.button.click(prepare, [shown, selected, self.choice], self.file, **QUIET).success(
            None, self.file, None, js=CLICK.format(self.file.elem_id), **QUIET)


def draw(tab: str) -> Download:
    """Draw the widgets here."""
    offered, more = list(FORMATS), ""
    if tab == "inpaint":
        offered += LAYERS
        more = (" Layer is only what was painted, transparent around it, to lay over the photograph; OpenRaster has "
                "photograph, painted part and mask as layers for Krita and GIMP.")
    choice = explain(gr.Dropdown(offered, value="As saved", label="Format", min_width=200,
                                 elem_id=f"{tab}_format", elem_classes="inline"),
                     "The format that Download saves the shown picture in. PNG and TIFF keep every value of a "
                     "photograph, WebP keeps 8 bits a channel, JPEG loses a little everywhere. Change it to pass a "
                     "picture on to a program that wants another format." + more)
    button = gr.Button("Download", size="sm", interactive=False, min_width=90, elem_id=f"{tab}_download")
    file = gr.DownloadButton("Download", visible="hidden", elem_id=f"{tab}_download_file")
    return Download(choice, button, file)


def lost(made: GeneratedImage, path: Path, form: Format) -> str:
    """What the file in `form` at `path` has lost, in a sentence; empty for nothing."""
    if form.kind in ("PNG", "TIFF"):
        return ""
    if form.kind == "WEBP":
        return "WebP has 8 bits a channel, so the photograph's 16 bits were rounded." \
            if made.photograph and made.photograph.is_deep else ""
    before = _eight(made.photograph, made.image)
    difference = np.abs(before - _eight(photographs.read(path.read_bytes()), None))
    sentence = (f"JPEG is compressed anew: by {difference.mean():.1f} of 255 levels on average and {difference.max()} "
                "at most, outside the mask too.")
    return sentence + (" It has no transparency." if made.photograph and made.photograph.has_alpha else "")


def _eight(photograph: Photograph | None, image: Image.Image | None) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    """The colours as 8-bit levels, (H, W, 1 or 3)."""
    if photograph is None:
        assert image is not None
        return np.asarray(image.convert("RGB"), np.int16)
    return photographs.to_8_bits(photograph.pixels)[..., :3].astype(np.int16)


