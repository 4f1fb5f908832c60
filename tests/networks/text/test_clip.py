"""Tokens, chunks and emphasis, against transformers' CLIP and WebUI's own counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modules.errors import InvalidInput
from modules.networks.model import DiffusionModel
from modules.networks.text.chunks import LENGTH, chunk, count, old_chunk, token_count
from modules.networks.text.clip_tokenizer import COMMA, END, START, bracket_weights, clean, load_tokenizer
from modules.sampling.conditioning import TextOptions
from modules.text.prompt import parse_attention

DATA = Path("modules/networks/text/tokenizer")


@pytest.fixture(scope="module")
def reference() -> Any:
    """transformers' own CLIP tokenizer over the same vocabulary."""
    from transformers.models.clip import CLIPTokenizer

    data = Path(__file__).parents[3] / DATA
    merges = [tuple(line.split()) for line in (data / "merges.txt").read_text("utf-8").splitlines()[1:]]
    return CLIPTokenizer(vocab=json.loads((data / "vocab.json").read_text("utf-8")), merges=merges)


def test_the_vocabulary_is_clips() -> None:
    vocabulary = json.loads((Path(__file__).parents[3] / DATA / "vocab.json").read_text("utf-8"))
    assert len(vocabulary) == 49408
    assert vocabulary["<|startoftext|>"] == START
    assert vocabulary["<|endoftext|>"] == END
    assert vocabulary[",</w>"] == COMMA
    # Known from OpenAI's CLIP: "a photo of a cat"
    assert load_tokenizer()("a photo of a cat") == [320, 1125, 539, 320, 2368]


LATIN = st.characters(max_codepoint=0x24F, exclude_categories=["Cc", "Cs"], exclude_characters="&")
PLAIN = st.text(LATIN, max_size=40)
SAMPLES = ("你好，世界", "🙂🙂 emoji", "a dog\n on a\tbench", "naïve café's 2024", "x_y-z!!", "İSTANBUL")


