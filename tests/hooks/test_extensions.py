"""Extensions: found, loaded, asked in order, and when one is broken nothing else comes to harm."""

from __future__ import annotations

import base64
import gc
import io
import json
import sys
import weakref
from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
import torch
from fakes import FakeModel, fake_engine
from fastapi.testclient import TestClient
from golden.tiny import tiny_bench
from PIL import Image

from modules import cli, hookspecs
from modules.api import create_api
from modules.api.schema import Txt2ImgBody
from modules.engine.engine import Engine, resolve
from modules.errors import NotFound
from modules.gallery.saving import Saver
from modules.generation import recipes
from modules.hooks.in_job import Hooks
from modules.hooks.loading import Extension
from modules.jobs.queue import JobQueue
from modules.request import Img2Img, Inpaint, MaskedContent, ScriptCall, Txt2Img
from modules.request.job_context import NullJob
from modules.request.options import Options
from modules.request.result import Result
from modules.sampling.conditioning import TextOptions
from modules.scripts.axes import find_axis
from modules.settings import Settings
from modules.text import infotext
from modules.ui import list_choices

HEAD = "from modules.hookspecs import hookimpl\n"


def write(settings: Settings, name: str, code: str) -> None:
    """Puts an extension where the engine will look for it."""
    folder = settings.data_dir / "extensions" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "__init__.py").write_text(f'"""The {name} of the tests."""\n{HEAD}{dedent(code)}', "utf-8")


def request(**changes: Any) -> Txt2Img:
    return Txt2Img(**{"prompt": "a hill", "width": 32, "height": 16, "steps": 3, "seed": 7, "sampler": "Euler",
                      "always_on": ()} | changes)


def painting(**changes: Any) -> Inpaint:
    """A picture of 8 x 8 blocks, which the model in closed form knows by heart, with its right half painted."""
    blocks = np.arange(8 * 3).reshape(2, 4, 3) * 10
    picture = Image.fromarray(blocks.repeat(8, 0).repeat(8, 1).astype(np.uint8))
    mask = Image.new("L", picture.size)
    mask.paste(255, (16, 0, 32, 16))
    values = {"prompt": "a hill", "width": 32, "height": 16, "steps": 4, "seed": 7, "sampler": "Euler",
              "init_images": (picture,), "mask": mask, "mask_blur_x": 0, "mask_blur_y": 0,
              "masked_content": MaskedContent.ORIGINAL}
    return Inpaint(**values | changes)


def made(engine: Engine, what: Txt2Img) -> Result:
    return engine.generate(what, NullJob())


def pixels(result: Result) -> list[bytes]:
    return [one.image.tobytes() for one in result.images]


def extension(engine: Engine, name: str) -> Extension:
    return engine.extensions.extension(name)


NEGATIVE = """
    from PIL import ImageOps

    @hookimpl
    def filter_image(image):
        return ImageOps.invert(image)
"""


# --- loading

def test_a_good_one_changes_the_picture(settings: Settings) -> None:
    plain = made(fake_engine(settings), request())
    write(settings, "negative", NEGATIVE)
    engine = fake_engine(settings)
    result = made(engine, request())
    assert (np.asarray(result.images[0].image) == 255 - np.asarray(plain.images[0].image)).all()
    assert extension(engine, "negative").about == "The negative of the tests."
    assert (extension(engine, "negative").loaded, extension(engine, "negative").problem) == (True, "")


BROKEN = {
    "misspelt": ("@hookimpl\ndef prepare_reqest(request): return request", "no hook called prepare_reqest"),
    "argument": ("@hookimpl\ndef filter_image(picture): return picture", "picture"),
    "raises": ("raise RuntimeError('the moon is full')", "RuntimeError: the moon is full"),
    "leaves": ("raise SystemExit(3)", "SystemExit: 3"),
    "syntax": ("def broken(:", "SyntaxError"),
    "idle": ("x = 1", "it has no hook"),
    "needs": ("import a_module_that_is_not_here", "a_module_that_is_not_here"),
}


