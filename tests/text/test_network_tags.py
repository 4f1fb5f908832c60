"""Tags that name networks."""

from __future__ import annotations

import pytest

from modules.text.network_tags import NetworkTag, network_tags, weighted_loras, with_network


@pytest.mark.parametrize(("text", "tag"), [
    ("<lora:a>", NetworkTag("lora", "a")),
    ("<lyco:a b:0.5>", NetworkTag("lora", "a b", 0.5, 0.5)),
    ("<lora:a:0.5:0.8:2>", NetworkTag("lora", "a", 0.5, 0.8, 2)),
    ("<lora:a:unet=0.3>", NetworkTag("lora", "a", 1.0, 0.3)),
    ("<lora:a:te=0.3>", NetworkTag("lora", "a", 0.3, 0.3)),
    ("<lora:a:0.2:te=0.3:dyn=4>", NetworkTag("lora", "a", 0.3, 0.3, 4)),
    ("<lora:a:-1:unet=2>", NetworkTag("lora", "a", -1.0, 2.0)),
    ("<hypernet:h:0.7>", NetworkTag("hypernet", "h", 0.7, 0.7))])
def test_a_tag_is_read_as_webui_reads_it(text: str, tag: NetworkTag) -> None:
    assert network_tags(f"a {text} cat") == ((tag,), ())


def test_tags_keep_their_order_and_others_are_ignored() -> None:
    tags, warnings = network_tags("[<lora:b>:0.5] AND <foo:x> <hypernet:a> <lora:b:2>")
    assert [(tag.name, tag.te) for tag in tags] == [("b", 1.0), ("a", 1.0), ("b", 2.0)]
    assert warnings == ()


@pytest.mark.parametrize("text", ["<lora:a:much>", "<lora:a:nan>", "<lora:a:1:inf>", "<lora:a:1:1:half>",
                                  "<lora:a:dyn=-1>"])
def test_only_the_tag_whose_weight_is_no_number_is_left_out(text: str) -> None:
    tags, (warning,) = network_tags(f"{text} <lora:b:0.5>")
    assert [tag.name for tag in tags] == ["b"]
    assert text in warning


def test_an_option_adds_a_network_that_the_prompt_does_not_name() -> None:
    assert with_network("a cat", "lora", "x", 0.7) == "a cat<lora:x:0.7>"
    assert with_network("a cat <lyco:x:0>", "lora", "x", 0.7) == "a cat <lyco:x:0>"
    assert with_network("a cat <hypernet:x>", "lora", "x", 1.0) == "a cat <hypernet:x><lora:x:1.0>"


@pytest.mark.parametrize(("text", "weighted"), [
    ("<lora:a>", "<lora:a:0.5>"),
    ("x <lyco:a:0.2:0.9:4> y <hypernet:h:1>", "x <lyco:a:0.5:0.5:4> y <hypernet:h:1>"),
    ("<lora:a:te=0.1:unet=2:dyn=3>", "<lora:a:0.5:dyn=3>"),
    ("no tag", "no tag")])
def test_all_loras_get_a_weight_and_keep_the_rest(text: str, weighted: str) -> None:
    assert weighted_loras(text, 0.5) == weighted
    before, after = network_tags(text)[0], network_tags(weighted)[0]
    assert [(tag.kind, tag.name, tag.rank) for tag in before] == [(tag.kind, tag.name, tag.rank) for tag in after]
    assert all(tag.te == tag.unet == 0.5 for tag in after if tag.kind == "lora")
