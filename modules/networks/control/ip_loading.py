"""From a file to an IP-Adapter: which kind it is, told by names and shapes."""

from __future__ import annotations

import re

from modules.errors import CheckpointError
from modules.networks.control.ip_adapter import FULL, HEAD_CHANNELS, PLAIN, PLUS, IPAdapter, IPAdapterShape
from modules.networks.families.family import Part
from modules.networks.shapes import Header, Shapes, count, shape_of

PROJECTION = "image_proj."
_LAYER = re.compile(r"ip_adapter\.(\d+)\.to_(k|v)_ip\.weight")
_FACE = re.compile(r"ip_adapter\.\d+\.to_\w+_lora\.|image_proj\.perceiver_resampler\.")
"""Names that only files have which read the vector of a face."""


def is_ip_adapter(shapes: Shapes) -> bool:
    """Whether the names are those of an IP-Adapter."""
    return any(key.startswith((PROJECTION, "ip_adapter.")) for key in shapes)


def ip_adapter_part(header: Header) -> tuple[Part, IPAdapterShape]:
    """How the file is read. Raises CheckpointError: it is incomplete, or reads the vector of a face."""
    shape = _shape(header)
    return Part("IP-Adapter", "IP-Adapter", "", lambda header: shape, IPAdapter, _key), shape


def _shape(header: Header) -> IPAdapterShape:
    plain = f"{PROJECTION}proj.weight" in header.shapes
    if any(map(_FACE.match, header.shapes)) or (header.has(f"{PROJECTION}norm.") and not plain):
        raise CheckpointError(f"{header.name} is an IP-Adapter of the kind FaceID, which reads what another network "
                              "sees in a face; this program reads the other kinds.")

    def sides(name: str, ranks: tuple[int, ...] = (2,)) -> tuple[int, ...]:
        return shape_of(header, PROJECTION + name, ranks)

    numbers = sorted(int(found[1]) for key in header.shapes if (found := _LAYER.fullmatch(key)) and found[2] == "k")
    widths = tuple(shape_of(header, f"ip_adapter.{number}.to_k_ip.weight", (2,))[0] for number in numbers)
    if numbers != list(range(1, 2 * len(numbers), 2)) or not numbers:
        raise CheckpointError(f"{header.name} is incomplete: it lacks layers of an IP-Adapter.")
    context = shape_of(header, "ip_adapter.1.to_k_ip.weight", (2,))[1]
    if plain:
        rows, channels = sides("proj.weight")
        return IPAdapterShape(PLAIN, channels, max(rows // context, 1), context, widths)
    if f"{PROJECTION}proj.3.weight" in header.shapes:
        hidden, channels = sides("proj.0.weight")
        return IPAdapterShape(FULL, channels, 0, context, widths, hidden)
    _, tokens, inner = sides("latents", (3,))
    attended = sides("layers.0.0.to_q.weight")[0]
    if attended % HEAD_CHANNELS:
        raise CheckpointError(f"{header.name} is damaged: its attention has {attended} channels.")
    return IPAdapterShape(
        PLUS, sides("proj_in.weight")[1], tokens, context, widths, sides("layers.0.1.1.weight")[0], inner,
        count(header, re.escape(PROJECTION) + r"layers\.(\d+)\."), attended)


def _key(key: str, shape: IPAdapterShape) -> str:
    """Our parameter of a tensor. Attention layers are numbered with the self-attentions between them."""
    found = _LAYER.fullmatch(key)
    return f"to_{found[2]}_ip.{int(found[1]) // 2}.weight" if found else key

