"""Flags become settings, and settings become limits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from modules.engine.limits import check_limits
from modules.errors import InvalidInput
from modules.request import Img2Img, Txt2Img
from modules.settings import FOLDERS, PROJECT, Settings


def from_argv(*argv: str, commandline_args: str = "") -> Settings:
    return Settings.from_argv(argv, {"COMMANDLINE_ARGS": commandline_args})


def test_without_flags_it_listens_on_this_computer_only() -> None:
    settings = from_argv()
    assert (settings.host, settings.port, settings.passwords) == ("127.0.0.1", 7860, ())
    assert from_argv("--listen").host == "0.0.0.0"


def test_webui_flags_are_understood() -> None:
    settings = from_argv("--port", "7", "--nowebui", "--api", "--autolaunch", "--theme", "dark", "--subpath", "/sd/",
                         "--ckpt", "x", "--allow-host", "a.example", "--allow-host", "b.example", "--device", "cpu")
    assert settings.port == 7
    assert settings.nowebui
    assert settings.autolaunch
    assert settings.root_path == "/sd"
    assert settings.allow_host == ("a.example", "b.example")
    assert (settings.theme, settings.ckpt, settings.device) == ("dark", "x", "cpu")


@pytest.mark.parametrize(("text", "size"), [
    ("0", 0), ("8GB", 8 * 10**9), ("8g", 8 * 10**9), ("1.5 GB", 1500 * 10**6), ("500MB", 500 * 10**6), ("12", 12)])
def test_sizes(text: str, size: int) -> None:
    assert from_argv("--model-cache", text).model_cache == size
    assert from_argv().model_cache is None


def test_webuis_flags_without_meaning_are_accepted_and_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        settings = Settings.from_argv(["--xformers", "--port", "80"],
                                      {"COMMANDLINE_ARGS": "--medvram-sdxl --no-half-vae"})
    assert settings == Settings(port=80)
    assert caplog.messages == ["Without meaning here: --medvram-sdxl, --no-half-vae, --xformers."]
    with pytest.raises(InvalidInput, match="--share"):
        Settings.from_argv(["--share"], {})


def test_both_password_flags_open_everything() -> None:
    settings = from_argv("--api-auth", "a:1,b:2:3", "--gradio-auth", "c:4")
    assert settings.passwords == (("a", "1"), ("b", "2:3"), ("c", "4"))


def test_passwords_are_shown_nowhere() -> None:
    settings = from_argv("--api-auth", "somebody:hush", "--gradio-auth", "other:hush")
    assert "hush" not in repr(settings)
    assert "hush" not in repr(settings.public())


def test_commandline_args_come_first_so_that_flags_win() -> None:
    settings = from_argv("--port", "2", commandline_args='--port 1 --ckpt "my model"')
    assert (settings.port, settings.ckpt) == (2, "my model")


@pytest.mark.parametrize("argv", [
    ["--no-such-flag"], ["--port", "x"], ["--port", "99999"], ["--device", "abacus"], ["--api-auth", "nopassword"],
    ["--max-steps", "0"], ["--model-cache", "much"], ["--model-cache", "1.2.3GB"], ["--tiled-vae", "perhaps"],
    ["--por", "1"], ["stray"]])
def test_a_wrong_flag_is_refused_in_one_sentence(argv: list[str]) -> None:
    with pytest.raises(InvalidInput) as caught:
        from_argv(*argv)
    assert "\n" not in caught.value.message
    assert argv[0] in caught.value.message


def test_folders_lie_in_the_data_folder_unless_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = from_argv("--data-dir", "data", "--outputs-dir", "mine", "--ckpt-dir", "more", "--vae-dir", "vaes")
    assert settings.outputs_dir == tmp_path / "mine"
    assert settings.checkpoint_dirs == (tmp_path / "data/models/Stable-diffusion", tmp_path / "more")
    assert settings.vae_dirs == (tmp_path / "data/models/VAE", tmp_path / "vaes")
    assert settings.config_file == tmp_path / "data/config.json"
    assert settings.styles_file == tmp_path / "data/styles.csv"


PICTURE = Image.new("RGB", (8, 8))


@pytest.mark.parametrize(("changes", "field"), [
    ({"width": 2049}, "width"), ({"height": 10_000_000}, "height"), ({"steps": 151}, "steps"),
    ({"n_iter": 101}, "n_iter"), ({"batch_size": 17}, "batch_size"),
    ({"seed_resize_from_w": 4096}, "seed_resize_from_w"),
    ({"width": 2048, "height": 2048, "batch_size": 5}, "batch_size"),
    ({"enable_hr": True, "hr_scale": 5}, "hr_scale"), ({"enable_hr": True, "hr_resize_x": 2049}, "hr_resize_x"),
    ({"enable_hr": True, "hr_second_pass_steps": 151}, "hr_second_pass_steps"),
    ({"enable_hr": True, "width": 1024, "height": 1024, "batch_size": 5}, "hr_scale")])
def test_more_than_the_limits_names_the_field(changes: dict[str, int], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_limits(Txt2Img(**changes), Settings())
    assert caught.value.field == field
    assert caught.value.status == 422


def test_many_init_images_count_as_a_batch() -> None:
    request = Img2Img(init_images=(PICTURE,) * 17)
    with pytest.raises(InvalidInput, match="init_images"):
        check_limits(request, Settings())


@pytest.mark.parametrize(("allowed", "more"), [
    ({"width": 2048, "height": 2048, "batch_size": 4}, {"width": 2049}),
    ({"width": 2048, "height": 2048, "batch_size": 4}, {"batch_size": 5}),
    ({"steps": 150, "n_iter": 100}, {"steps": 151}), ({"steps": 150, "n_iter": 100}, {"n_iter": 101}),
    ({"enable_hr": True, "width": 1024, "height": 1024, "batch_size": 4}, {"batch_size": 5}),
    ({"hr_scale": 16}, {"enable_hr": True})])
def test_the_limits_themselves_are_allowed_and_the_next_number_is_not(allowed: dict[str, Any],
                                                                      more: dict[str, Any]) -> None:
    check_limits(Txt2Img(**allowed), Settings())
    with pytest.raises(InvalidInput):
        check_limits(Txt2Img(**allowed | more), Settings())


def test_a_limit_can_be_moved() -> None:
    moved = replace(Settings(), max_steps=500)
    check_limits(Txt2Img(steps=500), moved)
    with pytest.raises(InvalidInput, match="500"):
        check_limits(Txt2Img(steps=501), moved)


@pytest.mark.parametrize("name", ["prompt", "negative_prompt", "hr_prompt", "hr_negative_prompt"])
def test_prompts_have_a_limit_whatever_made_them_long(name: str) -> None:
    check_limits(Txt2Img(**{name: "x" * 100_000}), Settings())
    with pytest.raises(InvalidInput, match="100000") as error:
        check_limits(Txt2Img(**{name: "x" * 100_001}), Settings())
    assert error.value.field == name


def test_models_of_other_programs_are_read_where_they_are(tmp_path: Path) -> None:
    webui, comfy = tmp_path / "webui", tmp_path / "comfy"
    for folder in (webui / "models" / "Stable-diffusion", webui / "models" / "ESRGAN", comfy / "models" / "checkpoints",
                   comfy / "models" / "vae"):
        folder.mkdir(parents=True)
    settings = Settings(data_dir=tmp_path / "own", webui_dir=webui, comfy_dir=comfy)
    assert settings.checkpoint_dirs == (tmp_path / "own" / "models" / "Stable-diffusion",
                                        webui / "models" / "Stable-diffusion", comfy / "models" / "checkpoints")
    assert settings.vae_dirs[1:] == (comfy / "models" / "vae",)
    assert settings.folders("upscalers")[-1] == webui / "models" / "ESRGAN"
    assert set(settings.borrowed) == {"checkpoints", "VAE", "upscalers"}
    assert Settings(data_dir=tmp_path).borrowed == {}
    with pytest.raises(InvalidInput, match="--webui-dir"):
        Settings(webui_dir=tmp_path / "nowhere")


def test_the_table_of_folders_is_in_the_docs() -> None:
    page = (PROJECT / "docs" / "models.md").read_text(encoding="utf-8")
    for kind, (own, webui, comfy) in FOLDERS.items():
        row = next(line for line in page.splitlines() if line.startswith(f"| {kind} |"))
        assert all(name in row for name in (*own, *webui[:1], *comfy) if kind != "upscalers" or name not in webui[:1])
