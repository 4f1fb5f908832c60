"""A folder in diffusers' layout, seen as one file of tensors under the names that a single-file checkpoint has.

`model_index.json` names the parts; each lies in a folder of its own with a `config.json` and its weights, whole or in
shards. The names are those of `diffusers_names`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from modules.errors import CheckpointError
from modules.weights.catalog import PARTS_FILE
from modules.weights.diffusers_names import (
    Names,
    Place,
    clip_names,
    mmdit_names,
    openclip_names,
    unet_names,
    vae_names,
)
from modules.weights.tensors import TensorFile, read_tensors

LONGEST = 50_000_000
"""Bytes of a JSON file that is read. An index of a large network has some 100,000."""
STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")
INDEX = ".safetensors.index.json"
"""How the name of an index of shards ends."""
VARIANTS = ("", ".fp16", ".bf16", ".fp32")
"""Words in the names of files with the same weights in other types, in the order in which they are taken."""
KNOWN = "this program loads folders of Stable Diffusion 1.x, 2.x, XL and 3"

_UNET, _VAE = "model.diffusion_model.", "first_stage_model."


@dataclass(frozen=True)
class _Part:
    """The weights in one folder: each tensor's file and shape, and what `config.json` says."""

    files: Mapping[str, TensorFile]
    config: Mapping[str, Any]

    def shape(self, key: str) -> tuple[int, ...]:
        return self.files[key].shapes[key]

    def width(self, ending: str) -> tuple[int, ...]:
        """The shape of the first tensor whose name ends so; empty if there is none."""
        return next((self.shape(key) for key in self.files if key.endswith(ending)), ())


@contextmanager
def read_folder(folder: Path) -> Iterator[TensorFile]:
    """Open a folder as one file. A tensor is read when `TensorFile.read` is called.

    What the configurations tell and shapes do not is in the metadata, under the names of `networks.shapes.Header`.
    A scheduler with zero terminal SNR is told by a tensor "ztsnr", as fine-tunes in one file do.

    Raises:
        CheckpointError: the folder has no denoiser that is known, or a file in it is missing or damaged.
    """
    index = _json(folder / PARTS_FILE, folder.name)
    with ExitStack() as stack:
        parts = {name: part for name in ("unet", "transformer", "vae", "text_encoder", "text_encoder_2",
                                         "text_encoder_3") if (part := _opened(folder, name, stack)) is not None}
        origins: dict[str, dict[int, _Origin]] = {}
        for name, prefix, names in _layout(folder.name, index, parts):
            for key, file in parts[name].files.items() if name in parts else ():
                if (place := names(key)) is not None:
                    origin = _Origin(file, key, place)
                    origins.setdefault(prefix + place.key, {})[place.row] = origin
                    if name == "text_encoder" and prefix.startswith("cond_stage_model.model."):
                        _repeat_last(origins, prefix, place, origin, parts[name])
        rows = {key: [found[row] for row in sorted(found)] for key, found in origins.items()}
        scheduler = _config(folder / "scheduler" / "scheduler_config.json", folder.name)
        yield _virtual(folder.name, rows, _facts(folder.name, parts, scheduler),
                       zero=scheduler.get("rescale_betas_zero_snr") is True)


@dataclass(frozen=True)
class _Origin:
    """A tensor of a part, and where it lies in a single file."""

    file: TensorFile
    key: str
    place: Place

    @property
    def shape(self) -> tuple[int, ...]:
        shape = self.file.shapes[self.key]
        if self.place.transposed:
            return shape[::-1]
        return (*shape, 1, 1) if self.place.convolution and len(shape) == 2 else shape

    def read(self, into: Tensor) -> None:
        """Fill `into`, of as many numbers."""
        if not (self.place.transposed or self.place.halves):
            self.file.read(self.key, into)
            return
        own = self.file.tensor(self.key)
        own = own.T if self.place.transposed else torch.cat(own.chunk(2)[::-1])
        into.copy_(own.reshape(into.shape))


def _virtual(name: str, rows: Mapping[str, list[_Origin]], metadata: Mapping[str, str], *, zero: bool) -> TensorFile:
    shapes = {key: (sum(one.shape[0] for one in found), *found[0].shape[1:]) if len(found) > 1 else found[0].shape
              for key, found in rows.items()}
    dtypes = {key: found[0].file.dtypes[found[0].key] for key, found in rows.items()}
    told: dict[str, torch.dtype] = {"ztsnr": torch.float32} if zero else {}

    def read(key: str, into: Tensor) -> None:
        if key in told:
            into.zero_()
            return
        flat, start = into.view(-1), 0
        for one in rows[key]:
            count = math.prod(one.file.shapes[one.key])
            one.read(flat[start : start + count])
            start += count

    return TensorFile(name, shapes | dict.fromkeys(told, ()), dtypes | told, metadata, read)


