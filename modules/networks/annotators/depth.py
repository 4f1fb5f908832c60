"""How near things are in a picture, and which way their surfaces look, told by a depth network of transformers: Depth
Anything (Yang et al. 2024), DPT (Ranftl et al. 2021)."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt
import torch

from modules.annotate.preprocessor import Pixels
from modules.annotate.scale import three_channels
from modules.errors import CheckpointError

Near = npt.NDArray[np.float32]
"""(H, W): the larger, the nearer, in no unit."""


def load_depth(folder: Path, device: str) -> Callable[[Pixels], Near]:
    """The depth network in `folder`, which has transformers' layout. Raises CheckpointError."""
    from transformers import AutoImageProcessor, AutoModelForDepthEstimation

    try:
        processor = cast(Any, AutoImageProcessor).from_pretrained(folder, local_files_only=True)
        network = cast(Any, AutoModelForDepthEstimation).from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=torch.float32).to(device).eval()
    except Exception as error:  # a foreign folder makes transformers raise nearly anything
        raise CheckpointError(f"{folder.name} in models/annotators is no depth network that can be used: "
                              f"{str(error).splitlines()[0][:200]}") from error

    @torch.inference_mode()
    def near(picture: Pixels) -> Near:
        inputs = processor(images=picture, return_tensors="pt").to(device)
        found = processor.post_process_depth_estimation(network(**inputs), target_sizes=[picture.shape[:2]])
        return cast(Near, found[0]["predicted_depth"].float().cpu().numpy())

    return near


def depth_map(near: Near) -> Pixels:
    """White is the nearest of the picture, black the farthest."""
    return three_channels((_spread(near) * 255).astype(np.uint8))


def normal_map(near: Near, threshold: float) -> Pixels:
    """The surfaces' normals as red (right), green (down) and blue (to the eye), by Sobel's slopes of the depth. What is
    farther than `threshold`, 0 to 1, counts as a wall that looks to the eye. (ControlNet 1.0's normals from MiDaS.)"""
    x, y = (np.asarray(cv2.Sobel(near, cv2.CV_32F, dx, 1 - dx, ksize=3)) for dx in (1, 0))
    far = _spread(near) < threshold
    x[far], y[far] = 0, 0
    normals = np.stack([x, y, np.full_like(x, 2 * math.pi)], axis=2)
    unit = normals / np.linalg.norm(normals, axis=2, keepdims=True)
    return np.asarray((unit * 127.5 + 127.5).clip(0, 255), dtype=np.uint8)


def _spread(near: Near) -> Near:
    lowest, highest = near.min(), near.max()
    return np.asarray((near - lowest) / max(highest - lowest, np.finfo(np.float32).tiny), dtype=np.float32)
