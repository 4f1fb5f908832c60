"""Options over HTTP: read, written, written back whole, and what a wrong one does."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from modules.engine.engine import Engine
from modules.errors import CheckpointError
from modules.request.options import Options
from modules.settings import Settings

from .conftest import info, small

OPTIONS = "/sdapi/v1/options"


def test_the_options_that_programs_look_for_are_there(client: TestClient) -> None:
    told = client.get(OPTIONS).json()
    assert told["sd_model_checkpoint"] == "first.safetensors"
    assert told["send_seed"] is True
    for name in ("sd_vae", "CLIP_stop_at_last_layers", "randn_source", "eta_noise_seed_delta", "img2img_fix_steps",
                 "inpainting_mask_weight", "eta_ddim", "eta_ancestral", "ddim_loop", "mask_noise", "samples_format"):
        assert name in told


def test_a_subset_is_changed_and_the_rest_left(client: TestClient, engine: Engine) -> None:
    assert client.post(OPTIONS, json={"CLIP_stop_at_last_layers": 2, "ddim_loop": "webui-1.10"}).json() is None
    assert engine.options == Options(CLIP_stop_at_last_layers=2, ddim_loop="webui-1.10")
    assert info(client.post("/sdapi/v1/txt2img", json=small()))["clip_skip"] == 2


def test_all_that_was_read_can_be_written_back(client: TestClient) -> None:
    client.post(OPTIONS, json={"somebody_elses": {"deep": [1, 2.5, None]}, "eta_ddim": 0.5})
    whole = client.get(OPTIONS).json()
    assert whole["somebody_elses"] == {"deep": [1, 2.5, None]}
    assert client.post(OPTIONS, json=whole).status_code == 200
    assert client.get(OPTIONS).json() == whole
    assert client.post(OPTIONS, json=whole | {"sd_model_checkpoint": "second"}).status_code == 200
    assert client.get(OPTIONS).json()["sd_model_checkpoint"].startswith("second.safetensors")


def test_a_new_checkpoint_is_loaded_before_the_answer(client: TestClient, engine: Engine) -> None:
    assert client.post(OPTIONS, json={"sd_model_checkpoint": "second"}).status_code == 200
    assert engine.model_name == "second"
    title = client.get(OPTIONS).json()["sd_model_checkpoint"]
    assert title in [model["title"] for model in client.get("/sdapi/v1/sd-models").json()]


@pytest.mark.parametrize(("changes", "status", "named"), [
    ({"sd_model_checkpoint": "nowhere"}, 404, "nowhere"), ({"sd_vae": "nowhere.pt"}, 404, "nowhere.pt"),
    ({"CLIP_stop_at_last_layers": 99}, 422, "CLIP_stop_at_last_layers"), ({"ddim_loop": 3}, 422, "ddim_loop"),
    ({"eta_ddim": "x"}, 422, "eta_ddim")])
def test_a_wrong_option_changes_nothing(client: TestClient, engine: Engine, changes: dict[str, object], status: int,
                                        named: str) -> None:
    answer = client.post(OPTIONS, json={"img2img_fix_steps": True, "foreign": 1, **changes})
    assert answer.status_code == status
    assert named in answer.json()["detail"]
    assert engine.options == Options()
    assert "foreign" not in client.get(OPTIONS).json()


def test_a_checkpoint_that_does_not_load_leaves_the_old_one(client: TestClient, engine: Engine) -> None:
    info(client.post("/sdapi/v1/txt2img", json=small()))

    def fail(*_: object) -> None:
        raise CheckpointError("second.safetensors is cut short.")

    engine.models.load_file = fail
    answer = client.post(OPTIONS, json={"sd_model_checkpoint": "second"})
    assert (answer.status_code, answer.json()["detail"]) == (422, "second.safetensors is cut short.")
    assert engine.options == Options()
    assert info(client.post("/sdapi/v1/txt2img", json=small()))["sd_model_name"] == "first"


@pytest.mark.parametrize("content", [b'{"foreign": NaN}', b'{"foreign": Infinity}', b"[]", b"{"])
def test_what_is_no_json_is_refused(client: TestClient, content: bytes) -> None:
    answer = client.post(OPTIONS, content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert client.get(OPTIONS).status_code == 200


def test_foreign_options_are_bounded(client: TestClient) -> None:
    assert client.post(OPTIONS, json={"a": "x" * 2**21}).status_code == 422
    assert "a" not in client.get(OPTIONS).json()


def test_without_any_checkpoint_there_is_still_an_answer(client: TestClient, settings: Settings) -> None:
    for path in settings.checkpoint_dirs[0].iterdir():
        path.unlink()
    client.post("/sdapi/v1/refresh-checkpoints")
    assert client.get("/sdapi/v1/sd-models").json() == []
    assert client.get(OPTIONS).json()["sd_model_checkpoint"] == ""
    answer = client.post("/sdapi/v1/txt2img", json=small())
    assert answer.status_code == 404
    assert "checkpoint" in answer.json()["detail"]
