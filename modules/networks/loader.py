"""From a file to a model: names mapped, modules built without memory, each tensor converted once and put in place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from modules.errors import CheckpointError
from modules.networks.compiled import CompiledUNet
from modules.networks.detect import (
    Architecture,
    TextShape,
    VaeShape,
    detect,
    detect_vae,
    refuse_other_vaes,
    with_text_model,
    with_vae_prefix,
)
from modules.networks.keys import module_key
from modules.networks.packing import pack
from modules.networks.text.clip import TextEncoder
from modules.networks.text.clip_tokenizer import load_tokenizer
from modules.networks.unet import build_unet
from modules.weights.catalog import CheckpointFile, VaeFile
from modules.weights.tensors import TensorFile, read_tensors

if TYPE_CHECKING:
    from modules.networks.model import StableDiffusion

OnProgress = Callable[[float], None]


@dataclass(frozen=True)
class _Source:
    """Where one parameter comes from."""

    file: TensorFile
    key: str


def load_model(
    checkpoint: CheckpointFile,
    *,
    vae: VaeFile | None = None,
    device: torch.device,
    dtype: torch.dtype,
    tiled_vae: str = "auto",
    compile_in: Path | None = None,
    on_progress: OnProgress | None = None,
) -> StableDiffusion:
    """Loads a Stable Diffusion 1.x checkpoint, with another autoencoder if one is given.

    The text encoder always computes in float32: it is small, it runs once a prompt, and its rounding reaches each step.

    Args:
        device, dtype: where and in what type the UNet and the autoencoder compute.
        tiled_vae: see `StableDiffusion`.
        compile_in: a folder for compiled programs; None compiles nothing. See `networks.compiled`.
        on_progress: called with the share of the bytes that are in place, 0 to 1.

    Raises:
        CheckpointError: the file is damaged, unsafe, of another family, or incomplete.
    """
    from modules.networks.model import StableDiffusion

    with _opened(checkpoint, vae) as (file, vae_file, architecture):
        modules = _build(architecture)
        sources = _sources(file, architecture, {"unet", "text"}) | _sources(vae_file, architecture, {"vae"})
        _check(sources, modules)
        dtypes = {"unet": dtype, "vae": dtype, "text": torch.float32}
        _fill(modules, sources, device, dtypes, on_progress or (lambda share: None))
    # Position numbers are computed, not stored, so they are still without memory.
    embeddings = modules["text"].get_submodule("embeddings")
    positions = cast(Tensor, embeddings.position_ids)
    embeddings.position_ids = torch.arange(positions.shape[-1], device=device)[None]
    compiled = CompiledUNet(modules["unet"], device, compile_in) if compile_in else None
    if compiled is None:
        pack(modules["unet"])
    text = TextEncoder(modules["text"], load_tokenizer(), device)
    return StableDiffusion(checkpoint.name, modules["unet"], modules["vae"], text, device, dtype, tiled_vae, compiled)


def with_other_vae(
    model: StableDiffusion, checkpoint: CheckpointFile, vae: VaeFile | None, on_progress: OnProgress | None = None
) -> StableDiffusion:
    """`model`, which came from `checkpoint`, with the autoencoder of `vae`, or with the checkpoint's own for None.

    UNet and text encoder are the same objects in both; nothing of them is read again. Raises CheckpointError.
    """
    from modules.networks.model import StableDiffusion

    with _opened(checkpoint, vae) as (_, vae_file, architecture):
        with torch.device("meta"):
            modules = {"vae": _build_vae(architecture.vae)}
        sources = _sources(vae_file, architecture, {"vae"})
        _check(sources, modules)
        _fill(modules, sources, model.device, {"vae": model.dtype}, on_progress or (lambda share: None))
    return StableDiffusion(model.name, model.unet, modules["vae"], model.text, model.device, model.dtype,
                           model.tiled_vae, model.network.compiled)


@contextmanager
def _opened(checkpoint: CheckpointFile, vae: VaeFile | None) -> Iterator[tuple[TensorFile, TensorFile, Architecture]]:
    """The checkpoint's file, the one that holds the autoencoder, and what they hold together."""
    with ExitStack() as stack:
        file = stack.enter_context(_renamed(checkpoint.path, with_text_model))
        architecture = detect(file.shapes, file.metadata, file.name)
        if vae is None:
            yield file, file, architecture
            return
        vae_file = stack.enter_context(_renamed(vae.path, with_vae_prefix))
        refuse_other_vaes(vae_file.shapes, vae_file.name)
        shape = detect_vae(vae_file.shapes, vae_file.metadata, vae_file.name)
        yield file, vae_file, Architecture(architecture.unet, shape, architecture.text)


