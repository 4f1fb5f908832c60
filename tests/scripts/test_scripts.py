"""The scripts over a model in closed form: what they make, in which order, and what they save."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeModel, fake_engine
from PIL import Image

from modules.engine.engine import Engine
from modules.errors import BadResult, Interrupted, InvalidInput, NotFound
from modules.hooks.forms import Script
from modules.jobs.queue import JobQueue
from modules.request import Img2Img, ScriptCall, Txt2Img
from modules.request.job_context import NullJob, Preview
from modules.request.result import GeneratedImage, Result
from modules.sampling.registry import find_sampler
from modules.scripts.axes import AXES, axes
from modules.scripts.loopback import strengths
from modules.scripts.prompt_matrix import combinations
from modules.scripts.prompts_from_file import read_line
from modules.scripts.registry import BUILT_IN
from modules.scripts.tiles import Tiles
from modules.settings import Settings
from modules.text import infotext

PLOT: dict[str, Any] = dict.fromkeys(("x_type", "y_type", "z_type"), "Nothing") | dict.fromkeys(
    ("x_values", "y_values", "z_values"), "")


def picture(width: int = 96, height: int = 64) -> Image.Image:
    return Image.fromarray(np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8))


def txt2img(**changes: Any) -> Txt2Img:
    return Txt2Img(**{"prompt": "a red boat", "steps": 2, "width": 64, "height": 64, "seed": 7} | changes)


def img2img(**changes: Any) -> Img2Img:
    return Img2Img(**{"prompt": "a boat", "sampler": "Euler", "steps": 4, "width": 64, "height": 64, "seed": 7,
                      "init_images": (picture(),)} | changes)


def script(title: str, *, of_img2img: bool) -> Script:
    return next(one for one in BUILT_IN if one.title == title and (one.img2img if of_img2img else one.txt2img))


class Keeping(NullJob):
    """Notes what a job is given and told."""

    def __init__(self) -> None:
        self.kept: list[GeneratedImage] = []
        self.told: list[tuple[int, int]] = []

    def keep(self, images: Sequence[GeneratedImage], request: Txt2Img) -> tuple[GeneratedImage, ...]:
        self.kept += images
        return tuple(images)

    def batches(self, done: int, total: int) -> None:
        self.told.append((done, total))


def run(engine: Engine, request: Txt2Img, title: str, job: NullJob | None = None, **arguments: Any) -> Result:
    found = script(title, of_img2img=isinstance(request, Img2Img))
    given = tuple(arguments.get(one.name, one.default) for one in found.inputs)
    return engine.generate(replace(request, script=ScriptCall(title, given)), job or NullJob())


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image, int)


# --- X/Y/Z plot

def test_every_cell_is_what_its_own_request_gives(engine: Engine) -> None:
    job = Keeping()
    result = run(engine, txt2img(), "X/Y/Z plot", job, **PLOT | {
        "x_type": "Prompt S/R", "x_values": "red,blue", "y_type": "Steps", "y_values": "2-3", "lone_images": True,
        "z_type": "Checkpoint name", "z_chosen": ["first", "second"], "draw_legend": False})
    sheet, *cells = result.images
    assert sheet.image.size == (2 * 2 * 64, 2 * 64)
    assert [image.grid for image in job.kept] == [""] * 8 + ["xyz_grid"]
    assert job.told == [(number, 8) for number in range(8)]
    numbered = enumerate((c, s, p) for c in ("first", "second") for s in (2, 3) for p in ("a red boat", "a blue boat"))
    for number, (checkpoint, steps, prompt) in numbered:
        alone = txt2img(prompt=prompt, steps=steps)
        alone = replace(alone, options=alone.options.replaced({"sd_model_checkpoint": checkpoint}))
        expected = engine.generate(alone, NullJob()).images[0]
        assert cells[number].infotext == expected.infotext
        left, top = number // 4 * 128 + number % 2 * 64, number // 2 % 2 * 64
        assert np.array_equal(pixels(sheet.image.crop((left, top, left + 64, top + 64))), pixels(expected.image))


def test_a_sheets_parameters_make_it_again(engine: Engine) -> None:
    sheet = run(engine, txt2img(seed=-1), "X/Y/Z plot", **PLOT | {
        "x_type": "Seed", "x_values": "-1,5", "y_type": "Size", "y_values": "64x64, 96x64", "margin": 4}).images[0]
    changes = infotext.to_changes(infotext.parse(sheet.infotext), scripts=engine.scripts)
    assert not changes.unsupported
    fields = {name: value for name, value in changes.fields.items() if name in Txt2Img.__dataclass_fields__}
    again = engine.generate(Txt2Img(**fields), NullJob()).images[0]
    assert again.infotext == sheet.infotext
    assert np.array_equal(pixels(again.image), pixels(sheet.image))


def test_a_cell_that_fails_is_left_empty_unless_it_is_the_first(engine: Engine,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    make = engine.generate_one

    def failing(request: Txt2Img, job: Any, **more: Any) -> Result:
        if request.steps == 3:
            raise BadResult("It is not a number.")
        return make(request, job, **more)

    monkeypatch.setattr(engine, "generate_one", failing)
    plot = PLOT | {"x_type": "Steps", "draw_legend": False}
    result = run(engine, txt2img(), "X/Y/Z plot", **plot | {"x_values": "2,3,4"})
    assert result.warnings == ("It is not a number.",)
    sheet = pixels(result.images[0].image)
    assert not sheet[:, 64:128].any()
    assert sheet[:, :64].any()
    assert sheet[:, 128:].any()
    with pytest.raises(BadResult):
        run(engine, txt2img(), "X/Y/Z plot", **plot | {"x_values": "3,2"})


@pytest.mark.parametrize(("label", "text"), [
    ("Prompt S/R", "green,blue"), ("Sampler", "Eular"), ("Steps", "many"), ("Steps", "1-100000"), ("Size", "64"),
    ("FP8 mode", "Enable"), ("Steps", "0,2"), ("Mask blur", "3"), ("Steps", "5-1")])
def test_values_that_cannot_be_are_refused_before_anything_is_made(engine: Engine, label: str, text: str) -> None:
    job = Keeping()
    with pytest.raises(InvalidInput):
        run(engine, txt2img(), "X/Y/Z plot", job, **PLOT | {"x_type": label, "x_values": text})
    assert not job.kept


def test_a_plot_of_too_many_cells_is_refused_before_they_are_made_up(engine: Engine) -> None:
    axes = {f"{name}_{what}": value for name in "xyz" for what, value in (("type", "Seed"), ("values", "1-1000"))}
    with pytest.raises(InvalidInput, match="1000000000 batches"):
        run(engine, txt2img(), "X/Y/Z plot", **PLOT | axes)


def axis(label: str) -> Any:
    return next(axis for axis in AXES if axis.label == label)


@pytest.mark.parametrize(("label", "text", "values"), [
    ("Steps", "1-3, 7", [1, 2, 3, 7]), ("Steps", "1-5 (+2)", [1, 3, 5]), ("Steps", "10-5 (-3)", [10, 7]),
    ("Steps", "3-9 [3]", [3, 6, 9]), ("CFG Scale", "0-1 (+0.5)", [0, 0.5, 1]), ("CFG Scale", "1-2 [3]", [1, 1.5, 2]),
    ("Seed", "9007199254740993-9007199254740995", [2**53 + 1, 2**53 + 2, 2**53 + 3]), ("Seed", "-1", [-1]),
    ("Prompt S/R", 'a, "b, c"', ["a", "b, c"]),
    ("Prompt order", "x,y", [["x", "y"], ["y", "x"]])])
def test_values_are_lists_and_ranges(label: str, text: str, values: list[Any]) -> None:
    assert axis(label).read(text) == values


def test_axes_are_counted_as_webui_counts_them() -> None:
    for_txt2img, for_img2img = ([axis.label for axis in axes(img2img=flag)] for flag in (False, True))
    assert [for_txt2img.index(label) for label in ("Seed", "Steps", "CFG Scale", "Prompt S/R", "Sampler")] == [
        1, 4, 6, 7, 9]
    assert "Initial noise multiplier" not in for_txt2img, "there is no picture that noise is added to"
    assert [for_img2img.index(label) for label in ("Steps", "CFG Scale", "Prompt S/R", "Sampler")] == [4, 5, 7, 9]


def test_the_words_of_a_prompt_change_places() -> None:
    result = axis("Prompt order").apply(txt2img(prompt="a cat and a dog"), ["dog", "cat"], [], ())
    assert result.prompt == "a dog and a cat"


# --- the others

def test_prompt_matrix_combines_by_bits(engine: Engine) -> None:
    prompts = combinations("a|b|c,", ", ", at_start=False)
    assert prompts == ["a", "a, b", "a, c", "a, b, c"]
    assert combinations("a|b", " ", at_start=True) == ["a", "b a"]
    result = run(engine, txt2img(prompt="a|b|c,"), "Prompt matrix", different_seeds=True)
    grid, *made = result.images
    assert [image.infotext.split("\n")[0] for image in made] == prompts
    assert [image.seed for image in made] == [7, 8, 9, 10]
    assert np.array_equal(pixels(grid.image)[-64:, -64:], pixels(made[-1].image)), "the last cell is the last picture"


def test_lines_become_requests(engine: Engine) -> None:
    assert read_line('--prompt a "b c" --steps 3') == {"prompt": "a b c", "steps": 3}
    assert read_line("--prompt a --nonsense 3") == {"prompt": "--prompt a --nonsense 3"}
    result = run(engine, txt2img(prompt="all"), "Prompts from file or textbox", iterate=True, position="end",
                 lines="one\n\n--prompt two --seed 3 --width 128\nthree")
    assert [image.infotext.split("\n")[0] for image in result.images] == ["all one", "all two", "all three"]
    assert [image.seed for image in result.images] == [7, 3, 9]
    assert [image.image.width for image in result.images] == [64, 128, 64]
    assert result.warnings == ()


def test_a_line_that_cannot_be_read_or_made_is_said_before_anything_is_made(engine: Engine) -> None:
    result = run(engine, txt2img(prompt=""), "Prompts from file or textbox", lines="one\n--prompt two --nonsense 3")
    assert result.warnings == ("This line was taken as a prompt, because it cannot be read as settings: "
                               "--prompt two --nonsense 3",)
    assert [image.infotext.split("\n")[0] for image in result.images] == ["one", "--prompt two --nonsense 3"]
    job = Keeping()
    with pytest.raises(NotFound, match="zzz"):
        run(engine, txt2img(), "Prompts from file or textbox", job, lines="one\n--prompt two --sd_model zzz")
    assert not job.kept


def test_loopback_goes_on_from_each_picture(engine: Engine) -> None:
    assert strengths(0.8, 0.2, 3, "Linear") == pytest.approx([0.8, 0.5, 0.2])
    assert strengths(0.8, 0.2, 1, "Lazy") == [0.8]
    grid, first, second = run(engine, img2img(denoising_strength=0.8), "Loopback", final=0.2).images
    expected = engine.generate(img2img(init_images=(first.image,), seed=8, denoising_strength=0.2), NullJob()).images[0]
    assert np.array_equal(pixels(second.image), pixels(expected.image))
    assert np.array_equal(pixels(grid.image), np.hstack([pixels(first.image), pixels(second.image)]))


def test_sd_upscale_saves_only_the_whole(engine: Engine) -> None:
    job = Keeping()
    result = run(engine, img2img(denoising_strength=0.0, steps=1), "SD upscale", job, overlap=16, upscaler="Nearest")
    assert [image.image.size for image in job.kept] == [(192, 128)]
    assert job.told[-1] == (11, 12)
    text = result.images[0].infotext
    assert text.count("SD upscale overlap: 16, SD upscale upscaler: Nearest") == 1
    assert "Script: " not in text  # as in WebUI
    for told in (text, text.replace("SD upscale overlap", "Script: SD upscale, SD upscale overlap")):
        call = engine.scripts.recall(infotext.parse(told))
        assert call
        assert (call.title, call.arguments[1:]) == ("SD upscale", ("16", "Nearest", 2.0))
    assert engine.scripts.recall(infotext.parse(text.replace("SD upscale overlap: 16, ", ""))) is None


@pytest.mark.parametrize("name", ["ESRGAN_4x", "swinir_4x", 3])
def test_upscalers_that_webui_always_has_are_stood_in_for(engine: Engine, name: str | int) -> None:
    """By name, as scripts of programs send it, or by its place in the list of upscalers."""
    asked = img2img(denoising_strength=0.0, steps=1)
    lanczos, stood_in = (run(engine, asked, "SD upscale", overlap=16, upscaler=one) for one in ("Lanczos", name))
    assert np.array_equal(pixels(stood_in.images[0].image), pixels(lanczos.images[0].image))
    assert lanczos.warnings == ()
    assert [text.partition(":")[0] for text in stood_in.warnings] == [
        f"{'SwinIR_4x' if name == 'swinir_4x' else 'ESRGAN_4x'} was done by Lanczos"]


def test_the_plots_upscaler_is_stood_in_for_with_a_warning(engine: Engine) -> None:
    plot = run(engine, txt2img(enable_hr=True, denoising_strength=0.5), "X/Y/Z plot", **PLOT | {
        "x_type": "Hires upscaler", "x_values": "Lanczos,R-ESRGAN 4x+", "lone_images": True})
    _, lanczos, stood_in = plot.images
    assert np.array_equal(pixels(stood_in.image), pixels(lanczos.image))
    assert len(plot.warnings) == 1
    assert plot.warnings[0].startswith("R-ESRGAN 4x+ was done by Lanczos")


def test_an_upscaler_of_another_name_is_refused(engine: Engine) -> None:
    with pytest.raises(InvalidInput, match="4x-UltraSharp"):
        run(engine, img2img(steps=1), "SD upscale", upscaler="4x-UltraSharp")


@pytest.mark.parametrize("title", ["Outpainting mk2", "Poor man's outpainting"])
def test_outpainting_grows_to_multiples_of_64_and_keeps_what_was_there(engine: Engine, title: str) -> None:
    made = run(engine, img2img(init_images=(picture(96, 96),), width=128, height=128, denoising_strength=0.8), title,
               pixels=40, blur=2, directions=["left", "down"]).images[0]
    assert made.image.size == (192, 192)  # 136 rounded up to 192, all of it left and below
    assert np.array_equal(pixels(made.image)[:60, 140:], pixels(picture(96, 96))[:60, 44:])
    assert pixels(made.image)[100:, :80].any(axis=-1).mean() > 0.9, "the new part is painted"


@pytest.mark.parametrize(("steps", "sides"), [(1, 1), (4, 1), (5, 2)])
def test_an_interrupted_outpainting_keeps_the_sides_that_there_are(engine: Engine, steps: int, sides: int) -> None:
    """Stopped while it samples the first side, before the texture of the second, or while it samples that."""

    class Stopping(Keeping):
        steps, continuing = 0, False

        def check(self) -> None:
            if self.steps >= steps and (steps != 4 or self.continuing):
                raise Interrupted

        def stage(self, text: str) -> None:
            self.continuing = text == "Continuing the texture"
            self.check()

        def step(self, step: int, total: int, preview: Preview) -> None:
            self.steps += 1
            self.check()

    job = Stopping()
    request = img2img(init_images=(picture(64, 64),), steps=4, denoising_strength=1.0)
    result = run(engine, request, "Outpainting mk2", job, pixels=64, blur=2, directions=["left", "right", "up", "down"])
    assert result.interrupted
    assert [made.image.size for made in job.kept] == [(64 * (1 + sides), 64)]
    assert np.array_equal(pixels(job.kept[0].image)[:, 72:120], pixels(picture(64, 64))[:, 8:56])


def test_the_alternative_refuses_inpainting_checkpoints(settings: Settings) -> None:
    engine = fake_engine(settings, lambda name: FakeModel(name=name, in_channels=9))
    with pytest.raises(InvalidInput, match="inpainting"):
        run(engine, img2img(), "img2img alternative test")


def test_the_alternative_finds_the_noise_that_gives_the_picture_back(engine: Engine) -> None:
    blocks = picture(8, 8).resize((64, 64), Image.Resampling.NEAREST).point(lambda value: 96 + value // 4)
    made = run(engine, img2img(init_images=(blocks,), cfg_scale=1), "img2img alternative test", prompt="a boat",
               steps=100, adjust=True).images[0]
    assert "Steps: 100, Sampler: Euler" in made.infotext
    error = np.abs(pixels(made.image) - pixels(blocks)).mean()
    other = engine.generate(img2img(init_images=(blocks,), cfg_scale=1, denoising_strength=1.0), NullJob()).images[0]
    assert error < 0.1 * np.abs(pixels(other.image) - pixels(blocks)).mean()


# --- what they share

@pytest.mark.parametrize("found", BUILT_IN, ids=lambda found: f"{found.title}-{'i2i' if found.img2img else 't2i'}")
def test_a_scripts_keys_bring_its_arguments_back(engine: Engine, found: Script) -> None:
    usual = found.bind((), engine.available)
    others = tuple(not one.default if one.kind == "checkbox" else (one.low or 0) + (one.step or 1) if one.kind ==
                   "slider" else one.default for one in found.inputs)
    for arguments in (usual, found.bind(others, engine.available)):
        text = infotext.write(txt2img(), find_sampler("DDIM")[0], seed=1, subseed=1, model_name="m",
                              model_hash=None, extra=found.describe(arguments))
        call = engine.scripts.recall(infotext.parse(text))
        assert call is not None
        again = found.bind(call.arguments, engine.available)
        assert {one.name: again[one.name] for one in found.inputs if one.key} == {
            one.name: arguments[one.name] for one in found.inputs if one.key}


def test_tiles_cover_a_picture_and_join_to_it() -> None:
    for size, tile, overlap in (((200, 150), (64, 64), 16), ((100, 70), (64, 64), 0), ((50, 90), (64, 64), 8)):
        tiles = Tiles(size, tile, overlap)
        parts = tiles.cut(picture(*size))
        assert {part.size for part in parts} == {tile}
        assert np.abs(pixels(tiles.join(parts)) - pixels(picture(*size))).max() <= 1
    with pytest.raises(InvalidInput):
        Tiles((100, 100), (64, 64), 64)


def test_an_unknown_script_is_refused_in_webuis_words(engine: Engine) -> None:
    with pytest.raises(InvalidInput, match=r"^Script 'No such' not found$"):
        engine.generate(txt2img(script=ScriptCall("No such")), NullJob())
    with pytest.raises(InvalidInput):
        run(engine, txt2img(), "X/Y/Z plot", x_type=99)
    with pytest.raises(InvalidInput, match="takes 4 arguments"):
        engine.generate(txt2img(script=ScriptCall("prompts from file or textbox", (1,) * 5)), NullJob())


def test_grids_have_their_own_folder(queue: JobQueue, tmp_path: Path) -> None:
    job = queue.submit(txt2img(prompt="a|b", script=ScriptCall("prompt matrix")))
    assert job.wait(30)
    day = datetime.date.today().isoformat()
    assert [path.name for path in (tmp_path / "outputs/txt2img-grids" / day).iterdir()] == ["grid-00000-7.png"]
    assert len(list((tmp_path / "outputs/txt2img-images" / day).iterdir())) == 2


def test_the_weight_of_loras_is_an_axis(engine: Engine) -> None:
    request = txt2img(prompt="a boat <lora:ink:1>")
    result = run(engine, request, "X/Y/Z plot", **PLOT | {"x_type": "Lora weight", "x_values": "0-1 (+0.5)",
                                                          "lone_images": True})
    assert [infotext.parse(one.infotext)["Prompt"] for one in result.images if not one.grid] == [
        f"a boat <lora:ink:{weight}>" for weight in ("0.0", "0.5", "1.0")]


def test_prompt_search_and_replace_reaches_into_tags(engine: Engine) -> None:
    request = txt2img(prompt="a boat <lora:ink:1>")
    result = run(engine, request, "X/Y/Z plot", **PLOT | {
        "x_type": "Prompt S/R", "x_values": "<lora:ink:1>, <lora:oil:0.5>, <lora:oil:1:dyn=2>", "lone_images": True})
    assert [infotext.parse(one.infotext)["Prompt"] for one in result.images if not one.grid] == [
        f"a boat {tag}" for tag in ("<lora:ink:1>", "<lora:oil:0.5>", "<lora:oil:1:dyn=2>")]
