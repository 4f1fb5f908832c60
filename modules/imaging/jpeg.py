"""Previews as small JPEGs in base64, for the page and for JSON."""

from __future__ import annotations

import base64
import io

from PIL import Image

PREVIEW_SIZE = 512


def preview_jpeg(image: Image.Image) -> str:
    """`image` as a JPEG in base64, at most `PREVIEW_SIZE` pixels wide and high."""
    small = image.convert("RGB")
    small.thumbnail((PREVIEW_SIZE, PREVIEW_SIZE))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=85)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
