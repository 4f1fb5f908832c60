"""The token counter against WebUI's own answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modules.text.styles import apply_styles, load_styles
from modules.ui.controls.token_counter import Counted, count

WITH_EMBEDDINGS = ("emb-", "cat")
"""Recorded with embeddings of these names."""


def shown(text: str, *, positive: bool) -> str:
    counted = count(text, 20, positive=positive)
    return f"<span class='gr-box gr-text-input'>{counted.tokens}/{counted.limit}</span>"


def test_counts_are_webuis(golden: Path) -> None:
    styles = load_styles(golden / "styles.csv")
    cases = [case for case in json.loads((golden / "json" / "token_counts.json").read_text("utf-8"))
             if not any(name in case["text"] for name in WITH_EMBEDDINGS)]
    assert len(cases) > 10
    for case in cases:
        text = case["text"]
        assert shown(text, positive=True) == case["counter_positive"]
        assert shown(text, positive=False) == case["counter_negative"]
        styled, _ = apply_styles(["st-wrap"], styles, text, "")
        assert shown(styled, positive=True) == case["counter_with_style"]


def test_only_a_positive_prompt_is_divided_at_and() -> None:
    assert count("a dog AND a bird", 20, positive=True).tokens == 2
    assert count("a dog AND a bird", 20, positive=False).tokens == 5


def test_the_chunks_say_where_a_prompt_is_cut() -> None:
    assert count("A (Red:1.2) dog 🙂, BREAK hello <lora:x:1># not this", 20, positive=True) == Counted(
        76, 150, ("a red dog 🙂,", "hello"))
    words = count(", ".join(["a dog"] * 30), 20, positive=True)
    assert words.chunks == (" ".join(["a dog ,"] * 25), " ".join(["a dog ,"] * 5)[:-2])


@pytest.mark.parametrize("text", ["", "((((", "[a|", "[a:b:", "a AND", "\\", "(a:1,2)", "，（中文）", "a" * 5000])
def test_any_prompt_is_counted(text: str) -> None:
    counted = count(text, 20, positive=True)
    assert counted.limit == 75 * max(1, -(-counted.tokens // 75))
    assert counted.chunks
