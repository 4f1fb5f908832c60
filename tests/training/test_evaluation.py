"""The judge looks at 24 pictures of held-out combinations: the short form of training/evaluate.py."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "training"))

import evaluate  # noqa: E402
import judge  # noqa: E402


def test_the_default_checkpoint_draws_what_is_asked() -> None:
    model = evaluate.Checkpoint(ROOT / "models/Stable-diffusion/emoji-mini.safetensors",
                                ROOT / "modules/networks/text/tokenizer/merges.txt")
    found = evaluate.score(judge.load(), model.draw, evaluate.ask(model, 24, True, 7000), 7000)
    assert found["background"] >= 0.97
    assert found["colour"] >= 0.93
    assert found["object"] >= 0.90
    assert found["pair"] >= 0.90  # the object and its colour, and no second one