def _layout(name: str, index: Mapping[str, Any], parts: Mapping[str, _Part]) -> list[tuple[str, str, Names]]:
    """Each part's folder, how its names begin in a single file, and its names. Raises CheckpointError."""
    kind = str(index.get("_class_name", ""))[:60]
    vae = ("vae", _VAE, vae_names(parts["vae"].files if "vae" in parts else ()))
    if "transformer" in parts:
        transformer = parts["transformer"].files
        if not {"pos_embed.pos_embed", "context_embedder.weight"} <= set(transformer):
            raise CheckpointError(f"{name} is a folder of diffusers' {kind or 'pipelines'}; {KNOWN}.")
        texts = "text_encoders."
        return [("transformer", _UNET, mmdit_names(transformer)), vae,
                ("text_encoder", texts + "clip_l.transformer.", clip_names),
                ("text_encoder_2", texts + "clip_g.transformer.", clip_names),
                ("text_encoder_3", texts + "t5xxl.transformer.", Place)]
    if "unet" not in parts:
        raise CheckpointError(f"{name} has no folder unet or transformer with weights in it; {KNOWN}.")
    unet = parts["unet"]
    if not unet.width("mid_block.attentions.0.proj_in.weight"):
        raise CheckpointError(f"{name} is a folder of diffusers' {kind or 'pipelines'}; {KNOWN}.")
    denoiser = ("unet", _UNET, unet_names(unet.files))
    if any(key.startswith("add_embedding.") for key in unet.files):
        if _listed(index, "text_encoder_2") and not _listed(index, "text_encoder"):  # the refiner
            return [denoiser, vae, ("text_encoder_2", "conditioner.embedders.0.model.", openclip_names)]
        return [denoiser, vae, ("text_encoder", "conditioner.embedders.0.transformer.", clip_names),
                ("text_encoder_2", "conditioner.embedders.1.model.", openclip_names)]
    if len(unet.width("mid_block.attentions.0.proj_in.weight")) == 2:
        return [denoiser, vae, ("text_encoder", "cond_stage_model.model.", openclip_names)]
    return [denoiser, vae, ("text_encoder", "cond_stage_model.transformer.", clip_names)]


def _listed(index: Mapping[str, Any], part: str) -> bool:
    """Whether the index says that there is such a part: an entry like ["transformers", "CLIPTextModel"]."""
    entry = index.get(part)
    return isinstance(entry, list) and all(isinstance(word, str) for word in entry)


def _repeat_last(origins: dict[str, dict[int, _Origin]], prefix: str, place: Place, origin: _Origin,
                 part: _Part) -> None:
    """Stable Diffusion 2 reads the last layer but one of its text encoder. diffusers' folders leave out the last, which
    a single file has; a copy of the one before it stands in its place and changes nothing."""
    layers = {key.split("layers.")[1].split(".")[0] for key in part.files if "encoder.layers." in key}
    own = f"transformer.resblocks.{len(layers) - 1}."
    if place.key.startswith(own):
        key = f"{prefix}transformer.resblocks.{len(layers)}.{place.key.removeprefix(own)}"
        origins.setdefault(key, {})[place.row] = origin


@contextmanager
def read_weights(path: Path) -> Iterator[TensorFile]:
    """Open a file of tensors, or the shards that an index of such names: as one file. Raises CheckpointError."""
    if not path.name.endswith(INDEX):
        with read_tensors(path) as file:
            yield file
        return
    found = _shards(path, path.parent.name)
    if found is None:
        raise CheckpointError(f"{path.parent.name} is incomplete: its shards are missing.")
    with ExitStack() as stack:
        files: dict[str, TensorFile] = {}
        for one in found[0]:
            file = stack.enter_context(read_tensors(one))
            files |= dict.fromkeys(file.shapes, file)
        yield TensorFile(path.parent.name, {key: file.shapes[key] for key, file in files.items()},
                         {key: file.dtypes[key] for key, file in files.items()}, {},
                         lambda key, into: files[key].read(key, into))


def _opened(folder: Path, name: str, stack: ExitStack) -> _Part | None:
    """The part in the folder `name`; None where there are no weights. Raises CheckpointError."""
    found = _weights(folder / name, f"{folder.name}/{name}")
    if found is None:
        return None
    paths, mapped = found
    files: dict[str, TensorFile] = {}
    for path in paths:
        try:
            file = stack.enter_context(_sentences(folder.name, name, path))
        except OSError as error:
            raise CheckpointError(f"{folder.name}/{name}: {path.name} cannot be read: {error.strerror}.") from error
        files |= dict.fromkeys(file.shapes, file)
    for key, where in mapped.items():
        if key not in files or files[key].name != where:
            raise CheckpointError(f"{folder.name}/{name}: the index says that {key[:100]} is in {where}, and it is "
                                  "not.")
    return _Part(files, _config(folder / name / "config.json", folder.name))


