"""The three networks of a Stable Diffusion 1.x checkpoint, small, with the original files' key names.

A module's `state_dict` *is* the checkpoint's: exporting needs no table of names. The maths is that of latent diffusion
(UNet and autoencoder) and of CLIP's text transformer; only widths and depths are ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SCALE = 0.18215  # latents are multiplied by this before they meet the UNet
LENGTH = 77  # tokens in a prompt


@dataclass(frozen=True)
class Sizes:
    """Widths and depths of all three networks."""

    unet_channels: tuple[int, ...] = (64, 128, 256)
    unet_blocks: int = 1
    unet_attention: tuple[bool, ...] = (False, True, False)
    unet_heads: int = 4
    unet_groups: int = 16
    vae_channels: tuple[int, ...] = (24, 48, 96, 160)
    vae_blocks: int = 1
    vae_groups: int = 8
    text_width: int = 96
    text_layers: int = 3
    text_heads: int = 4
    vocabulary: int = 49408


def sizes_of(shapes: Mapping[str, Sequence[int]], metadata: Mapping[str, str]) -> Sizes:
    """The sizes of a checkpoint file, from its tensors' shapes and the four numbers that shapes cannot tell."""
    unet, vae = "model.diffusion_model.", "first_stage_model.encoder.down."
    text = "cond_stage_model.transformer.text_model."
    levels = 1 + sum(key.startswith(unet + "input_blocks") and key.endswith(".0.op.weight") for key in shapes)
    stages = len({key.split(".")[3] for key in shapes if key.startswith(unet + "input_blocks.")})
    blocks = (stages - levels) // levels
    first = [f"{unet}input_blocks.{1 + level * (blocks + 1)}." for level in range(levels)]
    vae_levels = len({key.removeprefix(vae).split(".")[0] for key in shapes if key.startswith(vae)})
    vocabulary, width = shapes[text + "embeddings.token_embedding.weight"]
    return Sizes(
        unet_channels=tuple(shapes[f + "0.in_layers.2.weight"][0] for f in first),
        unet_blocks=blocks,
        unet_attention=tuple(f + "1.norm.weight" in shapes for f in first),
        unet_heads=int(metadata["unet_heads"]),
        unet_groups=int(metadata["unet_norm_groups"]),
        vae_channels=tuple(shapes[f"{vae}{i}.block.0.conv1.weight"][0] for i in range(vae_levels)),
        vae_blocks=len({key.split(".")[5] for key in shapes if key.startswith(f"{vae}0.block.")}),
        vae_groups=int(metadata["vae_norm_groups"]),
        text_width=width,
        text_layers=len({key.split(".")[5] for key in shapes if key.startswith(text + "encoder.layers.")}),
        text_heads=int(metadata["text_heads"]),
        vocabulary=vocabulary,
    )


# ---------------------------------------------------------------- UNet


