"""The included checkpoint in the networks of training/."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "training"))

from evaluate import Checkpoint  # noqa: E402


@pytest.fixture(scope="module")
def model() -> Checkpoint:
    return Checkpoint(ROOT / "models/Stable-diffusion/emoji-mini.safetensors",
                      ROOT / "modules/networks/text/tokenizer/merges.txt")
