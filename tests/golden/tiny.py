"""The tiny checkpoints that WebUI was recorded with, built once for the test files that want them."""

from __future__ import annotations

import hashlib
import tempfile
from functools import cache
from pathlib import Path

from golden.runner import Bench
from make_tiny import make_tiny

TINY = {
    "tiny-sd15": ("tiny-sd15", 0, 0, "3afea94600c2bea0425424abf1f828b68520122329fcf2089759948f11e0592f"),
    "tiny-sd15-inpainting": (
        "tiny-sd15-inpainting", 0, 0, "fcc08fa429a75d62412407ce67e8795eff70b11e56d439b6e173ef06b9c1378c"),
    "tiny-sd15-b": ("tiny-sd15", 0xBEEF, 0, "02fe230a0bbfc65550bc5800b2f87ebcab8d4b8c5d78c556086b77b0c74c912d"),
    "tiny-sd15-v": ("tiny-sd15", 0x5E, 0, "135f9ceff3d3b3b953bb3a75b79535db4c8c48247af99226b6675335be0c72d5"),
    "tiny-ip2p": ("tiny-sd15", 0, 8, "1d4418505cc85d0d96fb0549cb5c221840c2db61da64e30a6c85588fd152456b"),
    "tiny-sd21-v": ("tiny-sd21-v", 0, 0, "46edc897073a4b91ba3d8a057a00eefdf32345b287a7536f5eb0a25a5f93d847"),
    "tiny-sd2-depth": ("tiny-sd21-v", 0xDE, 5, "e0f551380f2ac5abd2770001218d4934265f24f323c3b6ab52e262417543207a"),
    "tiny-sdxl": ("tiny-sdxl", 0, 0, "b1b24319ebe6d70b1fdb10f353152ec72fbec90e8f8119ab370457d729fb0e00"),
    "tiny-sdxl-b": ("tiny-sdxl", 0xBEEF, 0, "57d3f6f986f045a8042baa29240978736e869d2154cdce6b8386e06807913379"),
    "tiny-sdxl-v": ("tiny-sdxl", 0x7E, 0, "9cc7936426fed351a5e3c70e420a448b5b19a12e881df4863c55d163490a92ec"),
    "tiny-sdxl-inpainting": ("tiny-sdxl", 0, 9, "8a62d0c87c911d2b6fd28b3a26129905d56a904afeaa767049c99ebaeeaa43a9"),
    "tiny-sd3": ("tiny-sd3", 0, 0, "7273a3a5b453e9afca97e23ee51c03408faf336c485d1ff255d811caa9dbd658"),
    "tiny-sdxl-refiner": (
        "tiny-sdxl-refiner", 0x4EF, 0, "195164ee03ad3ea3c4b001154bded0c5128a45f864d52009587a689c1c49ec98"),
}
"""name: (shapes, salt, channels of the UNet's input where they are others, sha256 of the file that WebUI had)."""

KINDS = ("tiny-sd15", "tiny-ip2p", "tiny-sd2", "tiny-sd3", "tiny-sdxl")

V, HEADS = 'parameterization: "v"', "unet_config: {params: {num_head_channels: 32}}"
CONFIGS = {
    "tiny-sd15-v": [V], "tiny-sd21-v": [V, HEADS], "tiny-sd2-depth": [HEADS], "tiny-sdxl": [HEADS],
    "tiny-sdxl-b": [HEADS],
    "tiny-sdxl-v": [V, HEADS], "tiny-sdxl-inpainting": [HEADS], "tiny-sdxl-refiner": [HEADS],
}
"""What the YAML file beside a checkpoint says: WebUI was told in the same way."""


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory()


def checkpoint(name: str) -> Path:
    """The file of that name; the same bytes that WebUI was given, or the assertion fails."""
    shapes, salt, channels, sha256 = TINY[name]
    path = Path(_folder().name) / kind_of(name) / f"{name}.safetensors"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        make_tiny(shapes, path, salt, channels)
        assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256
        if name in CONFIGS:
            lines = ["model:", "  params:", *(f"    {line}" for line in CONFIGS[name])]
            path.with_suffix(".yaml").write_text("\n".join(lines))
    return path


def kind_of(name: str) -> str:
    """The kind of a checkpoint: a request's checkpoint, refiner and so on are of one kind."""
    return next(kind for kind in KINDS if name.startswith(kind))


@cache
def tiny_bench(kind: str = "tiny-sd15") -> Bench:
    """An engine over all checkpoints of that kind."""
    folder = {checkpoint(name).parent for name in TINY if kind_of(name) == kind}.pop()
    return Bench(folder, folder.with_name(f"{kind}-data"))
