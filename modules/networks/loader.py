"""From a file to a model: the family recognised, its networks built without memory, names mapped, every tensor checked,
converted once and put in place. What differs between families is in `families`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from modules.base.free_memory import free_memory
from modules.errors import CheckpointError
from modules.networks.combining import NO_SPARE, SpareFiles
from modules.networks.compiled import CompiledUNet
from modules.networks.depth import DepthOf
from modules.networks.families import (
    FAMILIES,
    missing_parts,
    recognise,
    refuse_missing,
    refuse_other_vaes,
    whole_names,
)
from modules.networks.families.family import Family, Kind, Part
from modules.networks.model import DiffusionModel
from modules.networks.network import Network, Program
from modules.networks.openvino_unet import OpenVinoUNet, suits
from modules.networks.packing import pack
from modules.networks.parts import PartKey, Parts
from modules.networks.patches.layers import Layer, LayerNames
from modules.networks.shapes import Header
from modules.networks.turns import CPU, FITS, Placement, Turns
from modules.networks.widening import HALVES, fetch, stored, widen
from modules.sampling.types import Inputs
from modules.weights.catalog import CheckpointFile, VaeFile
from modules.weights.diffusers_folder import read_checkpoint, read_weights
from modules.weights.model_config import read_config
from modules.weights.tensors import TensorFile, check_room, read_tensors

ALL_THERE = Placement(turns=False)

OnProgress = Callable[[float], None]


@dataclass(frozen=True)
class _Source:
    """The file that one part comes from, and what the part is made of."""

    path: Path
    file: TensorFile
    part: Part
    shape: Any


def load_model(
    checkpoint: CheckpointFile,
    *,
    vae: VaeFile | None = None,
    device: torch.device,
    dtype: torch.dtype,
    tiled_vae: str = "auto",
    compile_in: Path | None = None,
    openvino_from: int | None = None,
    denoiser_dtype: torch.dtype | None = None,
    on_progress: OnProgress | None = None,
    parts: Parts | None = None,
    depth: DepthOf | None = None,
    spare: SpareFiles = NO_SPARE,
    keep_half: bool | None = None,
    turns: Turns | None = None,
    packs: bool = True,
    families: Sequence[Kind] = FAMILIES,
) -> DiffusionModel:
    """Loads a checkpoint of any of `families`, with another autoencoder if one is given.

    Args:
        device, dtype: where and in what type the denoiser and the autoencoder compute.
        denoiser_dtype: the denoiser's, if it is another one.
        tiled_vae: see `DiffusionModel`.
        compile_in: a folder for compiled programs; None compiles nothing. See `networks.compiled`.
        openvino_from: OpenVINO computes a UNet on the CPU that has so many numbers in its weights; None for none. See
            `networks.openvino_unet`.
        on_progress: called with the share of the bytes that are in place, 0 to 1.
        parts: the parts that are in memory already; those of unchanged files are shared, not read again.
        depth: see `DiffusionModel`.
        spare: files that may have the parts that the checkpoint lacks.
        keep_half: large weights that are in half precision in the file stay so where the model computes in float32 on
            the CPU, and are widened a layer at a time; None does so where they would not fit otherwise.
        packs: the weights are packed on a CPU, as `networks.packing` does; training cannot go through packed ones.
        turns: of those that do not all fit on the device; None puts everything there.

    Raises:
        CheckpointError: the file is damaged, unsafe, of no family, or incomplete.
    """
    parts = Parts() if parts is None else parts
    denoiser_dtype = denoiser_dtype or dtype
    with _opened(checkpoint, vae, families, spare) as (family, header, sources):
        types = {name: source.part.dtype(denoiser_dtype if name == "unet" else dtype)
                 for name, source in sources.items()}
        keys = {name: PartKey.of(source.path, name, source.shape, types[name], device)
                for name, source in sources.items()}
        found = {name: module for name, key in keys.items() if (module := parts.find(key)) is not None}
        missing = {name: source for name, source in sources.items() if name not in found}
        built = _build(missing)
        needed = _bytes(built, types)
        sizes = {name: _bytes({name: module}, types) for name, module in built.items()}
        placement = turns.place(sizes, found.values()) if turns and sizes else ALL_THERE
        home = CPU if placement.turns else device
        half = device.type == "cpu" and (needed > FITS * free_memory("cpu") if keep_half is None else keep_half)
        for name, module in built.items():
            _check(missing[name], module)
        _fill(built, missing, home, types, on_progress or (lambda share: None), keep_half=half,
              cudnn=device.type == "cuda")
        for name in placement.by_layer:
            fetch(built[name])
        if turns and placement.turns:
            turns.take(list(built.values()))
        if turns and turns.waits((found | built)["unet"]):
            compile_in = None  # compiled programs hold the weights where they were
        shapes = {name: source.shape for name, source in sources.items()}
        names = layer_names(family, sources)
        for name, module in built.items():
            missing[name].part.settle(module, missing[name].path, spare.folders)
    unet = (found | built)["unet"]
    program = _program(unet, device, compile_in, openvino_from, packs=packs and "unet" in built)
    modules = {name: parts.keep(keys[name], (found | built)[name]) for name in sources}
    return DiffusionModel(
        checkpoint.name, Network(modules["unet"], family.ask, device, types["unet"], program,
                                 turns.of(modules["unet"]) if turns else nullcontext), modules["vae"],
        family.text(modules, device), modules, told=family.told, latent=family.latent, levels=family.levels(header),
        prediction=family.prediction(header), inputs=family.inputs(shapes["unet"]), device=device, dtype=types["unet"],
        tiled_vae=tiled_vae, layers=names, depth=depth, turns=turns)


def _program(unet: nn.Module, device: torch.device, compile_in: Path | None, openvino_from: int | None, *,
             packs: bool) -> Program | None:
    """What computes `unet` in its place; None if it does that itself. It `packs` its weights unless they are
    compiled."""
    if compile_in:
        return CompiledUNet(unet, device, compile_in)
    if packs:
        pack(unet)
    return OpenVinoUNet.on(unet) if openvino_from is not None and suits(unet, openvino_from) else None


def load_part(file: TensorFile, part: Part, shape: Any, *, device: torch.device, dtype: torch.dtype,
              on_progress: OnProgress = lambda share: None, packs: bool = True) -> nn.Module:
    """One network that is no part of a checkpoint, of a file of its own. `packs`: its weights are packed, as
    `networks.packing` does, where it computes on the CPU. Raises CheckpointError."""
    source = {part.name: _Source(Path(file.name), file, part, shape)}
    built = _build(source)
    _check(source[part.name], built[part.name])
    _fill(built, source, device, {part.name: part.dtype(dtype)}, on_progress, keep_half=False,
          cudnn=device.type == "cuda")
    if packs and device.type == "cpu":
        pack(built[part.name])
    return built[part.name]


@dataclass(frozen=True)
class About:
    """What a checkpoint's names and shapes tell: the size in pixels that it is trained on, what it reads beside the
    noise, see `Inputs.name`, and what it predicts, see `PredictionType.name`."""

    size: int
    reads: str
    prediction: str


def about(checkpoint: CheckpointFile) -> About | None:
    """What the header of a checkpoint tells. None where it cannot be loaded, and for pickles, which have no header."""
    if checkpoint.path.suffix.lower() != ".safetensors" and not checkpoint.path.is_dir():
        return None
    try:
        with _opened(checkpoint, None, FAMILIES, NO_SPARE) as (family, header, sources):
            prediction = family.prediction(header)
            return About(family.size(prediction), family.inputs(sources["unet"].shape).name, prediction.name)
    except CheckpointError:
        return None


@dataclass(frozen=True)
class StoredLayer:
    """Where a checkpoint keeps a layer: the names of its weight and of its bias, and which of how many equal parts of
    their rows are its own."""

    layer: Layer
    weight: str
    bias: str | None
    place: int = 0
    of: int = 1

    def rows(self, tensor: Tensor) -> Tensor:
        """Those of the tensor that are the layer's: a view."""
        return tensor.chunk(self.of)[self.place]


