"""Wildcards: the grammar, chance, and that any text costs little."""

from __future__ import annotations

from collections import Counter

import pytest

from modules.errors import InvalidInput
from modules.text.wildcards import LONGEST, draw

LISTS = {"cat": ("tabby", "ginger"), "nested": ("a __cat__",), "group": ("{x|y}",), "self": ("__self__ __self__",)}


def drawn(text: str, count: int = 200) -> Counter[str]:
    return Counter(draw(text, str(seed), lambda name: LISTS.get(name, ())) for seed in range(count))


@pytest.mark.parametrize(("text", "results"), [
    ("a __cat__ sleeps", {"a tabby sleeps", "a ginger sleeps"}),
    ("{red|green|blue}", {"red", "green", "blue"}),
    ("{red|} ball", {"red ball", " ball"}),
    ("{{a|b} x|c}", {"a x", "b x", "c"}),
    ("{__cat__|dog}", {"tabby", "ginger", "dog"}),
    ("__nested__", {"a tabby", "a ginger"}),
    ("__group__", {"x", "y"}),
    ("{2$$a|b|c}", {"a, b", "b, a", "a, c", "c, a", "b, c", "c, b"}),
    ("{a|2$$b}", {"a, b", "b, a"}),
    ("{2$$ and $$a|b}", {"a and b", "b and a"}),
    ("{0-1$$a}", {"", "a"}),
    ("{1-2$$a|b}", {"a", "b", "a, b", "b, a"}),
    ("{9$$a|b}", {"a, b", "b, a"}),
    ("{0::a|b}", {"b"}),
    ("{<lora:x:0.5>|<lora:y:1>}", {"<lora:x:0.5>", "<lora:y:1>"})])
def test_everything_that_can_be_drawn_is_drawn_and_nothing_else(text: str, results: set[str]) -> None:
    assert set(drawn(text)) == results


@pytest.mark.parametrize("text", ["{word}", "{", "}", "a|b", "{a|b", r"\{a|b\}", "__nobody__", "__", "____", "{}",
                                  "(a:1.2) [b|c]", "{a}}|", "\\"])
def test_everything_else_is_text(text: str) -> None:
    assert set(drawn(text, 5)) == {text}


def test_equal_seeds_draw_equally_on_every_machine() -> None:
    """Written down once: a picture can be made again later."""
    assert [draw("{a|b|c|d|e|f|g|h} {2$$1|2|3}", str(seed), lambda name: ()) for seed in range(4)] == [
        "h 3, 1", "a 3, 1", "f 2, 1", "e 1, 2"]


def test_weights_are_shares() -> None:
    found = drawn("{3::a|b}", 2000)
    assert 0.7 < found["a"] / 2000 < 0.8


def test_lists_that_name_themselves_end() -> None:
    text = draw("__self__", "1", lambda name: LISTS[name])
    assert len(text) <= LONGEST
    with pytest.raises(InvalidInput):
        draw("__long__", "1", lambda name: ("__long__ " * 1000,))


@pytest.mark.parametrize("text", ["{" * 50_000, "{a|" * 30_000, "}" * 50_000, "_" * 90_000, "__a" * 30_000,
                                  "{1-" * 30_000, "{" + "a|" * 40_000 + "}", "{9999$$" + "a|" * 2_000 + "}"])
def test_no_text_takes_long(text: str) -> None:
    draw(text, "1", lambda name: ())
