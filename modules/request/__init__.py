"""What a person asks for and what comes of it: the values that every other room passes on. They need no torch.

Extensions import the requests from here.
"""

from modules.request.control import ControlMode, ControlResize, ControlUnit, HiresControl
from modules.request.request import (
    MASKED_CONTENT,
    MAX_SEED,
    RANDOM_SEEDS,
    REQUESTS,
    SOFT_LABELS,
    Img2Img,
    Inpaint,
    MaskedContent,
    ResizeMode,
    ScriptCall,
    SoftInpainting,
    Txt2Img,
    seed_after,
)

__all__ = [
    "MASKED_CONTENT",
    "MAX_SEED",
    "RANDOM_SEEDS",
    "REQUESTS",
    "SOFT_LABELS",
    "ControlMode",
    "ControlResize",
    "ControlUnit",
    "HiresControl",
    "Img2Img",
    "Inpaint",
    "MaskedContent",
    "ResizeMode",
    "ScriptCall",
    "SoftInpainting",
    "Txt2Img",
    "seed_after",
]
