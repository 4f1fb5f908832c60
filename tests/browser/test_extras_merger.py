"""The Extras and Checkpoint Merger tabs: pixels and tensors against answers computed here, stopping, mistakes."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import ASTRONAUT
from numpy.typing import NDArray
from PIL import Image, ImageChops
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import Page, expect
from safetensors import safe_open
from safetensors.numpy import save_file

from modules.imaging.faces import FaceRestorers
from modules.imaging.upscale import Upscalers
from modules.ui.tabs.merger import FORMULAS
from modules.weights.catalog import CheckpointFile
from modules.weights.merge import METHODS
from tests.browser.canvas_driver import Canvas
from tests.browser.conftest import PageApp
from tests.browser.page_driver import generate, order, set_number, shown_picture, tab, until

SLOW = 180  # seconds, for what another thread waits for

TEXT = "a boat\nSteps: 5, Sampler: Euler, CFG scale: 7, Seed: 11, Size: 104x64"


def picture(path: Path, size: tuple[int, int], text: str = "") -> Image.Image:
    """Noise, saved as a PNG with a parameters text."""
    noise = np.random.default_rng(len(path.name)).integers(0, 256, (size[1], size[0], 3), np.uint8)
    image, info = Image.fromarray(noise), PngInfo()
    if text:
        info.add_text("parameters", text)
    image.save(path, pnginfo=info)
    return image


def choose(page: Page, elem_id: str, value: str) -> None:
    page.locator(f"#{elem_id} input").click()
    page.locator(f"#{elem_id}").get_by_role("option", name=value, exact=True).click()


def said(page: Page, name: str) -> Any:
    return page.locator(f"#{name}_stage .said")


def saved(app: PageApp) -> list[Path]:
    return sorted((app.outputs / "extras-images").glob("*.png"))


def enlarge(page: Page, app: PageApp, size: str) -> Path:
    """Presses Generate and waits for a picture of the `size` that is expected; the new file."""
    before = len(saved(app))
    page.locator("#extras_generate").click()
    expect(page.locator("#extras_words")).to_contain_text(f"→ {size}.")
    expect(page.locator("#extras_generate")).to_be_visible()
    assert len(saved(app)) == before + 1
    return saved(app)[-1]


def same(one: Image.Image, other: Image.Image) -> bool:
    return one.size == other.size and ImageChops.difference(one.convert("RGB"), other.convert("RGB")).getbbox() is None


def test_a_picture_is_enlarged_with_its_parameters_and_sent_on(web: Page, page_app: PageApp, tmp_path: Path) -> None:
    source = picture(tmp_path / "boat.png", (104, 64), TEXT)
    tab(web, "Extras")
    web.locator("#extras_generate").click()
    expect(web.get_by_text("Choose a picture first.")).to_be_visible()
    (tmp_path / "text.png").write_text("no picture")
    web.locator("#extras_image input[type=file]").set_input_files(tmp_path / "text.png")
    expect(web.locator("#extras_image").get_by_label("Remove Image")).to_be_visible()
    web.locator("#extras_generate").click()
    expect(said(web, "extras")).to_have_text("This file is not a picture that can be read.")
    web.locator("#extras_image").get_by_label("Remove Image").click()
    web.locator("#extras_image input[type=file]").set_input_files(tmp_path / "boat.png")
    expect(web.locator("#extras_image img")).to_be_visible()
    with Image.open(enlarge(web, page_app, "208 x 128")) as made:
        assert same(made, source.resize((208, 128), Image.Resampling.LANCZOS))
        assert made.info == {"parameters": TEXT,
                             "postprocessing": "Postprocess upscale by: 2.0, Postprocess upscaler: Lanczos"}
        assert same(shown_picture(web, "extras"), made)
    expect(web.locator("#extras_parameters textarea")).to_have_value(TEXT)
    tab(web, "PNG Info")
    web.locator("#pnginfo_image input[type=file]").set_input_files(saved(page_app)[-1])
    expect(web.locator("#pnginfo_details dl").last).to_have_text(
        "postprocessingPostprocess upscale by: 2.0, Postprocess upscaler: Lanczos")
    tab(web, "Extras")
    expect(web.locator("#extras_words")).to_contain_text("104 x 64 → 208 x 128.")
    expect(web.locator("#extras_compared img")).to_have_count(2)

    web.get_by_text("Scale to", exact=True).click()
    for name in ("width", "height"):
        set_number(web, f"extras_{name}", 256)
    choose(web, "extras_upscaler_2", "Nearest")
    set_number(web, "extras_visibility", 0.25)
    with Image.open(enlarge(web, page_app, "256 x 256")) as made:
        lanczos, nearest = (source.resize((416, 256), filter).crop((80, 0, 336, 256))
                            for filter in (Image.Resampling.LANCZOS, Image.Resampling.NEAREST))
        assert same(made, Image.blend(lanczos, nearest, 0.25))
        web.locator("#extras_send_to_inpaint").click()
        Canvas(web, [], "#inpaint_canvas").wait_size(256, 256)
    expect(web.locator("#inpaint_prompt textarea")).to_have_value("a boat")


def test_generate_may_be_pressed_as_soon_as_it_is_there_again(web: Page, page_app: PageApp, tmp_path: Path) -> None:
    picture(tmp_path / "boat.png", (104, 64), TEXT)
    tab(web, "Extras")
    web.locator("#extras_image input[type=file]").set_input_files(tmp_path / "boat.png")
    expect(web.locator("#extras_image img")).to_be_visible()
    before = len(saved(page_app))
    web.evaluate("""() => {
        const button = () => document.querySelector("#extras_generate");
        let gone = false;
        new MutationObserver((_, watch) => {
            if (!button()?.checkVisibility()) gone = true;
            else if (gone) {
                watch.disconnect();
                button().click();
            }
        }).observe(document.body, {childList: true, subtree: true, attributes: true});
    }""")
    web.locator("#extras_generate").click()
    until(web, lambda: len(saved(page_app)) == before + 2)


def test_results_and_png_info_send_to_extras(web: Page, page_app: PageApp, tmp_path: Path) -> None:
    tab(web, "txt2img")
    web.fill("#txt2img_prompt textarea", "a lighthouse")
    for name in ("width", "height"):
        set_number(web, f"txt2img_{name}", 64)
    text = generate(web, "txt2img")
    small = shown_picture(web, "txt2img")
    web.locator("#txt2img_send_to_extras").click()
    expect(web.locator("#extras_image img")).to_be_visible()
    with Image.open(enlarge(web, page_app, "128 x 128")) as made:
        assert same(made, small.resize((128, 128), Image.Resampling.LANCZOS))
        assert made.info["parameters"] == text
    source = picture(tmp_path / "info.png", (80, 40), TEXT)
    tab(web, "PNG Info")
    web.locator("#pnginfo_image input[type=file]").set_input_files(tmp_path / "info.png")
    web.locator("#pnginfo_send_to_extras").click()
    expect(web.locator("#extras_image img")).to_have_attribute("src", re.compile("info"))
    with Image.open(enlarge(web, page_app, "160 x 80")) as made:
        assert same(made, source.resize((160, 80), Image.Resampling.LANCZOS))
        assert made.info["parameters"] == TEXT


def test_faces_are_restored_by_a_model_that_is_there(web: Page, page_app: PageApp, tmp_path: Path,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "GFPGANv1.4.pth").touch()
    tab(web, "Extras")
    expect(web.locator("#extras_upscaler input")).to_have_value("Lanczos")
    expect(web.locator("#extras_restorer")).to_be_hidden()
    restorers = FaceRestorers([tmp_path], lambda path: lambda face: Image.new("RGB", face.size, "red"))
    monkeypatch.setattr(page_app.engine, "restorers", restorers)
    web.locator("#extras_refresh").click()
    expect(web.locator("#extras_restorer")).to_be_visible()
    choose(web, "extras_upscaler", "None")
    choose(web, "extras_restorer", "GFPGANv1.4")
    set_number(web, "extras_restorer_visibility", 0.5)
    web.locator("#extras_image input[type=file]").set_input_files(ASTRONAUT)
    expect(web.locator("#extras_image img")).to_be_visible()
    made, before = np.asarray(Image.open(enlarge(web, page_app, "512 x 512"))), np.asarray(Image.open(ASTRONAUT))
    expect(web.locator("#extras_words")).to_contain_text("GFPGANv1.4 visibility: 0.5")
    assert np.abs(made[110, 224] - (before[110, 224] + np.array((255, 0, 0))) / 2).max() <= 1
    assert np.array_equal(made[256:], before[256:])


class Steps:
    """An upscaler of factor 2 that waits before each picture until the test lets it go on."""

    def __init__(self) -> None:
        self.begun, self.go_on = threading.Semaphore(0), threading.Semaphore(0)

    def __call__(self, tile: Image.Image) -> Image.Image:
        self.begun.release()
        assert self.go_on.acquire(timeout=SLOW)
        return tile.resize((tile.width * 2, tile.height * 2), Image.Resampling.NEAREST)


def test_a_batch_goes_on_after_a_bad_file_and_can_be_stopped(
        web: Page, page_app: PageApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slow.pth").touch()
    steps = Steps()
    monkeypatch.setattr(page_app.engine, "upscalers", Upscalers([tmp_path], lambda path: steps))
    (tmp_path / "b-bad.png").write_text("no picture")
    first = picture(tmp_path / "a-first.png", (48, 40))
    third = picture(tmp_path / "c-third.png", (40, 48))
    files = [tmp_path / name for name in ("c-third.png", "b-bad.png", "a-first.png")]
    before = len(saved(page_app))
    tab(web, "Extras")
    web.locator("#extras_refresh").click()
    web.get_by_role("tab", name="Batch Process").click()
    web.locator("#extras_files input[type=file]").set_input_files(files)
    expect(web.locator("#extras_files tr.file")).to_have_count(3)
    choose(web, "extras_upscaler", "slow")
    steps.go_on.release(2)
    web.locator("#extras_generate").click()
    expect(said(web, "extras")).to_have_text("b-bad.png: This file is not a picture that can be read.")
    made = [Image.open(path) for path in saved(page_app)[before:]]
    assert [image.size for image in made] == [(96, 80), (80, 96)]
    for image, source in zip(made, (first, third), strict=True):
        assert same(image, source.resize(image.size, Image.Resampling.NEAREST))
    expect(web.locator("#extras_gallery .thumbnails img")).to_have_count(2)

    for _ in made:
        assert steps.begun.acquire(timeout=SLOW)
    web.locator("#extras_generate").click()
    assert steps.begun.acquire(timeout=SLOW)
    order(web, "extras_interrupt", page_app.queue)
    expect(web.locator("#extras_stage [role=status]")).to_contain_text("Enlarging with slow")
    steps.go_on.release(9)
    expect(said(web, "extras")).to_have_text("Interrupted.")
    assert len(saved(page_app)) == before + 2


def test_every_method_has_its_formula() -> None:
    assert tuple(FORMULAS) == METHODS


@pytest.fixture
def mergeable(web: Page, page_app: PageApp) -> Iterator[dict[str, NDArray[Any]]]:
    """The weights of three small checkpoints, ma, mb and mc, which are gone afterwards with all that was made."""
    folder = page_app.engine.settings.checkpoint_dirs[0]
    before = set(folder.iterdir())
    weights = {name: np.random.default_rng(number).normal(size=(8, 4)).astype(np.float32)
               for number, name in enumerate(("ma", "mb", "mc"))}
    for name, values in weights.items():
        save_file({"model.diffusion_model.out.weight": values, "other": values}, folder / f"{name}.safetensors")
    tab(web, "Checkpoint Merger")
    web.locator("#merger_refresh").click()
    yield weights
    for path in set(folder.iterdir()) - before:
        path.unlink()
    page_app.engine.catalog.refresh()


def test_two_checkpoints_are_merged_and_the_new_one_can_be_chosen(
        web: Page, page_app: PageApp, mergeable: dict[str, NDArray[Any]]) -> None:
    web.locator("#merger_generate").click()
    expect(web.get_by_text("Choose a primary model (A).")).to_be_visible()
    expect(web.locator("#merger_c")).to_be_hidden()
    choose(web, "merger_a", "ma.safetensors")
    choose(web, "merger_b", "mb.safetensors")
    set_number(web, "merger_multiplier", 0.25)
    web.locator("#merger_name").get_by_role("textbox").fill("mixed")
    web.locator("#merger_half input").uncheck()
    web.locator("#merger_generate").click()
    expect(said(web, "merger")).to_have_text("mixed.safetensors is there, and can be chosen at the top.")
    folder = page_app.engine.settings.checkpoint_dirs[0]
    with safe_open(folder / "mixed.safetensors", "np") as file:
        made = file.get_tensor("model.diffusion_model.out.weight")
        assert np.allclose(made, 0.75 * mergeable["ma"] + 0.25 * mergeable["mb"], rtol=1e-6)
        assert made.dtype == np.float32
        assert np.array_equal(file.get_tensor("other"), mergeable["ma"])
        assert json.loads(file.metadata()["sd_merge_recipe"])["multiplier"] == 0.25
    web.locator("#setting_sd_model_checkpoint input").click()
    expect(web.get_by_role("option", name="mixed.safetensors")).to_be_visible()
    web.keyboard.press("Escape")
    web.locator("#merger_generate").click()
    expect(said(web, "merger")).to_have_text(
        "There is a checkpoint called mixed.safetensors already; choose another name.")

    web.get_by_text("Add difference", exact=True).click()
    expect(web.locator("#merger_formula")).to_contain_text("A + (B - C) x M")
    choose(web, "merger_c", "mc.safetensors")
    web.locator("#merger_name").get_by_role("textbox").fill("learnt")
    web.locator("#merger_half input").check()
    web.locator("#merger_generate").click()
    expect(said(web, "merger")).to_contain_text("learnt.safetensors is there")
    with safe_open(folder / "learnt.safetensors", "np") as file:
        made = file.get_tensor("model.diffusion_model.out.weight")
        assert made.dtype == np.float16
        assert np.allclose(made, mergeable["ma"] + 0.25 * (mergeable["mb"] - mergeable["mc"]), atol=2e-3)


def test_a_stopped_merge_leaves_nothing(web: Page, page_app: PageApp, mergeable: dict[str, NDArray[Any]],
                                        monkeypatch: pytest.MonkeyPatch) -> None:
    catalog, begun, go_on = page_app.engine.catalog, threading.Event(), threading.Event()

    def hashed_slowly(file: CheckpointFile) -> str:
        begun.set()
        assert go_on.wait(SLOW)
        return "0" * 64

    monkeypatch.setattr(catalog, "sha256", hashed_slowly)
    files = sorted(page_app.engine.settings.checkpoint_dirs[0].iterdir())
    choose(web, "merger_a", "ma.safetensors")
    choose(web, "merger_b", "mb.safetensors")
    web.locator("#merger_generate").click()
    assert begun.wait(SLOW)
    order(web, "merger_interrupt", page_app.queue)
    go_on.set()
    expect(said(web, "merger")).to_have_text("Interrupted.")
    assert sorted(page_app.engine.settings.checkpoint_dirs[0].iterdir()) == files


def test_a_file_of_weights_is_told_by_its_header_alone(web: Page, tmp_path: Path) -> None:
    tab(web, "PNG Info")
    file, sent = tmp_path / "some lora.safetensors", []
    name = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    save_file({f"{name}.lora_down.weight": np.zeros((4, 320), np.float32),
               f"{name}.lora_up.weight": np.zeros((320, 4), np.float32), "more": np.zeros(10**6, np.float32)}, file)
    web.on("request", lambda request: sent.append(len(request.post_data_buffer or b"")))
    web.locator("#doctor_file").set_input_files(file)
    said = web.locator("#doctor_said [role=status]")
    expect(said).to_contain_text("some lora.safetensors")
    expect(said).to_contain_text("LoRA")
    assert max(sent) < 10_000, "of four megabytes only the header goes to the server"
    file.write_bytes(b"not a header at all")
    web.locator("#doctor_file").set_input_files(file)
    expect(said).not_to_contain_text("LoRA")
    expect(said.locator("p")).to_have_count(1)