class ResBlock(nn.Module):
    """x (B, in, H, W) and the time's embedding (B, E) -> (B, out, H, W)."""

    def __init__(self, inner: int, outer: int, embed: int, groups: int) -> None:
        super().__init__()
        self.in_layers = nn.Sequential(nn.GroupNorm(groups, inner), nn.SiLU(), nn.Conv2d(inner, outer, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embed, outer))
        self.out_layers = nn.Sequential(nn.GroupNorm(groups, outer), nn.SiLU(), nn.Dropout(0.0),
                                        nn.Conv2d(outer, outer, 3, padding=1))
        nn.init.zeros_(self.out_layers[3].weight)
        nn.init.zeros_(self.out_layers[3].bias)
        self.skip_connection = nn.Conv2d(inner, outer, 1) if inner != outer else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        h = self.in_layers(x) + self.emb_layers(time)[:, :, None, None]
        return self.skip_connection(x) + self.out_layers(h)


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k / sqrt(D)) v for q (B, heads, N, D) and k, v (B, heads, M, D)."""
    if q.dtype == torch.bfloat16 and q.device.type == "cpu":
        # written out it is three to five times as fast there, forwards and backwards, as torch's fused kernel
        return (q * q.shape[-1] ** -0.5 @ k.transpose(-1, -2)).softmax(dim=-1) @ v
    return F.scaled_dot_product_attention(q, k, v)


class CrossAttention(nn.Module):
    """Attention of x (B, N, C) over context (B, M, D), or over itself."""

    def __init__(self, width: int, context: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(context, width, bias=False)
        self.to_v = nn.Linear(context, width, bias=False)
        self.to_out = nn.Sequential(nn.Linear(width, width), nn.Dropout(0.0))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        context = x if context is None else context
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2)
                   for t in (self.to_q(x), self.to_k(context), self.to_v(context)))
        return self.to_out(attention(q, k, v).transpose(1, 2).flatten(2))


class GEGLU(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, inner * 2)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * F.gelu(gate)


class FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(GEGLU(width, width * 4), nn.Dropout(0.0), nn.Linear(width * 4, width))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class TransformerBlock(nn.Module):
    def __init__(self, width: int, context: int, heads: int) -> None:
        super().__init__()
        self.attn1 = CrossAttention(width, width, heads)
        self.ff = FeedForward(width)
        self.attn2 = CrossAttention(width, context, heads)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        x = x + self.attn1(self.norm1(x))
        x = x + self.attn2(self.norm2(x), context)
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    """x (B, C, H, W) looks at itself and at the words (B, M, D)."""

    def __init__(self, width: int, context: int, heads: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, width, eps=1e-6)
        self.proj_in = nn.Conv2d(width, width, 1)
        self.transformer_blocks = nn.ModuleList([TransformerBlock(width, context, heads)])
        self.proj_out = nn.Conv2d(width, width, 1)
        nn.init.zeros_(self.proj_out.weight)
        nn.init.zeros_(self.proj_out.bias)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        height = x.shape[2]
        h = self.proj_in(self.norm(x)).flatten(2).transpose(1, 2).contiguous()
        for block in self.transformer_blocks:
            h = block(h, context)
        return x + self.proj_out(h.transpose(1, 2).unflatten(2, (height, -1)).contiguous())


class Downsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


class Upsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Stage(nn.Sequential):
    """Runs its layers in turn and hands each what it needs."""

    def forward(self, x: Tensor, time: Tensor, context: Tensor) -> Tensor:
        for layer in self:
            if isinstance(layer, ResBlock):
                x = layer(x, time)
            elif isinstance(layer, SpatialTransformer):
                x = layer(x, context)
            else:
                x = layer(x)
        return x


class UNet(nn.Module):
    """Noisy latents (B, 4, H, W), times (B,) in 0..999, words (B, M, D) -> the noise (B, 4, H, W)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        channels, groups, heads = sizes.unet_channels, sizes.unet_groups, sizes.unet_heads
        base, embed, context = channels[0], channels[0] * 4, sizes.text_width
        self.base = base
        self.time_embed = nn.Sequential(nn.Linear(base, embed), nn.SiLU(), nn.Linear(embed, embed))

        def layers(inner: int, outer: int, attention: bool) -> list[nn.Module]:
            block: list[nn.Module] = [ResBlock(inner, outer, embed, groups)]
            return block + ([SpatialTransformer(outer, context, heads, groups)] if attention else [])

        self.input_blocks = nn.ModuleList([Stage(nn.Conv2d(4, base, 3, padding=1))])
        skips, width, last = [base], base, len(channels) - 1
        for level, outer in enumerate(channels):
            for _ in range(sizes.unet_blocks):
                self.input_blocks.append(Stage(*layers(width, outer, sizes.unet_attention[level])))
                width = outer
                skips.append(width)
            if level != last:
                self.input_blocks.append(Stage(Downsample(width)))
                skips.append(width)
        self.middle_block = Stage(ResBlock(width, width, embed, groups),
                                  SpatialTransformer(width, context, heads, groups),
                                  ResBlock(width, width, embed, groups))
        self.output_blocks = nn.ModuleList()
        for level in reversed(range(len(channels))):
            for index in range(sizes.unet_blocks + 1):
                parts = layers(width + skips.pop(), channels[level], sizes.unet_attention[level])
                width = channels[level]
                if level and index == sizes.unet_blocks:
                    parts.append(Upsample(width))
                self.output_blocks.append(Stage(*parts))
        self.out = nn.Sequential(nn.GroupNorm(groups, base), nn.SiLU(), nn.Conv2d(base, 4, 3, padding=1))

    def forward(self, x: Tensor, time: Tensor, context: Tensor) -> Tensor:
        embedded = self.embed(time)
        return self.up(self.down(x, embedded, context), embedded, context)

    def embed(self, time: Tensor) -> Tensor:
        """(B,) -> (B, E)."""
        half = self.base // 2
        steps = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32, device=time.device) / half)
        angles = time.float()[:, None] * steps[None]
        return self.time_embed(torch.cat([angles.cos(), angles.sin()], dim=-1))

    def down(self, x: Tensor, embedded: Tensor, context: Tensor, hint: Tensor | float = 0.0) -> list[Tensor]:
        """What each block on the way down and the middle one give; `hint` is added after the first."""
        kept = [self.input_blocks[0](x, embedded, context) + hint]
        for stage in self.input_blocks[1:]:
            kept.append(stage(kept[-1], embedded, context))
        return [*kept, self.middle_block(kept[-1], embedded, context)]

    def up(self, kept: list[Tensor], embedded: Tensor, context: Tensor) -> Tensor:
        """`kept` as `down` gives it -> (B, 4, H, W)."""
        *skips, x = kept
        for stage, skip in zip(self.output_blocks, reversed(skips), strict=True):
            x = stage(torch.cat([x, skip], dim=1), embedded, context)
        return self.out(x)


