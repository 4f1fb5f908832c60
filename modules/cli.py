"""The engine without a browser.

    python -m modules.cli inpaint --image photo.png --mask mask.png --prompt "a dog" --seed 1 --out out.png
    python -m modules.cli merge mine yours --multiplier 0.5 --name ours
    python -m modules.cli txt2img|img2img|models ...

Every flag of app.py that concerns models, folders and limits may be given too. The exit status is 0, 1 when something
could not be done, 2 for a wrong flag, and 130 after Ctrl-C, which keeps the picture as far as it is.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from PIL import Image, ImageOps
from tqdm import tqdm

from modules.engine.engine import Engine
from modules.errors import Interrupted, InvalidInput, UserError
from modules.gallery import saving
from modules.imaging.modes import to_rgb
from modules.jobs.job import Save
from modules.request import MASKED_CONTENT, Img2Img, Inpaint, ResizeMode, Txt2Img
from modules.request.job_context import Preview
from modules.request.options import Options
from modules.request.result import GeneratedImage
from modules.settings import Settings

PROGRAM = "python -m modules.cli"
STOPPED = 130


class WrongFlag(InvalidInput):
    """The command line cannot be understood."""


class Terminal:
    """A job that is watched in a terminal: a bar on standard error, pictures saved as they come, Ctrl-C to stop."""

    def __init__(self, save: Save) -> None:
        self.stopped, self._save = False, save
        self._bar: Any = tqdm(file=sys.stderr, unit="step", leave=False, disable=None)  # None: only in a terminal
        self._batch, self._batches, self._text = 0, 1, ""

    def check(self) -> None:
        """Raises Interrupted after Ctrl-C."""
        if self.stopped:
            raise Interrupted

    def stage(self, text: str) -> None:
        """Shows `text` before the bar."""
        if text != self._text:
            self._text = text
            self._bar.set_description(text)

    def batches(self, done: int, total: int) -> None:
        """`done` of `total` batches are finished."""
        self._batch, self._batches = done, total

    def step(self, step: int, total: int, preview: Preview) -> None:
        """Moves the bar. Raises like `check`."""
        self._bar.total, self._bar.n = total * self._batches, total * self._batch + step
        self._bar.refresh()
        self.check()

    def keep(self, images: Sequence[GeneratedImage], request: Txt2Img) -> tuple[GeneratedImage, ...]:
        """Saves each picture as soon as it is made, and says where. Raises StorageFull, CannotSave."""
        kept = tuple(dataclasses.replace(made, path=self._save(made, request)) for made in images)
        for made in kept:
            print(made.path)
        return kept

    def close(self) -> None:
        """Takes the bar away."""
        self._bar.close()

    def stop(self, *_: object) -> None:
        """The first Ctrl-C asks the engine to stop; a second one ends the program."""
        self.stopped = True
        signal.signal(signal.SIGINT, signal.default_int_handler)


def main(argv: Sequence[str] | None = None) -> int:
    """Does what `argv` says; the exit status."""
    try:
        flags, rest = _parser().parse_known_args(argv)
        try:
            settings = Settings.from_argv(rest)
        except InvalidInput as error:
            raise WrongFlag(error.message) from error
        engine = Engine(settings)
        if flags.command == "models":
            return list_models(engine)
        return merge_checkpoints(engine, flags) if flags.command == "merge" else make_pictures(engine, flags)
    except UserError as error:
        print(f"{PROGRAM}: {error.message}", file=sys.stderr)
        return 2 if isinstance(error, WrongFlag) else 1
    except KeyboardInterrupt:
        return STOPPED


def list_models(engine: Engine) -> int:
    """Prints the checkpoints and VAEs there are."""
    for checkpoint in engine.catalog.checkpoints():
        print(checkpoint.title)
    for vae in engine.catalog.vaes():
        print(f"VAE: {vae.name}")
    return 0


def merge_checkpoints(engine: Engine, flags: argparse.Namespace) -> int:
    """Makes a new checkpoint of those that are named, and prints where it is. Raises UserError."""
    from modules.weights.merge import Recipe, merge  # brings torch, which --help does without

    catalog = engine.catalog
    if len(flags.checkpoints) > 3:
        raise WrongFlag("At most three checkpoints can be merged.")
    a, b, c = [*(catalog.find(name) for name in flags.checkpoints), None, None][:3]
    assert a is not None
    recipe = Recipe(a, b, c, flags.method, flags.multiplier, not flags.float32, flags.name, flags.discard,
                    catalog.find_vae(flags.vae) if flags.vae else None)
    with tqdm(total=1.0, desc="Merging", file=sys.stderr, bar_format="{l_bar}{bar}", leave=False, disable=None) as bar:
        def show(share: float) -> None:
            bar.update(share - bar.n)

        path = merge(recipe, engine.settings.checkpoint_dirs[0], catalog.sha256, show)
    print(path)
    return 0


def make_pictures(engine: Engine, flags: argparse.Namespace) -> int:
    """Carries out txt2img, img2img or inpaint and saves what comes of it. Raises UserError."""
    request = to_request(flags, engine.options)
    engine.files_of(request.options)
    job = Terminal(saver(flags.out, engine.settings))
    previous = signal.signal(signal.SIGINT, job.stop)
    try:
        result = engine.generate(request, job)
    except Interrupted:
        return STOPPED
    finally:
        signal.signal(signal.SIGINT, previous)
        job.close()
    for warning in result.warnings:
        print(warning, file=sys.stderr)
    return STOPPED if result.interrupted else 0


def saver(out: Path | None, settings: Settings) -> Save:
    """What saves pictures as `out`, out-1, out-2, ..., or without `out` in the outputs folder."""
    if out is None:
        return saving.Saver(settings.outputs_dir)
    numbers = itertools.count()

    def save(made: GeneratedImage, request: Txt2Img) -> Path:
        number = next(numbers)
        path = out.with_stem(f"{out.stem}-{number}") if number else out
        saving.save_as(made.image, made.infotext, path)
        return path

    return save


def to_request(flags: argparse.Namespace, options: Options) -> Txt2Img:
    """The request that the flags describe. Raises UserError."""
    changes = dict(_setting(text) for text in flags.set)
    changes |= {name: value for name, value in (("sd_model_checkpoint", flags.checkpoint), ("sd_vae", flags.vae),
                                                ("CLIP_stop_at_last_layers", flags.clip_skip)) if value is not None}
    values: dict[str, Any] = {
        "prompt": flags.prompt, "negative_prompt": flags.negative_prompt, "sampler": flags.sampler,
        "scheduler": flags.scheduler, "steps": flags.steps, "cfg_scale": flags.cfg_scale, "seed": flags.seed,
        "batch_size": flags.batch_size, "n_iter": flags.count, "eta": flags.eta, "options": options.replaced(changes)}
    if flags.command == "txt2img":
        return Txt2Img(**values, width=flags.width or 512, height=flags.height or 512)
    image = read_picture(flags.image)
    at_512 = flags.command == "inpaint" and flags.only_masked
    values |= {"init_images": (image,), "denoising_strength": flags.strength,
               "resize_mode": ResizeMode(flags.resize_mode), "width": flags.width or (512 if at_512 else image.width),
               "height": flags.height or (512 if at_512 else image.height)}
    if flags.command == "img2img":
        return Img2Img(**values)
    return Inpaint(**values, mask=read_picture(flags.mask), mask_blur_x=flags.mask_blur, mask_blur_y=flags.mask_blur,
                   mask_invert=flags.invert, masked_content=MASKED_CONTENT[flags.content],
                   only_masked=flags.only_masked, only_masked_padding=flags.padding)


def read_picture(path: Path) -> Image.Image:
    """The picture in a file, turned as its EXIF says. Raises InvalidInput."""
    try:
        with Image.open(path) as image:
            return to_rgb(ImageOps.exif_transpose(image))
    except FileNotFoundError as error:
        raise InvalidInput(f"There is no file {path}.") from error
    except Exception as error:  # a broken file makes Pillow's decoders raise nearly anything
        raise InvalidInput(f"{path} is not a picture that can be read.") from error


def _setting(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or name not in Options.__dataclass_fields__:
        raise WrongFlag(f"--set wants OPTION=VALUE with an option that exists, not {text!r}.")
    return name, value


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise WrongFlag(f"{message[:1].upper()}{message[1:]} (--help lists the flags).")


def _parser() -> _Parser:
    parser = _Parser(prog=PROGRAM, description="Stable Diffusion on the command line.",
                     epilog="Flags of app.py (--models-dir, --ckpt-dir, --device, ...) may follow.", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="txt2img|img2img|inpaint|models|merge")
    commands.add_parser("models", help="list checkpoints and VAEs", allow_abbrev=False)
    _add_merge(commands.add_parser("merge", help="a new checkpoint from up to three", allow_abbrev=False))
    for command, text in (("txt2img", "a picture from words"), ("img2img", "a picture from a picture"),
                          ("inpaint", "a part of a picture anew")):
        one = commands.add_parser(command, help=text, allow_abbrev=False)
        _add_common(one)
        if command != "txt2img":
            _add_img2img(one)
        if command == "inpaint":
            _add_inpaint(one)
    return parser


def _add_merge(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("checkpoints", nargs="+", metavar="CHECKPOINT", help="A, B and C: titles, names, file names or hashes")
    add("--method", default="Weighted sum", help="or Add difference, Multiply, No interpolation (%(default)s)")
    add("--multiplier", type=float, default=0.3, metavar="M", help="0 to 1 (%(default)s)")
    add("--name", default="", help="of the new file (made of its parts' names)")
    add("--float32", action="store_true", help="leave float32 as it is, instead of saving it as float16")
    add("--vae", help="a VAE to bake in")
    add("--discard", default="", metavar="PATTERN", help="regular expression of weights to leave out")


def _add_common(parser: argparse.ArgumentParser) -> None:
    usual = Txt2Img()
    add = parser.add_argument
    add("--prompt", default="")
    add("--negative-prompt", default="")
    add("--sampler", default=usual.sampler, help="(%(default)s)")
    add("--scheduler", default=usual.scheduler, help="schedule type (%(default)s)")
    add("--steps", type=int, default=usual.steps, help="(%(default)s)")
    add("--cfg-scale", type=float, default=usual.cfg_scale, help="(%(default)s)")
    add("--seed", type=int, default=-1, help="-1 draws one")
    add("--width", type=int, help="in pixels (512, or the picture's)")
    add("--height", type=int)
    add("--batch-size", type=int, default=1)
    add("--count", type=int, default=1, help="batch count")
    add("--eta", type=float)
    add("--clip-skip", type=int)
    add("--checkpoint", help="title, name, file name or hash (the first there is)")
    add("--vae")
    add("--set", action="append", default=[], metavar="OPTION=VALUE", help="any option, by WebUI's name (repeatable)")
    add("--out", type=Path, help="PNG file to write (the next one in the outputs folder)")


def _add_img2img(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--image", type=Path, required=True, help="the picture to start from")
    add("--strength", type=float, default=0.75, help="denoising strength (%(default)s)")
    add("--resize-mode", type=int, choices=[mode.value for mode in ResizeMode], default=0,
        help="0 stretch, 1 crop, 2 fill, 3 stretch the latent (%(default)s)")


def _add_inpaint(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--mask", type=Path, required=True, help="what is white in it is painted")
    add("--invert", action="store_true", help="paint what is black instead")
    add("--mask-blur", type=int, default=4, metavar="PIXELS", help="(%(default)s)")
    add("--content", choices=list(MASKED_CONTENT), default="original", help="masked content (%(default)s)")
    add("--only-masked", action="store_true", help="work on the mask's surroundings at full size")
    add("--padding", type=int, default=32, metavar="PIXELS", help="of those surroundings (%(default)s)")


if __name__ == "__main__":
    sys.exit(main())