@dataclass(frozen=True)
class StoredLayers:
    """An open checkpoint and the layers in it that LoRAs may change. `kohya` are their names in kohya's LoRAs."""

    file: TensorFile
    names: LayerNames
    stored: Mapping[Layer, StoredLayer]
    kohya: Mapping[Layer, str]


@contextmanager
def stored_layers(checkpoint: CheckpointFile) -> Iterator[StoredLayers]:
    """Where the layers of a checkpoint lie, while the file is open. Raises CheckpointError as `load_model`."""
    with _opened(checkpoint, None, FAMILIES, NO_SPARE) as (family, _, sources):
        names = layer_names(family, sources)
        stored: dict[Layer, StoredLayer] = {}
        kohya: dict[Layer, str] = {}
        for part, prefixes in names.prefixes.items():
            places = {parameter: (key, place, len(parameters)) for key, parameters in _tensors(sources[part]).items()
                      for place, parameter in enumerate(parameters)}
            for layer in set(names.layers[part].values()):
                key, place, of = places[f"{layer.path}.weight"]
                bias = places.get(f"{layer.path}.bias", (None,))[0]
                stored[layer] = StoredLayer(layer, key, bias, place, of)
                kohya[layer] = f"{prefixes[0]}_{layer.path.replace('.', '_')}"
        yield StoredLayers(next(iter(sources.values())).file, names, stored, kohya)


