"""What is to be trained on, and how: the TOML file of `python -m modules.cli train`, which the page writes."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modules.errors import InvalidInput
from modules.request.fields import Declared, declared, field

EMBEDDING = "embedding"
KINDS = ("lora", "loha", "dora", EMBEDDING)
LAYERS = ("attention", "all")
OPTIMIZERS = ("adamw", "prodigy", "lion")
SCHEDULES = ("constant", "cosine")
PRECISIONS = ("fp32", "bf16", "fp16")
MOST_SAMPLES = 8
_NAME = re.compile(r"[^\x00-\x1f/\\:*?\"<>|.][^\x00-\x1f/\\:*?\"<>|]{0,99}")


@dataclass(frozen=True)
class Dataset:
    """A folder of pictures, each with a text file of its name (.txt or .caption) that says what it shows.

    A sub-folder called `10_robot`, as kohya's scripts want it, has its pictures count ten times, and "robot" for a
    caption where a picture has none.
    """

    folder: str = field("", "Folder", "Where the pictures are, with their captions beside them.")
    repeats: int = field(1, "Repeats", "How often each picture counts. Raise it for a folder that is smaller than the "
                         "others.", low=1, high=1000, shown=(1, 20))
    trigger: str = field("", "Trigger word", "A word put before every caption, which calls what was learned. Take one "
                         "that the checkpoint does not know.")
    regular: bool = field(False, "Regularisation", "These pictures show what is to stay as it is. They are seen as "
                          "often as all the others together, and have no trigger word.")


@dataclass(frozen=True)
class TrainingConfig:
    """All settings of one training. `datasets` are its pictures, `samples` the prompts of the sample pictures.

    Sources: LoRA (Hu et al. 2021), LoHa (Hyeon-Woo et al. 2022; Yeh et al. 2023), DoRA (Liu et al. 2024), textual
    inversion (Gal et al. 2022), min-SNR (Hang et al. 2023), noise offset (Guttenberg 2023).
    """

    checkpoint: str = field("", "Checkpoint", "What is taught. Its file stays as it is.")
    name: str = field("", "Name", "What the new file is called. It calls it in prompts, too.")
    datasets: tuple[Dataset, ...] = ()
    samples: tuple[str, ...] = ()
    kind: str = field("lora", "Kind", "LoRA is usual. LoHa gets more into a small file, DoRA learns size and "
                      "direction of weights apart. An embedding is only a word, which the checkpoint must nearly know.",
                      choices=KINDS)
    rank: int = field(8, "Rank", "How much can be learned. The file grows with it.", low=1, high=1024, shown=(1, 128))
    alpha: float = field(8.0, "Alpha", "What is learned is multiplied by alpha / rank. Usually it is the rank.",
                         low=1e-3, high=4096, shown=(1, 128), step=1)
    layers: str = field("attention", "Layers", "The layers that learn. New shapes need all of them (LoCon).",
                        choices=LAYERS)
    blocks: str = field("", "Blocks", "The beginnings of the names of the UNet's blocks that learn, such as mid_block, "
                        "up_blocks.1. Empty means all.")
    vectors: int = field(4, "Vectors", "How many vectors the word of an embedding has. More hold more.", low=1,
                         high=64, shown=(1, 16))
    initial: str = field("", "Initial words", "Words whose meaning an embedding begins with. Take what comes near.")
    steps: int = field(500, "Steps", "How often it learns. More learn better, until it only repeats the pictures.",
                       low=1, high=1_000_000, shown=(50, 5000))
    batch: int = field(4, "Batch", "Pictures in a step. More are steadier and need more memory.", low=1, high=256,
                       shown=(1, 16))
    accumulate: int = field(1, "Accumulate", "Batches in a step, one after the other. It counts as a larger batch, "
                            "without its memory.", low=1, high=256, shown=(1, 16))
    rate: float = field(1e-3, "Learning rate", "How large a step is. Halve it when pictures become noise. Prodigy "
                        "finds its own: take 1.", low=0, high=10, shown=(0, 0.01), step=1e-5)
    text_rate: float = field(0.0, "Text encoder's rate", "The text encoder learns too, at this rate. 0 leaves it as it "
                             "is. A tenth of the learning rate is usual.", low=0, high=10, shown=(0, 0.01), step=1e-5)
    optimizer: str = field("adamw", "Optimizer", "What turns gradients into steps. Prodigy finds its own rate; Lion "
                           "wants a tenth of AdamW's.", choices=OPTIMIZERS)
    schedule: str = field("constant", "Schedule", "Cosine lets the rate fall to zero at the end.", choices=SCHEDULES)
    warmup: int = field(20, "Warm-up", "Steps in which the rate rises.", low=0, high=100_000, shown=(0, 500))
    decay: float = field(0.01, "Weight decay", "What is learned is drawn to nothing by so much.", low=0, high=1,
                         shown=(0, 0.2))
    ema: float = field(0.0, "EMA", "Averages the weights over the last steps; 0.99 means over about a hundred. 0 is "
                       "off.", low=0, high=0.9999, shown=(0, 0.999), step=0.001)
    size: int = field(0, "Size", "Pictures have about size x size pixels, in their own proportions. 0 is the "
                      "checkpoint's size.", low=0, high=4096, shown=(0, 2048), step=64)
    flip: bool = field(False, "Mirror", "Pictures are learned mirrored, too. Not for faces and letters.")
    shuffle: bool = field(False, "Shuffle tags", "The parts of captions between commas come in another order each "
                          "time.")
    tag_dropout: float = field(0.0, "Drop tags", "The part of the tags that is left out each time.", low=0, high=1,
                               shown=(0, 0.5))
    dropout: float = field(0.05, "Drop captions", "The part of the pictures that is learned without words.", low=0,
                           high=1, shown=(0, 0.5))
    clip_skip: int = field(1, "Clip skip", "2 for checkpoints that are used with it.", low=1, high=12, shown=(1, 4))
    min_snr: float = field(5.0, "Min-SNR", "Gamma of min-SNR, by which easy noise levels count less. 0 is off.", low=0,
                           high=100, shown=(0, 20), step=0.5)
    noise_offset: float = field(0.0, "Noise offset", "For very dark and very bright pictures, 0.05 to 0.1.", low=0,
                                high=1, shown=(0, 0.2))
    prior: float = field(1.0, "Regularisation weight", "How much the pictures count that show what is to stay as it "
                         "is.", low=0, high=10, shown=(0, 2))
    validation: float = field(0.0, "Validation", "The part of the pictures that is not learned, but asked. The best of "
                              "what was learned is kept then.", low=0, high=0.5)
    validate_every: int = field(50, "Validate every", "Steps between two validations.", low=1, high=100_000,
                                shown=(10, 500), step=10)
    sample_every: int = field(0, "Sample every", "Steps between two rows of sample pictures. 0 makes some at the end.",
                              low=0, high=100_000, shown=(0, 1000), step=10)
    sample_scale: float = field(5.0, "Samples' CFG Scale", "The CFG scale of the sample pictures.", low=1, high=30,
                                step=0.5)
    checkpointing: bool = field(False, "Gradient checkpointing", "Computes some things twice instead of keeping them: "
                                "much less memory, a third slower.")
    precision: str = field("fp32", "Precision", "bf16 is faster on processors and GPUs that compute in it, fp16 on "
                           "older GPUs. Both need less memory.", choices=PRECISIONS)
    seed: int = field(1, "Seed", "Equal seeds give equal files on one machine.", low=0, high=2**32 - 1)
    save_minutes: float = field(5.0, "Save every (minutes)", "How often what was learned is kept. It is when a "
                                "training stops, too.", low=0.01, high=1000, shown=(1, 60), step=1)


def read_config(path: Path) -> TrainingConfig:
    """The file's settings. Folders in it are meant from where the file lies. Raises InvalidInput."""
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path.name} is not TOML: {error}.") from error
    return parse_config(text, path)


