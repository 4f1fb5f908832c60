"""The command line flags, with WebUI's names, as one frozen value that is passed down. No other module reads flags.

`Settings` is the table of flags: each field is one flag, with its default and its help text.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import logging
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from modules.errors import InvalidInput

log = logging.getLogger(__name__)

PROJECT = Path(__file__).resolve().parent.parent
HOME = PROJECT if (PROJECT / "pyproject.toml").is_file() else Path.home() / "inpaint-webui"
"""Where models and outputs lie: with the program, or, where pip has installed it, in the person's own folder."""
DEVICES = ("auto", "cpu", "cuda", "mps")
CPU_ENGINES = ("auto", "openvino", "torch")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
THEMES = ("", "light", "dark")

FOLDERS: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "checkpoints": (("Stable-diffusion",), ("models/Stable-diffusion",), ("models/checkpoints",)),
    "VAE": (("VAE",), ("models/VAE",), ("models/vae",)),
    "upscalers": (("ESRGAN", "RealESRGAN", "SwinIR", "DAT", "ScuNET", "HAT"),
                  ("models/ESRGAN", "models/RealESRGAN", "models/SwinIR", "models/DAT", "models/ScuNET", "models/HAT"),
                  ("models/upscale_models",)),
    "LoRAs": (("Lora", "LyCORIS"), ("models/Lora", "models/LyCORIS"), ("models/loras",)),
    "embeddings": ((), ("embeddings",), ("models/embeddings",)),
    "hypernetworks": (("hypernetworks",), ("models/hypernetworks",), ("models/hypernetworks",)),
    "wildcards": ((), ("wildcards", "extensions/sd-dynamic-prompts/wildcards",
                       "extensions/stable-diffusion-webui-wildcards/wildcards"), ("wildcards",)),
    "tag lists": ((), ("tags", "extensions/a1111-sd-webui-tagcomplete/tags"), ("tags",)),
    "face restorers": (("GFPGAN", "Codeformer"), ("models/GFPGAN", "models/Codeformer"),
                       ("models/facerestore_models",)),
    "inpainters": (("inpaint",), ("models/inpaint",), ("models/inpaint",)),
    "control networks": (("ControlNet",), ("models/ControlNet", "extensions/sd-webui-controlnet/models"),
                         ("models/controlnet", "models/t2i_adapter")),
    "image encoders": (("clip_vision",), ("models/clip_vision",
                                          "extensions/sd-webui-controlnet/annotator/downloads/clip_vision"),
                       ("models/clip_vision",)),
    "detectors": (("adetailer",), ("models/adetailer",), ("models/ultralytics", "models/adetailer")),
    "captioners": (("captioners",), (), ()),
    "taggers": (("taggers",), ("models/TaggerOnnx",), ("custom_nodes/ComfyUI-WD14-Tagger/models",)),
    "subject networks": (("subject",), (), ()),
    "segmenters": (("sam",), (), ()),
    "grounders": (("grounding",), (), ()),
    "embedders": (("embedders",), (), ()),
    "depth networks": (("depth",), ("models/depth",), ("models/depth",)),
    "text encoders": (("text_encoder",), ("models/text_encoder",), ("models/text_encoders", "models/clip")),
    "annotators": (("annotators",), ("extensions/sd-webui-controlnet/annotator/downloads",), ())}
"""Each kind of files: our folders in `models_dir`, WebUI's in its own, and ComfyUI's. docs/models.md shows the same."""

Passwords = tuple[tuple[str, str], ...]


def _flag(default: Any, help: str, *, read: Any = None, metavar: str | None = None, choices: tuple[str, ...] = (),
          repeat: bool = False, secret: bool = False) -> Any:
    return field(default=default, repr=not secret, metadata={
        "help": help, "read": read, "metavar": metavar, "choices": choices, "repeat": repeat, "secret": secret})


def _path(text: str) -> Path:
    return Path(text).expanduser().absolute()


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not at least 1")
    return number


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is less than 0")
    return number