def test_broken_ones_are_named_and_harm_nothing(settings: Settings) -> None:
    write(settings, "negative", NEGATIVE)
    expected = pixels(made(fake_engine(settings), request()))
    for name, (code, _) in BROKEN.items():
        write(settings, name, code)
    (settings.data_dir / "extensions" / "sd-webui-thing" / "scripts").mkdir(parents=True)
    (settings.data_dir / "extensions" / ".git").mkdir()
    engine = fake_engine(settings)
    result = made(engine, request())
    assert (pixels(result), result.warnings) == (expected, ())
    for name, (_, words) in BROKEN.items():
        assert not extension(engine, name).loaded
        assert extension(engine, name).problem.startswith("It was not loaded: ")
        assert words in extension(engine, name).problem
    assert "no __init__.py" in extension(engine, "sd-webui-thing").problem
    assert [one.name for one in engine.extensions.extensions] == sorted(
        [*BROKEN, "masktools", "negative", "sd-webui-thing"])


def test_what_is_asked_at_the_start_may_fail(settings: Settings) -> None:
    for hook in ("register_samplers", "register_scripts", "register_settings"):
        write(settings, hook, f"@hookimpl\ndef {hook}(): return 1 / 0")
    write(settings, "controls", "@hookimpl\ndef controls(tab): return {}[tab]")
    engine = fake_engine(settings)
    assert "Euler" in engine.available.samplers()
    for hook in ("register_samplers", "register_scripts", "register_settings"):
        assert extension(engine, hook).problem == f"{hook}: ZeroDivisionError: division by zero"
    assert extension(engine, "controls").problem.startswith("controls: KeyError")


def test_on_and_off_are_remembered_for_the_next_start(settings: Settings) -> None:
    write(settings, "negative", NEGATIVE)
    write(settings, "bomb", "raise RuntimeError")
    engine = fake_engine(settings)
    inverted = pixels(made(engine, request()))
    for name in ("negative", "bomb"):
        engine.extensions.enable(name, False)
    assert pixels(made(engine, request())) == inverted
    assert json.loads(settings.config_file.read_text())["disabled_extensions"] == ["negative", "bomb"]
    later = fake_engine(settings)
    assert pixels(made(later, request())) != inverted
    assert (extension(later, "bomb").problem, extension(later, "bomb").about) == ("", "The bomb of the tests.")
    later.extensions.enable("negative", True)
    assert pixels(made(fake_engine(settings), request())) == inverted
    with pytest.raises(NotFound, match="no extension called 'none'"):
        engine.extensions.enable("none", True)


def test_settings_are_remembered_and_checked(settings: Settings) -> None:
    write(settings, "tint", """
        from modules.hooks.forms import Input

        @hookimpl
        def register_settings():
            return [Input(name="red", label="Red", kind="slider", default=9, low=0, high=255)]

        @hookimpl
        def filter_image(image, settings):
            image.paste((settings["red"], 0, 0), (0, 0, *image.size))
            return image
    """)
    engine = fake_engine(settings)
    assert made(engine, request()).images[0].image.getpixel((0, 0)) == (9, 0, 0)
    engine.extensions.set("tint", "red", 30)
    assert made(engine, request()).images[0].image.getpixel((0, 0)) == (30, 0, 0)
    assert made(fake_engine(settings), request()).images[0].image.getpixel((0, 0)) == (30, 0, 0)
    engine.config.update({"tint_red": ["nonsense"]})
    assert made(engine, request()).images[0].image.getpixel((0, 0)) == (9, 0, 0)
    with pytest.raises(NotFound, match="no setting called 'green'"):
        engine.extensions.set("tint", "green", 1)


# --- errors while a job runs

