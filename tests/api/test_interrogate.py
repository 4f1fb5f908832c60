"""Words for pictures over HTTP, as WebUI's clients and those of wd14-tagger ask."""

from __future__ import annotations

import pytest
import webuiapi
from describers import write_blip, write_tagger
from fastapi.testclient import TestClient
from PIL import Image

from modules.engine.engine import Engine

from .conftest import base64_of

INTERROGATE, TAG = "/sdapi/v1/interrogate", "/tagger/v1/interrogate"


@pytest.fixture
def files(engine: Engine) -> None:
    write_tagger(engine.settings.models_dir / "taggers")
    write_blip(engine.settings.models_dir / "captioners" / "tiny")


@pytest.mark.usefixtures("files")
def test_webuis_route(client: TestClient, engine: Engine, photo: Image.Image) -> None:
    body = {"image": base64_of(photo)}
    caption = client.post(INTERROGATE, json=body).json()["caption"]
    assert caption == engine.describers.describe(photo, "clip", 0.5, lambda: None)
    assert client.post(INTERROGATE, json=body | {"model": "tiny"}).json() == {"caption": caption, "model": "tiny"}
    tags = client.post(INTERROGATE, json=body | {"model": "deepdanbooru"}).json()
    assert tags == {"caption": r"rem \(re:zero\), long hair", "model": "wd14"}
    engine.set_options({"interrogate_deepbooru_score_threshold": 0.7})
    tags = client.post(INTERROGATE, json=body | {"model": "wd14"}).json()
    assert tags == {"caption": r"rem \(re:zero\)", "model": "wd14"}


@pytest.mark.usefixtures("files")
def test_the_taggers_routes(client: TestClient, photo: Image.Image) -> None:
    assert client.get("/tagger/v1/interrogators").json() == {"models": ["wd14"]}
    body = {"image": base64_of(photo), "model": "wd14", "threshold": 0.5}
    flat = client.post(TAG, json=body).json()["caption"]
    assert flat == pytest.approx({"general": 0.8, "explicit": 0.1, "rem_(re:zero)": 0.9, "long_hair": 0.6})
    newer = client.post(TAG, json=body | {"queue": "", "name_in_queue": ""}).json()["caption"]
    assert newer["rating"] == pytest.approx({"general": 0.8, "explicit": 0.1})
    assert newer["tag"] == pytest.approx({"rem_(re:zero)": 0.9, "long_hair": 0.6})
    assert client.post("/tagger/v1/unload-interrogators").status_code == 200
    assert client.post(TAG, json=body).json()["caption"] == flat


def test_without_files_the_answer_says_where_to_put_one(client: TestClient, photo: Image.Image, engine: Engine) -> None:
    for path, model, folder in ((INTERROGATE, "clip", "captioners"), (INTERROGATE, "deepdanbooru", "taggers"),
                                (INTERROGATE, "../../etc", "captioners"), (TAG, "wd14-vit", "taggers")):
        answer = client.post(path, json={"image": base64_of(photo), "model": model})
        assert answer.status_code == 404
        assert model in answer.json()["detail"]
        assert str(engine.settings.models_dir / folder) in answer.json()["detail"]
    assert client.get("/tagger/v1/interrogators").json() == {"models": []}
    assert client.post("/tagger/v1/nothing").status_code == 404


@pytest.mark.usefixtures("files")
def test_bad_pictures_are_refused(client: TestClient) -> None:
    for image in ("", "no", "http://example.com/a.png"):
        for path in (INTERROGATE, TAG):
            answer = client.post(path, json={"image": image})
            assert answer.status_code == 422
            assert answer.json()["detail"].startswith("image ")
    assert client.post(TAG, json={"image": "", "threshold": 2}).status_code == 422


@pytest.mark.usefixtures("files")
def test_the_client_webuiapi(address: str, photo: Image.Image, engine: Engine) -> None:
    api = webuiapi.WebUIApi(port=int(address.rpartition(":")[2]))
    assert api.interrogate(photo).info == engine.describers.describe(photo, "clip", 0.5, lambda: None)
    assert api.interrogate(photo, model="deepdanbooru").info == r"rem \(re:zero\), long hair"