class ControlNet(UNet):
    """The way down of a UNet that reads a picture too (Zhang et al. 2023). Its answers, which begin at zero, are added
    to what the UNet keeps."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes)
        del self.output_blocks, self.out
        channels, last = sizes.unet_channels, len(sizes.unet_channels) - 1
        widths = [channels[0]]
        for level, width in enumerate(channels):
            widths += [width] * (sizes.unet_blocks + (level != last))
        self.zero_convs = nn.ModuleList([nn.Sequential(nn.Conv2d(width, width, 1)) for width in widths])
        self.middle_block_out = nn.Sequential(nn.Conv2d(channels[-1], channels[-1], 1))
        given, layers = 3, list[nn.Module]()
        for number, width in enumerate((16, 16, 32, 32, 96, 96, 256, channels[0])):
            layers += [nn.Conv2d(given, width, 3, stride=2 if number in (2, 4, 6) else 1, padding=1), nn.SiLU()]
            given = width
        self.input_hint_block = nn.Sequential(*layers[:-1])
        for layer in (*self.zero_convs, self.middle_block_out, self.input_hint_block[-1:]):
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor, time: Tensor, context: Tensor, hint: Tensor) -> list[Tensor]:
        """hint (B, 3, 8H, 8W) in 0..1 -> what is added to each tensor of `down`."""
        kept = self.down(x, self.embed(time), context, self.input_hint_block(hint))
        return [zero(one) for zero, one in zip((*self.zero_convs, self.middle_block_out), kept, strict=True)]


# ---------------------------------------------------------------- autoencoder


class ResnetBlock(nn.Module):
    def __init__(self, inner: int, outer: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, inner, eps=1e-6)
        self.conv1 = nn.Conv2d(inner, outer, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, outer, eps=1e-6)
        self.conv2 = nn.Conv2d(outer, outer, 3, padding=1)
        if inner != outer:
            self.nin_shortcut = nn.Conv2d(inner, outer, 1)
        self.changes = inner != outer

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))
        return (self.nin_shortcut(x) if self.changes else x) + h


class AttnBlock(nn.Module):
    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, width, eps=1e-6)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(width, width, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (f(h).flatten(2).transpose(1, 2)[:, None] for f in (self.q, self.k, self.v))
        h = F.scaled_dot_product_attention(q, k, v)[:, 0].transpose(1, 2).unflatten(2, x.shape[2:])
        return x + self.proj_out(h)


class Middle(nn.Module):
    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.block_1 = ResnetBlock(width, width, groups)
        self.attn_1 = AttnBlock(width, groups)
        self.block_2 = ResnetBlock(width, width, groups)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))


class PadDownsample(nn.Module):
    """Halves the picture; pads on the right and below only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Level(nn.Module):
    """One resolution: residual blocks, an unused list of attentions, and a change of resolution or none."""

    def __init__(self, widths: list[tuple[int, int]], groups: int, change: str, resample: nn.Module | None) -> None:
        super().__init__()
        self.block = nn.ModuleList([ResnetBlock(inner, outer, groups) for inner, outer in widths])
        self.change = change if resample is not None else ""
        if resample is not None:
            self.add_module(change, resample)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.block:
            x = block(x)
        return self.get_submodule(self.change)(x) if self.change else x