FAILING = {
    "prepare_request": "def prepare_request(request): 1 / 0",
    "wrap_model": "def wrap_model(model): 1 / 0",
    "wrap_model on entry": """
        def wrap_model(model):
            class Bad:
                def __enter__(self): 1 / 0
                def __exit__(self, *error): pass
            return Bad()""",
    "wrap_model on exit": """
        def wrap_model(model):
            class Bad:
                def __enter__(self): pass
                def __exit__(self, *error): 1 / 0
            return Bad()""",
    "wrap_denoiser": "def wrap_denoiser(denoise): 1 / 0",
    "wrap_denoiser later": """
        def wrap_denoiser(denoise):
            calls = []
            def wrapped(x, t):
                calls.append(t)
                return denoise(x, t) if len(calls) < 3 else 1 / 0
            return wrapped""",
    "wrap_predict": "def wrap_predict(predict): 1 / 0",
    "wrap_predict later": """
        def wrap_predict(predict):
            def wrapped(x, level, cond, call):
                return predict(x, level, cond, call) if call.step < 1 else 1 / 0
            return wrapped""",
    "blend_mask": "def blend_mask(blend): 1 / 0",
    "blend_mask later": "def blend_mask(blend): return lambda original, current, level: 1 / 0",
    "filter_image": "def filter_image(image): 1 / 0",
    "filter_image by the door": "def filter_image(image): raise SystemExit('ZeroDivisionError')",
}
UNFIT = {
    "prepare_request": "def prepare_request(request): return 'a request'",
    "wrap_model": "def wrap_model(model): return model",
    "wrap_denoiser": "def wrap_denoiser(denoise): return 3",
    "wrap_denoiser later": "def wrap_denoiser(denoise): return lambda x, t: x[:, :1]",
    "wrap_predict": "def wrap_predict(predict): return 3",
    "wrap_predict later": "def wrap_predict(predict): return lambda x, level, cond, call: x[:, :1]",
    "blend_mask": "def blend_mask(blend): return lambda original, current, level: None",
    "filter_image": "def filter_image(image): return image.resize((1, 1))",
}


@pytest.mark.parametrize("sampler", ["Euler", "DDIM"])
def test_an_error_leaves_the_extension_out_of_the_job(settings: Settings, sampler: str) -> None:
    plain = pixels(made(fake_engine(settings), painting(sampler=sampler)))
    names = {}
    for number, (where, code) in enumerate([*FAILING.items(), *UNFIT.items()]):
        names[f"bad{number:02}"] = where.partition(" ")[0]
        write(settings, f"bad{number:02}", f"@hookimpl\n{dedent(code).strip()}")
    engine = fake_engine(settings)
    for _ in range(2):  # the next job asks them again
        result = made(engine, painting(sampler=sampler))
        assert pixels(result) == plain
        told = dict(words.removeprefix("The extension ").split(" was left out: ") for words in result.warnings)
        assert {name: words.partition(":")[0] for name, words in told.items()} == names
        for name, words in told.items():
            assert extension(engine, name).problem == words
            assert "ZeroDivisionError" in words if int(name[3:]) < len(FAILING) else "return" in words


def test_the_models_errors_are_not_the_extensions(settings: Settings) -> None:
    class Broken(FakeModel):
        def predict(self, *args: Any) -> Any:
            raise RuntimeError("the network is broken")

    write(settings, "around", "@hookimpl\ndef wrap_denoiser(denoise): return lambda x, t: denoise(x, t)")
    engine = fake_engine(settings, lambda name: Broken(name=name))
    with pytest.raises(RuntimeError, match="the network is broken"):
        made(engine, request())
    assert extension(engine, "around").problem == ""


def test_an_error_of_the_model_keeps_nothing_alive(settings: Settings) -> None:
    seen: list[weakref.ref[torch.Tensor]] = []

    class Broken(FakeModel):
        def predict(self, *args: Any) -> Any:
            activations = torch.zeros(9)
            seen.append(weakref.ref(activations))
            raise MemoryError

    write(settings, "around", "@hookimpl\ndef wrap_denoiser(denoise): return lambda x, t: denoise(x, t)")
    engine = fake_engine(settings, lambda name: Broken(name=name))
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(MemoryError):
            made(engine, request())
        assert seen[0]() is None
    finally:
        gc.enable()


def test_saved_may_fail(settings: Settings) -> None:
    write(settings, "bad", "@hookimpl\ndef saved(image): 1 / 0")
    engine = fake_engine(settings)
    queue = JobQueue(engine, Saver(settings.outputs_dir))
    job = queue.submit(request())
    assert job.wait(60)
    queue.close()
    assert job.state == "done"
    assert job.result
    assert job.result.images[0].path
    assert job.result.warnings == ("The extension bad was left out: saved: ZeroDivisionError: division by zero",)


# --- each hook

def test_order_is_by_name_unless_marked(settings: Settings) -> None:
    for name, mark in (("one", ""), ("two", ""), ("zero", "(tryfirst=True)"), ("also", "(trylast=True)")):
        write(settings, name, f"""
            from dataclasses import replace

            @hookimpl{mark}
            def prepare_request(request):
                return replace(request, prompt=request.prompt + " {name}")
        """)
    result = made(fake_engine(settings), request(prompt="order:"))
    assert result.request.prompt == "order: zero one two also"


