"""What a file of tensors is, told by its header alone: its kind, what it lacks, and what it is good for here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from modules.errors import CheckpointError, InvalidInput
from modules.networks.combining import SpareFiles
from modules.networks.families import FAMILIES, kind_of, missing_parts, whole_names
from modules.networks.families.family import Family, Kind
from modules.networks.families.others import OTHERS
from modules.networks.shapes import Header
from modules.settings import Settings
from modules.weights.diffusers_folder import read_checkpoint

PREDICTIONS = {"epsilon": "noise (eps)", "v_prediction": "velocity (v)", "flow": "a flow's velocity"}
READS = {"inpaint": "It is an inpainting checkpoint.", "depth": "It keeps the depth of a picture.",
         "edit": "It changes a picture as the prompt tells (InstructPix2Pix)."}
WIDTHS = {768: "Stable Diffusion 1.x", 1024: "Stable Diffusion 2.x", 2048: "Stable Diffusion XL",
          1280: "the Stable Diffusion XL refiner"}
"""Families by the width of what their UNets' cross-attention reads."""


def examine(header: Header, spare: SpareFiles, families: Sequence[Kind] = FAMILIES,
            path: Path | None = None) -> list[str]:
    """Sentences on the file of `header`. `spare` are local files that may have the parts that it lacks. `path` is where
    it lies, if it lies here."""
    header = header.renamed(whole_names(header.shapes))
    kind = kind_of(header, families)
    if kind is None:
        return [f"{header.name} is of no kind that this program knows."]
    if not isinstance(kind, Family):
        told = f"{header.name} is {kind.label.removesuffix(', not a checkpoint')}"
        fits = _made_for(header) if kind in OTHERS else _latents(header)
        return [f"{told}{fits}.", kind.use.format(stem=Path(header.name).stem)]
    return [f"{header.name} is {kind.label}.", *_of_checkpoint(kind, header, spare, path or Path(header.name))]


def _of_checkpoint(family: Family, header: Header, spare: SpareFiles, path: Path) -> Iterator[str]:
    header = header.renamed(family.rename)
    missing = missing_parts(family, header, path, spare.folders)
    try:
        shapes = {part.name: part.shape(header) for part in family.parts if part not in missing}
        found = {part.name: spare.fitting(family, part, shapes, header) for part in missing}
        if all(part.optional for part in missing):
            family.check(shapes, header)
    except CheckpointError as error:
        yield error.message
        return
    if "unet" in shapes:
        prediction, reads = family.prediction(header), family.inputs(shapes["unet"])
        size = family.size(prediction)
        yield f"It predicts {PREDICTIONS[prediction.name]}, and is made for pictures of {size} x {size}."
        if reads.name in READS:
            yield READS[reads.name]
    for part in missing:
        there = found[part.name]
        other = ", and does without." if part.optional else ", and no file here fits."
        yield f"It has no {part.words}" + (f"; {there.name} fits and is used." if there else other)
    if all(found[part.name] or part.optional for part in missing) and "unet" in shapes:
        yield "It loads. Its place is models/Stable-diffusion."
    else:
        yield "It cannot be loaded as it is."


def _made_for(header: Header) -> str:
    """The family that a network or an embedding is for, as the end of a sentence; empty where shapes do not tell."""
    widths = {shape[-1] for key, shape in header.shapes.items() if "attn2" in key and "to_k" in key
              and key.endswith(("to_k.lora_down.weight", "to_k.lora_A.weight", "to_k.weight"))}
    widths |= {shape[-1] for key, shape in header.shapes.items() if key == "emb_params" and len(shape) == 2}
    if "clip_g" in header.shapes:
        widths = {2048}
    named = {WIDTHS[width] for width in widths if width in WIDTHS}
    return f" for {named.pop()}" if len(named) == 1 else ""


def _latents(header: Header) -> str:
    found = [shape[1] for key, shape in header.shapes.items()
             if key.endswith("decoder.conv_in.weight") and len(shape) == 4]
    known = {4: " for Stable Diffusion 1.x, 2.x or XL", 16: " for latents of 16 channels (Stable Diffusion 3 or Flux)"}
    return known.get(found[0], "") if found else ""


def spare_files(settings: Settings) -> SpareFiles:
    """The local files that may have a part which a checkpoint lacks."""
    return SpareFiles((*settings.vae_dirs, *settings.folders("text encoders")))


def header_of_file(path: Path) -> Header:
    """The header of a file of tensors, or of a folder in diffusers' layout. Raises CheckpointError."""
    with read_checkpoint(path) as file:
        return Header(file.name, file.shapes, file.metadata)


def header_of_text(name: str, text: str) -> Header:
    """The header of a safetensors file `name`, of which only its JSON is at hand. Raises InvalidInput."""
    try:
        entries = json.loads(text)
        metadata = entries.pop("__metadata__", {})
        shapes = {str(key): tuple(entry["shape"]) for key, entry in entries.items()}
        right = all(isinstance(side, int) and 0 <= side < 2**40 for shape in shapes.values() for side in shape)
        if not right or not isinstance(metadata, dict):
            raise ValueError
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InvalidInput(f"{name} does not begin with the header of a safetensors file.") from error
    return Header(name, shapes, {key: value for key, value in metadata.items() if isinstance(value, str)})