@given(PLAIN)
def test_plain_text_gives_transformers_tokens(reference: Any, text: str) -> None:
    if clean(text) == text:
        assert load_tokenizer()(text) == reference(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("text", SAMPLES)
def test_other_scripts_give_transformers_tokens(reference: Any, text: str) -> None:
    assert load_tokenizer()(text) == reference(clean(text), add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("“quoted” ‘it’s’", "\"quoted\" 'it's'"),
        ("１２３，（ａ）\u3000ｂ！", "123,(a) b!"),
        ("ﬁne ﬂow", "fine flow"),
        ("a &amp; b &lt;", "a & b <"),
        ("<b> a &amp; b", "<b> a &amp; b"),
        ("a\x00b\x1b[31mc\ufeff", "abc"),
        ("cafe\u0301", "café"),
        ("plain, text", "plain, text"),
    ],
)
def test_cleaning(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


@given(st.text(max_size=60))
def test_any_text_has_tokens(text: str) -> None:
    assert all(0 <= token <= END for token in load_tokenizer()(text))


def test_end_of_text_written_out_is_the_token() -> None:
    assert load_tokenizer()("a <|endoftext|> b") == [320, END, 321]
    assert load_tokenizer()("\ud83d") is not None


def words(text: str) -> list[int]:
    """A tokenizer of the test's own: a comma is CLIP's comma, every other letter its code point."""
    return [COMMA if letter == "," else ord(letter) for letter in text]


def cut(text: str, backtrack: int = 20) -> list[str]:
    chunks = chunk([(text, 1.0)], words, backtrack)
    assert all(len(one.tokens) == len(one.weights) <= LENGTH for one in chunks)
    return ["".join("," if token == COMMA else chr(token) for token in one.tokens) for one in chunks]


def test_a_full_chunk_is_cut_after_its_last_comma() -> None:
    assert cut("a" * 75) == ["a" * 75]
    assert cut("a" * 76) == ["a" * 75, "a"]
    assert cut("a" * 60 + "," + "b" * 20) == ["a" * 60 + ",", "b" * 20]
    assert cut("a" * 60 + "," + "b" * 14) == ["a" * 60 + "," + "b" * 14]
    assert cut("a" * 74 + ",b") == ["a" * 74 + ",", "b"]
    assert cut("a" * 75 + ",b") == ["a" * 75, ",b"]


def test_a_comma_too_far_back_does_not_count() -> None:
    near, far = "a" * 55 + "," + "b" * 20, "a" * 54 + "," + "b" * 21
    assert cut(near) == ["a" * 55 + ",", "b" * 20]
    assert cut(far) == [far[:75], far[75:]]
    assert cut(near, backtrack=0) == [near[:75], near[75:]]


def test_a_break_ends_a_chunk_and_the_last_one_opens_none() -> None:
    def chunks(text: str) -> list[int]:
        return [len(one.tokens) for one in chunk(parse_attention(text), words, 20)]

    assert chunks("a BREAK b") == [1, 1]
    assert chunks("BREAK a BREAK BREAK bc") == [0, 1, 0, 2]
    assert chunks("a BREAK") == [1]
    assert chunks("") == [0]


def test_padding_goes_round_a_chunk() -> None:
    (one,) = chunk([("a", 1.0), ("b", 1.5)], words, 20)
    tokens, weights = one.padded()
    assert tokens == [START, ord("a"), ord("b"), *[END] * 74]
    assert weights == [1.0, 1.0, 1.5, *[1.0] * 74]


@given(st.text("ab, ", max_size=400), st.integers(0, 74))
def test_chunks_hold_every_token_in_order(text: str, backtrack: int) -> None:
    assert "".join(cut(text, backtrack)) == text
    assert count([(text, 1.0)], words, backtrack) >= len(text)


def test_counts_are_webuis(golden: Path) -> None:
    cases = json.loads((golden / "json" / "token_counts.json").read_text("utf-8"))
    seen = 0
    for case in cases:
        text = case["text"]
        if "emb-" in text or "cat" in text:  # recorded with embeddings of these names
            continue
        assert list(token_count(text)) == case["get_prompt_lengths"], text
        seen += 1
    assert seen > 10


def encode(model: DiffusionModel, text: str, emphasis: str = "Original", clip_skip: int = 1) -> torch.Tensor:
    return model.encode_prompts([text], TextOptions(clip_skip, emphasis))[0].tokens


def hidden_states(model: DiffusionModel, text: str) -> tuple[torch.Tensor, ...]:
    tokens = [START, *load_tokenizer()(text)]
    ids = torch.tensor([tokens + [END] * (77 - len(tokens))])
    return model.text.clip(input_ids=ids, output_hidden_states=True).hidden_states


@pytest.mark.parametrize("skip", [1, 2, 5, 12])
def test_clip_skip_leaves_layers_out(sd_model: DiffusionModel, skip: int) -> None:
    expected = sd_model.text.clip.final_layer_norm(hidden_states(sd_model, "a red dog")[-skip])[0]
    torch.testing.assert_close(encode(sd_model, "a red dog", clip_skip=skip), expected, atol=1e-5, rtol=1e-5)


def test_skipping_more_layers_than_there_are(sd_model: DiffusionModel) -> None:
    with pytest.raises(InvalidInput, match="only 12 layers"):
        encode(sd_model, "a", clip_skip=13)


def test_emphasis_modes(sd_model: DiffusionModel) -> None:
    plain = encode(sd_model, "a red dog")
    weights = torch.ones(77, 1)
    weights[2] = 1.5  # after the start token and "a"
    assert torch.equal(encode(sd_model, "a (red:1.5) dog", "Ignore"), plain)
    torch.testing.assert_close(encode(sd_model, "a (red:1.5) dog", "No norm"), plain * weights)
    original = plain * weights * (plain.mean() / (plain * weights).mean())
    torch.testing.assert_close(encode(sd_model, "a (red:1.5) dog"), original)
    literal = hidden_states(sd_model, "a (red:1.5) dog")[-1]
    literal = sd_model.text.clip.final_layer_norm(literal)[0]
    torch.testing.assert_close(encode(sd_model, "a (red:1.5) dog", "None"), literal)
    with pytest.raises(InvalidInput, match='no emphasis mode "Loud"'):
        encode(sd_model, "a", "Loud")


def test_old_emphasis_weighs_all_that_follows_a_bracket(sd_model: DiffusionModel) -> None:
    weights = bracket_weights()
    (opening,), (closing,), (square,) = (load_tokenizer()(text) for text in "()[")
    assert (weights[opening], weights[closing], weights[square]) == (1.1, 1 / 1.1, 1 / 1.1)
    tokens = old_chunk("a (red [dog] x) y", load_tokenizer(), weights)
    assert tokens.tokens == load_tokenizer()("a red dog x y")
    assert tokens.weights == pytest.approx([1, 1.1, 1, 1.1, 1])
    assert encode(sd_model, "a (dog " * 60, "Old").shape == (77, 64)


def test_long_prompts_are_chunks_in_a_row(sd_model: DiffusionModel) -> None:
    both = encode(sd_model, "a dog BREAK a cat")
    assert both.shape == (154, 64)
    torch.testing.assert_close(both, torch.cat([encode(sd_model, "a dog"), encode(sd_model, "a cat")]))


def test_the_texts_of_a_schedule_are_as_long_as_the_longest(sd_model: DiffusionModel) -> None:
    texts = ["a dog", "a dog BREAK a cat"]
    short, long = (one.tokens for one in sd_model.encode_prompts(texts, TextOptions()))
    torch.testing.assert_close(short, torch.cat([encode(sd_model, "a dog"), encode(sd_model, "")]))
    torch.testing.assert_close(long, encode(sd_model, "a dog BREAK a cat"))