def _share(text: str) -> float:
    number = float(text)
    if not 0 < number <= 64:
        raise argparse.ArgumentTypeError(f"{text!r} is not above 0")
    return number


def _size(text: str) -> int:
    """"8GB", "500 MB" or "0" to bytes."""
    found = re.fullmatch(r"(?i)([\d.]+)\s*([KMGT]?)i?B?", text.strip())
    try:
        number = float(found[1] if found else "")
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size like 8GB") from None
    assert found
    return int(number * 1000 ** " KMGT".index(found[2].upper() or " "))


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 0 and 65535")
    return number


def _passwords(text: str) -> Passwords:
    """"user:password,other:password" to pairs. A password may contain colons but no comma, as in WebUI."""
    pairs = [item.strip().partition(":") for item in text.split(",") if item.strip()]
    if not pairs or not all(user and colon and password for user, colon, password in pairs):
        raise argparse.ArgumentTypeError("write it as user:password")
    return tuple((user, password) for user, _, password in pairs)


def _list(text: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in text.split(",") if item.strip())


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The values of all flags.

    Relative defaults of folders are relative to `data_dir`; a relative path in a flag is relative to the working
    directory. Raises InvalidInput for `--cors-allow-origins *` together with a password, for a folder of `--webui-dir`
    or `--comfy-dir` that is none, and for `--cpu-engine openvino` without OpenVINO.
    """

    # where it listens
    port: int = _flag(7860, "port of page and API; 0 takes a free one", read=_port, metavar="N")
    listen: bool = _flag(False, "answer other computers too, not only this one")
    allow_host: tuple[str, ...] = _flag((), "a host name under which browsers may ask for the page (repeatable)",
                                        read=str, metavar="NAME", repeat=True)
    cors_allow_origins: tuple[str, ...] = _flag(
        (), "web sites whose pages may use the API from a browser, like https://example.org", read=_list,
        metavar="ORIGIN[,...]")
    subpath: str = _flag("", "path under which a reverse proxy serves the page", metavar="PATH")
    autolaunch: bool = _flag(False, "open the page in the browser")
    nowebui: bool = _flag(False, "only the API, no page")
    api: bool = _flag(False, "accepted for WebUI's sake: the API is always on")
    api_auth: Passwords = _flag((), "password for page and API", read=_passwords, metavar="USER:PASSWORD[,...]",
                                secret=True)
    gradio_auth: Passwords = _flag((), "the same; either flag protects everything", read=_passwords,
                                   metavar="USER:PASSWORD[,...]", secret=True)
    theme: str = _flag("", "light or dark; left out, the browser decides", choices=THEMES)
    # folders and files
    data_dir: Path = _flag(HOME, "folder that holds models, outputs and config.json", read=_path, metavar="DIR")
    models_dir: Path = _flag(Path("models"), "folder that holds Stable-diffusion, VAE, ...", read=_path, metavar="DIR")
    outputs_dir: Path = _flag(Path("outputs"), "folder that pictures are saved in", read=_path, metavar="DIR")
    ckpt_dir: Path | None = _flag(None, "another folder with checkpoints", read=_path, metavar="DIR")
    vae_dir: Path | None = _flag(None, "another folder with VAEs", read=_path, metavar="DIR")
    lora_dir: Path | None = _flag(None, "another folder with LoRAs", read=_path, metavar="DIR")
    embeddings_dir: Path = _flag(Path("embeddings"), "folder with textual inversion embeddings", read=_path,
                                 metavar="DIR")
    hypernetwork_dir: Path | None = _flag(None, "another folder with hypernetworks", read=_path, metavar="DIR")
    controlnet_dir: Path | None = _flag(None, "another folder with control networks", read=_path, metavar="DIR")
    webui_dir: Path | None = _flag(None, "an existing WebUI, whose models are read where they are", read=_path,
                                   metavar="DIR")
    comfy_dir: Path | None = _flag(None, "an existing ComfyUI, likewise", read=_path, metavar="DIR")
    ckpt: str = _flag("", "checkpoint to begin with: a path, title, name or hash", metavar="CKPT")
    styles_file: Path = _flag(Path("styles.csv"), "file of prompt styles", read=_path, metavar="FILE")
    # the machine
    device: str = _flag("auto", "what computes", choices=DEVICES)
    no_half: bool = _flag(False, "compute with 32 bits on a GPU too: slower and twice the memory, for the cards and "
                          "checkpoints that give black or no pictures with 16")
    precision: str = _flag("auto", "the numbers that the denoiser computes with; auto is fp32 on the CPU and with "
                           "--no-half, else fp16. bf16 on a CPU that has it (AVX512-BF16, AMX) is much faster with "
                           "OpenVINO", choices=PRECISIONS)
    medvram: bool = _flag(False, "on a GPU, text encoders, denoiser and autoencoder take turns and wait in the "
                          "computer's memory; without it only where they do not all fit")
    lowvram: bool = _flag(False, "the same, and the denoiser brings its layers one by one: very slow, for the smallest "
                          "cards; without it only where it does not fit alone")
    model_cache: int | None = _flag(None, "memory for weights, like 8GB: checkpoints that were in use stay in it; 0 "
                                    "keeps only the one in use (left out: half of the free memory for the others)",
                                    read=_size, metavar="SIZE")
    tiled_vae: str = _flag("auto", "encode and decode large pictures in strips, in little memory; auto does so when "
                           "they would not fit otherwise", choices=("auto", "on", "off"))
    compile: bool = _flag(False, "compile the network for each size of picture, which takes minutes once; wants a C++ "
                          "compiler, and on the CPU memory for the network's weights once more")
    cpu_engine: str = _flag("auto", "what computes the denoiser on the CPU; auto is OpenVINO for large ones on a "
                            "processor with AVX-512, if it is installed (pip install -r requirements-openvino.txt)",
                            choices=CPU_ENGINES)
    # several workers
    workers: int = _flag(0, "processes of this machine that make the pictures, each with its own copy of the "
                         "checkpoint: one for each GPU; 0 for none but this (pip install -r requirements-cluster.txt)",
                         read=_count, metavar="N")
    cluster: str = _flag("", "a Ray cluster whose machines make the pictures: docs/cluster.md", metavar="HOST:PORT")
    worker_gpus: float = _flag(1.0, "GPUs of one worker, where there are any; 0.5 lets two share one", read=_share,
                               metavar="N")
    worker_threads: int = _flag(1, "threads of one worker that computes on the CPU", read=_positive, metavar="N")
    # limits
    max_size: int = _flag(2048, "largest width or height of a picture", read=_positive, metavar="PIXELS")
    max_pixels: int = _flag(2**24, "largest width x height x batch size", read=_positive, metavar="PIXELS")
    max_steps: int = _flag(150, "most sampling steps", read=_positive, metavar="N")
    max_batch: int = _flag(16, "largest batch size", read=_positive, metavar="N")
    max_count: int = _flag(100, "largest batch count", read=_positive, metavar="N")
    max_queue: int = _flag(100, "most jobs that wait", read=_positive, metavar="N")
    max_body_mb: int = _flag(64, "largest HTTP body", read=_positive, metavar="MB")
    max_image_mp: int = _flag(64, "largest picture that is read", read=_positive, metavar="MEGAPIXELS")

    def __post_init__(self) -> None:
        if "*" in self.cors_allow_origins and self.passwords:
            raise InvalidInput("--cors-allow-origins * lets every web site in, also with the password that a browser "
                               "remembers: name the sites instead.")
        if self.cpu_engine == "openvino" and importlib.util.find_spec("openvino") is None:
            raise InvalidInput("--cpu-engine openvino: OpenVINO is not installed; pip install -r "
                               "requirements-openvino.txt installs it.")
        for name in ("webui_dir", "comfy_dir"):
            tree = getattr(self, name)
            if tree is not None and not (tree / "models").is_dir():
                raise InvalidInput(f"--{name.replace('_', '-')} {tree}: there is no folder \"models\" in it.")
        for name in ("models_dir", "outputs_dir", "styles_file", "embeddings_dir"):
            object.__setattr__(self, name, self.data_dir / getattr(self, name))

    @classmethod
    def from_argv(cls, argv: Sequence[str], environ: Mapping[str, str] = os.environ) -> Settings:
        """Parse flags. Those in the environment variable COMMANDLINE_ARGS come first, as in WebUI.

        Raises InvalidInput for an unknown flag or an invalid value.
        """
        try:
            before = shlex.split(environ.get("COMMANDLINE_ARGS", ""))
        except ValueError as error:
            raise InvalidInput(f"COMMANDLINE_ARGS cannot be read: {error}.") from error
        values: dict[str, Any] = vars(_parser(cls).parse_args([*before, *argv]))
        values["allow_host"] = tuple(values["allow_host"])
        if ignored := values.pop("without_meaning"):
            log.info("Without meaning here: %s.", ", ".join(ignored))
        return cls(**values)

    @property
    def checkpoint_dirs(self) -> tuple[Path, ...]:
        """The folders with checkpoints, the one in `models_dir` first."""
        return (*self.folders("checkpoints"), *([self.ckpt_dir] if self.ckpt_dir else []))

    @property
    def vae_dirs(self) -> tuple[Path, ...]:
        """The folders with VAEs, the one in `models_dir` first."""
        return (*self.folders("VAE"), *([self.vae_dir] if self.vae_dir else []))

    @property
    def lora_dirs(self) -> tuple[Path, ...]:
        """The folders with LoRAs, those in `models_dir` first."""
        return (*self.folders("LoRAs"), *([self.lora_dir] if self.lora_dir else []))

    @property
    def embeddings_dirs(self) -> tuple[Path, ...]:
        """The folders with textual inversion embeddings, ours first."""
        return (self.embeddings_dir, *self.folders("embeddings"))

    @property
    def hypernetwork_dirs(self) -> tuple[Path, ...]:
        """The folders with hypernetworks, the one in `models_dir` first."""
        return (*self.folders("hypernetworks"), *([self.hypernetwork_dir] if self.hypernetwork_dir else []))

    @property
    def control_dirs(self) -> tuple[Path, ...]:
        """The folders with control networks, the one in `models_dir` first."""
        return (*self.folders("control networks"), *([self.controlnet_dir] if self.controlnet_dir else []))

    @property
    def wildcard_dirs(self) -> tuple[Path, ...]:
        """The folders with lists of wildcards, ours first."""
        return (self.data_dir / "wildcards", *self.folders("wildcards"))

    @property
    def tag_dirs(self) -> tuple[Path, ...]:
        """The folders with lists of tags for prompts, ours first."""
        return (self.data_dir / "tags", *self.folders("tag lists"))

    def folders(self, kind: str) -> tuple[Path, ...]:
        """Where files of a kind of `FOLDERS` are looked for: ours, there or not, then those of WebUI and ComfyUI that
        are there. Only in ours anything is ever written.
        """
        own, webui, comfy = FOLDERS[kind]
        return (*(self.models_dir / name for name in own), *_there(self.webui_dir, webui),
                *_there(self.comfy_dir, comfy))

    @property
    def borrowed(self) -> dict[str, list[Path]]:
        """The folders of WebUI and ComfyUI that are read, by kind."""
        found = {kind: [*_there(self.webui_dir, webui), *_there(self.comfy_dir, comfy)]
                 for kind, (_, webui, comfy) in FOLDERS.items()}
        return {kind: folders for kind, folders in found.items() if folders}

    @property
    def extension_dirs(self) -> tuple[Path, ...]:
        """The folders with extensions: the program's own, then the one in `data_dir`."""
        return tuple(dict.fromkeys((PROJECT / "extensions", self.data_dir / "extensions")))

    @property
    def config_file(self) -> Path:
        """The file in which options are remembered."""
        return self.data_dir / "config.json"

    @property
    def cache_dir(self) -> Path:
        """The folder for files that may be deleted at any time: hashes, uploads, thumbnails."""
        return self.data_dir / "cache"

    @property
    def datasets_dir(self) -> Path:
        """The folder whose folders hold pictures to learn from."""
        return self.data_dir / "datasets"

    @property
    def trainings_dir(self) -> Path:
        """The folder with a folder for each training: its settings, its state, its sample pictures."""
        return self.data_dir / "trainings"

    @property
    def recordings_dir(self) -> Path:
        """The folder with the recorded steps of the jobs that the queue still knows."""
        return self.cache_dir / "steps"

    @property
    def programs_dir(self) -> Path:
        """The folder for programs that `compile` has made."""
        return self.cache_dir / "programs"

    @property
    def passwords(self) -> Passwords:
        """The (user, password) pairs that give access to page and API. Empty means that no password is needed."""
        return self.api_auth + self.gradio_auth

    @property
    def host(self) -> str:
        """The address that the server listens on."""
        return "0.0.0.0" if self.listen else "127.0.0.1"

    @property
    def root_path(self) -> str:
        """`subpath` in the form that servers need: empty, or with a slash before and none after it."""
        return f"/{self.subpath.strip('/')}" if self.subpath.strip("/") else ""

    def public(self) -> dict[str, Any]:
        """All flags by name as plain values, without the passwords."""
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)
                  if not item.metadata["secret"]}
        return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}