SCALED = """
    @hookimpl
    def wrap_denoiser(denoise):
        return lambda x, t: 0.8 * denoise(x, t)
"""


@pytest.mark.parametrize("sampler", ["Euler", "DDIM", "UniPC", "DPM++ 2M"])
def test_a_wrapped_denoiser_is_as_good_as_another_network(settings: Settings, sampler: str) -> None:
    class Scaled(FakeModel):
        def predict(self, *args: Any) -> Any:
            return 0.8 * super().predict(*args)

    what = request(sampler=sampler, steps=4)
    expected = made(fake_engine(settings, lambda name: Scaled(name=name)), what)
    plain = pixels(made(fake_engine(settings), what))
    write(settings, "scaled", SCALED)
    result = made(fake_engine(settings), what)
    assert pixels(result) != plain
    difference = np.asarray(result.images[0].image, int) - np.asarray(expected.images[0].image, int)
    assert abs(difference).max() <= 1


@pytest.mark.parametrize("changes", [{}, {"batch_size": 2}, {"prompt": "a hill AND a tree :0.5"}],
                         ids=str)
def test_a_wrapped_network_knows_its_rows(settings: Settings, changes: dict[str, Any]) -> None:
    """The extension doubles what the prompt adds, which is what twice the scale does."""
    expected = pixels(made(fake_engine(settings), request(cfg_scale=6, **changes)))
    write(settings, "doubled", """
        STEPS = []

        @hookimpl
        def wrap_predict(predict, model):
            def ask(x, level, cond, call):
                out = predict(x, level, cond, call).clone()
                STEPS.append((model.name, call.step, call.steps))
                rows = {image: row for row, (image, told) in enumerate(call.rows) if not told}
                for row, (image, told) in enumerate(call.rows):
                    if told:
                        out[row] += out[row] - out[rows[image]]
                return out
            return ask
    """)
    engine = fake_engine(settings)
    result = made(engine, request(cfg_scale=3, **changes))
    assert np.abs(np.frombuffer(b"".join(pixels(result)), np.uint8).astype(int)
                  - np.frombuffer(b"".join(expected), np.uint8)).max() <= 1
    assert result.warnings == ()
    told = sys.modules["extensions.doubled"].STEPS
    assert [*dict.fromkeys(told)] == [("first", 0, 3), ("first", 1, 3)]  # a step is reported after its call


def test_savings_that_a_wrapped_network_has_not_are_told(settings: Settings) -> None:
    write(settings, "around", "@hookimpl\ndef wrap_predict(predict): return lambda *asked: predict(*asked)")
    engine = fake_engine(settings)
    assert made(engine, painting(options=Options(small_mask="off"))).warnings == ()
    for options in (Options(small_mask="strong"), Options(step_cache=3)):
        assert made(engine, painting(options=options)).warnings == (
            "With an extension that wraps each call of the network, small masks and the step cache are off.",)


@pytest.mark.parametrize("sampler", ["Euler", "DDIM", "DDIM CFG++", "UniPC"])
@pytest.mark.parametrize("loop", ["classic", "webui-1.10"])
def test_identity_hooks_change_nothing(settings: Settings, sampler: str, loop: str) -> None:
    what = painting(sampler=sampler, options=Options(ddim_loop=loop))
    plain = pixels(made(fake_engine(settings), what))
    write(settings, "identity", """
        import contextlib

        @hookimpl
        def wrap_denoiser(denoise): return lambda x, t: denoise(x, t)

        @hookimpl
        def wrap_predict(predict): return lambda x, level, cond, call: predict(x, level, cond, call)

        @hookimpl
        def blend_mask(blend, paint):
            return lambda original, current, level: original * (1 - paint) + current * paint

        @hookimpl
        def wrap_model(model): return contextlib.nullcontext()

        @hookimpl
        def filter_image(image): return image.copy()

        @hookimpl
        def prepare_request(request): return None
    """)
    engine = fake_engine(settings)
    result = made(engine, what)
    assert (pixels(result), result.warnings) == (plain, ())


