"""Masks by words in img2img over HTTP."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from fastapi.testclient import TestClient
from grounders import write_clipseg
from PIL import Image

from modules.engine.engine import Engine

from .conftest import base64_of, picture

IMG2IMG = "/sdapi/v1/img2img"


@pytest.fixture
def body(photo: Image.Image) -> dict[str, object]:
    return {"prompt": "a cat", "init_images": [base64_of(photo)], "mask_words": "the dog, bench", "seed": 1, "steps": 2,
            "width": photo.width, "height": photo.height, "mask_blur": 0, "inpaint_full_res": False}


@pytest.fixture
def words(engine: Engine, photo: Image.Image) -> np.ndarray:
    """Where the network finds the words."""
    write_clipseg(engine.settings.models_dir / "grounding" / "tiny")
    mask = engine.grounding.mask(("a",), lambda: photo, "the dog, bench")
    assert 0.02 < (np.asarray(mask) > 0).mean() < 0.98
    return np.asarray(mask) > 0


def made(client: TestClient, body: dict[str, object]) -> np.ndarray:
    answer = client.post(IMG2IMG, json=body)
    assert answer.status_code == 200, answer.text
    return np.asarray(picture(answer.json()["images"][0]))


def test_words_make_the_mask(client: TestClient, body: dict[str, object], words: np.ndarray) -> None:
    mask = base64_of(Image.fromarray((words * 255).astype(np.uint8)))
    assert np.array_equal(made(client, body), made(client, body | {"mask": mask, "mask_words": ""}))
    inverted = {"inpainting_mask_invert": 1}
    assert np.array_equal(made(client, body | inverted), made(client, body | inverted | {"mask": mask,
                                                                                         "mask_words": ""}))


def test_they_are_added_to_a_mask(client: TestClient, body: dict[str, object], words: np.ndarray) -> None:
    painted = np.zeros_like(words)
    painted[: len(words) // 2, ::2] = True
    first, both = (base64_of(Image.fromarray((one * 255).astype(np.uint8))) for one in (painted, painted | words))
    assert np.array_equal(made(client, body | {"mask": first}), made(client, body | {"mask": both, "mask_words": ""}))


def test_a_turned_photograph(client: TestClient, body: dict[str, object], engine: Engine, photo: Image.Image,
                             words: np.ndarray) -> None:
    assert words.any()
    engine.set_options({"mask_words_threshold": 0.05})
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    photo.save(file, "JPEG", exif=exif)
    answer = client.post(IMG2IMG, json=body | {"init_images": [base64.b64encode(file.getvalue()).decode()]})
    assert answer.status_code == 200, answer.text
    assert not [one for one in answer.json()["warnings"] if "resized" in one]


def test_what_is_not_found_is_told(client: TestClient, body: dict[str, object], engine: Engine,
                                   words: np.ndarray) -> None:
    engine.set_options({"mask_words_threshold": 0.999999})
    answer = client.post(IMG2IMG, json=body)
    assert answer.status_code == 422
    assert answer.json()["detail"] == "Nothing in the picture was taken for 'the dog, bench'."


def test_without_a_network_the_answer_says_where_to_put_one(client: TestClient, body: dict[str, object],
                                                            engine: Engine) -> None:
    answer = client.post(IMG2IMG, json=body)
    assert answer.status_code == 404
    assert str(engine.settings.models_dir / "grounding") in answer.json()["detail"]


@pytest.mark.usefixtures("words")
def test_several_pictures_or_too_many_words_are_refused(client: TestClient, body: dict[str, object],
                                                        photo: Image.Image) -> None:
    answer = client.post(IMG2IMG, json=body | {"init_images": [base64_of(photo)] * 2})
    assert answer.status_code == 422
    assert "one by one" in answer.json()["detail"]
    for text in ("a," * 21, "a" * 501, " , "):
        assert client.post(IMG2IMG, json=body | {"mask_words": text}).status_code == 422
