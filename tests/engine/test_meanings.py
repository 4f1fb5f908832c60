"""Search by meaning with tiny random weights against transformers' own models, and with the real all-MiniLM-L6-v2 if it
is in the folder that MINILM names."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from embedders import write_clip, write_sentences
from PIL import Image

from modules.engine.meanings import Meanings, plain
from modules.errors import CheckpointError, NotFound
from modules.gallery.history import History
from modules.gallery.index import Filter
from modules.gallery.saving import save
from modules.networks.embedder import Embedder
from modules.settings import Settings

PROMPTS = ["an old fortress", "a red dog", "a boat by the lake", "(a castle:1.3) by the lake, <lora:style:1>", ""]


@pytest.fixture
def history(settings: Settings) -> Iterator[History]:
    for number, prompt in enumerate(PROMPTS):
        save(Image.new("RGB", (48, 32), (number * 60, 200 - number * 40, 90)),
             f"{prompt}\nSteps: 1, Seed: {number}, Size: 48x32, Model: {('m', 'n')[number % 2]}",
             settings.outputs_dir, seed=number)
    history = History(settings.outputs_dir)
    history.reconcile()
    yield history
    history.close()


def found(meanings: Meanings, words: str, **more: str) -> list[int | None]:
    meanings.find(Filter(words=words, **more))
    meanings.wait()
    nearest = meanings.find(Filter(words=words, **more))
    assert (nearest.done, nearest.total) == (0, 0)
    return [picture.seed for picture in nearest.pictures]


def test_sentences_are_means_of_their_tokens(tmp_path: Path) -> None:
    from transformers import BertModel, BertTokenizerFast

    folder = write_sentences(tmp_path / "tiny")
    network, tokenizer = BertModel.from_pretrained(folder).eval(), BertTokenizerFast.from_pretrained(folder)
    texts = ["a castle", "the old red dog by the lake", "", "dog " * 400]
    expected = []
    for text in texts:
        tokens = tokenizer(text, return_tensors="pt", truncation=True, max_length=32)
        with torch.no_grad():
            mean = network(**tokens).last_hidden_state[0].mean(dim=0).numpy()
        expected.append(mean / np.linalg.norm(mean))
    assert np.allclose(Embedder(folder).texts(texts), expected, atol=1e-5)


def test_clip_is_that_of_transformers(tmp_path: Path) -> None:
    from transformers import CLIPModel, CLIPProcessor

    folder = write_clip(tmp_path / "tiny")
    network, processor = CLIPModel.from_pretrained(folder).eval(), CLIPProcessor.from_pretrained(folder)
    pictures = [Image.effect_noise((50, 40), 60).convert("RGB"), Image.new("RGB", (20, 90), "red")]
    texts = ["a dog", "a castle by the lake"]
    with torch.no_grad():
        answer = network(**processor(images=pictures, text=texts, padding=True, truncation=True, return_tensors="pt"))
    ours = Embedder(folder)
    assert ours.sees
    assert np.allclose(ours.texts(texts), answer.text_embeds.numpy(), atol=1e-5)
    assert np.allclose(ours.pictures(pictures), answer.image_embeds.numpy(), atol=1e-5)


def test_the_nearest_prompts_come_first(settings: Settings, history: History) -> None:
    folder = write_sentences(settings.models_dir / "embedders" / "tiny")
    network = Embedder(folder)
    likeness = network.texts([plain(prompt) for prompt in PROMPTS[:4]]) @ network.texts(["the castle"])[0]
    meanings = Meanings(settings, history)
    assert found(meanings, "the castle") == list(np.argsort(-likeness)), "and without the one that has no prompt"
    assert found(meanings, "the castle", model="n") == [number for number in np.argsort(-likeness) if number % 2]


def test_the_nearest_pictures_come_first(settings: Settings, history: History) -> None:
    network = Embedder(write_clip(settings.models_dir / "embedders" / "clip"))
    meanings = Meanings(settings, history)
    shown = [Image.new("RGB", (48, 32), (number * 60, 200 - number * 40, 90)) for number in range(len(PROMPTS))]
    likeness = network.pictures(shown) @ network.texts(["the castle"])[0]
    order = found(meanings, "the castle")
    assert sorted(number for number in order if number is not None) == [0, 1, 2, 3, 4]
    assert order[0] in np.argsort(-likeness)[:2], "thumbnails are lossy"


def test_both_orders_are_joined(settings: Settings, history: History) -> None:
    alone = {}
    for name, write in (("sentences", write_sentences), ("clip", write_clip)):
        write(settings.models_dir / "embedders" / name)
        alone[name] = found(Meanings(settings, history), "the castle")
        if name == "sentences":
            (settings.models_dir / "embedders" / name / "config.json").rename(settings.models_dir / "kept.json")
    (settings.models_dir / "kept.json").rename(settings.models_dir / "embedders" / "sentences" / "config.json")
    points = {number: sum(1 / (60 + order.index(number)) for order in alone.values() if number in order)
              for number in range(len(PROMPTS))}
    both = found(Meanings(settings, history), "the castle")
    assert [points[number] for number in both if number is not None] == sorted(points.values(), reverse=True)


def test_vectors_are_kept_and_new_pictures_are_read(settings: Settings, history: History,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    write_sentences(settings.models_dir / "embedders" / "tiny")
    first = found(Meanings(settings, history), "the castle")
    asked: list[str] = []
    texts = Embedder.texts
    monkeypatch.setattr(Embedder, "texts", lambda self, them: (asked.extend(them), texts(self, them))[1])
    again = Meanings(settings, history)
    assert found(again, "the castle") == first
    assert set(asked) == {"the castle"}
    history.add(save(Image.new("RGB", (8, 8)), "the castle\nSteps: 1, Seed: 9, Size: 8x8", settings.outputs_dir,
                     seed=9))
    assert found(again, "the castle")[0] == 9
    assert asked.count("the castle") == 5, "four questions and the new prompt"


def test_a_broken_cache_is_made_anew(settings: Settings, history: History) -> None:
    write_sentences(settings.models_dir / "embedders" / "tiny")
    first = found(Meanings(settings, history), "the castle")
    file = settings.cache_dir / "meanings.sqlite3"
    for content in (b"no database" * 100, b""):
        file.write_bytes(content)
        assert found(Meanings(settings, history), "the castle") == first
    with sqlite3.connect(file) as db:
        db.execute("UPDATE vectors SET vector = x'00'")
    assert found(Meanings(settings, history), "the castle") == first


def test_without_a_network_it_says_where_to_put_one(settings: Settings, history: History) -> None:
    meanings = Meanings(settings, history)
    assert not meanings.available
    with pytest.raises(NotFound, match="put all-MiniLM-L6-v2 or CLIP"):
        meanings.find(Filter(words="a castle"))
    folder = settings.models_dir / "embedders" / "other"
    folder.mkdir(parents=True)
    for config in ("no", '{"model_type": "vit"}', '{"model_type": "bert"}'):
        (folder / "config.json").write_text(config)
        with pytest.raises(CheckpointError, match="other in models/embedders is no network for meanings"):
            meanings.find(Filter(words="a castle"))


@pytest.mark.skipif("MINILM" not in os.environ, reason="needs the real network")
def test_the_real_network(settings: Settings, history: History) -> None:
    (settings.models_dir / "embedders").mkdir(parents=True)
    (settings.models_dir / "embedders" / "minilm").symlink_to(os.environ["MINILM"], target_is_directory=True)
    meanings = Meanings(settings, history)
    assert set(found(meanings, "a castle")[:2]) == {0, 3}
    assert found(meanings, "puppy")[0] == 1
    assert found(meanings, "ship on the water")[0] == 2


def test_the_words_of_a_prompt() -> None:
    assert plain("(a castle:1.3) by [the] lake, <lora:style:1>\n old") == "a castle by the lake, old"