def test_another_blend_decides_what_is_kept_while_sampling(settings: Settings) -> None:
    """Where the original always wins, Euler ends on the original, everywhere."""
    write(settings, "keeper", "@hookimpl\ndef blend_mask(): return lambda original, current, level: original")
    engine = fake_engine(settings)
    what = painting()
    image = np.asarray(made(engine, what).images[0].image, int)
    assert abs(image - np.asarray(what.init_images[0])).max() <= 1
    assert pixels(made(engine, painting(sampler="DDIM"))) != pixels(made(fake_engine(Settings(
        data_dir=settings.data_dir / "elsewhere", ckpt_dir=settings.checkpoint_dirs[0])), painting(sampler="DDIM")))


def test_what_is_kept_stays_whatever_a_filter_paints(settings: Settings) -> None:
    write(settings, "negative", NEGATIVE)
    what = painting()
    result = np.asarray(made(fake_engine(settings), what).images[0].image)
    assert (result[:, :16] == np.asarray(what.init_images[0])[:, :16]).all()


def test_a_patched_model_is_put_back(settings: Settings) -> None:
    """The extension moves the mean of the model's pictures; both checkpoints of a hires pass are patched in turn."""
    write(settings, "mover", """
        import contextlib
        LOG = []

        @hookimpl
        @contextlib.contextmanager
        def wrap_model(model, request):
            before, model.mean = model.mean, 0.7
            LOG.append(f"+{model.name}")
            try:
                yield
            finally:
                model.mean = before
                LOG.append(f"-{model.name}")
    """)
    engine = fake_engine(settings, lambda name: FakeModel(name=name, mean={"first": 0.1, "second": -0.3}[name]))
    plain = Settings(data_dir=settings.data_dir / "elsewhere", ckpt_dir=settings.checkpoint_dirs[0])
    expected = made(fake_engine(plain, lambda name: FakeModel(name=name, mean=0.7)), request())
    assert pixels(made(engine, request())) == pixels(expected)
    assert engine.loaded
    assert engine.loaded.model.mean == 0.1  # type: ignore[attr-defined]
    made(engine, request(enable_hr=True, hr_scale=1, hr_checkpoint="second"))
    log = sys.modules["extensions.mover"].LOG
    assert log == ["+first", "-first", "+first", "-first", "+second", "-second"]


def test_a_patched_model_keeps_nothing_for_those_without(settings: Settings) -> None:
    """What text encoder and autoencoder gave is remembered for the next job, but not over a change of either."""
    write(settings, "louder", """
        import contextlib
        SWITCH = []

        @hookimpl
        @contextlib.contextmanager
        def wrap_model(model, request):
            norm = model.text.clip.get_submodule("final_layer_norm")
            before = norm.weight.data
            norm.weight.data = before * (1.5 if request.prompt == "loud" else 1)
            yield
            norm.weight.data = before
    """)
    hooks = Hooks(fake_engine(settings).extensions)
    model = tiny_bench().model("tiny-sd15")

    def context(prompt: str) -> Any:
        with hooks.patched(lambda *_: model, request(prompt=prompt)) as models:
            return models(Options(), "").encode_prompts(["a boat"], TextOptions(emphasis="None"))[0].tokens

    plain = model.encode_prompts(["a boat"], TextOptions(emphasis="None"))[0].tokens
    loud, again = context("loud"), context("quiet")
    assert not np.allclose(plain, loud)
    np.testing.assert_array_equal(plain, again)


@pytest.mark.parametrize("options", [Options(small_mask="auto"), Options(small_mask="strong"), Options(step_cache=3)],
                         ids=["small masks auto", "small masks strong", "step cache"])
def test_a_patched_layer_counts_whatever_saves_steps(settings: Settings, options: Options) -> None:
    """The extension triples the values of self-attention. What that changes of the picture is about the same."""
    write(settings, "tripled", """
        import contextlib
        UNTOUCHED = []

        @hookimpl
        @contextlib.contextmanager
        def wrap_model(model, request):
            layers = [layer for name, layer in model.unet.named_modules() if name.endswith("attn1.to_v")]
            patches = [lambda x, forward=layer.forward: forward(x) * 3 for layer in layers]
            for layer, patch in zip(layers, patches):
                layer.forward = patch
            yield
            UNTOUCHED.append(all(layer.forward is patch for layer, patch in zip(layers, patches)))
            for layer in layers:
                del layer.forward
    """)
    model = tiny_bench().model("tiny-sd15")
    patching = Hooks(fake_engine(settings).extensions)
    mask = Image.new("L", (256, 256))
    mask.paste(255, (90, 90, 102, 102))
    picture = Image.radial_gradient("L").convert("RGB")

    def painted(options: Options, hooks: Hooks) -> np.ndarray:
        asked = resolve(painting(width=256, height=256, steps=12, init_images=(picture,), mask=mask, sampler="DDIM",
                                 options=options))
        outcome = recipes.generate(lambda *_: model, asked, NullJob(), hooks=hooks)
        assert (outcome.work < 1) == (options.small_mask != "off")
        assert not hooks.warnings
        return np.asarray(outcome.pictures[0].image, int)[90:102, 90:102]

    changes = [np.abs(painted(one, patching) - painted(one, Hooks())).mean() for one in (Options(), options)]
    dense, saving = changes
    assert dense > 3
    assert saving == pytest.approx(dense, rel=0.25)
    assert sys.modules["extensions.tripled"].UNTOUCHED == [True, True]


