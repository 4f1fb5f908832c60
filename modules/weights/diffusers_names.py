"""Tensor names: diffusers' and transformers' modules to the single-file layouts of Stable Diffusion's own publishers.

The names of layers stand here once, as tables. `networks` reads them the other way round, to fill diffusers' modules.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
UNET_ENDS = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
VECTOR_ENDS = {"label_emb.0.0": "linear_1", "label_emb.0.2": "linear_2"}
"""The layers that read the pooled vector: of `add_embedding` in diffusers' files, of `class_embedding` in its UNet with
the class embedding "projection"."""
OPENCLIP_ENDS = {
    "token_embedding.weight": "embeddings.token_embedding.weight",
    "positional_embedding": "embeddings.position_embedding.weight",
    "ln_final.weight": "final_layer_norm.weight",
    "ln_final.bias": "final_layer_norm.bias",
}
OPENCLIP_LAYER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
VAE_ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
OLD_VAE_ATTENTION = {"query": "q", "key": "k", "value": "v", "proj_attn": "proj_out"}
"""How diffusers called them until 0.17."""
MMDIT_ENDS = {
    "x_embedder.proj": "pos_embed.proj",
    "context_embedder": "context_embedder",
    "t_embedder.mlp.0": "time_text_embed.timestep_embedder.linear_1",
    "t_embedder.mlp.2": "time_text_embed.timestep_embedder.linear_2",
    "y_embedder.mlp.0": "time_text_embed.text_embedder.linear_1",
    "y_embedder.mlp.2": "time_text_embed.text_embedder.linear_2",
    "final_layer.linear": "proj_out",
    "final_layer.adaLN_modulation.1": "norm_out.linear",
}
MMDIT_PICTURE = {
    "adaLN_modulation.1": ("norm1.linear",),
    "attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"), "attn.proj": ("attn.to_out.0",),
    "attn.ln_q": ("attn.norm_q",), "attn.ln_k": ("attn.norm_k",),
    "attn2.qkv": ("attn2.to_q", "attn2.to_k", "attn2.to_v"), "attn2.proj": ("attn2.to_out.0",),
    "attn2.ln_q": ("attn2.norm_q",), "attn2.ln_k": ("attn2.norm_k",),
    "mlp.fc1": ("ff.net.0.proj",), "mlp.fc2": ("ff.net.2",),
}
MMDIT_WORDS = {
    "adaLN_modulation.1": ("norm1_context.linear",),
    "attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"), "attn.proj": ("attn.to_add_out",),
    "attn.ln_q": ("attn.norm_added_q",), "attn.ln_k": ("attn.norm_added_k",),
    "mlp.fc1": ("ff_context.net.0.proj",), "mlp.fc2": ("ff_context.net.2",),
}
"""Layers of a block of Stable Diffusion 3 in Stability's files, for the picture's tokens and for the words', and
diffusers' for them; several lie one below the other in a tensor."""


@dataclass(frozen=True)
class Place:
    """Where a tensor of diffusers' lies in a single file: in the tensor `key`, as number `row` of those that lie one
    below the other there. `transposed`: its two sides are exchanged. `halves`: its upper half of rows comes last.
    `convolution`: a matrix there has two sides of length 1 more."""

    key: str
    row: int = 0
    transposed: bool = False
    halves: bool = False
    convolution: bool = False


Names = Callable[[str], Place | None]
"""A tensor's name in one folder of diffusers' -> its place behind the part's prefix; None for one that is not needed.
A name that is not known stays as it is."""


def unet_names(keys: Iterable[str]) -> Names:
    """The names of a UNet that has the tensors `keys`."""
    keys = tuple(keys)
    blocks = _count(keys, r"down_blocks\.0\.resnets\.(\d+)\.") + 1
    attended = {match[1] for key in keys if (match := re.match(r"up_blocks\.(\d+)\.attentions\.", key))}
    resnet = {theirs: ours for ours, theirs in RESNET.items()}
    ends = {theirs: ours for ours, theirs in UNET_ENDS.items()} | {
        f"add_embedding.{theirs}": ours for ours, theirs in VECTOR_ENDS.items()}

    def inside(where: str, kind: str, rest: str) -> str | None:
        """A tensor of a resnet, or of the transformer behind it."""
        if kind == "attentions":
            return f"{where}.1.{rest}"
        owner, _, leaf = rest.rpartition(".")
        return f"{where}.0.{resnet[owner]}.{leaf}" if owner in resnet else None

    def name(key: str) -> str | None:
        owner, _, leaf = key.rpartition(".")
        if owner in ends:
            return f"{ends[owner]}.{leaf}"
        if found := re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d)\.(.+)", key):
            kind, number, rest = found.groups()
            if kind == "attentions":
                return f"middle_block.1.{rest}"
            inner = inside("", kind, rest)
            return inner and f"middle_block.{2 * int(number)}.{inner.removeprefix('.0.')}"
        if found := re.fullmatch(r"(down|up)_blocks\.(\d+)\.(resnets|attentions)\.(\d+)\.(.+)", key):
            way, level, kind, number, rest = found.groups()
            block = int(level) * blocks + int(number)
            return inside(f"input_blocks.{block + 1}" if way == "down" else f"output_blocks.{block}", kind, rest)
        if found := re.fullmatch(r"down_blocks\.(\d+)\.downsamplers\.0\.conv\.(.+)", key):
            return f"input_blocks.{(int(found[1]) + 1) * blocks}.0.op.{found[2]}"
        if found := re.fullmatch(r"up_blocks\.(\d+)\.upsamplers\.0\.conv\.(.+)", key):
            return f"output_blocks.{(int(found[1]) + 1) * blocks - 1}.{1 + (found[1] in attended)}.conv.{found[2]}"
        return None

    return lambda key: Place(name(key) or key)