@dataclass(frozen=True)
class Outline:
    """A checkpoint's networks without their numbers, on torch's device "meta", by name."""

    family: Family
    parts: Mapping[str, nn.Module]
    names: LayerNames
    inputs: Inputs


def outline(checkpoint: CheckpointFile) -> Outline:
    """What the header of a checkpoint tells of its networks. Raises CheckpointError as `load_model`."""
    with _opened(checkpoint, None, FAMILIES, NO_SPARE) as (family, _, sources):
        return Outline(family, _build(sources), layer_names(family, sources), family.inputs(sources["unet"].shape))


@contextmanager
def _opened(checkpoint: CheckpointFile, vae: VaeFile | None,
            families: Sequence[Kind], spare: SpareFiles) -> Iterator[tuple[Family, Header, dict[str, _Source]]]:
    """The checkpoint's family and header, and for each part its file and shape, while the files are open."""
    with ExitStack() as stack:
        file = stack.enter_context(read_checkpoint(checkpoint.path))
        file = replace(file, metadata={**file.metadata, **read_config(checkpoint.path)})
        file = renamed(file, whole_names(file.shapes))
        family = recognise(header_of(file), families)
        file = renamed(file, family.rename)
        header = header_of(file)
        files = {part.name: (checkpoint.path, file) for part in family.parts}
        if vae is not None:
            files["vae"] = vae.path, _as_vae(stack.enter_context(read_tensors(vae.path)), family.part("vae"))
        missing = [part for part in missing_parts(family, header, checkpoint.path, spare.folders)
                   if files[part.name][1] is file]
        known = {part.name: part.shape(header) for part in family.parts if part not in missing and
                 files[part.name][1] is file}
        for part in missing:
            if path := spare.fitting(family, part, known, header):
                alone = renamed(stack.enter_context(read_weights(path)), part.in_checkpoint)
                files[part.name] = path, alone
                known[part.name] = part.shape(header_of(alone))
        lacking = [part for part in missing if files[part.name][1] is file]
        refuse_missing(header, [part for part in lacking if not part.optional])
        sources = {part.name: _Source(*files[part.name], part, part.shape(header_of(files[part.name][1])))
                   for part in family.parts if part not in lacking}
        family.check({name: source.shape for name, source in sources.items()}, header)
        yield family, header, sources


def _as_vae(file: TensorFile, part: Part) -> TensorFile:
    """A file that holds only an autoencoder, with the names that these have inside a checkpoint."""
    file = renamed(file, part.in_checkpoint)
    refuse_other_vaes(header_of(file))
    return file


def header_of(file: TensorFile) -> Header:
    """What is known of an open file before its tensors are read."""
    def values(key: str) -> list[float]:
        return file.tensor(key, torch.float32).flatten().tolist() if key in file.shapes else []

    return Header(file.name, file.shapes, file.metadata, values)


def renamed(file: TensorFile, rename: Callable[[str], str]) -> TensorFile:
    """`file` whose keys are seen under other names."""
    originals = {rename(key): key for key in file.shapes}
    shapes = {new: file.shapes[old] for new, old in originals.items()}
    dtypes = {new: file.dtypes[old] for new, old in originals.items()}
    return TensorFile(file.name, shapes, dtypes, file.metadata, lambda key, into: file.read(originals[key], into))


