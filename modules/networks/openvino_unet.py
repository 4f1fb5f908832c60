"""The UNet as one graph that OpenVINO computes on the CPU (`--cpu-engine`).

The graph is built from our blocks operation by operation, without tracing. Its constants are the layers' own tensors.
OpenVINO keeps layouts blocked between operations and fuses biases, activations and sums into the convolutions and
matrix products before them. At the first call it packs the weights, so that they are in memory a second time; one graph
serves every size of picture, batch and prompt.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any, cast

import torch
from torch import Tensor, nn

from modules.base.free_memory import free_memory
from modules.networks.packing import PackedConv2d, PackedLinear
from modules.networks.tiling import wraps
from modules.networks.turns import FITS
from modules.networks.unet import GatedLinear, Residual, SpatialTransformer, Upsample
from modules.sampling.conditioning import Residuals

log = logging.getLogger(__name__)

LEAST = 50_000_000
"""Numbers in the weights of a UNet for which the second that building takes is worth it."""
DTYPES = {torch.float32: "f32", torch.bfloat16: "bf16"}
"""What the graph can compute in, by OpenVINO's names."""


def is_faster() -> bool:
    """Whether OpenVINO is installed and clearly faster than our packed layers here: with AVX-512. With AVX2 the two are
    within a tenth of each other, for twice the memory."""
    return find_spec("openvino") is not None and "AVX512" in torch.backends.cpu.get_cpu_capability()


def library() -> Any:
    """The package openvino. On being imported it would tell Intel so over the network, without asking, by the package
    openvino_telemetry: that one is not let in."""
    sys.modules.setdefault("openvino_telemetry", cast(Any, None))  # to import it raises ImportError
    return importlib.import_module("openvino")


@cache
def core() -> Any:
    """OpenVINO's core, one for the process. A second one and the end of the first would leave the thread with a stack
    for signals that has been freed: Ctrl-C would end the process without a word."""
    return library().Core()


class OpenVinoUNet:
    """`unet`, on the CPU and of our blocks, as a graph. Called with the same arguments it gives the same numbers, to
    the rounding of its dtype. Only one thread may use it at a time.

    It is made at the first call, and made anew when a weight of the network is another tensor or has been written
    into. If it cannot be made, because memory is short or OpenVINO refuses, the log says why and the network runs as it
    is.
    """

    def __init__(self, unet: nn.Module) -> None:
        self._unet = unet
        self._run: Any = None  # OpenVINO's request for an inference, None while there is no graph
        self._weights: Written = []
        self._refused = False

    @classmethod
    def on(cls, unet: nn.Module) -> OpenVinoUNet:
        """That of `unet`. It lies with the network, because models may share it."""
        found: OpenVinoUNet = vars(unet).setdefault("_openvino", cls(unet))
        return found

    @property
    def nbytes(self) -> int:
        """Bytes of the packed weights."""
        return sum(weight.nbytes for weight, _ in self._weights)

    def ready(self, residuals: Residuals | None) -> bool:
        """Whether the graph can make the next call, with these residuals. Makes the graph if need be.

        It cannot while a layer has hooks or is of a kind that the graph does not know, while pictures wrap round at
        their edges, or with features of a T2I-Adapter.
        """
        return not self._refused and not (residuals and residuals.features) and _is_plain(self._unet) and self._made()

    def rest(self) -> None:
        """Give the packed weights back if they are float32: the layers pack their own at the next call, and three
        copies would be too many."""
        if self._run and next(self._unet.parameters()).dtype == torch.float32:
            self.close()

    def compiles(self, size: tuple[int, int]) -> bool:
        """Never: the graph takes a second or two."""
        return False

    def __call__(self, x: Tensor, t: Tensor, context: Tensor, *, class_labels: Tensor | None = None,
                 down_block_additional_residuals: Sequence[Tensor] = (),
                 mid_block_additional_residual: Tensor | None = None, return_dict: bool = False) -> tuple[Tensor]:
        """x (B, C, h, w), t (B,), context (B, tokens, C) -> (the answer (B, 4, h, w), float32,). `ready` must have said
        so."""
        embedding = _embedding(self._unet, x.dtype, t, class_labels)
        given = [x, embedding, context, *down_block_additional_residuals]
        if mid_block_additional_residual is not None:
            given.append(mid_block_additional_residual)
        given += self._nothing[len(given) - 3:]
        self._run.infer([one.float().contiguous().numpy() for one in given], share_inputs=True)
        return (torch.from_numpy(self._run.get_output_tensor(0).data).clone(),)

    def close(self) -> None:
        """Give the packed weights back."""
        self._run, self._weights = None, []

    def _made(self) -> bool:
        """Whether there is a graph of the present weights, made now if need be."""
        if self._run and _same(self._weights, _with_versions(self._unet)):
            return True
        self.close()
        _unpack(self._unet)
        weights = list(self._unet.parameters())
        needed, free = sum(weight.nbytes for weight in weights), free_memory("cpu")
        if needed > FITS * free:
            return self._refuse(f"it needs {needed / 1e9:.1f} GB more memory and {free / 1e9:.1f} GB are free")
        try:
            self._run, self._nothing = _compiled(self._unet)
        except RuntimeError as error:
            return self._refuse(f"OpenVINO cannot compile it: {error}")
        self._weights = _with_versions(self._unet)
        return True

    def _refuse(self, why: str) -> bool:
        self._refused = True
        log.warning("The UNet runs without OpenVINO: %s.", why)
        return False