def vae_names(keys: Iterable[str]) -> Names:
    """The names of an autoencoder that has the tensors `keys`."""
    levels = _count(keys, r"encoder\.down_blocks\.(\d+)\.")
    attention = {theirs: ours for ours, theirs in VAE_ATTENTION.items()} | OLD_VAE_ATTENTION

    def place(key: str) -> Place:
        key = key.replace(".conv_shortcut.", ".nin_shortcut.").replace(".conv_norm_out.", ".norm_out.")
        if found := re.fullmatch(r"(encoder|decoder)\.mid_block\.(resnets|attentions)\.(\d)\.(.+)", key):
            half, kind, number, rest = found.groups()
            if kind == "resnets":
                return Place(f"{half}.mid.block_{int(number) + 1}.{rest}")
            owner, _, leaf = rest.rpartition(".")
            layer = attention.get(owner, owner)
            return Place(f"{half}.mid.attn_1.{layer}.{leaf}", convolution=leaf == "weight" and layer != "norm")
        if found := re.fullmatch(r"(encoder|decoder)\.(down|up)_blocks\.(\d+)\.(resnets|downsamplers|upsamplers)"
                                 r"\.(\d+)\.(.+)", key):
            half, way, level, kind, number, rest = found.groups()
            where = f"{half}.{way}.{level if way == 'down' else levels - 1 - int(level)}"
            return Place(f"{where}.block.{number}.{rest}" if kind == "resnets" else f"{where}.{kind[:-2]}.{rest}")
        return Place(key)

    return place


def clip_names(key: str) -> Place | None:
    """The names of a text encoder that stays in transformers' layout."""
    if key.endswith("position_ids"):
        return None
    return Place(key if key.startswith(("text_model.", "text_projection.")) else f"text_model.{key}")


def openclip_names(key: str) -> Place | None:
    """The names of a text encoder in transformers' layout in OpenCLIP's."""
    key = key.removeprefix("text_model.")
    if key.endswith("position_ids"):
        return None
    if key == "text_projection.weight":
        return Place("text_projection", transposed=True)
    ends = {theirs: ours for ours, theirs in OPENCLIP_ENDS.items()}
    if key in ends:
        return Place(ends[key])
    if found := re.fullmatch(r"encoder\.layers\.(\d+)\.(.+)\.(weight|bias)", key):
        number, owner, leaf = found.groups()
        where = f"transformer.resblocks.{number}"
        if row := re.fullmatch(r"self_attn\.([qkv])_proj", owner):
            return Place(f"{where}.attn.in_proj_{leaf}", row="qkv".index(row[1]))
        layers = {theirs: ours for ours, theirs in OPENCLIP_LAYER.items()}
        if owner in layers:
            return Place(f"{where}.{layers[owner]}.{leaf}")
    return Place(key)


def mmdit_names(keys: Iterable[str]) -> Names:
    """The names of Stable Diffusion 3's transformer that has the tensors `keys`."""
    last = _count(keys, r"transformer_blocks\.(\d+)\.") - 1
    ends = {theirs: ours for ours, theirs in MMDIT_ENDS.items()}
    layers = {theirs: (f"{half}_block.{ours}", row) for half, table in (("x", MMDIT_PICTURE), ("context", MMDIT_WORDS))
              for ours, names in table.items() for row, theirs in enumerate(names)}
    # Stability's last norms, of the picture and of the words, give the shift before the scale, diffusers' the scale.
    swapped = ("norm_out.linear", f"transformer_blocks.{last}.norm1_context.linear")

    def place(key: str) -> Place:
        owner, _, leaf = key.rpartition(".")
        halves = owner in swapped
        if key == "pos_embed.pos_embed":
            return Place("pos_embed")
        if owner in ends:
            return Place(f"{ends[owner]}.{leaf}", halves=halves)
        if (found := re.fullmatch(r"transformer_blocks\.(\d+)\.(.+)", owner)) and found[2] in layers:
            where, row = layers[found[2]]
            return Place(f"joint_blocks.{found[1]}.{where}.{leaf}", row, halves=halves)
        return Place(key)

    return place


def _count(keys: Iterable[str], pattern: str) -> int:
    """One more than the largest number that the pattern finds; 0 for none."""
    found = re.compile(pattern).match
    return max((int(match[1]) + 1 for key in keys if (match := found(key))), default=0)