def test_saved_hears_of_pictures_and_grids(settings: Settings) -> None:
    write(settings, "listener", """
        HEARD = []

        @hookimpl
        def saved(image):
            HEARD.append(image.path)
    """)
    engine = fake_engine(settings)
    queue = JobQueue(engine, Saver(settings.outputs_dir))
    job = queue.submit(request(prompt="a hill|red", script=ScriptCall("Prompt matrix")))
    assert job.wait(60)
    queue.close()
    heard = sys.modules["extensions.listener"].HEARD
    assert len(heard) == 3
    assert sorted(heard) == sorted(settings.outputs_dir.rglob("*.png"))


def test_samplers_of_extensions_are_found_everywhere(settings: Settings) -> None:
    write(settings, "more", """
        @hookimpl
        def register_samplers():
            from modules.sampling.solvers.euler import sample_euler
            from modules.sampling.registry import Sampler
            return [Sampler("Extension", sample_euler, ("k_guest",)), Sampler("euler", lambda *a: 1 / 0)]
    """)
    engine = fake_engine(settings)
    result = made(engine, request(sampler="k_guest"))
    assert pixels(result) == pixels(made(engine, request(sampler="Euler")))
    assert infotext.parse(result.images[0].infotext)["Sampler"] == "Extension"
    assert engine.available.samplers()[-1] == "Extension"


@pytest.mark.parametrize(("timesteps", "key", "option"), [(False, "Eta", "eta_ancestral"),
                                                          (True, "Eta DDIM", "eta_ddim")])
def test_what_a_text_says_of_an_extensions_sampler_follows_from_its_function(
        settings: Settings, timesteps: bool, key: str, option: str) -> None:
    write(settings, "more", f"""
        def sample(denoise, x, levels, noise, on_step, eta):
            for step in range(2):
                x = x * 0 + eta
                on_step(step, x)
            return x

        @hookimpl
        def register_samplers():
            from modules.sampling.registry import Sampler
            return [Sampler("Mine", sample, timesteps={timesteps}, uses_ensd=True)]
    """)
    engine = fake_engine(settings)
    what = request(sampler="Mine", steps=2, options=Options().replaced({option: 0.5, "eta_noise_seed_delta": 9}))
    (text,) = (one.infotext for one in made(engine, what).images)
    said = infotext.pairs(text)
    assert (said["Sampler"], said[key], said["ENSD"], "Sigma churn" in said) == ("Mine", "0.5", "9", False)
    assert "Sigma noise" not in infotext.pairs(made(engine, request(
        sampler="Mine", steps=2, options=Options(s_noise=0.9))).images[0].infotext)
    body = Txt2ImgBody(infotext=text, width=32, height=16)
    again = body.request(engine.options, max_pixels=10**6, samplers=engine.samplers)
    assert (again.sampler, getattr(again.options, option), again.options.eta_noise_seed_delta) == ("Mine", 0.5, 9)
    assert pixels(made(engine, again)) == pixels(made(engine, what))
    flags = cli._parser().parse_args(["txt2img", "--sampler", "mine", "--set", f"{option}=0.5"])
    assert engine.resolve(cli.to_request(flags, engine.options)).sampler == "Mine"
    axis = find_axis("Sampler", img2img=False)
    assert axis.choices is not None
    assert axis.choices(engine.available)[-1] == "Mine"
    assert list_choices(engine)["sampler"][-1] == "Mine"


