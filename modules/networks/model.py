"""A loaded model of any family: words, pictures and noise in, numbers out. It knows no sampler and no mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from modules.networks.depth import DepthNetwork, DepthOf, depth_map
from modules.networks.families.family import PromptEncoder, Told
from modules.networks.memo import Memo
from modules.networks.network import Network
from modules.networks.packing import weight_bytes
from modules.networks.patches.layers import LayerNames
from modules.networks.patches.lora import UNET, Lora
from modules.networks.patches.patched import InForce, put_on, put_on_hypernetworks, warnings
from modules.networks.patches.patches import NOTHING, Patches
from modules.networks.text.words import Embedding
from modules.networks.tiling import wrapped_round
from modules.networks.turns import Turns
from modules.networks.vae import Autoencoder
from modules.sampling.conditioning import Conditioning, TextOptions
from modules.sampling.latent import Latent
from modules.sampling.levels import EPSILON, FLOW, V_PREDICTION, Level, Levels, PredictionType
from modules.sampling.types import Box, DeepCache, Inputs, Window


class DiffusionModel:
    """Implements `sampling.types.SDModel`. Everything it hands out is float32 on `device`."""

    def __init__(self, name: str, network: Network, vae: nn.Module, text: PromptEncoder,
                 parts: Mapping[str, nn.Module], *, told: Told = lambda cond, texts, how: cond,
                 latent: Latent, levels: Levels, prediction: PredictionType, inputs: Inputs, device: torch.device,
                 dtype: torch.dtype, tiled_vae: str = "auto", layers: LayerNames | None = None,
                 depth: DepthOf | None = None, turns: Turns | None = None) -> None:
        """`text` encodes prompts, and `told` adds what is told beside the words. `parts` are all networks by name;
        extensions and patches find them there. `tiled_vae`: see `Autoencoder`. `layers` are those that LoRAs may
        change; by default none. `depth` is asked for the depth of pictures; by default there is no network for it.
        `turns` are those that the parts take on the device, if they take any."""
        self.name = name
        self.network = network
        texts = [part for part in parts.values() if part not in (network.unet, vae)]
        self._turns = turns
        self._texts_turn = turns.of(*texts) if turns else nullcontext
        self.autoencoder = Autoencoder(vae, latent, device, tiled_vae, turns.of(vae) if turns else nullcontext)
        self.text, self._told = text, told
        self.parts = parts
        self.latent, self.levels, self.prediction, self.inputs = latent, levels, prediction, inputs
        self._told_prediction = prediction
        self.device = device
        self.dtype = dtype
        self.layers = layers or LayerNames()
        self._depth = depth or DepthNetwork()
        self.patches = NOTHING
        self._embeddings: tuple[Embedding, ...] = ()
        self._warned: tuple[tuple[Lora, ...], tuple[str, ...]] = (), ()
        self._contexts: Memo[Conditioning] = Memo()

    @property
    def unet(self) -> nn.Module:
        """The denoiser, packed where that is faster."""
        return self.network.unet

    @property
    def vae(self) -> nn.Module:
        """The network that turns pictures into latents and back."""
        return self.autoencoder.module

    @property
    def part_bytes(self) -> dict[int, int]:
        """Bytes that the weights of each part take, packed or not, or both. Models that share a part have its number
        too."""
        program = self.network.program.nbytes if self.network.program else 0
        return {id(module): weight_bytes(module) + (program if module is self.unet else 0)
                for module in self.parts.values()}

    def predict_as(self, choice: str) -> None:
        """From now on `prediction` is "eps" or "v"; or what the checkpoint tells ("Automatic"). A flow stays one."""
        known = {"eps": EPSILON, "v": V_PREDICTION}
        told = self._told_prediction
        self.prediction = told if told is FLOW else known.get(choice, told)

    def encode_prompts(self, texts: Sequence[str], how: TextOptions) -> list[Conditioning]:
        """Words to conditioning: the texts of one prompt's schedule together.

        Not the same as one after the other: emphasis "Original" restores the mean over all of them, as WebUI does.
        """
        encoders = tuple(InForce.on(self.parts[name]).signature for name in self.layers.prefixes if name != UNET)
        key = (*texts, how.of_words, encoders, tuple(embedding.origin for embedding in self._embeddings))
        return self._told(self._contexts.get(key, lambda: self._encoded(texts, how)), texts, how).rows()

    def read_prompts(self, texts: Sequence[str], how: TextOptions) -> Conditioning:
        """The texts as the rows of one batch, as `encode_prompts` encodes them. Nothing is kept, and gradients are
        recorded where the caller has them recorded: this is for training."""
        return self._told(self.text.encode(texts, how), texts, how)

    @torch.no_grad()
    def _encoded(self, texts: Sequence[str], how: TextOptions) -> Conditioning:
        with self._texts_turn():
            return self.text.encode(texts, how)

    def put_on(self, patches: Patches) -> tuple[str, ...]:
        """From now on the model computes with `patches` and no others. What is in force already costs nothing.

        Returns a sentence for each file of which not everything is used. Raises what `may_go_on` raises; the model is
        without some of the patches then.
        """
        if self._turns and patches.loras != self.patches.loras:
            self._turns.leave()  # otherwise the layers' own weights, which are set aside, would stay on the GPU
        self.patches = patches
        if patches.embeddings != self._embeddings:
            self.text.take_words(patches.embeddings)
            self._embeddings = patches.embeddings
        put_on_hypernetworks(self.unet, patches.hypernetworks)
        if put_on(self.parts, self.layers, patches.loras) or self._warned[0] != patches.loras:
            self._warned = patches.loras, warnings(self.parts, self.layers, patches.loras)
        return self._warned[1]

    def reads(self, embedding: Embedding) -> bool:
        """Whether prompts may name `embedding`: its vectors fit the text encoders."""
        return embedding.fits(self.text.widths)

    def embeddings_in(self, texts: Sequence[str], how: TextOptions) -> list[str]:
        """The embeddings that the texts name, as the parameters text shows them, in the order in which they are
        encoded."""
        if not self.patches.embeddings:
            return []
        named = ((one.name.replace(":", "").replace(",", ""), one.shown) for one in self.text.embeddings_in(texts, how))
        return [f"{name}: {shown}" for name, shown in named if shown]

    @torch.no_grad()
    def predict(self, x: Tensor, level: Level, cond: Conditioning) -> Tensor:
        """The network's answer, see `prediction`. x (B, C, h, w) with the channels of `inputs` behind it, cond of B
        rows -> (B, latent channels, h, w)."""
        return self.network(x, level, cond)

    def compiles(self, size: tuple[int, int]) -> bool:
        """True if `predict` compiles a program first for a latent of `size` (width, height), which takes minutes."""
        return self.network.compiles(size)

    def clear_caches(self) -> None:
        """Drop the conditionings, latents and preview colours that it keeps, because a text encoder or the autoencoder
        changes."""
        self._contexts.clear()
        self.autoencoder.clear_caches()

    def window(self, box: Box, size: tuple[int, int]) -> Window | None:
        """The denoiser on a part of a latent of `size` (width, height); None where that cannot be."""
        return self.network.window(box, size)

    def deep_cache(self) -> DeepCache | None:
        """The denoiser's deep features, for the steps of one run; None where it has none."""
        return self.network.deep_cache()

    def encode_image(self, image: Tensor) -> Tensor:
        """image (B, 3, H, W) in [-1, 1], of whole cells -> latent (B, C, h, w) of about unit variance."""
        return self.autoencoder.encode(image)

    def decode_latent(self, latent: Tensor) -> Tensor:
        """latent (B, C, h, w) -> image (B, 3, H, W), about [-1, 1], not clamped."""
        return self.autoencoder.decode(latent)

    def depth_of(self, image: Tensor) -> Tensor:
        """image (1, 3, H, W) in [-1, 1] -> how near its things are, (1, 1, h, w). Raises InvalidInput,
        CheckpointError."""
        return depth_map(self._depth, image)

    def tiled(self) -> AbstractContextManager[None]:
        """While this lasts opposite edges are neighbours, so that pictures can be laid side by side."""
        return wrapped_round(self.unet, self.vae)

    def preview(self, latent: Tensor) -> Tensor:
        """A cheap picture of one latent: (C, h, w) -> (3, h, w) in [0, 1]. The first call fits the colours."""
        return self.autoencoder.preview(latent)
