"""What detectors find, drawn on the picture."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageColor, ImageDraw, ImageFont

from modules.imaging.detectors.find import Find

COLOURS = "#ff2e63", "#2f7fd6", "#3fa34d", "#f4a12a"
"""Of the passes."""
TINT = 90
"""How much a mask covers, of 255."""


def drawn(picture: Image.Image, finds: Sequence[Find], masks: Sequence[Image.Image], number: int) -> Image.Image:
    """RGB `picture` with the L `masks` of its size tinted, and each find's box with its place in the order and its
    score, in the colour of pass `number`, from 0."""
    colour = ImageColor.getrgb(COLOURS[number % len(COLOURS)])
    shown = picture.convert("RGB")
    for mask in masks:
        shown.paste(colour, mask=mask.point(lambda value: value * TINT // 255))
    pen, thin = ImageDraw.Draw(shown), max(round(max(shown.size) / 400), 1)
    height = max(10, 6 * thin)
    font = ImageFont.load_default(height)
    for place, find in enumerate(finds, start=1):
        left, top, right, bottom = find.box
        pen.rectangle((left, top, right - 1, bottom - 1), outline=colour, width=thin)
        words = f"{place} {find.label} {find.score:.2f}".replace("  ", " ")
        at = left, max(top - height - 2, 0)
        pen.rectangle(pen.textbbox(at, words, font=font), fill=colour)
        pen.text(at, words, fill="white", font=font)
    return shown