@contextmanager
def _renamed(path: Path, rename: Callable[[str], str]) -> Iterator[TensorFile]:
    """A tensor file whose keys are seen under other names."""
    with read_tensors(path) as file:
        originals = {rename(key): key for key in file.shapes}
        shapes = {new: file.shapes[old] for new, old in originals.items()}
        dtypes = {new: file.dtypes[old] for new, old in originals.items()}
        yield TensorFile(file.name, shapes, dtypes, file.metadata, lambda key, into: file.read(originals[key], into))


def _build(architecture: Architecture) -> dict[str, nn.Module]:
    with torch.device("meta"):
        return {
            "unet": build_unet(architecture.unet),
            "vae": _build_vae(architecture.vae),
            "text": _build_text(architecture.text),
        }


def _build_vae(shape: VaeShape) -> nn.Module:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    levels = len(shape.channels)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=shape.channels,
        layers_per_block=shape.blocks,
        latent_channels=4,
        norm_num_groups=shape.norm_groups,
    )
    return cast(nn.Module, vae)


def _build_text(shape: TextShape) -> nn.Module:
    from transformers.models.clip import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.channels,
        intermediate_size=shape.mlp_channels,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        max_position_embeddings=shape.positions,
        hidden_act="quick_gelu",
    )
    return cast(nn.Module, CLIPTextModel(config))


def _sources(file: TensorFile, architecture: Architecture, wanted: set[str]) -> dict[tuple[str, str], _Source]:
    found = {}
    for key in file.shapes:
        target = module_key(key, architecture.unet, architecture.vae)
        if target is not None and target[0] in wanted:
            found[target] = _Source(file, key)
    return found


def _check(sources: Mapping[tuple[str, str], _Source], modules: Mapping[str, nn.Module]) -> None:
    """Every parameter has a tensor of its shape, and every tensor a parameter."""
    expected = {(kind, name): p for kind, module in modules.items() for name, p in module.state_dict().items()}
    for target, source in sources.items():
        shape = source.file.shapes[source.key]
        if target not in expected:
            raise CheckpointError(f"{source.file.name} has a tensor that does not belong there: {source.key}.")
        if not _fits(shape, tuple(expected[target].shape)):
            raise CheckpointError(
                f"{source.file.name} has a tensor of the wrong shape: {source.key} is {list(shape)} "
                f"and should be {list(expected[target].shape)}."
            )
    for target in expected:
        if target not in sources:
            some = next(iter(sources.values()))
            raise CheckpointError(f"{some.file.name} is incomplete: nothing in it is the {target[0]}'s {target[1]}.")


def _fits(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    # The autoencoder's attention is stored as 1 x 1 convolutions and computed as linear layers.
    return shape == wanted or (shape == (*wanted, 1, 1) and len(wanted) == 2)


def _fill(
    modules: Mapping[str, nn.Module],
    sources: Mapping[tuple[str, str], _Source],
    device: torch.device,
    dtypes: Mapping[str, torch.dtype],
    on_progress: OnProgress,
) -> None:
    total = sum(p.numel() for module in modules.values() for p in module.parameters())
    done = 0
    for kind, module in modules.items():
        state: dict[str, Tensor] = {}
        for name, parameter in module.state_dict().items():
            source = sources[kind, name]
            state[name] = torch.empty(parameter.shape, dtype=dtypes[kind], device=device)
            source.file.read(source.key, state[name])
            done += parameter.numel()
            on_progress(done / total)
        module.load_state_dict(state, assign=True)
        module.eval().requires_grad_(False)
        if device.type == "cuda" and kind != "text":
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # cuDNN's own order