def _compiled(unet: nn.Module) -> tuple[Any, list[Tensor]]:
    """A request for inferences of the graph of `unet`, and its residuals that add nothing."""
    openvino = library()
    graph = _Graph(unet, openvino)
    model = graph.model()
    compiled = core().compile_model(model, "CPU", {
        "INFERENCE_PRECISION_HINT": graph.dtype, "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY", "ENABLE_CPU_PINNING": False})
    return compiled.create_infer_request(), [torch.zeros(1, channels, 1, 1) for channels in graph.residual_channels]


def _embedding(unet: Any, dtype: torch.dtype, t: Tensor, class_labels: Tensor | None) -> Tensor:
    """What the residual blocks are told of the time and of the pooled vector: (B, channels)."""
    embedding = unet.time_embedding(unet.time_proj(t).to(dtype))
    return cast(Tensor, embedding if class_labels is None else embedding + unet.class_embedding(class_labels))


Written = list[tuple[nn.Parameter, int]]
"""Parameters, each with the number of times that it has been written into."""


def _with_versions(unet: nn.Module) -> Written:
    return [(weight, weight._version) for weight in unet.parameters()]


def _same(some: Written, others: Written) -> bool:
    return len(some) == len(others) and all(
        one is other and times == now for (one, times), (other, now) in zip(some, others, strict=True))


def _unpack(unet: nn.Module) -> None:
    for layer in unet.modules():
        if isinstance(layer, PackedConv2d):
            layer.unpack()


def _kinds() -> frozenset[type[nn.Module]]:
    """The classes that a UNet consists of."""
    from diffusers.models.attention import BasicTransformerBlock, FeedForward
    from diffusers.models.attention_processor import Attention
    from diffusers.models.downsampling import Downsample2D
    from diffusers.models.embeddings import TimestepEmbedding, Timesteps
    from diffusers.models.unets import unet_2d_blocks as blocks
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    return frozenset((
        nn.Conv2d, PackedConv2d, nn.Linear, PackedLinear, nn.GroupNorm, nn.LayerNorm, nn.SiLU, nn.Dropout,
        nn.ModuleList, Residual, SpatialTransformer, GatedLinear, Upsample, Downsample2D, Attention, FeedForward,
        BasicTransformerBlock, TimestepEmbedding, Timesteps, blocks.DownBlock2D, blocks.CrossAttnDownBlock2D,
        blocks.UNetMidBlock2DCrossAttn, blocks.UpBlock2D, blocks.CrossAttnUpBlock2D, UNet2DConditionModel))


def suits(network: nn.Module, least: int) -> bool:
    """Whether `network` is a UNet of our blocks, on the CPU, of a type that the graph computes in, with at least that
    many numbers in its weights."""
    first = next(network.parameters())
    return (first.device.type == "cpu" and first.dtype in DTYPES and {type(layer) for layer in network.modules()}
            <= _kinds() and sum(weight.numel() for weight in network.parameters()) >= least)


