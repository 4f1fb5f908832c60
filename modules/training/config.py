"""What a LoRA is to be trained on, and how: the TOML file of `python -m modules.cli train`."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

from modules.errors import InvalidInput

LAYERS = ("attention", "all")
SCHEDULES = ("constant", "cosine")
PRECISIONS = ("fp32", "bf16")
_NAME = re.compile(r"[^\x00-\x1f/\\:*?\"<>|.][^\x00-\x1f/\\:*?\"<>|]{0,99}")


def _number(default: float, low: float, high: float) -> Any:
    return field(default=default, metadata={"limits": (low, high)})


def _choice(*names: str) -> Any:
    return field(default=names[0], metadata={"names": names})


@dataclass(frozen=True)
class Dataset:
    """A folder of pictures, each with a text file of its name (.txt or .caption) that says what it shows.

    A sub-folder called `10_robot`, as kohya's scripts want it, has its pictures count ten times, and "robot" for a
    caption where a picture has none. `trigger` is put before every caption.
    """

    folder: str = ""
    repeats: int = _number(1, 1, 1000)
    trigger: str = ""


@dataclass(frozen=True)
class TrainingConfig:
    """All settings of one training. Sizes in pixels; `size` 0 is the checkpoint's own.

    `rank` and `alpha` are those of LoRA (Hu et al. 2021): the difference is alpha / rank * up @ down. `layers`:
    "attention" trains the linear layers and projections of the attention blocks, "all" the convolutions too (LoCon).
    `min_snr` is the gamma of Hang et al. 2023, 0 for none; `noise_offset` that of Guttenberg 2023. `dropout` is the
    part of the pictures that are learned without words.
    """

    checkpoint: str = ""
    name: str = ""
    datasets: tuple[Dataset, ...] = ()
    rank: int = _number(8, 1, 1024)
    alpha: float = _number(8.0, 1e-3, 4096)
    layers: str = _choice(*LAYERS)
    steps: int = _number(500, 1, 1_000_000)
    batch: int = _number(4, 1, 256)
    rate: float = _number(1e-3, 0, 1)
    schedule: str = _choice(*SCHEDULES)
    warmup: int = _number(20, 0, 100_000)
    decay: float = _number(0.01, 0, 1)
    size: int = _number(0, 0, 4096)
    flip: bool = False
    min_snr: float = _number(5.0, 0, 100)
    noise_offset: float = _number(0.0, 0, 1)
    dropout: float = _number(0.05, 0, 1)
    clip_skip: int = _number(1, 1, 12)
    seed: int = _number(1, 0, 2**32 - 1)
    precision: str = _choice(*PRECISIONS)
    save_minutes: float = _number(5.0, 0.01, 1000)


def read_config(path: Path) -> TrainingConfig:
    """The file's settings. Folders in it are meant from where the file lies. Raises InvalidInput."""
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror or error}.") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidInput(f"{path.name} is not TOML: {error}.") from error
    sets = content.pop("datasets", [])
    if not isinstance(sets, list) or not all(isinstance(one, dict) for one in sets) or not sets:
        raise InvalidInput(f"{path.name} names no pictures: it needs [[datasets]] with a folder.")
    datasets = []
    for one in sets:
        dataset = Dataset(**_checked(Dataset, one))
        if not dataset.folder:
            raise InvalidInput(f"A dataset in {path.name} has no folder.", field="folder")
        datasets.append(Dataset(str(path.parent / dataset.folder), dataset.repeats, dataset.trigger.strip()))
    config = TrainingConfig(**_checked(TrainingConfig, content), datasets=tuple(datasets))
    if not config.checkpoint:
        raise InvalidInput(f"{path.name} names no checkpoint.", field="checkpoint")
    if not _NAME.fullmatch(config.name):
        raise InvalidInput(f'"{config.name}" cannot be a file\'s name; name says what the LoRA is called.',
                           field="name")
    return config


def _checked(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` for the fields of `kind`. Raises InvalidInput for one that is unknown, of another type or too large."""
    declared, types = {one.name: one for one in fields(kind)}, get_type_hints(kind)
    checked = {}
    for name, value in values.items():
        if name not in declared or name == "datasets":
            raise InvalidInput(f'There is no setting "{name}"; there are {", ".join(declared)}.', field=name)
        wanted, metadata = types[name], declared[name].metadata
        if wanted is float and type(value) is int:
            value = float(value)
        if type(value) is not wanted or (wanted is float and not math.isfinite(value)):
            raise InvalidInput(f"{name} is {value!r} and should be a {_WORDS[wanted]}.", field=name)
        if "limits" in metadata and not metadata["limits"][0] <= value <= metadata["limits"][1]:
            low, high = metadata["limits"]
            raise InvalidInput(f"{name} is {value:g} and should be between {low:g} and {high:g}.", field=name)
        if "names" in metadata and value not in metadata["names"]:
            raise InvalidInput(f'{name} is "{value}"; there are {", ".join(metadata["names"])}.', field=name)
        checked[name] = value
    return checked


_WORDS: dict[Any, str] = {int: "whole number", float: "number", str: "text in quotes", bool: "true or false"}
