"""Checkpoints and LoRAs that make a picture in a few steps, known by their names, and the settings of each kind.

LCM (Luo et al. 2023), SDXL Turbo (Sauer et al. 2023), SDXL Lightning (Lin et al. 2024), Hyper-SD (Ren et al. 2024) and
TCD (Zheng et al. 2024). Reads names and headers, no weights; no torch.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from modules.base.files import FileVersion, tree_version
from modules.weights.catalog import CheckpointFile, header, metadata
from modules.weights.network_files import NetworkFiles


@dataclass(frozen=True)
class FewSteps:
    """The settings of one kind. `lora` is the name of the LoRA that the prompt must have; empty for a checkpoint."""

    sampler: str
    scheduler: str
    steps: int
    cfg_scale: float = 1.0
    lora: str = ""


KINDS = {
    "lcm": FewSteps("LCM", "Simple", 4),
    "tcd": FewSteps("TCD", "Simple", 4),
    "turbo": FewSteps("Euler a", "SGM Uniform", 4),
    "lightning": FewSteps("Euler", "SGM Uniform", 4),
    "hyper": FewSteps("Euler", "SGM Uniform", 8),
}
"""By the word in the name."""

SURE = ("lcm", "tcd")
"""Kinds whose word means nothing else. A lightning may also be what a LoRA draws."""
CHECKPOINTS = (*SURE, "turbo", "lightning")
"""Kinds that a checkpoint's name says by the word alone. "Hyper" is in the names of many others."""
KEEPS_CFG = 5.0
"""CFG scale of the files of Hyper-SD that are made for guidance."""
MOST_STEPS = 16
PREFERRED = 4
TITLES = ("ss_output_name", "modelspec.title", "modelspec.tags")
"""Keys of the metadata that may say it where the file's name does not."""

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_STEPS = re.compile(r"(?<!\d)(\d{1,2})[-_ ]?steps?(?![a-z])", re.IGNORECASE)
_CONTEXT = re.compile(r"attn2[._]to_k\.(.*(lora_down|lora_A|down)\.)?weight$")


def few_steps(name: str, metadata: Mapping[str, str], *, lora: bool = False) -> FewSteps | None:
    """What a file's name, else its metadata, says of how it is sampled; None if it is not made for a few steps."""
    named = [name, *(metadata.get(key, "") for key in TITLES)]
    return next(filter(None, (_read(text, lora) for text in named)), None)


def _read(text: str, lora: bool) -> FewSteps | None:
    words = [word.lower() for word in _WORD.findall(text[:500])]
    said = _STEPS.search(text[:500])
    steps = int(said[1]) if said and 1 <= int(said[1]) <= MOST_STEPS else None
    for place, word in enumerate(words):
        kind = re.sub("^(sdxl|sd|xl)(?=.)", "", word)
        if kind not in KINDS:
            continue
        beside = [word.removesuffix(kind), *words[max(place - 1, 0) : place], *words[place + 1 : place + 2]]
        of_family = any(one.startswith(("sd", "xl")) for one in beside)
        if steps or of_family or kind in (SURE if lora else CHECKPOINTS):
            found = KINDS[kind]
            scale = KEEPS_CFG if kind == "hyper" and "cfg" in words else found.cfg_scale
            return replace(found, steps=steps or found.steps, cfg_scale=scale)
    return None


def offered(checkpoint: CheckpointFile, loras: NetworkFiles) -> FewSteps | None:
    """The settings for `checkpoint`, else for the LoRA of few steps that fits it: with about four steps, if there are
    several. None if there is no such file."""
    if found := few_steps(checkpoint.name, metadata(checkpoint.path)):
        return found
    return min(_of_loras(checkpoint, loras), default=None,
               key=lambda one: (abs(one.steps - PREFERRED), one.lora.lower()))


def _of_loras(checkpoint: CheckpointFile, loras: NetworkFiles) -> Iterator[FewSteps]:
    wanted = context_width(checkpoint.path)
    for file in loras.files():
        found = few_steps(file.name, loras.metadata(file), lora=True)
        if found and (wanted is None or context_width(file.path) in (wanted, None)):
            yield replace(found, lora=file.name)


def context_width(path: Path) -> int | None:
    """The width of the context that a file's cross-attention reads, which differs from family to family: 768 of Stable
    Diffusion 1, 1024 of 2, 2048 of XL. None where its header does not tell."""
    return _context_width(path, tree_version(path))


@lru_cache(maxsize=256)
def _context_width(path: Path, version: FileVersion | None) -> int | None:
    for key, entry in header(path).items():
        shape: Any = entry.get("shape") if isinstance(entry, dict) else None
        if _CONTEXT.search(key) and isinstance(shape, list) and shape and isinstance(shape[-1], int):
            return shape[-1]
    return None