@contextmanager
def _sentences(folder: str, part: str, path: Path) -> Iterator[TensorFile]:
    """The open file; what is wrong with it is told with the part's name."""
    with ExitStack() as stack:
        try:
            file = stack.enter_context(read_tensors(path))
        except CheckpointError as error:
            raise CheckpointError(f"{folder}/{part}: {error.message}") from error
        yield replace(file, name=path.name)


def _weights(folder: Path, name: str) -> tuple[list[Path], Mapping[str, str]] | None:
    """The files with a part's weights, and for shards which tensor is in which. None if there are none. Raises
    CheckpointError.

    An index of which no shard is there is passed over: it was fetched along with another variant's shards.
    """
    for suffix in (".safetensors", ".bin"):
        for stem in STEMS:
            for variant in VARIANTS:
                if (whole := folder / f"{stem}{variant}{suffix}").is_file():
                    return [whole], {}
                for index in (folder / f"{stem}{suffix}.index{variant}.json",
                              folder / f"{stem}{variant}{suffix}.index.json"):
                    if index.is_file() and (found := _shards(index, name)) is not None:
                        return found
    return None


def _shards(index: Path, name: str) -> tuple[list[Path], Mapping[str, str]] | None:
    mapped = _json(index, name).get("weight_map")
    if not isinstance(mapped, dict) or not mapped or not all(
            isinstance(where, str) and where.endswith((".safetensors", ".bin")) and Path(where).name == where
            for where in mapped.values()):
        raise CheckpointError(f"{name}: {index.name} is no index of shards.")
    paths = [index.with_name(where) for where in sorted(set(mapped.values()))]
    missing = [path.name for path in paths if not path.is_file()]
    if len(missing) == len(paths):
        return None
    if missing:
        raise CheckpointError(f"{name} is incomplete: {missing[0]} is missing.")
    return paths, mapped


def _facts(name: str, parts: Mapping[str, _Part], scheduler: Mapping[str, Any]) -> dict[str, str]:
    """What the configurations tell, as metadata. Raises CheckpointError for encoders that cannot be told together."""
    facts: dict[str, str] = {}
    if "unet" in parts:
        facts |= _heads(parts["unet"].config)
    for part, fact in (("unet", "unet_norm_groups"), ("vae", "vae_norm_groups")):
        groups = parts[part].config.get("norm_num_groups") if part in parts else None
        if isinstance(groups, int):
            facts[fact] = str(groups)
    texts = [parts[part].config for part in ("text_encoder", "text_encoder_2") if part in parts]
    heads = {(text.get("hidden_size"), text.get("num_attention_heads")) for text in texts}
    if any(width != 64 * number for width, number in heads if isinstance(width, int) and isinstance(number, int)):
        if len({number for _, number in heads}) > 1:
            raise CheckpointError(f"{name} has text encoders with heads of other sizes than CLIP's; this program "
                                  "cannot load it.")
        facts["text_heads"] = str(next(iter(heads))[1])
    prediction = scheduler.get("prediction_type")
    return facts | ({"modelspec.prediction_type": prediction} if isinstance(prediction, str) else {})


def _heads(config: Mapping[str, Any]) -> dict[str, str]:
    """diffusers gives the number of heads on each level, or one for all, under another name."""
    heads, widths = config.get("num_attention_heads") or config.get("attention_head_dim"), config.get(
        "block_out_channels")
    if isinstance(heads, int):
        return {"unet_heads": str(heads)}
    if isinstance(heads, list) and isinstance(widths, list) and len(heads) == len(widths) and all(
            isinstance(number, int) and number > 0 for number in (*heads, *widths)):
        sizes = {width // number for width, number in zip(widths, heads, strict=True)}
        if len(sizes) == 1:
            return {"unet_head_channels": str(sizes.pop())}
    return {}


def _config(path: Path, name: str) -> Mapping[str, Any]:
    return _json(path, name) if path.is_file() else {}


def _json(path: Path, name: str) -> Mapping[str, Any]:
    """The object in a JSON file. Raises CheckpointError."""
    try:
        if path.stat().st_size > LONGEST:
            raise CheckpointError(f"{name}: {path.name} is too long.")
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{name}: {path.name} cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{name}: {path.name} is not JSON.") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{name}: {path.name} is not an object of JSON.")
    return found


@contextmanager
def read_checkpoint(path: Path) -> Iterator[TensorFile]:
    """Open a checkpoint: a file of tensors, or a folder in diffusers' layout. Raises CheckpointError."""
    with read_folder(path) if path.is_dir() else read_tensors(path) as file:
        yield file
