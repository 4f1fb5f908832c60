"""Lists, flags, memory and png-info, in the shapes that programs expect."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from fakes import write_checkpoint
from fastapi.testclient import TestClient
from PIL import Image

from modules.api import create_api
from modules.engine.engine import Engine
from modules.jobs.queue import JobQueue
from modules.settings import Settings
from modules.text import image_metadata

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
    ("hypernetworks", []), ("face-restorers", []), ("realesrgan-models", []), ("prompt-styles", []),
    ("embeddings", {"loaded": {}, "skipped": {}}), ("loras", [])])
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
    assert "workers" not in told


def test_the_memory_of_workers_is_told(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    ram = {"ram": {"free": 1, "used": 2, "total": 3}}
    monkeypatch.setattr(Engine, "workers", lambda engine: [{"number": 1, "memory": ram, "state": "idle"},
                                                           {"number": 2, "memory": {}, "state": "starting"}])
    assert client.get("/sdapi/v1/memory").json()["workers"] == [{"number": 1, **ram}, {"number": 2}]


def test_png_info_reads_what_we_write(client: TestClient) -> None:
    body = client.post("/sdapi/v1/txt2img", json=small()).json()
    told = client.post("/sdapi/v1/png-info", json={"image": body["images"][0]}).json()
    assert told["info"] == json.loads(body["info"])["infotexts"][0]
    assert told["parameters"]["Prompt"] == "a dog"
    assert told["items"] == {}


def test_png_info_of_a_picture_without_a_text_and_of_none(client: TestClient) -> None:
    assert client.post("/sdapi/v1/png-info", json={"image": base64_of(Image.new("L", (8, 8)))}).json()["info"] == ""
    assert client.post("/sdapi/v1/png-info", json={"image": "none"}).status_code == 422


def test_the_page_of_endpoints_is_whole_and_asks_no_other_host(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    answer = client.get("/docs")
    assert answer.headers["content-type"].startswith("text/html")
    for path in paths:
        assert f"<code>{path}</code>" in answer.text
    assert "/sdapi/v1/extra-batch-images" in paths
    assert "<td><code>steps</code></td><td><code>integer</code></td><td><code>50</code></td>" in answer.text
    assert "//" not in answer.text
    assert "<script" not in answer.text
    assert client.get("/redoc").status_code == 404


def test_scripts_are_listed_by_tab_with_their_arguments_in_order(client: TestClient) -> None:
    told = client.get("/sdapi/v1/scripts").json()
    assert "prompts from file or textbox" in told["txt2img"]
    assert "soft inpainting" in told["img2img"]
    assert "soft inpainting" not in told["txt2img"]
    described = client.get("/sdapi/v1/script-info").json()
    for tab, titles in told.items():
        assert {script["name"] for script in described if script["is_img2img"] == (tab == "img2img")} == set(titles)
    soft = next(script for script in described if script["name"] == "soft inpainting")
    assert soft["is_alwayson"]
    assert [argument["value"] for argument in soft["args"]] == [False, 1, 0.5, 4, 0, 0.5, 2]
    prompts = next(script for script in described if script["name"] == "prompts from file or textbox")
    assert [(argument["value"], argument["choices"]) for argument in prompts["args"]] == [
        (False, None), (False, None), ("start", ["start", "end"]), ("", None)]


def test_upscalers_are_listed_with_the_model_files(client: TestClient, settings: Settings) -> None:
    def names() -> list[str]:
        return [upscaler["name"] for upscaler in client.get("/sdapi/v1/upscalers").json()]

    usual = ["ESRGAN_4x", "R-ESRGAN 4x+", "R-ESRGAN 4x+ Anime6B", "SwinIR_4x", "LDSR", "ScuNET"]
    assert names() == ["None", "Lanczos", "Nearest", *usual]
    folder = settings.models_dir / "ESRGAN"
    folder.mkdir()
    (folder / "4x-photo.pth").write_bytes(b"weights")
    (folder / "notes.txt").write_bytes(b"not weights")
    assert names() == ["None", "Lanczos", "Nearest", *usual, "4x-photo"]
    assert client.get("/sdapi/v1/upscalers").json()[-1]["model_path"] == str(folder / "4x-photo.pth")


def test_latent_upscale_modes_are_webuis(client: TestClient) -> None:
    assert [mode["name"] for mode in client.get("/sdapi/v1/latent-upscale-modes").json()] == [
        "Latent", "Latent (antialiased)", "Latent (bicubic)", "Latent (bicubic antialiased)", "Latent (nearest)",
        "Latent (nearest-exact)"]


def test_styles_are_listed_and_used(client: TestClient, settings: Settings) -> None:
    settings.styles_file.write_text("name,prompt,negative_prompt\nOil,\"{prompt}, oil\",photo\n", "utf-8")
    assert client.get("/sdapi/v1/prompt-styles").json() == [
        {"name": "Oil", "prompt": "{prompt}, oil", "negative_prompt": "photo"}]
    told = info(client.post("/sdapi/v1/txt2img", json=small(styles=["Oil"])))
    assert (told["prompt"], told["negative_prompt"]) == ("a dog, oil", "photo")


def test_a_checkpoint_is_unloaded_and_loaded_again(client: TestClient, engine: Engine) -> None:
    before = client.post("/sdapi/v1/txt2img", json=small()).json()["images"]
    assert client.post("/sdapi/v1/unload-checkpoint").json() == {}
    assert engine.model_name is None
    assert client.post("/sdapi/v1/reload-checkpoint").json() == {}
    assert engine.model_name == "first"
    client.post("/sdapi/v1/unload-checkpoint")
    assert client.post("/sdapi/v1/txt2img", json=small()).json()["images"] == before  # loaded when it is needed


def test_unknown_paths_and_methods_are_json_too(client: TestClient) -> None:
    answer = client.get("/sdapi/v1/nothing")
    assert answer.status_code == 404
    assert answer.json()["detail"] == "There is no endpoint /sdapi/v1/nothing; /docs lists them."
    answer = client.get("/sdapi/v1/txt2img")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert answer.json()["detail"] == "/sdapi/v1/txt2img takes POST, not GET."
    assert client.get("/elsewhere").json()["detail"] == "Not Found"


def test_what_programs_ask_first(client: TestClient) -> None:
    """Whether the server is there, and that it looks for files of kinds that it has none of."""
    assert client.get("/internal/ping").json() == {}
    for name in ("refresh-loras", "refresh-embeddings"):
        assert client.post(f"/sdapi/v1/{name}").text == "null"


def test_the_png_chunk_has_webuis_name() -> None:
    assert image_metadata.PARAMETERS == "parameters"
