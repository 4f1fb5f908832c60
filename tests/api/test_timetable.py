"""The noise levels of a run over HTTP."""

from __future__ import annotations

from fastapi.testclient import TestClient


def test_the_calls_of_a_run_are_told(client: TestClient) -> None:
    answer = client.get("/v1/timetable?sampler_name=DDIM&steps=20&denoising_strength=0.75").json()
    assert (len(answer["skipped"]), len(answer["calls"]), answer["asked"]) == (5, 15, 20)
    assert answer["calls"][0]["t"] == 701
    other = client.get("/v1/timetable?sampler_name=DDIM&steps=20&denoising_strength=0.75&ddim_loop=webui-1.10").json()
    assert len(other["calls"]) == 14
    assert len(client.get("/v1/timetable?sampler_name=Heun&steps=4").json()["calls"]) == 7


def test_what_cannot_be_is_one_sentence(client: TestClient) -> None:
    for wrong in ("sampler_name=no", "steps=0", "denoising_strength=2", "ddim_loop=no", "denoising_strength=nan"):
        answer = client.get(f"/v1/timetable?{wrong}")
        assert answer.status_code == 422, wrong
        assert answer.json()