def _there(tree: Path | None, names: Sequence[str]) -> list[Path]:
    return [] if tree is None else [tree / name for name in names if (tree / name).is_dir()]


WITHOUT_MEANING = (
    "xformers", "force-enable-xformers", "opt-sdp-attention", "opt-sdp-no-mem-attention", "opt-split-attention",
    "opt-split-attention-v1", "opt-split-attention-invokeai", "opt-sub-quad-attention", "opt-channelslast",
    "disable-opt-split-attention", "medvram-sdxl", "lowram", "always-batch-cond-uncond",
    "no-half-vae", "upcast-sampling", "disable-nan-check", "skip-torch-cuda-test", "skip-install",
    "skip-prepare-environment", "skip-python-version-check", "skip-version-check", "skip-load-model-at-start",
    "reinstall-torch", "reinstall-xformers", "no-download-sd-model", "do-not-download-clip", "no-hashing",
    "update-check", "api-log", "enable-insecure-extension-access", "no-gradio-queue", "gradio-queue",
    "disable-console-progressbars", "enable-console-prompts", "no-progressbar-hiding", "hide-ui-dir-config")
"""WebUI's flags about installation, kinds of attention and saving memory. They are accepted and ignored, because
existing start scripts and container files use them."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InvalidInput(f"{message[:1].upper()}{message[1:]} (--help lists the flags).")


def _parser(table: type[Settings]) -> _Parser:
    parser = _Parser(description="Inpaint WebUI: Stable Diffusion in the browser.", allow_abbrev=False)
    for item in dataclasses.fields(table):
        name, meta = f"--{item.name.replace('_', '-')}", item.metadata
        help = str(meta["help"]).replace("%", "%%")
        if isinstance(item.default, bool):
            parser.add_argument(name, action="store_true", help=help)
            continue
        if item.default not in (None, "", ()):
            help += f" ({item.default})"
        options: dict[str, Any] = {"help": help, "metavar": meta["metavar"], "type": meta["read"] or str}
        if meta["choices"]:
            options |= {"choices": meta["choices"], "metavar": None}
        if meta["repeat"]:
            options |= {"action": "append"}
        parser.add_argument(name, default=[] if meta["repeat"] else item.default, **options)
    for flag in WITHOUT_MEANING:
        parser.add_argument(f"--{flag}", action="append_const", const=f"--{flag}", dest="without_meaning",
                            help=argparse.SUPPRESS)
    return parser
