"""The prompt language: weights, schedules, AND, tags and comments, with the mistakes that people make."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modules.text.prompt import BREAK, extra_networks, parse_attention, split_and, strip_comments
from modules.text.prompt_schedule import schedule

# Text that is mostly markup, so that examples are dense in mistakes.
MARKUP = st.text(st.sampled_from(list("ab ()[]:|\\.0159,#<>-+，你\n")) | st.characters(), max_size=60)
PIECES = st.lists(
    st.sampled_from(["(", ")", "[", "]", ":", "|", ":1.2)", ":0.5]", ":3]", "\\(", "\\", "a", " ", "BREAK", "AND"])
).map("".join)


def weights(text: str) -> list[tuple[str, float]]:
    return [(part, round(weight, 4)) for part, weight in parse_attention(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [("", 1.0)]),
        ("a dog", [("a dog", 1.0)]),
        ("(dog)", [("dog", 1.1)]),
        ("((dog))", [("dog", 1.21)]),
        ("[dog]", [("dog", 0.9091)]),
        ("(dog:1.3)", [("dog", 1.3)]),
        ("( dog : 1.3 )", [(" dog ", 1.3)]),
        ("(dog:-.5)", [("dog", -0.5)]),
        ("((dog:2) cat:3)", [("dog", 6.0), (" cat", 3.0)]),
        ("a (b) c", [("a ", 1.0), ("b", 1.1), (" c", 1.0)]),
        ("(a)(b)", [("ab", 1.1)]),
        ("[dog:1.3]", [("dog:1.3", 0.9091)]),
        (r"\(dog\) \[x\] \\", [("(dog) [x] \\", 1.0)]),
        (r"\dog", [("dog", 1.0)]),
        ("dog\\", [("dog", 1.0)]),
        ("(red dog", [("red dog", 1.1)]),
        ("a [red (dog", [("a ", 1.0), ("red ", 0.9091), ("dog", 1.0)]),
        ("red) dog]", [("red) dog]", 1.0)]),
        ("red:1.2) dog", [("red:1.2) dog", 1.0)]),
        ("(masterpiece:1,2)", [("masterpiece:1,2", 1.1)]),
        ("(dog:1.2.3) cat", [("dog:1.2.3", 1.1), (" cat", 1.0)]),
        ("(dog:.)", [("dog:.", 1.1)]),
        ("(dog：1.2)，猫", [("dog：1.2", 1.1), ("，猫", 1.0)]),
        ("(a [b) c]", [("a ", 1.1), ("b", 1.0), (" c", 0.9091)]),
        ("a BREAK b", [("a", 1.0), BREAK, ("b", 1.0)]),
        ("BREAK a\n BREAK  BREAK b", [("", 1.0), BREAK, ("a", 1.0), BREAK, ("", 1.0), BREAK, ("b", 1.0)]),
        ("BREAKING breaks", [("BREAKING breaks", 1.0)]),
    ],
)
def test_weights(text: str, expected: list[tuple[str, float]]) -> None:
    assert weights(text) == expected


def test_equal_nestings_are_one_part() -> None:
    assert len(parse_attention("(([(a)]))(([(b)]))")) == 1


@given(MARKUP | PIECES)
def test_any_text_has_weights_and_its_words_stay_in_order(text: str) -> None:
    parts = parse_attention(text)
    assert parts
    assert all(one[1] != other[1] or BREAK in (one, other) for one, other in pairwise(parts))
    kept = "".join("BREAK" if weight < 0 and part == "BREAK" else part for part, weight in parts)
    assert_is_thinned(kept, text)


def assert_is_thinned(kept: str, text: str) -> None:
    """`kept` is `text` in order, with nothing lost but brackets, backslashes, weights and blanks."""
    position = 0
    for letter in kept:
        found = text.index(letter, position)
        assert not set(text[position:found]) - set("()[]\\:.+- 0123456789\n\t\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0"), text
        position = found + 1


@given(st.text(st.characters(exclude_characters="()[]\\:"), max_size=30), st.floats(0.01, 9).map(lambda x: round(x, 2)))
def test_a_written_weight_is_read_back(text: str, weight: float) -> None:
    if "BREAK" not in text and text:
        assert parse_attention(f"({text}:{weight})") == [(text, weight)]


def times(text: str, steps: int = 8, **kwargs: object) -> list[tuple[int, str]]:
    return schedule(text, steps, **kwargs)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [(8, "")]),
        ("a [cat:dog:0.5] x", [(4, "a cat x"), (8, "a dog x")]),
        ("a [cat:dog:3] x", [(3, "a cat x"), (8, "a dog x")]),
        ("a [cat:dog: 3 ] x", [(3, "a cat x"), (8, "a dog x")]),
        ("a [cat:dog:1.0] x", [(8, "a cat x")]),
        ("a [cat:dog:100] x", [(8, "a cat x")]),
        ("a [cat:dog:0] x", [(8, "a dog x")]),
        ("a [cat:dog:-2] x", [(8, "a dog x")]),
        ("a [cat:dog:0.1] x", [(8, "a dog x")]),
        ("a[ dog:0.25]", [(2, "a"), (8, "a dog")]),
        ("a[ dog::0.25]", [(2, "a dog"), (8, "a")]),
        ("[a|b|c]", [(i, "abc"[(i - 1) % 3]) for i in range(1, 9)]),
        ("[a|]b", [(i, "ab" if i % 2 else "b") for i in range(1, 9)]),
        ("a [cat:[dog:(horse:1.2):0.75]:0.25]", [(2, "a cat"), (6, "a dog"), (8, "a (horse:1.2)")]),
        ("[[a|b]:c:2]", [(1, "a"), (2, "b"), *((i, "c") for i in range(3, 9))]),
        ("(a [b:c:3]:1.2)", [(3, "(a b:1.2)"), (8, "(a c:1.2)")]),
        ("[a:1:2]", [(2, "a"), (8, "1")]),
        ("(a:1.2) [b] ((c))", [(8, "(a:1.2) [b] ((c))")]),
        (r"[a\:b:c\]:3]", [(3, r"a\:b"), (8, r"c\]")]),
        # what is not a schedule is text, and does not stop the others
        ("[a:b] [c:d:3]", [(3, "[a:b] c"), (8, "[a:b] d")]),
        ("(x [a:b:3]", [(3, "(x a"), (8, "(x b")]),
        ("x) ] : [a:b:3]", [(3, "x) ] : a"), (8, "x) ] : b")]),
        ("[a:b:c:3]", [(8, "[a:b:c:3]")]),
        ("[a:b) c:3]", [(8, "[a:b) c:3]")]),
        ("(a:b:1.2)", [(8, "(a:b:1.2)")]),
        ("[a:b:1,5]", [(8, "[a:b:1,5]")]),
        ("[a：b：3]", [(8, "[a：b：3]")]),
        # a stray "|" or a lone backslash: the whole prompt is literal
        ("a | b [c:d:3]", [(8, "a | b [c:d:3]")]),
        ("(a|b) [c:d:3]", [(8, "(a|b) [c:d:3]")]),
        ("[a|b:3]", [(8, "[a|b:3]")]),
        ("[a|b", [(8, "[a|b")]),
        ("[c:d:3] \\", [(8, "[c:d:3] \\")]),
    ],
)
def test_schedules(text: str, expected: list[tuple[int, str]]) -> None:
    assert times(text) == expected


def test_the_second_pass_counts_on() -> None:
    assert times("[a:b:0.5]", hires_steps=4) == [(4, "b")]
    assert times("[a:b:1.5]", hires_steps=4) == [(2, "a"), (4, "b")]
    assert times("[a:b:9]", hires_steps=4) == [(1, "a"), (4, "b")]
    assert times("[a|b]", hires_steps=3) == [(1, "a"), (2, "b"), (3, "a")]


def test_the_old_rule_reads_small_numbers_as_fractions() -> None:
    assert times("[a:b:.5]", old=True) == [(4, "a"), (8, "b")]
    assert times("[a:b:1.0]", old=True) == [(1, "a"), (8, "b")]
    assert times("[a:b:2.9]", old=True) == [(2, "a"), (8, "b")]


@given(MARKUP | PIECES, st.integers(1, 20))
def test_any_text_has_a_schedule(text: str, steps: int) -> None:
    entries = schedule(text, steps)
    ends = [end for end, _ in entries]
    assert ends == sorted(set(ends))
    assert ends[0] >= 1
    assert ends[-1] == steps
    for _, part in entries:
        letters = iter(text)
        assert all(letter in letters for letter in part)  # nothing is made up or moved


@given(st.text(st.characters(exclude_characters="[]()|:\\"), max_size=40))
def test_text_without_markup_stays_as_it_is(text: str) -> None:
    assert schedule(text, 5) == [(5, text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a dog", [("a dog", 1.0)]),
        ("a dog :0.5", [("a dog", 0.5)]),
        ("a dog AND a cat", [("a dog", 1.0), (" a cat", 1.0)]),
        ("a dog :1.2 AND a cat :0.4 AND (b:1.3):-.5", [("a dog", 1.2), (" a cat", 0.4), (" (b:1.3)", -0.5)]),
        ("SAND AND\nANDROID", [("SAND", 1.0), ("\nANDROID", 1.0)]),
        ("a dog and a cat, AND a cow", [("a dog and a cat,", 1.0), (" a cow", 1.0)]),
        ("(dog:1.2)", [("(dog:1.2)", 1.0)]),
        ("ratio 16:9", [("ratio 16", 9.0)]),
        ("AND", [("", 1.0), ("", 1.0)]),
        ("a:1,5 AND b:", [("a:1,5", 1.0), (" b:", 1.0)]),
    ],
)
def test_and(text: str, expected: list[tuple[str, float]]) -> None:
    assert split_and(text) == expected


def test_tags_are_cut_out_and_nothing_else() -> None:
    text, tags = extra_networks("a <lora:x y:0.5:unet=1> b<foo:bar>, <c> 1 < 2 <lora:")
    assert text == "a  b, <c> 1 < 2 <lora:"
    assert tags == ["<lora:x y:0.5:unet=1>", "<foo:bar>"]


def test_comments_end_with_the_line() -> None:
    assert strip_comments("a # b\nc") == "a \nc"
    assert strip_comments("# all\na\n#b\nc") == "\na\nc"
    assert strip_comments("no comment") == "no comment"


@given(MARKUP)
def test_any_text_goes_through_the_rest(text: str) -> None:
    assert "#" not in strip_comments(text)
    assert len(extra_networks(text)[0]) <= len(text)
    assert split_and(text)


MANY = 10_000


@pytest.mark.parametrize("parse", [parse_attention, lambda text: schedule(text, 8), split_and, extra_networks])
@pytest.mark.parametrize(
    "text",
    [
        "(" * MANY,
        "(" * MANY + "a" + ")" * MANY,
        "(a" * MANY + ")" * MANY,
        "[a:" * MANY + ":3]" * MANY,
        "[a|" * MANY + "]" * MANY,
        "[(" * MANY + ")]" * MANY,
        "(a" * MANY + "]" * MANY,
        " " * MANY + "BREAK" + " " * MANY,
        "a:" + "1" * MANY,
        "<a:" * MANY,
    ],
    ids=lambda text: text[:6],
)
def test_deep_and_long_prompts_take_linear_time(parse: Callable[[str], object], text: str) -> None:
    start = time.process_time()
    parse(text)
    # Under half a second; 10,000 squared steps would take 10 seconds.
    assert time.process_time() - start < 3
