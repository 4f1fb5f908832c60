"""What the families in Stable Diffusion's original layout (ldm) have in common: the names of their parts, how a UNet
and an autoencoder are read from a file, and what the UNet predicts."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from modules.errors import CheckpointError
from modules.networks import ldm_keys
from modules.networks.families.family import Part
from modules.networks.shapes import Header, UNetShape, VaeShape, unet_shape, vae_shape
from modules.networks.unet import build_unet
from modules.networks.vae import build_vae
from modules.sampling.latent import Latent
from modules.sampling.levels import EPSILON, V_PREDICTION, PredictionType
from modules.sampling.types import Inputs

UNET = "model.diffusion_model."
VAE = "first_stage_model."

PREDICTIONS = {"eps": EPSILON, "epsilon": EPSILON, "v": V_PREDICTION, "v_prediction": V_PREDICTION}
"""What is called how in YAML files (ldm) and in metadata (Stability's ModelSpec, diffusers)."""

V_TENSORS = ("v_pred", "edm_vpred.sigma_max")
"""Tensors by whose presence fine-tunes say that they predict v."""


NETWORKS = ("lora_unet", "oft_unet", "lycoris_unet", "unet", "diffusion_model", "model_diffusion_model",
            "base_model_model")
"""How names of the UNet's layers begin in LoRAs: kohya's, LyCORIS', diffusers', ComfyUI's, PEFT's."""


UNET_ALONE = {name: UNET + name for name in ("input_blocks.", "middle_block.", "output_blocks.", "time_embed.",
                                             "label_emb.", "out.")}
OPENCLIP_NAMES = ("transformer.resblocks.", "positional_embedding", "token_embedding.", "ln_final.", "text_projection",
                  "logit_scale")


def openclip_alone(prefix: str) -> dict[str, str]:
    """`Part.alone` of an OpenCLIP text encoder with that prefix."""
    return {name: prefix + name for name in OPENCLIP_NAMES}


def linear_projections(header: Header) -> bool:
    """The sign that the outer projections of the UNet's transformers are linear layers: later than 1.x."""
    return any(key.endswith("middle_block.1.proj_in.weight") and len(shape) == 2
               for key, shape in header.shapes.items())


def unet_part(inputs: Mapping[int, Inputs], *, heads: int = 0, head_channels: int = 0) -> Part:
    """The UNet of a family that reads so many channels; its heads as in `unet_shape`."""
    def shape(header: Header) -> UNetShape:
        found = unet_shape(header, UNET, heads=heads, head_channels=head_channels)
        if found.in_channels not in inputs:
            known = " and ".join(f"{channels} ({reads.name})" for channels, reads in inputs.items())
            raise CheckpointError(f"{header.name} has a UNet with {found.in_channels} input channels; this program "
                                  f"knows {known}.")
        return found

    return Part("unet", "UNet", UNET, shape, build_unet, ldm_keys.unet_key, network_names=NETWORKS, alone=UNET_ALONE)


def vae_part(latent: Latent, dtype: Callable[[torch.dtype], torch.dtype] = lambda dtype: dtype) -> Part:
    """The autoencoder of a family with such latents; `dtype` as in `Part`."""
    def shape(header: Header) -> VaeShape:
        found = vae_shape(header, VAE)
        if found.latent_channels != latent.channels:
            raise CheckpointError(f"{header.name} has an autoencoder whose latents have {found.latent_channels} "
                                  f"channels instead of {latent.channels}.")
        return found

    return Part("vae", "autoencoder (VAE)", VAE, shape, build_vae, ldm_keys.vae_key, dtype,
                alone={name: VAE + name for name in ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")})


def inputs_of(inputs: Mapping[int, Inputs]) -> Callable[[UNetShape], Inputs]:
    """What a UNet of such a shape reads beside x."""
    return lambda shape: inputs[shape.in_channels]


def fits(*encoders: str, told: int = 0) -> Callable[[Mapping[str, Any], Header], None]:
    """The check that the UNet reads what these text encoders give: their channels side by side, and the pooled vector
    of the last with `told` further numbers behind it."""
    def check(shapes: Mapping[str, Any], header: Header) -> None:
        unet, texts = shapes["unet"], [shapes[name] for name in encoders]
        _same(header, "channels", sum(text.channels for text in texts), unet.context_channels)
        pooled = texts[-1].pooled_channels
        _same(header, "pooled channels", pooled + told if pooled else 0, unet.vector_channels)

    return check


def _same(header: Header, what: str, gives: int, reads: int) -> None:
    if gives != reads:
        raise CheckpointError(f"{header.name} does not fit together: its text encoder gives {gives} {what} and its "
                              f"UNet reads {reads}.")


def predicts(header: Header, guess: Callable[[Header], PredictionType] = lambda header: EPSILON) -> PredictionType:
    """What the UNet predicts: as the YAML file beside the checkpoint says, its metadata or a tensor's presence, else
    `guess`."""
    for key in ("parameterization", "modelspec.prediction_type"):
        told = header.metadata.get(key, "").strip().lower()
        if told in PREDICTIONS:
            return PREDICTIONS[told]
    return V_PREDICTION if any(key in header.shapes for key in V_TENSORS) else guess(header)


def spread(values: Sequence[float]) -> float:
    """Their standard deviation; 0 for none."""
    return statistics.pstdev(values) if values else 0.0