def _build(sources: Mapping[str, _Source]) -> dict[str, nn.Module]:
    with torch.device("meta"):
        return {name: source.part.build(source.shape) for name, source in sources.items()}


def _tensors(source: _Source) -> dict[str, tuple[str, ...]]:
    """The part's tensors, each with the parameters that lie one below the other in it."""
    part, found = source.part, {}
    for key in source.file.shapes:
        if key.startswith(part.prefix) and (names := part.key(key.removeprefix(part.prefix), source.shape)) is not None:
            found[key] = (names,) if isinstance(names, str) else names
    return found


def layer_names(family: Family, sources: Mapping[str, _Source]) -> LayerNames:
    """The layers that networks may change, by the names of the parts' tensors."""
    prefixes = {part.name: part.network_names for part in family.parts if part.network_names}
    return LayerNames.of(prefixes, {name: _names(sources[name]) for name in prefixes})


def _names(source: _Source) -> dict[str, str]:
    """The part's parameters, each with its tensor's name behind the prefix, or its own where it shares the tensor."""
    return {parameter: key.removeprefix(source.part.prefix) if len(parameters) == 1 else parameter
            for key, parameters in _tensors(source).items() for parameter in parameters}


def _check(source: _Source, module: nn.Module) -> None:
    """Every parameter has a tensor of its shape, and every tensor a parameter."""
    expected, tensors, file = module.state_dict(), _tensors(source), source.file
    for key, names in tensors.items():
        shape = file.shapes[key]
        if any(name not in expected for name in names):
            raise CheckpointError(f"{file.name} has a tensor that does not belong there: {key}.")
        wanted = _stacked([tuple(expected[name].shape) for name in names])
        if not _fits(shape, wanted):
            raise CheckpointError(f"{file.name} has a tensor of the wrong shape: {key} is {list(shape)} "
                                  f"and should be {list(wanted)}.")
    there = {name for names in tensors.values() for name in names}
    for name in expected:
        if name not in there:
            raise CheckpointError(f"{file.name} is incomplete: nothing in it is the {source.part.name}'s {name}.")


def _stacked(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The shape of tensors one below the other, which differ in their first side at most."""
    return shapes[0] if len(shapes) == 1 else (sum(shape[0] for shape in shapes), *shapes[0][1:])


def _fits(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    # The autoencoder's attention is stored as 1 x 1 convolutions and computed as linear layers.
    return shape == wanted or (shape == (*wanted, 1, 1) and len(wanted) == 2)


def _bytes(modules: Mapping[str, nn.Module], types: Mapping[str, torch.dtype]) -> int:
    """What the weights take in the types that the parts compute in."""
    return sum(p.numel() * types[name].itemsize
               for name, module in modules.items() for p in module.parameters())


def _fill(modules: Mapping[str, nn.Module], sources: Mapping[str, _Source], device: torch.device,
          types: Mapping[str, torch.dtype], on_progress: OnProgress, *, keep_half: bool, cudnn: bool) -> None:
    """Reads each tensor once, into its part's type and its place. With `keep_half` large weights stay in half
    precision; with `cudnn` they lie in the order that it wants."""
    total = sum(p.numel() for module in modules.values() for p in module.parameters())
    if sources:
        needed = _bytes(modules, types)
        check_room(next(iter(sources.values())).file.name, str(device), needed // 2 if keep_half else needed)
    done = 0
    for name, module in modules.items():
        source, expected, state = sources[name], module.state_dict(), dict[str, Tensor]()
        narrow = stored(module) if keep_half else set()
        for key, parameters in _tensors(source).items():
            shapes = [tuple(expected[parameter].shape) for parameter in parameters]
            stays = source.file.dtypes[key] in HALVES and narrow.issuperset(parameters)
            as_type = source.file.dtypes[key] if stays else types[name]
            values = torch.empty(_stacked(shapes), dtype=as_type, device=device)
            source.file.read(key, values)
            rows = torch.split(values, [shape[0] for shape in shapes]) if len(shapes) > 1 else (values,)
            state |= zip(parameters, rows, strict=True)
            done += values.numel()
            on_progress(done / total)
        module.load_state_dict(state, assign=True)
        module.eval().requires_grad_(False)
        if keep_half:
            widen(module)
        if cudnn:
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # cuDNN's own order