def _is_plain(unet: nn.Module) -> bool:
    """Whether each layer computes what its class does, and nobody watches it."""
    kinds = _kinds()
    return not wraps(unet) and all(type(layer) in kinds and not layer._forward_hooks and not layer._forward_pre_hooks
                                   for layer in unet.modules())


class _Graph:
    """The operations of a UNet, by the formulas of `networks.unet` and of diffusers' blocks.

    Numbers are in the type of the weights between the inputs and the output, which are float32. Residuals of control
    networks are inputs of every graph. Those that add nothing are (1, C, 1, 1).
    """

    def __init__(self, unet: Any, openvino: Any) -> None:
        self._unet, self._openvino, self._op = unet, openvino, openvino.opset15
        self.dtype = DTYPES[next(unet.parameters()).dtype]
        self._type, self._float32 = (getattr(self._openvino.Type, name) for name in (self.dtype, "f32"))
        self._inputs: list[Any] = []
        self.residual_channels: list[int] = []

    def model(self) -> Any:
        """The whole as OpenVINO's model."""
        op, unet = self._op, self._unet
        x = self._input(-1, unet.config.in_channels, -1, -1)
        self._embedding = self._silu(self._input(-1, unet.time_embedding.linear_2.out_features))
        self._context = self._input(-1, -1, unet.config.cross_attention_dim)
        x = self._convolution(unet.conv_in, x)
        skips = [x]
        for block in unet.down_blocks:
            for made in self._layers(block, x):
                skips.append(x := made)
            for sampler in block.downsamplers or ():
                x = self._convolution(sampler.conv, x)
                skips.append(x)
        skips = [self._with_residual(skip) for skip in skips]
        middle = unet.mid_block
        x = self._spatial(middle.attentions[0], self._residual(middle.resnets[0], x))
        x = self._with_residual(self._residual(middle.resnets[1], x))
        for block in unet.up_blocks:
            for made in self._layers(block, x, skips):
                x = made
            for sampler in block.upsamplers or ():
                x = self._upsampled(sampler.conv, x, skips[-1])
        x = self._convolution(unet.conv_out, self._silu(self._group_norm(unet.conv_norm_out, x)))
        return self._openvino.Model([op.result(op.convert(x, self._float32))], self._inputs, "unet")

    # inputs and constants

    def _input(self, *shape: int) -> Any:
        self._inputs.append(self._op.parameter(list(shape), self._float32))
        return self._op.convert(self._inputs[-1], self._type)

    def _with_residual(self, x: Any) -> Any:
        """x plus the next residual."""
        channels = x.get_output_partial_shape(0)[1].get_length()
        self.residual_channels.append(channels)
        return self._op.add(x, self._input(-1, channels, -1, -1))

    def _weight(self, tensor: Tensor) -> Any:
        """A constant in the memory of `tensor`, which must live as long as the graph."""
        values = tensor.detach().contiguous()
        if values.dtype == torch.bfloat16:  # which numpy does not know
            shared = self._openvino.Tensor(values.view(torch.int16).numpy(), list(values.shape),
                                           self._openvino.Type.bf16)
            return self._op.constant(shared, shared_memory=True)
        return self._op.constant(values.numpy(), shared_memory=True)

    def _whole(self, *numbers: int) -> Any:
        return self._op.constant(list(numbers), self._openvino.Type.i64)

    # layers

    def _convolution(self, layer: Any, x: Any) -> Any:
        weight = layer.plain_weight() if isinstance(layer, PackedConv2d) else layer.weight
        padding = list(layer.padding)
        made = self._op.convolution(x, self._weight(weight), list(layer.stride), padding, padding, [1, 1])
        return made if layer.bias is None else self._op.add(made, self._weight(layer.bias.view(1, -1, 1, 1)))

    def _linear(self, layer: Any, x: Any) -> Any:
        weight = layer.plain_weight() if isinstance(layer, PackedConv2d) else layer.weight
        made = self._op.matmul(x, self._weight(weight), False, True)
        return made if layer.bias is None else self._op.add(made, self._weight(layer.bias))

    def _group_norm(self, norm: nn.GroupNorm, x: Any) -> Any:
        return self._op.group_normalization(x, self._weight(norm.weight), self._weight(norm.bias), norm.num_groups,
                                            norm.eps)

    def _layer_norm(self, norm: nn.LayerNorm, x: Any) -> Any:
        made = self._op.mvn(x, self._whole(-1), True, norm.eps, "inside_sqrt")
        return self._op.add(self._op.multiply(made, self._weight(norm.weight)), self._weight(norm.bias))

    def _silu(self, x: Any) -> Any:
        return self._op.swish(x, self._op.constant(1.0, self._type))

    # blocks

    def _layers(self, block: Any, x: Any, skips: list[Any] | None = None) -> Any:
        """After each residual block of `block` and its transformer, if it has one: what they make of x, which is joined
        with the last of `skips` before."""
        for number, residual in enumerate(block.resnets):
            x = self._residual(residual, x if skips is None else self._op.concat([x, skips.pop()], 1))
            if hasattr(block, "attentions"):
                x = self._spatial(block.attentions[number], x)
            yield x

    def _residual(self, block: Residual, x: Any) -> Any:
        op = self._op
        hidden = self._convolution(block.conv1, self._silu(self._group_norm(block.norm1, x)))
        told = self._linear(block.time_emb_proj, self._embedding)
        hidden = op.add(hidden, op.unsqueeze(told, self._whole(2, 3)))
        hidden = self._convolution(block.conv2, self._silu(self._group_norm(block.norm2, hidden)))
        return op.add(hidden, x if block.conv_shortcut is None else self._convolution(block.conv_shortcut, x))

    def _spatial(self, block: SpatialTransformer, x: Any) -> Any:
        op = self._op
        cells = self._group_norm(cast(nn.GroupNorm, block.norm), x)
        if not block.linear:
            cells = self._convolution(block.proj_in, cells)
        cells = op.transpose(cells, self._whole(0, 2, 3, 1))
        shape = op.shape_of(cells)  # (B, h, w, C)
        cells = op.reshape(cells, self._whole(0, -1, cells.get_output_partial_shape(0)[3].get_length()), True)
        if block.linear:
            cells = self._linear(block.proj_in, cells)
        for transformer in cast(Any, block.transformer_blocks):
            cells = self._transformer(transformer, cells)
        if block.linear:
            cells = self._linear(block.proj_out, cells)
        made = op.transpose(op.reshape(cells, shape, False), self._whole(0, 3, 1, 2))
        return op.add(made if block.linear else self._convolution(block.proj_out, made), x)

    def _transformer(self, block: Any, x: Any) -> Any:
        op = self._op
        normed = self._layer_norm(block.norm1, x)
        x = op.add(self._attention(block.attn1, normed, normed), x)
        x = op.add(self._attention(block.attn2, self._layer_norm(block.norm2, x), self._context), x)
        gated, _, last = block.ff.net
        wide = self._linear(gated.proj, self._layer_norm(block.norm3, x))
        value, gate = op.split(wide, op.constant(2, self._openvino.Type.i64), 2).outputs()
        return op.add(self._linear(last, op.multiply(value, op.gelu(gate, "erf"))), x)

    def _attention(self, layer: Any, x: Any, context: Any) -> Any:
        op = self._op

        def heads(projection: Any, x: Any) -> Any:  # (B, tokens, C) -> (B, heads, tokens, C / heads)
            apart = op.reshape(self._linear(projection, x), self._whole(0, 0, layer.heads, -1), True)
            return op.transpose(apart, self._whole(0, 2, 1, 3))

        made = op.scaled_dot_product_attention(heads(layer.to_q, x), heads(layer.to_k, context),
                                               heads(layer.to_v, context))
        joined = op.reshape(op.transpose(made, self._whole(0, 2, 1, 3)), self._whole(0, 0, -1), True)
        return self._linear(layer.to_out[0], joined)

    def _upsampled(self, convolution: Any, x: Any, skip: Any) -> Any:
        """As `unet.Upsample`. Of twice the size one row or column less is taken where the skip has an odd number."""
        op, axes = self._op, self._whole(2, 3)
        larger = op.interpolate(x, op.constant([2.0, 2.0], self._float32), "nearest", "scales", axes=axes,
                                coordinate_transformation_mode="asymmetric", nearest_mode="floor")
        size = op.gather(op.shape_of(skip), axes, self._whole(0))
        return op.slice(self._convolution(convolution, larger), self._whole(0, 0), size, self._whole(1, 1), axes)
