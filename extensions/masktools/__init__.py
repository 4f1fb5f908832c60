"""Mask tools: the painted mask grown, shrunk, smoothed, filled, snapped to edges and feathered before it is used."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image

from extensions.masktools import shapes
from modules.hookspecs import hookimpl
from modules.imaging.mask import to_luminance
from modules.request import Inpaint
from modules.scripts.script import Controls, Input

__version__ = "1.0"

CONTROLS = Controls(title="Mask tools", inputs=(
    Input(name="fill_holes", label="Fill holes",
          help="Fills what the painted part encloses. Use it after drawing an outline.", kind="checkbox",
          default=False, key="Mask tools fill holes"),
    Input(name="snap", label="Snap to edges within, pixels",
          help="How far the mask's edge moves to an edge of the picture. 8 suits a careless outline; 0 leaves it.",
          kind="slider", default=0, low=0, high=64, step=1, key="Mask tools snap to edges"),
    Input(name="smooth", label="Smooth, pixels",
          help="By how many pixels bumps of the edge are rounded. Use it for a shaky hand.", kind="slider", default=0,
          low=0, high=64, step=1, key="Mask tools smooth"),
    Input(name="grow", label="Grow, pixels",
          help="By how many pixels the area grows on all sides. Raise it where too little is covered.", kind="slider",
          default=0, low=0, high=128, step=1, key="Mask tools grow"),
    Input(name="shrink", label="Shrink, pixels",
          help="By how many pixels the painted part gets smaller. Use it where too much is covered.", kind="slider",
          default=0, low=0, high=128, step=1, key="Mask tools shrink"),
    Input(name="feather", label="Feather inwards, pixels",
          help="By how many pixels the mask fades inwards. Use it for a gradual transition.", kind="slider", default=0,
          low=0, high=128, step=1, key="Mask tools feather")))

MOST = 512
"""The largest radius in pixels. Programs may request more than the sliders show, and the cost grows with its square."""


@hookimpl
def controls(tab):
    return CONTROLS if tab == "inpaint" else None


@hookimpl
def prepare_request(request, arguments):
    if not isinstance(request, Inpaint):
        return None
    # "Inpaint not masked" inverts the mask later, so the tools work on the mask as it was painted.
    mask = np.asarray(to_luminance(request.mask, hard=request.mask_round))
    return replace(request, mask=Image.fromarray(shaped(mask, request.init_images[0], arguments)))


def shaped(mask, picture, arguments):
    """The mask, (h, w) uint8, after the tools that are in use, applied in the order of the controls."""
    size = {name: min(value, MOST) for name, value in arguments.items()}
    if size["fill_holes"]:
        mask = shapes.fill_holes(mask)
    if size["snap"]:
        pixels = picture.convert("RGB").resize((mask.shape[1], mask.shape[0]))
        mask = shapes.snap(mask, np.asarray(pixels), size["snap"])
    for name in ("smooth", "grow", "shrink", "feather"):
        if size[name]:
            mask = getattr(shapes, name)(mask, size[name])
    return mask
