"""Lists, flags, memory and png-info, in the shapes that programs expect."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from fakes import write_checkpoint
from fastapi.testclient import TestClient
from PIL import Image

from modules import saving
from modules.api import create_api
from modules.engine import Engine
from modules.jobs import JobQueue
from modules.settings import Settings

from .conftest import base64_of, info, small


def test_checkpoints_are_listed_and_found_again(client: TestClient, settings: Settings) -> None:
    assert [model["model_name"] for model in client.get("/sdapi/v1/sd-models").json()] == ["first", "second"]
    write_checkpoint(settings.checkpoint_dirs[0] / "sub", "third")
    assert len(client.get("/sdapi/v1/sd-models").json()) == 2
    assert client.post("/sdapi/v1/refresh-checkpoints").json() is None
    third = client.get("/sdapi/v1/sd-models").json()[2]
    assert set(third) == {"title", "model_name", "hash", "sha256", "filename", "config"}
    assert third["title"] == "sub/third.safetensors"


def test_a_used_checkpoint_shows_its_hash(client: TestClient) -> None:
    short = info(client.post("/sdapi/v1/txt2img", json=small()))["sd_model_hash"]
    first = client.get("/sdapi/v1/sd-models").json()[0]
    assert (first["hash"], first["sha256"][:10], first["title"]) == (short, short, f"first.safetensors [{short}]")
    told = info(client.post("/sdapi/v1/txt2img", json=small(override_settings={"sd_model_checkpoint": short})))
    assert told["sd_model_name"] == "first"


def test_vaes_are_listed_and_found_again(client: TestClient, settings: Settings) -> None:
    assert client.get("/sdapi/v1/sd-vae").json() == []
    write_checkpoint(settings.vae_dirs[0], "smooth")
    client.post("/sdapi/v1/refresh-vae")
    (vae,) = client.get("/sdapi/v1/sd-vae").json()
    assert vae["model_name"] == "smooth.safetensors"
    assert vae["filename"].endswith("models/VAE/smooth.safetensors")


def test_every_sampler_and_schedule_that_is_listed_works(client: TestClient) -> None:
    samplers = [sampler["name"] for sampler in client.get("/sdapi/v1/samplers").json()]
    schedulers = client.get("/sdapi/v1/schedulers").json()
    assert {"DDIM", "Euler", "Euler a", "DPM++ 2M", "DPM++ SDE"} <= set(samplers)
    assert {"Automatic", "Uniform", "Karras", "Exponential"} <= {scheduler["label"] for scheduler in schedulers}
    assert set(schedulers[0]) == {"name", "label", "aliases", "default_rho", "need_inner_model"}
    for name in samplers:
        told = info(client.post("/sdapi/v1/txt2img", json=small(sampler_name=name, steps=4, width=16, height=16)))
        assert told["sampler_name"] == name
    for scheduler in schedulers:
        body = small(sampler_name="Euler", scheduler=scheduler["label"], steps=4, width=16, height=16)
        (text,) = info(client.post("/sdapi/v1/txt2img", json=body))["infotexts"]
        assert f"Schedule type: {scheduler['label']}," in text


@pytest.mark.parametrize(("name", "empty"), [
    ("scripts", {"txt2img": [], "img2img": []}), ("script-info", []), ("hypernetworks", []), ("face-restorers", []),
    ("realesrgan-models", []), ("prompt-styles", []), ("embeddings", {"loaded": {}, "skipped": {}}), ("loras", []),
    ("extensions", [])])
def test_what_we_have_none_of_is_an_empty_list(client: TestClient, name: str, empty: object) -> None:
    assert client.get(f"/sdapi/v1/{name}").json() == empty


@pytest.fixture
def guarded(engine: Engine, queue: JobQueue, settings: Settings) -> Iterator[TestClient]:
    settings = replace(settings, api_auth=(("somebody", "hush"),))
    with TestClient(create_api(engine, queue, settings), base_url="http://localhost") as client:
        client.auth = ("somebody", "hush")
        yield client


def test_flags_are_told_without_passwords(guarded: TestClient) -> None:
    answer = guarded.get("/sdapi/v1/cmd-flags")
    assert answer.json()["max_steps"] == 150
    assert "hush" not in answer.text
    assert "api_auth" not in answer.json()


def test_memory_is_told(client: TestClient) -> None:
    told = client.get("/sdapi/v1/memory").json()
    assert told["ram"]["used"] > 0
    assert told["ram"]["total"] == told["ram"]["used"] + told["ram"]["free"]
    assert "cuda" in told


def test_png_info_reads_what_we_write(client: TestClient) -> None:
    body = client.post("/sdapi/v1/txt2img", json=small()).json()
    told = client.post("/sdapi/v1/png-info", json={"image": body["images"][0]}).json()
    assert told["info"] == json.loads(body["info"])["infotexts"][0]
    assert told["parameters"]["Prompt"] == "a dog"
    assert told["items"] == {}


def test_png_info_of_a_picture_without_a_text_and_of_none(client: TestClient) -> None:
    assert client.post("/sdapi/v1/png-info", json={"image": base64_of(Image.new("L", (8, 8)))}).json()["info"] == ""
    assert client.post("/sdapi/v1/png-info", json={"image": "none"}).status_code == 422


def test_the_schema_is_there_and_the_page_from_elsewhere_is_not(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    assert "/sdapi/v1/txt2img" in schema["paths"]
    assert client.get("/docs").status_code == 404
    assert client.get("/redoc").status_code == 404


def test_unknown_paths_and_methods_are_json_too(client: TestClient) -> None:
    assert client.get("/sdapi/v1/nothing").json()["detail"] == "Not Found"
    assert client.get("/sdapi/v1/txt2img").status_code == 405


def test_the_png_chunk_has_webuis_name() -> None:
    assert saving.PARAMETERS == "parameters"
