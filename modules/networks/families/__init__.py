"""The families of models that this program knows, and which of them a file is of. To add one, write its file and put it
into `FAMILIES`."""

from __future__ import annotations

from collections.abc import Sequence

from modules.errors import CheckpointError
from modules.networks.families.family import Family, Kind
from modules.networks.families.ldm import VAE
from modules.networks.families.others import OTHERS
from modules.networks.families.sd1 import SD1
from modules.networks.families.sd2 import SD2
from modules.networks.families.sd3 import SD3
from modules.networks.families.sdxl import SDXL, SDXL_REFINER
from modules.networks.shapes import Header

FAMILIES: tuple[Kind, ...] = (*OTHERS, SD3, SDXL, SDXL_REFINER, SD2, SD1)
"""In the order in which they are asked whether a file is theirs."""

LOADABLE = "this program loads checkpoints of Stable Diffusion 1.x, 2.x, XL and 3 in one file"


def recognise(header: Header, families: Sequence[Kind] = FAMILIES) -> Family:
    """The family of a checkpoint. Raises CheckpointError with a sentence where it cannot be loaded."""
    kind = next((kind for kind in families if kind.recognises(header)), None)
    if kind is None:
        if header.has(VAE) or header.has("encoder.down.") or header.has("decoder.up."):
            raise CheckpointError(f"{header.name} is a VAE file; choose it in the VAE dropdown, not as a checkpoint.")
        raise CheckpointError(f"{header.name} does not look like a Stable Diffusion checkpoint; {LOADABLE}.")
    if not isinstance(kind, Family):
        raise CheckpointError(f"{header.name} is {kind.label}; {LOADABLE}.")
    names = [kind.rename(key) for key in header.shapes]
    missing = [part.words for part in kind.parts if not any(name.startswith(part.prefix) for name in names)]
    if missing:
        raise CheckpointError(f"{header.name} has no {' and no '.join(missing)} in it; {LOADABLE}.")
    return kind


def refuse_other_vaes(header: Header) -> None:
    """Raises CheckpointError for a file that is chosen as a VAE and is a LoRA, in diffusers' layout and so on."""
    for kind in OTHERS:
        if kind.recognises(header):
            raise CheckpointError(
                f"{header.name} is {kind.label}; this program loads VAE files in Stable Diffusion's layout.")
