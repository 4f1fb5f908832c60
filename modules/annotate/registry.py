"""The list of preprocessors, and finding one by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modules.annotate.blur import blur_gaussian
from modules.annotate.canny import canny
from modules.annotate.preprocessor import UNUSED, Preprocessor, Slider, unchanged
from modules.annotate.recolor import recolor_intensity, recolor_luminance
from modules.annotate.shuffle import shuffle
from modules.annotate.tile import color, tile_resample
from modules.annotate.tones import invert, threshold
from modules.annotate.xdog import scribble_xdog
from modules.errors import InvalidInput

ALL = "All"
NO_MODEL = "None"
TYPES: dict[str, tuple[str, ...]] = {
    ALL: (), "Canny": (), "Depth": (), "IP-Adapter": ("ip_adapter", "ipadapter"), "Inpaint": (), "Lineart": (),
    "MLSD": (), "NormalMap": ("normal",), "OpenPose": ("pose",), "Recolor": (), "Reference": (),
    "Scribble": ("sketch",),
    "Segmentation": ("seg",), "Shuffle": (), "SoftEdge": ("hed",), "T2I-Adapter": ("t2i_adapter", "t2iadapter", "t2ia"),
    "Tile": ("blur",)}
"""The Control Types, each with further words by which the files of its control networks are known."""

FIRST, EARLY = 100, 20
VIT_H, VIT_BIGG = 1280, 1664
"""Channels of the image encoders that IP-Adapters were trained with."""
_HIDDEN = Slider("", 512, 64, 2048, 8)
_FIDELITY = Slider("Style Fidelity (only for Balanced mode)", 0.5, 0.0, 1.0, 0.01,
                   "How closely the style follows the reference. More keeps its colours, less follows the prompt.")
_VARIATION = Slider("Variation", 8.0, 3.0, 32.0, 1.0, "How far colours may wander from the control picture, in "
                    "cells of 8 pixels. Less holds them closer.")
_GAMMA = Slider("Gamma Correction", 1.0, 0.1, 2.0, 0.001, "Above 1 the control picture gets darker, below 1 lighter.")

PREPROCESSORS: tuple[Preprocessor, ...] = (
    Preprocessor("none", unchanged, tuple(TYPES), priority=10 * FIRST),
    Preprocessor("canny", canny, ("Canny",), priority=FIRST,
                 a=Slider("Low Threshold", 100, 1, 255, 1, "How strong an edge must be to go on. Lower gives longer "
                          "lines."),
                 b=Slider("High Threshold", 200, 1, 255, 1, "How strong an edge must be to begin. Lower gives more "
                          "lines.")),
    Preprocessor("invert", invert, ("Canny", "Lineart", "MLSD", "Scribble"), "invert (from white bg & black line)",
                 priority=EARLY, resolution=UNUSED),
    Preprocessor("threshold", threshold,
                 a=Slider("Binarization Threshold", 127, 0, 255, 0.01, "What is lighter becomes white, the rest "
                          "black.")),
    Preprocessor("blur_gaussian", blur_gaussian, ("Tile",),
                 a=Slider("Sigma", 9.0, 0.01, 64.0, 0.01, "The width of the blur in pixels. More leaves more "
                          "freedom.")),
    Preprocessor("scribble_xdog", scribble_xdog, ("Scribble",),
                 a=Slider("XDoG Threshold", 32, 1, 64, 0.01, "How dark a stroke must be. Lower gives more strokes.")),
    Preprocessor("shuffle", shuffle, ("Shuffle",), resolution=_HIDDEN),
    Preprocessor("tile_resample", tile_resample, ("Tile",), priority=FIRST,
                 a=Slider("Down Sampling Rate", 1.0, 1.0, 8.0, 0.01, "How many times smaller the control picture is "
                          "made. More lets more detail be invented.")),
    Preprocessor("tile_colorfix", unchanged, ("Tile",), a=_VARIATION),
    Preprocessor("tile_colorfix+sharp", unchanged, ("Tile",), a=_VARIATION,
                 b=Slider("Sharpness", 1.0, 0.0, 2.0, 0.01, "How much sharper than the control picture the result "
                          "is.")),
    Preprocessor("color", color, ("T2I-Adapter",), "t2ia_color_grid"),
    Preprocessor("recolor_luminance", recolor_luminance, ("Recolor",), priority=FIRST, a=_GAMMA),
    Preprocessor("recolor_intensity", recolor_intensity, ("Recolor",), a=_GAMMA),
    Preprocessor("inpaint_only", unchanged, ("Inpaint",), priority=FIRST, takes_mask=True, resolution=UNUSED),
    Preprocessor("inpaint", unchanged, ("Inpaint",), "inpaint_global_harmonious", takes_mask=True, resolution=UNUSED),
    Preprocessor("reference_only", unchanged, ("Reference",), priority=FIRST, model_free=True, a=_FIDELITY),
    Preprocessor("reference_adain", unchanged, ("Reference",), model_free=True, a=_FIDELITY),
    Preprocessor("reference_adain+attn", unchanged, ("Reference",), model_free=True, a=_FIDELITY),
    Preprocessor("ip-adapter-auto", unchanged, ("IP-Adapter",), priority=10 * FIRST, encoder=0),
    Preprocessor("ip-adapter_clip_sd15", unchanged, ("IP-Adapter",), "ip-adapter_clip_h", FIRST, encoder=VIT_H),
    Preprocessor("ip-adapter_clip_sdxl", unchanged, ("IP-Adapter",), "ip-adapter_clip_g", encoder=VIT_BIGG),
    Preprocessor("ip-adapter_clip_sdxl_plus_vith", unchanged, ("IP-Adapter",), encoder=VIT_H),
    Preprocessor("depth", None, ("Depth",), "depth_midas", FIRST, network="depth"),
    Preprocessor("depth_anything", None, ("Depth",), network="depth_anything"),
    Preprocessor("depth_anything_v2", None, ("Depth",), network="depth_anything_v2"),
    Preprocessor("normal_map", None, ("NormalMap",), "normal_midas", network="depth",
                 a=Slider("Normal Background Threshold", 0.4, 0.0, 1.0, 0.01, "What is farther than this counts as a "
                          "flat wall. Raise it to leave the background free.")),
    Preprocessor("hed", None, ("SoftEdge",), "softedge_hed", network="hed", file="ControlNetHED"),
    Preprocessor("hed_safe", None, ("SoftEdge",), "softedge_hedsafe", network="hed", file="ControlNetHED"),
    Preprocessor("scribble_hed", None, ("Scribble",), network="hed", file="ControlNetHED"),
    Preprocessor("lineart", None, ("Lineart",), "lineart_realistic", network="lineart", file="sk_model"),
    Preprocessor("openpose", None, ("OpenPose",), network="mediapipe", file="pose_landmark_full", suffix=".tflite"),
    Preprocessor("openpose_hand", None, ("OpenPose",), network="mediapipe", file="pose_landmark_full",
                 suffix=".tflite"),
    Preprocessor("lineart_coarse", None, ("Lineart",), network="lineart", file="sk_model2"),
)


def preprocessors(control_type: str = ALL) -> list[Preprocessor]:
    """Those of a Control Type: "none", then by priority, then by title, the last of the alphabet first."""
    found = [item for item in PREPROCESSORS if control_type in (ALL, *item.types)]
    return sorted(sorted(found, key=lambda item: item.title, reverse=True), key=lambda item: -item.priority)


def find(name: str) -> Preprocessor:
    """The preprocessor with that name or label, in any case. Raises InvalidInput."""
    wanted = name.strip().lower()
    for item in PREPROCESSORS:
        if wanted in (item.name.lower(), item.title.lower()):
            return item
    raise InvalidInput(f'There is no preprocessor "{name}"; /controlnet/module_list has them all.')


def usual_for(model: str) -> str:
    """The preprocessor that the control network of that name is usually given its maps by; "none" if its name does not
    tell."""
    for name, words in TYPES.items():
        if name != ALL and any(word in model.lower() for word in (name.lower(), *words)):
            return next((item.name for item in preprocessors(name) if item.name not in ("none", "invert")), "none")
    return "none"


def control_type(name: str, models: Sequence[str]) -> dict[str, Any]:
    """What a Control Type offers, as the extension's API tells it: the titles of its preprocessors, those of `models`
    whose names say that they belong to it, and which of both to begin with."""
    items = preprocessors(name)
    words = (name.lower(), *TYPES[name])
    fitting = [model for model in models if name == ALL or any(word in model.lower() for word in words)]
    usual = next((model for model in fitting if "11" in model.partition("[")[0]), fitting[0] if fitting else NO_MODEL)
    return {"module_list": [item.title for item in items], "model_list": [NO_MODEL, *fitting],
            "default_option": items[0 if name == ALL else min(1, len(items) - 1)].title,
            "default_model": NO_MODEL if name == ALL else usual}
