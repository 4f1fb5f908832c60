"""The cards: what lies beside a file, previews and where they are written, and completion in the prompt."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image
from safetensors.numpy import save_file

from modules.api.cards import router
from modules.engine.cards import Cards
from modules.engine.completion import Completion, Entry
from modules.engine.networks import Networks
from modules.engine.wildcards import Wildcards
from modules.errors import NotFound
from modules.gallery.thumbnails import Thumbnails
from modules.settings import Settings
from modules.text.styles import Style, save_style
from modules.ui.page.header import hints_of
from modules.weights.catalog import Catalog

TRAINED = {"ss_base_model_version": "sd_v1", "ss_network_dim": "16",
           "ss_tag_frequency": json.dumps({"1_a": {"hat": 3, "cat": 5}, "2_b": {"hat": 9}})}


def put(path: Path, metadata: dict[str, str] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"x": np.zeros(1, np.float32)}, path, metadata)
    return path


@pytest.fixture
def here(settings: Settings, tmp_path: Path) -> Settings:
    (tmp_path / "comfy" / "models" / "loras").mkdir(parents=True)
    return dataclasses.replace(settings, comfy_dir=tmp_path / "comfy")


def cards_of(settings: Settings) -> Cards:
    return Cards(settings, Catalog(settings.checkpoint_dirs), Networks(settings))


def test_a_card_says_what_lies_beside_its_file(here: Settings) -> None:
    folder = here.models_dir / "Lora"
    put(folder / "b.safetensors", TRAINED)
    put(folder / "sub" / "a.safetensors")
    Image.new("RGB", (40, 60), "red").save(folder / "b.preview.png")
    (folder / "b.json").write_text(json.dumps({
        "description": " Ink. ", "activation text": "ink, line", "negative text": "photo", "preferred weight": 0.7}))
    (folder / "sub" / "a.json").write_text('{"preferred weight": 0, "description": [1]}')
    cards = cards_of(here)
    first, second = cards.of("loras")
    assert (first.name, first.folder, first.preview, first.weight, first.description) == ("a", "sub", None, None, "")
    assert (second.name, second.folder, second.weight) == ("b", "", 0.7)
    assert (second.description, second.activation, second.negative) == ("Ink.", "ink, line", "photo")
    assert cards.picture(second.id) == folder / "b.preview.png"
    facts = cards.facts(second.id)
    assert ("Base model", "sd_v1") in facts["pairs"]
    assert facts["tags"] == ["hat", "cat"]
    (folder / "b.json").write_text("{")
    assert cards.of("loras")[1].description == ""
    with pytest.raises(NotFound):
        cards.of("outputs")


def test_a_preview_is_written_beside_our_files_only(here: Settings) -> None:
    ours = put(here.models_dir / "Lora" / "ours.safetensors")
    theirs = put(here.comfy_dir / "models" / "loras" / "theirs.safetensors")  # type: ignore[operator]
    linked = here.models_dir / "Lora" / "linked"
    linked.symlink_to(theirs.parent)
    cards = cards_of(here)
    picture = Image.new("RGB", (1600, 800), "blue")
    for card in cards.of("loras"):
        cards.set_picture(card.id, picture)
    assert ours.with_name("ours.preview.png").exists()
    assert [file.name for file in theirs.parent.iterdir()] == ["theirs.safetensors"]
    for card in cards.of("loras"):
        assert card.preview
        with Image.open(cards.picture(card.id)) as image:
            assert image.size == (768, 384)


def test_only_digests_lead_to_pictures(here: Settings) -> None:
    put(here.models_dir / "Lora" / "x.safetensors")
    Image.new("RGB", (500, 500), "red").save(here.models_dir / "Lora" / "x.png")
    cards = cards_of(here)
    app = FastAPI()
    app.include_router(router(cards, Thumbnails(here.cache_dir / "thumbnails")))
    app.add_exception_handler(NotFound, lambda request, error: __import__("fastapi").Response(status_code=404))
    client = TestClient(app)
    card = cards.of("loras")[0]
    answer = client.get(f"/cards/{card.id}?v")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/webp"
    for bad in ("0" * 32, "x", "..%2f..%2fconfig.json", "%2e%2e", "0" * 33):
        assert client.get(f"/cards/{bad}").status_code in (404, 422)


@pytest.fixture
def completion(here: Settings) -> Completion:
    put(here.models_dir / "Lora" / "ink style.safetensors")
    put(here.embeddings_dir / "inky.safetensors")
    (here.data_dir / "wildcards").mkdir()
    (here.data_dir / "wildcards" / "cats.txt").write_text("tabby\n")
    (here.data_dir / "tags").mkdir()
    (here.data_dir / "tags" / "danbooru.csv").write_text(
        'blue_eyes,0,900,"blueeyes"\nblue_(sky),0,1000,\nblue,0,5,\ninkwell,0,7,\nbad,0\n', encoding="utf-8")
    save_style(here.styles_file, Style("inked", "{prompt}, ink drawing"))
    return Completion(here, Networks(here), Wildcards(here.wildcard_dirs), lambda: ("ink pot",))


def texts(entries: list[Entry]) -> list[tuple[str, str, int]]:
    return [(entry.kind, entry.text, entry.replaces) for entry in entries]


def test_completion_knows_each_kind(completion: Completion) -> None:
    assert texts(completion.of("a cat, ink")) == [
        ("embedding", "inky", 3), ("lora", "<lora:ink style:1>", 3), ("word", "ink pot", 3),
        ("style", "ink drawing", 3), ("tag", "inkwell", 3)]
    assert texts(completion.of("a cat <lora:st")) == [("lora", "<lora:ink style:1>", 8)]
    assert texts(completion.of("x <")) == [("lora", "<lora:ink style:1>", 1)]
    assert texts(completion.of("a __ca")) == [("wildcard", "__cats__", 4)]
    assert completion.of("a __cats__") == []
    assert texts(completion.of("a Blue_")) == [("tag", r"blue \(sky\)", 5), ("tag", "blue eyes", 5), ("tag", "blue", 5)]
    assert texts(completion.of("blue ey")) == [("tag", "blue eyes", 7)]
    assert texts(completion.of("photo of blueey")) == [("tag", "blue eyes", 6)]
    for before in ("", "i", "a, ", "zz", "<lora:ink style:1>", "(", "_", "\n"):
        assert completion.of(before) == []


def test_new_and_changed_lists_of_tags_are_seen_at_once(completion: Completion, here: Settings) -> None:
    assert completion.of("green") == []
    file = here.data_dir / "tags" / "danbooru.csv"
    file.write_text("green_hat,0,1\n")
    assert texts(completion.of("gree")) == [("tag", "green hat", 4)]
    (here.data_dir / "tags" / "more.csv").write_text("green_tea,0,5\n")
    assert [entry.text for entry in completion.of("gree")] == ["green tea", "green hat"]


def test_examples_have_categories_and_thumbnails(here: Settings) -> None:
    """A strip in the page has them in the order of the checkpoint's header; nobody else's file is read for one."""
    made = [io.BytesIO(), io.BytesIO()]
    for content, colour in zip(made, ("red", "blue"), strict=True):
        Image.new("RGB", (8, 8), colour).save(content, "WEBP")
    words = {"examples": {"Things": ["a boat", "a car"], "Animals": ["a cat", 3]}, "objects": ["boat"],
             "surprise": "a {boat|car}", "zh": {"examples": ["船"], "boat": "小船"}}
    path = put(here.checkpoint_dirs[0] / "world.safetensors", {
        "words": json.dumps(words),
        "thumbnails": json.dumps([base64.b64encode(content.getvalue()).decode() for content in made])})
    put(here.checkpoint_dirs[0] / "broken.safetensors", {"words": json.dumps({"examples": {"A": "one"}}),
                                                         "thumbnails": '["?", 3]'})
    catalog = Catalog(here.checkpoint_dirs)
    cards = Cards(here, catalog, Networks(here))
    world, broken = (next(file for file in catalog.checkpoints() if file.path.stem == stem)
                     for stem in ("world", "broken"))
    assert path == world.path
    chips = hints_of(world).chips("/under")
    told = [(chip["kind"], chip["language"], chip["heading"], chip["text"]) for chip in chips]
    assert told == [("surprise", "en", "", "Surprise me"), ("example", "en", "Things", "a boat"),
                    ("example", "en", "", "a car"), ("example", "en", "Animals", "a cat"), ("word", "en", "", "boat"),
                    ("example", "zh", "", "船"), ("word", "zh", "", "小船")]
    addresses = [chip["picture"] for chip in chips if chip["kind"] == "example"]
    assert [bool(address) for address in addresses] == [True, True, False, True]
    assert [chip["picture"] for chip in hints_of(broken).chips("")] == [""]

    app = FastAPI()
    app.include_router(router(cards, Thumbnails(here.data_dir)))
    with TestClient(app) as client:
        for address, content in zip(addresses, made, strict=False):
            answer = client.get(address.removeprefix("/under"))
            assert answer.content == content.getvalue()
            assert answer.headers["content-type"] == "image/webp"
        number = f"/cards/{addresses[0].split('/')[3]}/examples/"
        with pytest.raises(NotFound):
            client.get(f"{number}2")
        assert client.get(f"{number}-1").status_code == 422
        with pytest.raises(NotFound):
            client.get(f"/cards/{'0' * 32}/examples/0")
