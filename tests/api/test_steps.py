"""Recorded steps over HTTP: pictures, numbers and files, which go with their job."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image
from safetensors.numpy import load

from modules.engine.engine import Engine
from modules.imaging import tensors
from modules.jobs import job as jobs
from modules.jobs import queue as queues
from modules.jobs.queue import JobQueue

from .conftest import small


def record(client: TestClient, **changes: object) -> str:
    answer = client.post("/sdapi/v1/txt2img", json=small(record_steps=True, **changes)).json()
    (name,) = answer["step_recordings"]
    return f"/v1/steps/{name}"


def test_a_recording_is_told_drawn_and_downloaded(client: TestClient) -> None:
    at = record(client, steps=4, batch_size=2, width=64, height=48)
    about = client.get(at).json()
    assert (about["images"], about["width"], about["height"], len(about["calls"])) == (2, 8, 6, 4)
    kept = load(client.get(f"{at}/file").content)
    assert kept["x0"].shape == (4, 2, 4, 6, 8)
    drawn = Image.open(io.BytesIO(client.get(f"{at}/3/x0.png?image=1").content))
    assert np.array_equal(np.asarray(drawn), kept["picture.x0"][3, 1])
    cell = client.get(f"{at}/cell?x=7&y=2&image=1").json()
    assert np.allclose(cell["x0"], kept["x0"][:, 1, :, 2, 7], atol=1e-5)
    animation = Image.open(io.BytesIO(client.get(f"{at}/animation.webp").content))
    assert (animation.n_frames, animation.size) == (4, (256, 192))
    strip = Image.open(io.BytesIO(client.get(f"{at}/strip.png?shown=x,x0").content))
    assert strip.size == (4 * 256, 2 * 192)
    assert strip.getpixel((3 * 256, 192)) == tuple(kept["picture.x0"][3, 0, 0, 0])


def test_the_autoencoder_draws_a_recorded_latent_as_it_draws_the_result(client: TestClient, engine: Engine) -> None:
    at = record(client, steps=3, sampler_name="Euler a", batch_size=2)
    kept = load(client.get(f"{at}/file").content)
    last = Image.open(io.BytesIO(client.get(f"{at}/2/x0.png?image=1&decoded=true").content))
    model = engine.loaded.model
    with_torch = model.decode_latent(torch.from_numpy(kept["x0"][2, 1:]))
    assert np.array_equal(np.asarray(last), np.asarray(tensors.to_image(with_torch[0])))
    level = client.get(at).json()["calls"][0]
    noise = (kept["x"][0, 0] - level["signal"] * kept["x0"][0, 0]) / level["noise"]
    drawn = Image.open(io.BytesIO(client.get(f"{at}/0/eps.png?decoded=true").content))
    expected = tensors.to_image(model.decode_latent(torch.from_numpy(noise)[None])[0])
    assert np.abs(np.asarray(drawn, int) - np.asarray(expected, int)).max() <= 1
    assert client.get(f"{at}/0/guidance.png?decoded=true").status_code == 404  # a difference, which is no latent
    engine.unload()
    answer = client.get(f"{at}/0/x.png?decoded=true")
    assert answer.status_code == 422
    assert "not in use now" in answer.json()["detail"]


def test_a_second_answer_has_none_unless_asked(client: TestClient) -> None:
    assert "step_recordings" not in client.post("/sdapi/v1/txt2img", json=small()).json()


@pytest.mark.parametrize("path", ["/9/x0.png", "/0/nothing.png", "/0/current.png", "/-1/x0.png", "/0/x0.png?image=5",
                                  "/cell?x=99&y=0", "/cell?x=-1&y=0", "/animation.webp?shown=..%2Fx",
                                  "/strip.png?shown=y"])
def test_what_is_not_there_is_a_404_in_one_sentence(path: str, client: TestClient) -> None:
    answer = client.get(record(client) + path)
    assert answer.status_code == 404
    assert json.dumps(answer.json()).count("\\n") == 0
    assert client.get("/v1/steps/0123").status_code == 404


def test_recordings_go_with_their_job(client: TestClient, queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "KEPT_JOBS", 1)
    first = record(client)
    assert client.get(first).status_code == 200
    second = record(client)
    assert client.get(first).status_code == 404
    assert client.get(second).status_code == 200
    assert queue.recordings
    folder = queue.recordings.folder
    assert len(list(folder.glob("*.safetensors"))) == 1
    queue.close()
    assert not list(folder.glob("*.safetensors"))


def test_runs_that_a_job_does_not_record_are_told_once(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "MOST_RECORDINGS", 1)
    answer = client.post("/sdapi/v1/txt2img", json=small(record_steps=True, n_iter=3)).json()
    assert len(answer["step_recordings"]) == 1
    assert answer["warnings"] == ["Only the first 1 runs were recorded: a job keeps no more."]


def test_a_run_goes_on_from_its_recording_or_without_it(client: TestClient) -> None:
    name = record(client, steps=4, seed=1).rsplit("/", 1)[1]
    asked = small(steps=4, seed=1, go_on_after=2, then_prompt="another")
    first = client.post("/sdapi/v1/txt2img", json=asked | {"go_on_from": name}).json()
    assert first["images"] == client.post("/sdapi/v1/txt2img", json=asked).json()["images"]
    assert first["images"] != client.post("/sdapi/v1/txt2img", json=small(steps=4, seed=1)).json()["images"]
    for wrong, status in (({"go_on_from": "0123"}, 404), ({"go_on_from": name, "seed": 2}, 422),
                          ({"then_sampler": "nonsense"}, 422), ({"enable_hr": True}, 422)):
        answer = client.post("/sdapi/v1/txt2img", json=asked | wrong)
        assert answer.status_code == status, answer.json()


def test_another_mask_takes_over_on_the_way(client: TestClient) -> None:
    def packed(colour: str, box: tuple[int, int, int, int]) -> str:
        mask = Image.new("RGB", (64, 64), "black")
        mask.paste("white", box)
        image = Image.new("RGB", (64, 64), colour) if colour != "mask" else mask
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        return base64.b64encode(buffer.getvalue()).decode()

    asked = small(init_images=[packed("teal", (0, 0, 0, 0))], mask=packed("mask", (0, 0, 24, 64)), mask_blur=0,
                  inpaint_full_res=False, inpainting_fill=1, steps=6, width=64, height=64, seed=1, go_on_after=2)
    answer = client.post("/sdapi/v1/img2img", json=asked | {"then_mask": packed("mask", (32, 0, 64, 64))}).json()
    made = np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["images"][0]))).convert("RGB"))
    teal = np.asarray(Image.new("RGB", (64, 64), "teal"))
    assert np.array_equal(made[:, :32], teal[:, :32])
    assert not np.array_equal(made[:, 32:], teal[:, 32:])
    assert "Then mask: True" in json.loads(answer["info"])["infotexts"][0]


def test_two_runs_are_compared_at_the_same_noise_level(client: TestClient) -> None:
    many, few = record(client, steps=8, prompt="a"), record(client, steps=4, prompt="another")
    levels = [[call["noise"] for call in client.get(at).json()["calls"]] for at in (many, few)]
    pictures = [load(client.get(f"{at}/file").content)["picture.x0"].astype(int) for at in (many, few)]
    for call, noise in enumerate(levels[0]):
        drawn = client.get(f"{many}/{call}/x0.png?minus={few.rsplit('/', 1)[1]}").content
        nearest = min(range(4), key=lambda n: abs(np.arcsin(levels[1][n]) - np.arcsin(noise)))
        wanted = (pictures[0][call, 0] - pictures[1][nearest, 0] + 128).clip(0, 255)
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(drawn))), wanted)
    itself = client.get(f"{many}/2/x0.png?minus={many.rsplit('/', 1)[1]}").content
    assert (np.asarray(Image.open(io.BytesIO(itself))) == 128).all()
    larger = record(client, steps=4, width=96).rsplit("/", 1)[1]
    assert client.get(f"{many}/2/x0.png?minus={larger}").status_code == 404
    assert client.get(f"{many}/2/x0.png?minus=0123").status_code == 404