def parse_config(text: str, path: Path) -> TrainingConfig:
    """The settings in a TOML file's text, as if it lay at `path`. Raises InvalidInput."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"{path.name} is not TOML: {error}.") from error
    sets = content.pop("datasets", [])
    if not isinstance(sets, list) or not all(isinstance(one, dict) for one in sets) or not sets:
        raise InvalidInput(f"{path.name} names no pictures: it needs [[datasets]] with a folder.")
    samples = content.pop("samples", [])
    if not isinstance(samples, list) or not all(isinstance(one, str) for one in samples) or len(samples) > MOST_SAMPLES:
        raise InvalidInput(f"samples should be at most {MOST_SAMPLES} prompts in quotes.", field="samples")
    datasets = []
    for one in sets:
        dataset = Dataset(**_checked(Dataset, one))
        if not dataset.folder:
            raise InvalidInput(f"A dataset in {path.name} has no folder.", field="folder")
        datasets.append(dataclasses.replace(dataset, folder=str(path.parent / dataset.folder),
                                            trigger=dataset.trigger.strip()))
    config = TrainingConfig(**_checked(TrainingConfig, content), datasets=tuple(datasets), samples=tuple(samples))
    if not config.checkpoint:
        raise InvalidInput(f"{path.name} names no checkpoint.", field="checkpoint")
    check_name(config.name)
    return config


def check_name(name: str) -> None:
    """Raise InvalidInput for a name that is not that of a file."""
    if not _NAME.fullmatch(name):
        raise InvalidInput(f'"{name}" cannot be a file\'s name; name says what the LoRA is called.', field="name")


def to_toml(config: TrainingConfig) -> str:
    """The file's text: what is not usual, and the folders as they are. `parse_config` reads it."""
    lines = _lines(config)
    if config.samples:
        lines.append(f"samples = {_written(list(config.samples))}")
    for dataset in config.datasets:
        lines += ["", "[[datasets]]", *_lines(dataset)]
    return "\n".join(lines) + "\n"


def _lines(values: TrainingConfig | Dataset) -> list[str]:
    return [f"{item.name} = {_written(value)}" for item in declared(type(values))
            if (value := getattr(values, item.name)) != item.default]


def _written(value: Any) -> str:
    """As TOML, which is JSON here but for a control character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _checked(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` for the fields of `kind`. Raises InvalidInput for one that is unknown, of another type or too large."""
    fields = {item.name: item for item in declared(kind)}
    for name in values:
        if name not in fields:
            raise InvalidInput(f'There is no setting "{name}"; there are {", ".join(fields)}.', field=name)
    return {name: checked(fields[name], value) for name, value in values.items()}


def checked(item: Declared, value: Any) -> Any:
    """`value` as a value of the setting `item`. Raises InvalidInput."""
    if item.kind is float and type(value) is int:
        value = float(value)
    if type(value) is not item.kind or value in (math.inf, -math.inf) or value != value:
        raise InvalidInput(f"{item.name} is {value!r} and should be a {_WORDS[item.kind]}.", field=item.name)
    if isinstance(value, int | float) and item.low is not None and item.high is not None \
            and not item.low <= value <= item.high:
        raise InvalidInput(f"{item.name} is {value:g} and should be between {item.low:g} and {item.high:g}.",
                           field=item.name)
    if item.choices and value not in item.choices:
        raise InvalidInput(f'{item.name} is "{value}"; there are {", ".join(item.choices)}.', field=item.name)
    return value


_WORDS: dict[Any, str] = {int: "whole number", float: "number", str: "text in quotes", bool: "true or false"}