def test_a_sampler_that_asks_for_what_nobody_passes_is_left_out(settings: Settings) -> None:
    write(settings, "more", """
        @hookimpl
        def register_samplers():
            from modules.sampling.solvers.euler import sample_euler
            from modules.sampling.registry import Sampler
            return [Sampler("Misspelt", lambda denoise, x, sigmas, noize: x), 7, Sampler("Good", sample_euler)]
    """)
    engine = fake_engine(settings)
    names = engine.available.samplers()
    assert names[-1] == "Good"
    assert "Misspelt" not in names
    assert "'int' object has no attribute 'check'" in extension(engine, "more").problem
    write(settings, "spelt", """
        @hookimpl
        def register_samplers():
            from modules.sampling.registry import Sampler
            return [Sampler("Misspelt", lambda denoise, x, sigmas, noize: x)]
    """)
    engine = fake_engine(settings)
    assert "Misspelt" not in engine.available.samplers()
    assert extension(engine, "spelt").problem.startswith("register_samplers: The sampler Misspelt asks for noize; ")


def test_scripts_of_extensions_come_behind_ours(settings: Settings) -> None:
    write(settings, "negative", NEGATIVE)
    plain = pixels(made(fake_engine(settings), request(prompt="b")))
    write(settings, "scripted", """
        from dataclasses import replace
        from modules.hooks.forms import Input, Script

        def run(request, arguments, context):
            return context.generate(replace(request, prompt=arguments["words"])).images

        @hookimpl
        def register_scripts():
            return [Script(title="Other words", run=run, txt2img=True,
                           inputs=(Input(name="words", label="Words", kind="text", default=""),))]
    """)
    engine = fake_engine(settings)
    assert engine.scripts.titles(img2img=False)[-1] == "Other words"
    assert pixels(made(engine, request(script=ScriptCall("other words", ("b",))))) == plain


# --- controls, in the API too

PAINTER = """
    from modules.hooks.forms import Controls, Input

    @hookimpl
    def controls(tab):
        return Controls(title="Painter", inputs=(
            Input(name="grey", label="Grey", kind="slider", default=100, low=0, high=255, step=1, key="Painter grey"),
            Input(name="what", label="What", kind="dropdown", default="all", choices=("all", "top"),
                  key="Painter what"))) if tab != "img2img" else None

    @hookimpl
    def filter_image(image, arguments):
        image.paste((arguments["grey"],) * 3, (0, 0, image.width, image.height // (1 + (arguments["what"] == "top"))))
        return image
"""


def always_on(*arguments: Any, title: str = "Painter") -> tuple[ScriptCall, ...]:
    return (ScriptCall(title, arguments),)


def test_an_extension_with_controls_waits_for_its_switch(settings: Settings) -> None:
    plain = pixels(made(fake_engine(settings), request()))
    write(settings, "painter", PAINTER)
    engine = fake_engine(settings)
    assert pixels(made(engine, request())) == plain
    assert "Painter" not in made(engine, request()).images[0].infotext
    result = made(engine, request(always_on=always_on(60, "top", title="PAINTER")))
    image = np.asarray(result.images[0].image)
    assert (image[:8] == 60).all()
    assert image[8:].tobytes() == np.frombuffer(plain[0], np.uint8).reshape(image.shape)[8:].tobytes()


def test_the_parameters_text_brings_controls_back(settings: Settings) -> None:
    write(settings, "painter", PAINTER)
    engine = fake_engine(settings)
    text = made(engine, request(always_on=always_on(100, "top"))).images[0].infotext
    parameters = infotext.parse(text)
    assert parameters["Painter enabled"] == "True"
    assert "Painter grey" not in parameters
    calls = engine.scripts.recall_always_on(parameters)
    what = request(always_on=calls)
    assert engine.extensions.bound(what)["painter"][1] == {"grey": 100, "what": "top"}
    assert engine.scripts.recall_always_on(infotext.parse(made(engine, request()).images[0].infotext)) == ()


