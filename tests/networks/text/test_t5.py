"""T5 as Stable Diffusion 3's third text encoder, against diffusers' own pipeline over the same tiny weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from golden.tiny import checkpoint
from networks.loading import load
from networks.theirs import pipeline_of
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import CLIPTokenizer, PreTrainedTokenizerFast, T5Config, T5EncoderModel

from modules.errors import CheckpointError
from modules.networks.combining import SpareFiles
from modules.networks.doctor import examine, header_of_file
from modules.networks.text import t5
from modules.sampling.conditioning import TextOptions, stack

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

WORDS = ["red", "fox", "on", "a", "hill", "cat"]
PROMPT = "a red fox on a hill"
CLIP_FILES = Path(t5.__file__).parent / "tokenizer"


def write_tokenizer(folder: Path) -> Path:
    """T5's kind of tokenizer, of six words and the letters."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0)]
    pieces += [(f"▁{word}", -1.0) for word in WORDS] + [(letter, -5.0) for letter in "▁abcdefghijklmnopqrstuvwxyz"]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing("$A </s>", "$A </s> $B </s>", [("</s>", 1)])
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


@pytest.fixture(scope="module")
def network() -> T5EncoderModel:
    torch.manual_seed(3)
    config = T5Config(vocab_size=40, d_model=4096, d_kv=8, d_ff=24, num_layers=2, num_heads=2,
                      feed_forward_proj="gated-gelu", dropout_rate=0.0)
    return T5EncoderModel(config).eval()


@pytest.fixture
def folder(tmp_path: Path, network: T5EncoderModel) -> Path:
    """A folder of text encoders with T5 in it."""
    network.save_pretrained(tmp_path / "t5")
    write_tokenizer(tmp_path / "t5")
    return tmp_path


def tokens(folder: Path, *texts: str, **how: Any) -> torch.Tensor:
    model = load(checkpoint("tiny-sd3"), spare=SpareFiles([folder]), **how)
    return stack(model.encode_prompts(texts, TextOptions())).tokens


@pytest.fixture(scope="module")
def pipeline(network: T5EncoderModel) -> diffusers.StableDiffusion3Pipeline:
    made = pipeline_of("tiny-sd3")
    files = {"vocab": str(CLIP_FILES / "vocab.json"), "merges": str(CLIP_FILES / "merges.txt")}
    first, second = CLIPTokenizer(**files, model_max_length=77), CLIPTokenizer(**files, model_max_length=77,
                                                                              pad_token="!")
    return diffusers.StableDiffusion3Pipeline(
        transformer=made.transformer, scheduler=made.scheduler, vae=made.vae, text_encoder=made.text_encoder,
        tokenizer=first, text_encoder_2=made.text_encoder_2, tokenizer_2=second, text_encoder_3=network,
        tokenizer_3=None)


def test_the_conditioning_is_that_of_the_pipeline(pipeline: Any, folder: Path) -> None:
    """CLIP's tokens and T5's behind them, and the pooled vector."""
    pipeline.tokenizer_3 = PreTrainedTokenizerFast(tokenizer_file=str(folder / "t5" / "tokenizer.json"),
                                                   pad_token="<pad>", eos_token="</s>")
    with torch.no_grad():
        theirs, _, pooled, _ = pipeline.encode_prompt(PROMPT, None, None, do_classifier_free_guidance=False,
                                                      max_sequence_length=77)
    model = load(checkpoint("tiny-sd3"), spare=SpareFiles([folder]))
    ours = stack(model.encode_prompts([PROMPT], TextOptions()))
    assert ours.tokens.shape == (1, 154, 4096)
    assert float(ours.tokens[:, 77:].std()) > 0
    torch.testing.assert_close(ours.tokens, theirs, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(ours.vector, pooled, atol=1e-5, rtol=1e-4)


def test_in_shards_in_half_precision_or_inside_the_checkpoint(folder: Path, network: T5EncoderModel,
                                                              tmp_path: Path) -> None:
    expected = tokens(folder, PROMPT)
    shards = tmp_path / "shards"
    network.save_pretrained(shards / "t5", max_shard_size="400KB")
    write_tokenizer(shards / "t5")
    assert len(list((shards / "t5").glob("*.safetensors"))) > 1
    assert torch.equal(tokens(shards, PROMPT), expected)
    whole = tmp_path / "whole"
    whole.mkdir()
    prefix = "text_encoders.t5xxl.transformer."
    save_file(load_file(checkpoint("tiny-sd3")) | {
        prefix + key: value for key, value in load_file(folder / "t5" / "model.safetensors").items()},
        whole / "it.safetensors")
    write_tokenizer(whole)
    inside = load(whole / "it.safetensors")
    assert torch.equal(stack(inside.encode_prompts([PROMPT], TextOptions())).tokens, expected)
    half = tmp_path / "half"
    half.mkdir()
    save_file({key: value.bfloat16() for key, value in load_file(folder / "t5" / "model.safetensors").items()},
              half / "t5.safetensors")
    write_tokenizer(half)
    rounded = tokens(half, PROMPT, keep_half=True)
    assert 0 < float((rounded - expected).abs().max()) < 0.05 * float(expected.abs().max())


def test_without_t5_or_its_tokenizer_its_tokens_are_zeros(folder: Path, tmp_path: Path) -> None:
    assert not tokens(tmp_path / "nothing", PROMPT)[:, 77:].any()
    (folder / "t5" / "tokenizer.json").write_text(json.dumps({"model": {"type": "BPE"}}))  # CLIP's
    assert not tokens(folder, PROMPT)[:, 77:].any()
    (folder / "t5" / "tokenizer.json").write_text('{"model": {"type": "Unigram"}}')
    with pytest.raises(CheckpointError, match=r"t5/tokenizer.json is no tokenizer of T5\."):
        tokens(folder, PROMPT)


def test_weights_of_a_prompt_and_long_prompts(folder: Path) -> None:
    """All rows are as long as the longest; a weight is the emphasis of its words' vectors, the mean kept."""
    model = load(checkpoint("tiny-sd3"), spare=SpareFiles([folder]))
    encoder = t5.T5Encoder(model.parts["t5"], torch.device("cpu"))
    assert encoder.encode(["a cat", " ".join(["red"] * 100)], TextOptions()).shape == (2, 154, 4096)
    plain, heavy, raw = (encoder.encode(["a(cat:1.5)"], TextOptions(emphasis=emphasis))
                         for emphasis in ("Ignore", "Original", "No norm"))
    factors = (raw / plain)[0, :, 0]
    assert torch.allclose(factors[:4], torch.tensor([1.0, 1.5, 1.0, 1.0]))  # "a", "cat", the end, the first filler
    assert torch.allclose(heavy.mean(), plain.mean(), rtol=1e-3, atol=1e-6)
    assert torch.allclose(heavy / raw, (heavy / raw)[0, 0, 0])


def test_the_doctor_tells_of_it(folder: Path) -> None:
    path = checkpoint("tiny-sd3")
    said = examine(header_of_file(path), SpareFiles([folder]), path=path)
    assert "It has no third text encoder (T5); model.safetensors fits and is used." in said
