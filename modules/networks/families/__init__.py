"""The families of models that this program knows, and which of them a file is of. To add one, write its file and put it
into `FAMILIES`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from modules.errors import CheckpointError
from modules.networks.families.family import Family, Kind, Part
from modules.networks.families.others import OTHERS, VAE_FILE
from modules.networks.families.sd1 import SD1
from modules.networks.families.sd2 import SD2
from modules.networks.families.sd3 import SD3
from modules.networks.families.sdxl import SDXL, SDXL_REFINER
from modules.networks.shapes import Header

FAMILIES: tuple[Kind, ...] = (*OTHERS, SD3, SDXL, SDXL_REFINER, SD2, SD1)
"""In the order in which they are asked whether a file is theirs."""

APART = ("lora", "zero_convs", "input_hint_block", "control_model", "controlnet")
"""Words in names of files that have a denoiser's names and are none."""

LOADABLE = "this program loads checkpoints of Stable Diffusion 1.x, 2.x, XL and 3 in one file"


def kind_of(header: Header, families: Sequence[Kind] = FAMILIES) -> Kind | None:
    """The kind of a file, whole or not; None if it is of none that is known."""
    return next((kind for kind in (*families, VAE_FILE) if kind.recognises(header)), None)


def whole_names(shapes: Mapping[str, object]) -> Callable[[str], str]:
    """How the tensors of a file that holds a denoiser alone are called in a checkpoint; the same names for others."""
    for family in (kind for kind in FAMILIES if isinstance(kind, Family)):
        own = family.part("unet").alone
        if any(key.startswith(tuple(own)) for key in shapes) and not any(one in key for key in shapes for one in APART):
            return family.part("unet").in_checkpoint
    return lambda key: key


def missing_parts(family: Family, header: Header, path: Path, folders: Sequence[Path]) -> list[Part]:
    """The parts of which a file, its names being those that the family has today, holds nothing, and those that want
    something which is neither beside its `path` nor in `folders`."""
    return [part for part in family.parts if not header.has(part.prefix) or not part.complete(path, folders)]


def recognise(header: Header, families: Sequence[Kind] = FAMILIES) -> Family:
    """The family of a checkpoint. Raises CheckpointError with a sentence where it cannot be loaded."""
    kind = kind_of(header, families)
    if kind is VAE_FILE:
        raise CheckpointError(f"{header.name} is a VAE file; choose it in the VAE dropdown, not as a checkpoint.")
    if kind is None:
        raise CheckpointError(f"{header.name} does not look like a Stable Diffusion checkpoint; {LOADABLE}.")
    if not isinstance(kind, Family):
        raise CheckpointError(f"{header.name} is {kind.label}; {LOADABLE}.")
    return kind


def refuse_missing(header: Header, missing: Sequence[Part]) -> None:
    """Raises CheckpointError for a checkpoint that lacks parts."""
    if missing:
        words = " and no ".join(part.words for part in missing)
        raise CheckpointError(f"{header.name} has no {words} in it; {LOADABLE}.")


def refuse_other_vaes(header: Header) -> None:
    """Raises CheckpointError for a file that is chosen as a VAE and is a LoRA, in diffusers' layout and so on."""
    for kind in OTHERS:
        if kind.recognises(header):
            raise CheckpointError(
                f"{header.name} is {kind.label}; this program loads VAE files in Stable Diffusion's layout.")