def test_the_parameters_text_is_silent_about_one_that_failed(settings: Settings) -> None:
    """From the batch in which it failed on, and in the grid of them all."""
    failing = PAINTER.replace("image, arguments", "image, arguments, seed").replace("return image", "1 / (8 - seed)")
    write(settings, "painter", failing.rstrip() + "\n        return image\n")
    engine = fake_engine(settings)
    two = made(engine, request(always_on=always_on(60), n_iter=2))
    assert ["Painter" in one.infotext for one in two.images] == [True, False]
    matrix = ScriptCall("Prompt matrix")
    for seed, told in ((7, True), (8, False)):
        grid = made(engine, request(seed=seed, prompt="a hill|red", script=matrix, always_on=always_on(60)))
        assert ["Painter" in one.infotext for one in grid.images] == [told] * 3


@pytest.fixture
def client(settings: Settings) -> Any:
    write(settings, "painter", PAINTER)
    write(settings, "bomb", "raise RuntimeError('boom')")
    engine = fake_engine(settings)
    engine.extensions.enable("masktools", False)
    queue = JobQueue(fake_engine(settings), Saver(settings.outputs_dir))
    with TestClient(create_api(fake_engine(settings), queue, settings), base_url="http://127.0.0.1:7860",
                    raise_server_exceptions=False) as client:
        yield client
    queue.close()


def first_picture(answer: dict[str, Any]) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["images"][0]))))


def ask(client: TestClient, scripts: dict[str, Any], **more: Any) -> Any:
    body = {"width": 16, "height": 16, "steps": 1, "alwayson_scripts": scripts} | more
    return client.post("/sdapi/v1/txt2img", json=body)


def test_programs_reach_controls_as_always_on_scripts(client: TestClient) -> None:
    assert (first_picture(ask(client, {"Painter": {"args": [True, 33]}}).json()) == 33).all()
    assert (first_picture(ask(client, {"painter": {"args": ["on", 44, 0]}}).json()) == 44).all()
    off = ask(client, {"painter": {"args": [False, 33]}}).json()
    assert not (first_picture(off) == 33).all()
    assert off["warnings"] == []
    for wrong in ([True, "red"], [True, 1, "bottom"], [True, 1, 0, 5]):
        answer = ask(client, {"painter": {"args": wrong}})
        assert answer.status_code == 422
        assert "Grey" in answer.text or "What" in answer.text or "Painter" in answer.text


def test_programs_are_told_what_there_is(client: TestClient) -> None:
    listed = {one["name"]: one for one in client.get("/sdapi/v1/extensions").json()}
    assert sorted(listed) == ["bomb", "masktools", "painter"]
    assert {name: one["enabled"] for name, one in listed.items()} == {
        "bomb": False, "masktools": False, "painter": True}
    assert "RuntimeError: boom" in listed["bomb"]["problem"]
    scripts = client.get("/sdapi/v1/scripts").json()
    assert "painter" in scripts["txt2img"]
    assert "painter" in scripts["img2img"]
    infos = [one for one in client.get("/sdapi/v1/script-info").json() if one["name"] == "painter"]
    assert [(one["is_alwayson"], one["is_img2img"]) for one in infos] == [(True, False), (True, True)]
    grey = {"label": "Grey", "value": 100, "minimum": 0, "maximum": 255, "step": 1, "choices": None}
    assert infos[0]["args"][1] == grey
    assert infos[0]["args"][2]["choices"] == ["all", "top"]


def test_no_request_can_install_anything(client: TestClient) -> None:
    paths: Sequence[str] = list(client.get("/openapi.json").json()["paths"])
    assert [path for path in paths if "extension" in path] == ["/sdapi/v1/extensions"]
    for method in ("post", "put", "patch", "delete"):
        assert getattr(client, method)("/sdapi/v1/extensions").status_code == 405


def test_every_hook_says_what_it_is_for() -> None:
    for name, hook in vars(hookspecs).items():
        if hasattr(hook, f"{hookspecs.PROJECT}_spec"):
            assert len(hook.__doc__) > 40, name


def test_the_page_of_hooks_has_an_example_that_works(settings: Settings) -> None:
    assert hookspecs.__doc__
    example = dedent(hookspecs.__doc__.split("needs:\n\n")[1].split("An extension may also")[0])
    (folder := Path(settings.data_dir, "extensions", "example")).mkdir(parents=True)
    (folder / "__init__.py").write_text(example)
    engine = fake_engine(settings)
    what = Img2Img(**vars(request()) | {"init_images": painting().init_images})
    image = np.asarray(made(engine, what).images[0].image)
    assert extension(engine, "example").about == "Turns every picture to grey."
    assert (image[..., :1] == image).all()