class Encoder(nn.Module):
    """Picture (B, 3, 8H, 8W) in -1..1 -> mean and log variance (B, 8, H, W)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        channels, groups, last = sizes.vae_channels, sizes.vae_groups, len(sizes.vae_channels) - 1
        self.conv_in = nn.Conv2d(3, channels[0], 3, padding=1)
        self.down = nn.ModuleList()
        width = channels[0]
        for level, outer in enumerate(channels):
            widths = [(width if i == 0 else outer, outer) for i in range(sizes.vae_blocks)]
            resample = PadDownsample(outer) if level != last else None
            self.down.append(Level(widths, groups, "downsample", resample))
            width = outer
        self.mid = Middle(width, groups)
        self.norm_out = nn.GroupNorm(groups, width, eps=1e-6)
        self.conv_out = nn.Conv2d(width, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for level in self.down:
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(self.mid(x))))


class Decoder(nn.Module):
    """Latents (B, 4, H, W) -> picture (B, 3, 8H, 8W) in about -1..1."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        channels, groups = sizes.vae_channels, sizes.vae_groups
        width = channels[-1]
        self.conv_in = nn.Conv2d(4, width, 3, padding=1)
        self.mid = Middle(width, groups)
        self.up = nn.ModuleList()
        for level in reversed(range(len(channels))):
            outer = channels[level]
            widths = [(width if i == 0 else outer, outer) for i in range(sizes.vae_blocks + 1)]
            self.up.insert(0, Level(widths, groups, "upsample", Upsample(outer) if level else None))
            width = outer
        self.norm_out = nn.GroupNorm(groups, width, eps=1e-6)
        self.conv_out = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        x = self.mid(self.conv_in(z))
        for level in reversed(self.up):
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class Autoencoder(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(sizes), Decoder(sizes)
        self.quant_conv, self.post_quant_conv = nn.Conv2d(8, 8, 1), nn.Conv2d(4, 4, 1)

    def encode(self, picture: Tensor) -> Tensor:
        """(B, 3, 8H, 8W) in -1..1 -> the mean latents (B, 4, H, W), scaled to a deviation of about 1."""
        return self.quant_conv(self.encoder(picture))[:, :4] * SCALE

    def decode(self, latents: Tensor) -> Tensor:
        """The inverse of `encode`."""
        return self.decoder(self.post_quant_conv(latents / SCALE))


# ---------------------------------------------------------------- text


class TextEmbeddings(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(sizes.vocabulary, sizes.text_width)
        self.position_embedding = nn.Embedding(LENGTH, sizes.text_width)
        nn.init.normal_(self.token_embedding.weight, std=0.1)
        nn.init.normal_(self.position_embedding.weight, std=0.05)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.token_embedding(tokens) + self.position_embedding.weight[: tokens.shape[1]]


class TextAttention(nn.Module):
    """Attention in which a word sees only itself and the words before it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.k_proj, self.v_proj, self.q_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
                   for f in (self.q_proj, self.k_proj, self.v_proj))
        return self.out_proj(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))


class TextMLP(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, width * 4), nn.Linear(width * 4, width)

    def forward(self, x: Tensor) -> Tensor:
        h = self.fc1(x)
        return self.fc2(h * torch.sigmoid(1.702 * h))


class TextLayer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.self_attn, self.mlp = TextAttention(width, heads), TextMLP(width)
        self.layer_norm1, self.layer_norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class TextTransformer(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.embeddings = TextEmbeddings(sizes)
        self.encoder = nn.Module()
        self.encoder.layers = nn.ModuleList([TextLayer(sizes.text_width, sizes.text_heads)
                                             for _ in range(sizes.text_layers)])
        self.final_layer_norm = nn.LayerNorm(sizes.text_width)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embeddings(tokens)
        for layer in self.encoder.layers:
            x = layer(x)
        return self.final_layer_norm(x)


class TextEncoder(nn.Module):
    """Token numbers (B, 77) -> words (B, 77, D)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.text_model = TextTransformer(sizes)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.text_model(tokens)


# ---------------------------------------------------------------- noise schedule


def alphas_cumprod() -> Tensor:
    """SD 1.x's schedule: how much of the picture is left at each of the 1000 times, float32."""
    betas = torch.linspace(0.00085**0.5, 0.0120**0.5, 1000, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0).float()
