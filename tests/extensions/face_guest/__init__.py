"""Lays a portrait over each face of a finished picture; it stands for extensions that swap faces."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw

from modules.errors import InvalidInput
from modules.hookspecs import hookimpl
from modules.imaging.detectors.registry import Detectors
from modules.scripts.script import Controls, Input

__version__ = "1.0"

PORTRAITS = Path(__file__).parent / "portraits"
FACES = Detectors()


def portraits(available=None):
    return ["None", *sorted(path.name for path in PORTRAITS.glob("*.png"))]


@hookimpl
def register_settings():
    return [Input(name="consent", label="Everybody whose face I use or change agrees to it", kind="checkbox",
                  default=False, help="Without it no face is changed.")]


@hookimpl
def controls(tab):
    return Controls(title="Face guest", inputs=(
        Input(name="portrait", label="Portrait", help="A file in the extension's folder portraits.", kind="dropdown",
              default="None", choices=portraits, key="Face guest portrait", sign=True),
        Input(name="blend", label="Blend", help="How much of the portrait is seen.", kind="slider", default=1.0, low=0,
              high=1, step=0.05, key="Face guest blend")))


@hookimpl
def filter_image(image, arguments, settings, context):
    if arguments["portrait"] == "None":
        return None
    if not settings["consent"]:
        raise InvalidInput("Face guest changes no face before its setting says that everybody agrees.")
    if context is not None:
        context.stage("Laying the portrait over faces")
    with Image.open(PORTRAITS / arguments["portrait"]) as file:
        portrait = file.convert("RGB")
    for find in FACES.detector("Face")(image, 0.3):
        left, top, right, bottom = find.box
        oval = Image.new("L", (right - left, bottom - top))
        ImageDraw.Draw(oval).ellipse((0, 0, *oval.size), fill=round(255 * arguments["blend"]))
        image.paste(portrait.resize(oval.size), (left, top), oval)
    return image
